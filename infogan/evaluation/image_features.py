"""Image quality where there is no classifier for the images: distances in the features of two small nets.

One has random weights (`random_features`) and sees local structure, colour and layout; the other has learned to tell
other images apart (`feature_net`) and sees what is shown. The Fréchet feature distance is taken in the features of
both. docs/metrics.md says what it was tried on.

Shapes: n, m images, d features.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from infogan.data.datasets import ImageDataset
from infogan.evaluation.feature_distances import ManifoldScores, frechet_distance
from infogan.evaluation.feature_net import FeatureNet, learned_features, load_feature_net
from infogan.evaluation.random_features import N_FEATURES, make_random_net, random_features
from infogan.evaluation.reference import MOST_MANIFOLD_IMAGES, NEIGHBOURS, manifold_scores
from infogan.evaluation.registry import register_metric, register_record
from infogan.evaluation.subject import FEATURES, Subject, once

TABLE = "image quality by features"


@dataclass(frozen=True, eq=False)
class FeatureReference:
    """Real images as both nets see them: made once, and compared with the samples of each model.

    Attributes:
        random_net: The net with random weights.
        feature_net: The one that has learned.
        real: Features by both of real images in random order, those by the random net first: of test images, or where
            there are none of half of the others.
        floor_distance: Fréchet feature distance of as many other real images to them: training images, or the other
            half.
        floor_random_distance: The same in random features alone.
        floor_scores: Precision, recall, density and coverage of those.
    """

    random_net: nn.Module
    feature_net: FeatureNet
    real: Float[np.ndarray, "n d"]
    floor_distance: float
    floor_random_distance: float
    floor_scores: ManifoldScores


def measure_feature_reference(
    dataset: ImageDataset, n_samples: int, seed: int, device: torch.device | str = "cpu"
) -> FeatureReference | None:
    """Returns what samples are compared with, or None if there are too few real images for it.

    Args:
        dataset: Its test images are compared with; without any, one half of its training images.
        n_samples: Samples that will be compared; fewer real images are used if that is fewer.
        seed: Which real images these are.
        device: Where the nets work.
    """
    rng = torch.Generator().manual_seed(seed)
    others, test = dataset.images, dataset.test_images
    if not len(test):
        others, test = (others[part] for part in torch.randperm(len(others), generator=rng).chunk(2))
    n = min(n_samples, len(test), len(others))
    if n <= NEIGHBOURS:
        return None
    nets = make_random_net(dataset.images, device), load_feature_net(device=device)
    real, other = (
        features_by(*nets, images[torch.randperm(len(images), generator=rng)[:n]]) for images in (test, others)
    )
    return FeatureReference(
        *nets,
        real,
        frechet_distance(other, real),
        frechet_distance(_random(other), _random(real)),
        manifold_scores(_random(real), _random(other)),
    )


def features_by(
    random_net: nn.Module, feature_net: FeatureNet, images: UInt8[Tensor, "n ch h w"]
) -> Float[np.ndarray, "n d"]:
    """Returns the features of images by both nets, those by the random one first."""
    return np.concatenate([random_features(random_net, images), learned_features(feature_net, images)], axis=1)


def _random(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n 64"]:
    return features[:, :N_FEATURES]


def _reference(subject: Subject) -> FeatureReference:
    assert subject.feature_reference is not None
    return subject.feature_reference


@once
def features_of_samples(subject: Subject) -> Float[np.ndarray, "n d"]:
    """Returns the features of as many samples as there are real images to compare them with."""
    reference = _reference(subject)
    return features_by(reference.random_net, reference.feature_net, subject.samples.images[: len(reference.real)])


@once
def manifold(subject: Subject) -> ManifoldScores:
    """Returns fidelity and diversity of the samples against the real images, in random features."""
    return manifold_scores(_random(_reference(subject).real), _random(features_of_samples(subject)))


@register_metric(
    label="Fréchet feature distance",
    table=TABLE,
    place=("features", "frechet_distance"),
    range=(0, math.inf),
    at_chance=None,
    higher_is_better=False,
    needs={FEATURES},
    floor=("features", "floor", "frechet_distance"),
)
def frechet_feature_distance(subject: Subject) -> float:
    """Returns the Fréchet distance of the samples to real images in the features of both nets."""
    return frechet_distance(features_of_samples(subject), _reference(subject).real)


def _register(key: str, label: str, range: tuple[float, float] = (0, 1), higher: bool = True) -> Any:
    return register_metric(
        label=label,
        name=f"random_features_{key}",
        table=TABLE,
        place=("random_features", key),
        range=range,
        at_chance=None if key == "frechet_distance" else 0,
        higher_is_better=higher,
        needs={FEATURES},
        floor=("random_features", "floor", key),
    )


@_register("frechet_distance", "Fréchet distance, random features", (0, math.inf), higher=False)
def random_frechet_distance(subject: Subject) -> float:
    """Returns the Fréchet distance of the samples to real images in random features alone."""
    return frechet_distance(_random(features_of_samples(subject)), _random(_reference(subject).real))


@_register("precision", "precision")
def precision(subject: Subject) -> float:
    """Returns the precision of the samples; see `feature_distances.ManifoldScores`."""
    return manifold(subject).precision


@_register("recall", "recall")
def recall(subject: Subject) -> float:
    """Returns the recall of the samples; see `feature_distances.ManifoldScores`."""
    return manifold(subject).recall


@_register("density", "density", (0, math.inf))
def density(subject: Subject) -> float:
    """Returns the density of the samples; see `feature_distances.ManifoldScores`."""
    return manifold(subject).density


@_register("coverage", "coverage")
def coverage(subject: Subject) -> float:
    """Returns the coverage of the samples; see `feature_distances.ManifoldScores`."""
    return manifold(subject).coverage


@register_record("features", needs={FEATURES})
def settings(subject: Subject) -> dict[str, Any]:
    """Returns what the Fréchet feature distance is compared with: the value of real images, and how many images."""
    return {
        "floor": {"frechet_distance": _reference(subject).floor_distance},
        "n": len(features_of_samples(subject)),
    }


@register_record("random_features", needs={FEATURES})
def settings_of_random_features(subject: Subject) -> dict[str, Any]:
    """Returns what quality by random features is compared with: the values of real images, and how many images."""
    reference = _reference(subject)
    n = len(features_of_samples(subject))
    floor = {"frechet_distance": reference.floor_random_distance, **asdict(reference.floor_scores)}
    return {"floor": floor, "n_frechet": n, "n_manifold": min(n, MOST_MANIFOLD_IMAGES), "k": NEIGHBOURS}
