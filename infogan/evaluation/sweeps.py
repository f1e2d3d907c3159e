"""What a sweep of each continuous code does to an image, and which code holds slant, thickness or width.

Shapes: `n` images, 6 attributes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from infogan.config.spec import LatentSpec
from infogan.evaluation.classifier import DigitClassifier
from infogan.evaluation.clustering import n_categories
from infogan.evaluation.morphometrics import ATTRIBUTES
from infogan.evaluation.reference import classify, measure_attributes
from infogan.evaluation.registry import CODE, register_metric
from infogan.evaluation.sampling import generate_images
from infogan.evaluation.subject import CONTINUOUS, DIGITS, Subject, once
from infogan.latents import traversal_values, with_code

N_SWEEP_VALUES = 11


def sweep_scores(
    images_of: Callable[[Tensor, Tensor], UInt8[Tensor, "n 1 28 28"]],
    spec: LatentSpec,
    position: int,
    classifier: DigitClassifier,
    spread: Float[np.ndarray, " 6"],
    z: Float[Tensor, "n z"],
    c: Float[Tensor, "n c"],
) -> dict[str, Any]:
    """Returns what a sweep of one continuous code does to images: `range_covered`, `shared_direction`, `digit_kept`.

    Each image, with the values of the first category in turn and all else as given, is drawn at `N_SWEEP_VALUES`
    values of the code from its low end to its high end (see `latents.quantile`).

    - `range_covered`: for each attribute, the median over the images of its change from the low end to the high
      end, as a share of its 5% to 95% range in real digits: 0 if the code does nothing to it, near ±1 if it runs
      through what is real. A row in which an end has no outline is left out.
    - `shared_direction`: for each attribute, the share of the first category's values whose own median change has the
      sign that most have: 1 if the code means the same in all of them, about 0.6 for ten signs at random; None
      without a categorical code. A value in which the attribute does not change counts against it.
    - `digit_kept`: the share of images that the classifier reads as one digit all along the sweep, in [0, 1]; 1 for
      a code that does nothing.

    Args:
        images_of: Makes images from z and c.
        spec: The latents.
        position: Of the code.
        classifier: The frozen digit classifier.
        spread: Range of each attribute from 5% to 95% of real digits.
        z: Noise of each image.
        c: Codes of each image.
    """
    categories = None
    if spec.categorical:
        first = spec.categorical[0]
        categories = torch.arange(len(c)) % n_categories(spec, first)
        c = with_code(spec, c, first, categories.float())
    values = traversal_values(spec.codes[position], N_SWEEP_VALUES)
    along = torch.stack([images_of(z, with_code(spec, c, position, value)) for value in values.tolist()])
    digits = np.stack([classify(classifier, images)[1] for images in along])
    low, high = np.split(measure_attributes(torch.cat([along[0], along[-1]]), "sweeps"), 2)
    change = high - low
    has_outlines = ~np.isnan(change).any(axis=1)
    shared = np.full(len(spread), np.nan)
    if categories is not None:
        shared = _shared_direction(change[has_outlines], categories.numpy()[has_outlines])
    return {
        "range_covered": median(change[has_outlines]) / spread,
        "shared_direction": shared,
        "digit_kept": float((digits == digits[0]).all(axis=0).mean()),
    }


def _shared_direction(change: Float[np.ndarray, "n 6"], categories: Int[np.ndarray, " n"]) -> Float[np.ndarray, " 6"]:
    """Returns for each attribute the share of categories in which it changes the way it does in most."""
    if not len(change):
        return np.full(change.shape[1], np.nan)
    signs = np.sign([median(change[categories == category]) for category in np.unique(categories)])
    return np.maximum((signs > 0).mean(axis=0), (signs < 0).mean(axis=0))


def median(rows: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " k"]:
    """Returns the median of each column; NaN without rows."""
    return np.median(rows, axis=0) if len(rows) else np.full(rows.shape[1], np.nan)


@once
def sweeps(subject: Subject) -> dict[str, dict[str, Any]]:
    """Returns `sweep_scores` of each continuous code."""
    assert subject.reference is not None
    spread = np.subtract(*np.nanpercentile(subject.reference.attributes, [95, 5], axis=0))

    def images_of(z: Float[Tensor, "n z"], c: Float[Tensor, "n c"]) -> UInt8[Tensor, "n ch h w"]:
        return generate_images(subject.generator, z, c, "sweeps")

    return {
        subject.spec.names[i]: sweep_scores(
            images_of, subject.spec, i, subject.reference.classifier, spread, *subject.sweep_latents[i]
        )
        for i in subject.spec.continuous
    }


def _register(key: str, label: str, range: tuple[float, float], **details: Any) -> Any:
    return register_metric(
        label=label,
        table="sweeps of continuous codes",
        place=("factors", "sweeps", CODE, key),
        range=range,
        needs={CONTINUOUS, DIGITS},
        digits=2,
        **details,
    )


@_register(
    "range_covered",
    "sweeps: share covered of the 5-95% range of real digits",
    (-math.inf, math.inf),
    at_chance=0,
    higher_is_better=None,
    axis=ATTRIBUTES,
)
def range_covered(subject: Subject) -> dict[str, Float[np.ndarray, " 6"]]:
    """Returns the share of the real range of each attribute that a sweep covers; see `sweep_scores`."""
    return {name: found["range_covered"] for name, found in sweeps(subject).items()}


@_register(
    "shared_direction",
    "sweeps: share of categories that change the same way",
    (0, 1),
    at_chance=None,
    higher_is_better=None,
    axis=ATTRIBUTES,
)
def shared_direction(subject: Subject) -> dict[str, Float[np.ndarray, " 6"]]:
    """Returns the share of categories in which an attribute changes the same way; see `sweep_scores`."""
    return {name: found["shared_direction"] for name, found in sweeps(subject).items()}


@_register("digit_kept", "digit kept", (0, 1), at_chance=None, higher_is_better=True, in_report=False)
def digit_kept(subject: Subject) -> dict[str, float]:
    """Returns the share of images that keep their digit along a sweep; see `sweep_scores`."""
    return {name: found["digit_kept"] for name, found in sweeps(subject).items()}


# What the report compares: of the above, the part that the paper's two continuous codes are known for.


def main_factors(scores: dict[str, Any]) -> dict[str, float | None]:
    """Returns how well continuous codes hold slant, and thickness or width; empty without such codes, or digits.

    - `slant |r|`: the largest absolute partial correlation that a code has with the slant of test images.
    - `thickness or width |r|`: likewise, of another code.
    - `..., shared`: the share of categories in which a sweep of that code changes that attribute the same way.
    - `digit kept`: the share of images that keep their digit along a sweep, of the worse code.

    Args:
        scores: Of one model, as `scoring.evaluate_nets` returns them.
    """
    if "factors" not in scores:
        return {}
    factors, found = scores["factors"], {}
    left = list(factors["test_images"])
    for what, attributes in (("slant", ["slant"]), ("thickness or width", ["thickness", "width"])):
        candidates = [
            (abs(factors["test_images"][name][column] or 0), name, column)
            for name in left
            for column in map(factors["attributes"].index, attributes)
        ]
        if candidates:
            correlation, name, column = max(candidates)
            left.remove(name)
            found[f"{what} |r|"] = correlation
            found[f"{what}, shared"] = factors["sweeps"][name]["shared_direction"][column]
    found["digit kept"] = min(sweep["digit_kept"] for sweep in factors["sweeps"].values())
    return found


def _register_main(label: str, at_chance: float | None) -> None:
    register_metric(
        label=label,
        name=f"main {label}",
        table="continuous codes",
        range=(0, 1),
        at_chance=at_chance,
        higher_is_better=True,
        from_scores=True,
    )(lambda scores: main_factors(scores).get(label))


for _factor in ("slant", "thickness or width"):
    _register_main(f"{_factor} |r|", at_chance=0)
    _register_main(f"{_factor}, shared", at_chance=None)
_register_main("digit kept", at_chance=None)
