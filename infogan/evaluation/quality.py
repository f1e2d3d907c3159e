"""How good and how varied samples of digits are, measured with the frozen digit classifier.

Shapes: `n` images.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy  # its parts load when they are used: that takes a second
from jaxtyping import Float, Int, Integer, Num

from infogan.evaluation.clustering import check_range, cluster, n_categories
from infogan.evaluation.feature_distances import ManifoldScores, frechet_distance
from infogan.evaluation.reference import MOST_MANIFOLD_IMAGES, NEIGHBOURS, DigitReference, classify, manifold_scores
from infogan.evaluation.registry import register_metric, register_record
from infogan.evaluation.subject import DIGITS, Subject, once


@dataclass(frozen=True, eq=False)
class DigitHistogram:
    """Which classes samples fall into, and how far that is from what was wanted.

    Attributes:
        counts: Samples of each class.
        n_covered: Classes with at least one sample, 1..classes.
        kl_nats: KL(samples ‖ wanted) in nats, the "reverse KL" of PacGAN; 0 when the shares agree,
            ln(classes) when all samples are of one class and a uniform was wanted. n samples of the wanted
            distribution give about (classes − 1)/(2n), which is its floor.
    """

    counts: Int[np.ndarray, " classes"]
    n_covered: int
    kl_nats: float


def digit_histogram(digits: Integer[np.ndarray, " n"], wanted: Num[np.ndarray, " classes"]) -> DigitHistogram:
    """Returns how many samples fall into each class, how many classes are covered, and the KL to `wanted`.

    Args:
        digits: Class of each sample by the digit classifier, from 0; one sample or more.
        wanted: Positive shares of the classes, scaled to sum to 1 here; counts of real digits will do.

    Source: the coverage protocol of Lin et al. 2018 (PacGAN).
    """
    assert len(digits) > 0, "digits must hold at least one sample, got 0"
    assert (np.isfinite(wanted) & (wanted > 0)).all(), f"wanted must be positive numbers, got {wanted}"
    check_range("digits", digits, len(wanted))
    counts = np.bincount(digits, minlength=len(wanted))
    kl_nats = max(float(scipy.stats.entropy(counts, wanted)), 0.0)  # rounding may leave it below
    return DigitHistogram(counts=counts, n_covered=int((counts > 0).sum()), kl_nats=kl_nats)


@dataclass(frozen=True, eq=False)
class _Read:
    """What the classifier makes of the samples: features of those that are compared, and the digit of each."""

    features: Float[np.ndarray, "n 64"]
    digits: Int[np.ndarray, " all"]


def _reference(subject: Subject) -> DigitReference:
    assert subject.reference is not None
    return subject.reference


@once
def read_samples(subject: Subject) -> _Read:
    """Returns what the classifier makes of the samples."""
    reference = _reference(subject)
    features, digits = classify(reference.classifier, subject.samples.images)
    return _Read(features[: len(reference.test_features)], digits)


@once
def histogram(subject: Subject) -> DigitHistogram:
    """Returns the digits of the samples against those of the training images."""
    return digit_histogram(read_samples(subject).digits, wanted=_reference(subject).class_counts)


@once
def manifold(subject: Subject) -> ManifoldScores:
    """Returns fidelity and diversity of the samples against the test images."""
    return manifold_scores(_reference(subject).test_features, read_samples(subject).features)


def _register(
    key: str, label: str, at_chance: Any, floor: tuple[str, ...] = (), range=(0, 1), higher=True, **details: Any
) -> Any:
    return register_metric(
        label=label,
        name=key,
        table="image quality by the digit classifier",
        place=("quality", *details.pop("within", ()), key),
        range=range,
        at_chance=at_chance,
        higher_is_better=higher,
        needs={DIGITS},
        floor=floor and ("quality", *floor),
        **details,
    )


@_register(
    "frechet_digit_distance",
    "Fréchet digit distance",
    at_chance=None,
    floor=("frechet_digit_distance_floor",),
    range=(0, math.inf),
    higher=False,
)
def frechet_digit_distance(subject: Subject) -> float:
    """Returns the Fréchet distance of the samples to the test images; see `feature_distances.frechet_distance`."""
    return frechet_distance(read_samples(subject).features, _reference(subject).test_features)


@_register("precision", "precision", at_chance=0, floor=("floor", "precision"))
def precision(subject: Subject) -> float:
    """Returns the precision of the samples; see `feature_distances.ManifoldScores`."""
    return manifold(subject).precision


@_register("recall", "recall", at_chance=0, floor=("floor", "recall"))
def recall(subject: Subject) -> float:
    """Returns the recall of the samples; see `feature_distances.ManifoldScores`."""
    return manifold(subject).recall


@_register("density", "density", at_chance=0, floor=("floor", "density"), range=(0, math.inf))
def density(subject: Subject) -> float:
    """Returns the density of the samples; see `feature_distances.ManifoldScores`."""
    return manifold(subject).density


@_register("coverage", "coverage", at_chance=0, floor=("floor", "coverage"))
def coverage(subject: Subject) -> float:
    """Returns the coverage of the samples; see `feature_distances.ManifoldScores`."""
    return manifold(subject).coverage


@_register("n_covered", "digits covered", None, range=(1, math.inf), within=("digits",), digits=0, in_report=False)
def n_covered(subject: Subject) -> int:
    """Returns how many digits at least one sample is read as."""
    return histogram(subject).n_covered


@_register(
    "kl_nats", "KL of their shares", None, range=(0, math.inf), higher=False, within=("digits",), in_report=False
)
def kl_nats(subject: Subject) -> float:
    """Returns the KL divergence, in nats, of the samples' digits to the shares of the training images."""
    return histogram(subject).kl_nats


def _share_of_one_digit(scores: dict[str, Any], code: str) -> float | None:
    digits = scores["quality"].get("digits")
    return None if digits is None else 1 / len(digits["counts"])


@_register("agreement", "digit agrees with code", at_chance=_share_of_one_digit)
def agreement(subject: Subject) -> dict[str, float]:
    """Returns for each categorical code the share of samples whose digit is the one matched to their category.

    In [0, 1]; 1 when perfect, and a little above 1 of 10 at chance, since the matching looks at the digits.
    """
    spec, c, digits = subject.spec, subject.samples.c, read_samples(subject).digits
    n_digits = len(_reference(subject).class_counts)
    return {
        spec.names[i]: cluster(
            c[:, spec.c_slices[i]].argmax(dim=1).numpy(), digits, n_categories(spec, i), n_digits
        ).accuracy
        for i in spec.categorical
    }


@register_record("quality", needs={DIGITS})
def quality_settings(subject: Subject) -> dict[str, Any]:
    """Returns what quality is compared with: the values of real training images, and how many images."""
    reference, n = _reference(subject), len(read_samples(subject).features)
    return {
        "frechet_digit_distance_floor": reference.floor_distance,
        "floor": asdict(reference.floor_scores),
        "n_frechet": n,
        "n_manifold": min(n, MOST_MANIFOLD_IMAGES),
        "k": NEIGHBOURS,
    }


@register_record("quality", "digits", needs={DIGITS})
def digit_counts(subject: Subject) -> dict[str, Any]:
    """Returns how many samples are read as each digit."""
    return {"counts": histogram(subject).counts.tolist()}
