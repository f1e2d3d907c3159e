"""What each continuous code moves in images of anything, and how far: as `factors` and `sweeps`, which are of digits.

Axes: n images, a attributes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from infogan.evaluation.factors import correlations_in_images, correlations_in_samples
from infogan.evaluation.image_attributes import IMAGE_ATTRIBUTES, measure_images
from infogan.evaluation.registry import CODE, register_metric, register_record
from infogan.evaluation.sampling import generate_images
from infogan.evaluation.subject import CONTINUOUS, NO_DIGITS, Subject, once
from infogan.evaluation.sweeps import median
from infogan.latents import traversal_values, with_code

NEEDS = frozenset({CONTINUOUS, NO_DIGITS})
TABLE = "what the continuous codes move"


@once
def attributes_of_images(subject: Subject) -> Float[np.ndarray, "n a"]:
    """Returns the attributes of the test images."""
    return measure_images(subject.dataset.test_images, "attributes of images")


@register_record("image_factors", needs=NEEDS)
def attributes(subject: Subject) -> dict[str, Any]:
    """Returns the names of the attributes."""
    return {"attributes": list(IMAGE_ATTRIBUTES)}


def _register(key: str, label: str, range: tuple[float, float]) -> Any:
    return register_metric(
        label=label,
        name=f"image_factors_{key}",
        table=TABLE,
        place=("image_factors", key, CODE),
        axis=IMAGE_ATTRIBUTES,
        range=range,
        at_chance=0,
        higher_is_better=None,
        needs=NEEDS,
        digits=2,
    )


@_register("test_images", "partial correlation of continuous codes with attributes, real images through Q", (-1, 1))
def on_images(subject: Subject) -> dict[str, Float[np.ndarray, " a"]]:
    """Returns the partial correlations of Q's mean with the attributes of real images."""
    return correlations_in_images(subject, attributes_of_images(subject))


@_register("samples", "partial correlation of continuous codes with attributes, samples", (-1, 1))
def on_samples(subject: Subject) -> dict[str, Float[np.ndarray, " a"]]:
    """Returns the partial correlations of the codes themselves with the attributes of the images made from them."""
    return correlations_in_samples(subject, measure_images(subject.samples.images, "attributes of samples"))


@_register("range_covered", "sweeps: share covered of the 5-95% range of real images", (-math.inf, math.inf))
def range_covered(subject: Subject) -> dict[str, Float[np.ndarray, " a"]]:
    """Returns the median change of each attribute from the least to the largest value of a code.

    As a share of the range from 5% to 95% of real images; NaN where they do not differ, or the ends are blank.
    """
    spread = np.subtract(*np.nanpercentile(attributes_of_images(subject), [95, 5], axis=0))
    spread = np.where(spread > 0, spread, np.nan)
    found = {}
    for i in subject.spec.continuous:
        z, c = subject.sweep_latents[i]
        ends = traversal_values(subject.spec.codes[i], 2).tolist()
        images = torch.cat(
            [generate_images(subject.generator, z, with_code(subject.spec, c, i, end), "sweeps") for end in ends]
        )
        low, high = np.split(measure_images(images, "attributes of sweeps"), 2)
        change = high - low
        found[subject.spec.names[i]] = median(change[~np.isnan(change).any(axis=1)]) / spread
    return found
