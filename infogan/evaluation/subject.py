"""What a metric is given: the nets, the data, and what several metrics need of them, computed once.

Axes: n samples, m test images, q columns of Q's output.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from infogan.config.spec import LatentSpec
from infogan.data.datasets import ImageDataset
from infogan.evaluation.fresh_q import FreshQ
from infogan.evaluation.sampling import Samples, generate_images, q_outputs
from infogan.latents import sample_prior
from infogan.models import Discriminator

if TYPE_CHECKING:
    from infogan.evaluation.image_features import FeatureReference
    from infogan.evaluation.inception import InceptionReference
    from infogan.evaluation.reference import DigitReference

N_SWEEP_ROWS = 200  # of categories and noises, for each continuous code
CATEGORICAL, CONTINUOUS, LABELS, DIGITS, INCEPTION = "categorical", "continuous", "labels", "digits", "inception"
FACTORS = "known factors"
FEATURES = "features"
STACKED_DIGITS = "stacked digits"
NO_DIGITS = "images other than digits"
N_NOISE_PAIRS = 500

Result = TypeVar("Result")
Latents = tuple[Tensor, Tensor]  # z and c


@dataclass(eq=False)
class Subject:
    """One model, and the data that it is measured on; neither is changed.

    All latents are drawn at once and in one order, images only when they are asked for: a metric that is added or
    left out moves the figures of no other.

    Attributes:
        generator: G.
        discriminator: D and Q.
        spec: The latents.
        dataset: Its test images are scored.
        reference: Measurements of real digits; None for a data set of anything else.
        inception: The Inception network with real images of the same data set, if its metrics are wanted.
        n_samples: Fresh samples of G.
        seed: Of all that is drawn.
        fresh_q: Budget of the Q trained from scratch.
        feature_reference: Features of real images; None of digits, unless it is asked for, or of too few images.
    """

    generator: nn.Module
    discriminator: Discriminator
    spec: LatentSpec
    dataset: ImageDataset
    reference: DigitReference | None = None
    inception: InceptionReference | None = None
    n_samples: int = 10_000
    seed: int = 0
    fresh_q: FreshQ = field(default_factory=FreshQ)
    feature_reference: FeatureReference | None = None
    _kept: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        rng = torch.Generator().manual_seed(self.seed)
        self._sample_latents: Latents = sample_prior(self.spec, self.n_samples, rng)
        self._pool_latents: Latents = sample_prior(self.spec, self.fresh_q.n_images, rng)
        self.sweep_latents: dict[int, Latents] = {
            i: sample_prior(self.spec, N_SWEEP_ROWS, rng) for i in self.spec.continuous
        }
        self.noise_latents: tuple[Latents, Latents] = (
            sample_prior(self.spec, N_NOISE_PAIRS, rng),
            sample_prior(self.spec, N_NOISE_PAIRS, rng),
        )

    @cached_property
    def available(self) -> frozenset[str]:
        """What a metric may need, as far as it is at hand."""
        found = {
            CATEGORICAL: bool(self.spec.categorical),
            CONTINUOUS: bool(self.spec.continuous),
            LABELS: len(self.dataset.test_labels) > 0,
            INCEPTION: self.inception is not None,
            FACTORS: self.dataset.factors is not None,
            **dict.fromkeys(self.dataset.measurable, True),
            DIGITS: self.reference is not None,
            NO_DIGITS: self.reference is None,
            FEATURES: self.feature_reference is not None,
        }
        return frozenset(need for need, is_met in found.items() if is_met)

    @cached_property
    def samples(self) -> Samples:
        """Fresh samples of G; images uint8 in [0, 255], NCHW."""
        z, c = self._sample_latents
        return Samples(c, generate_images(self.generator, z, c, "samples"))

    @cached_property
    def pool(self) -> Samples:
        """Other samples, which the fresh Q learns from."""
        z, c = self._pool_latents
        return Samples(c, generate_images(self.generator, z, c, "images for the fresh Q"))

    @cached_property
    def q_on_test(self) -> Float[Tensor, "m q"]:
        """Q's output on the test images."""
        return q_outputs(self.discriminator, self.dataset.test_images)

    @cached_property
    def labels(self) -> Int[np.ndarray, " m"]:
        """Classes of the test images, from 0."""
        return self.dataset.test_labels.numpy()

    @cached_property
    def n_classes(self) -> int:
        """Classes of the data set; see `count_classes`."""
        return count_classes(self.dataset)


def count_classes(dataset: ImageDataset) -> int:
    """Returns how many classes a data set has: as many as it names, or else as its test labels show."""
    return len(dataset.class_names) or int(dataset.test_labels.max()) + 1


def once(compute: Callable[[Subject], Result]) -> Callable[[Subject], Result]:
    """Returns `compute` such that it is called once for each subject; several metrics can share what it returns."""

    @functools.wraps(compute)
    def kept(subject: Subject) -> Result:
        if compute not in subject._kept:
            subject._kept[compute] = compute(subject)
        return subject._kept[compute]

    return kept
