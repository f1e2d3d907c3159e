"""Image quality where there is no classifier: distances in the features of a small net with random weights.

Its layers are those of D's trunk. No label and no training is behind them: the weights are drawn with a fixed seed, and
BatchNorm takes its statistics on training images. So the features of a data set are the same in every run and on every
machine, and two runs on the same images can be compared. Random features see how images differ in local structure,
colour and layout, and what of it is missing; they know nothing of what is shown. docs/metrics.md says what they were
tried on.

Source: Naeem et al. 2020, arXiv 2002.09797, for random features where those of ImageNet do not fit.

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
from infogan.evaluation.reference import MOST_MANIFOLD_IMAGES, NEIGHBOURS, manifold_scores
from infogan.evaluation.registry import register_metric, register_record
from infogan.evaluation.sampling import batches_of
from infogan.evaluation.subject import RANDOM_FEATURES, Subject, once
from infogan.models import NEGATIVE_SLOPE, ImageShape, downsampling, stage_widths
from infogan.system.runtime import evaluating

N_FEATURES = 64
WIDTH, MOST_CHANNELS = 32, 128
N_CALIBRATION_IMAGES = 2_500
NET_SEED = 0


@dataclass(frozen=True, eq=False)
class RandomReference:
    """Real images as the random net sees them: made once, and compared with the samples of each model.

    Attributes:
        net: The net.
        real: Features of real images in random order: of test images, or where there are none of half of the others.
        floor_distance: Fréchet distance of as many other real images to them: training images, or the other half.
        floor_scores: Precision, recall, density and coverage of those.
    """

    net: nn.Module
    real: Float[np.ndarray, "n d"]
    floor_distance: float
    floor_scores: ManifoldScores


def make_random_net(images: UInt8[Tensor, "n ch h w"], device: torch.device | str = "cpu") -> nn.Module:
    """Returns the random net for images of this shape, in evaluation mode; it gives `N_FEATURES` from each.

    Args:
        images: Of which some set the statistics of BatchNorm, the same ones each time.
        device: Where the net works.
    """
    channels, height, width_px = images.shape[1:]
    shape: ImageShape = (channels, height, width_px)
    widths = [min(width, MOST_CHANNELS) for width in stage_widths(shape, WIDTH)]
    n_flat = (height >> len(widths)) * (width_px >> len(widths)) * widths[-1]
    net = nn.Sequential(
        *downsampling(channels, widths),
        nn.LeakyReLU(NEGATIVE_SLOPE),
        nn.Flatten(),
        nn.Linear(n_flat, N_FEATURES, bias=False),
        nn.BatchNorm1d(N_FEATURES),
        nn.ReLU(),
    )
    rng = torch.Generator().manual_seed(NET_SEED)
    for layer in net:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fan_in = layer.weight[0].numel()
            layer.weight.data = torch.randn(layer.weight.shape, generator=rng) / math.sqrt(fan_in)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.momentum = None  # the plain mean over all batches
    net.to(device)
    kept = torch.linspace(0, len(images) - 1, min(len(images), N_CALIBRATION_IMAGES)).round().long()
    with torch.no_grad():
        for x in batches_of(net, images[kept]):
            net(x)
    return net.eval().requires_grad_(False)


def random_features(net: nn.Module, images: UInt8[Tensor, "n ch h w"]) -> Float[np.ndarray, "n d"]:
    """Returns what the random net makes of images."""
    with evaluating(net):
        return torch.cat([net(x).cpu() for x in batches_of(net, images)]).numpy()


def measure_random_reference(
    dataset: ImageDataset, n_samples: int, seed: int, device: torch.device | str = "cpu"
) -> RandomReference | None:
    """Returns what samples are compared with, or None if there are too few real images for it.

    Args:
        dataset: Its test images are compared with; without any, one half of its training images.
        n_samples: Samples that will be compared; fewer real images are used if that is fewer.
        seed: Which real images these are.
        device: Where the net works.
    """
    rng = torch.Generator().manual_seed(seed)
    others, test = dataset.images, dataset.test_images
    if not len(test):
        others, test = (others[part] for part in torch.randperm(len(others), generator=rng).chunk(2))
    n = min(n_samples, len(test), len(others))
    if n <= NEIGHBOURS:
        return None
    net = make_random_net(dataset.images, device)
    real, other = (
        random_features(net, images[torch.randperm(len(images), generator=rng)[:n]]) for images in (test, others)
    )
    return RandomReference(net, real, frechet_distance(other, real), manifold_scores(real, other))


def _reference(subject: Subject) -> RandomReference:
    assert subject.random_reference is not None
    return subject.random_reference


@once
def features_of_samples(subject: Subject) -> Float[np.ndarray, "n d"]:
    """Returns the features of as many samples as there are real images to compare them with."""
    reference = _reference(subject)
    return random_features(reference.net, subject.samples.images[: len(reference.real)])


@once
def manifold(subject: Subject) -> ManifoldScores:
    """Returns fidelity and diversity of the samples against the real images."""
    return manifold_scores(_reference(subject).real, features_of_samples(subject))


def _register(key: str, label: str, range: tuple[float, float] = (0, 1), higher: bool = True) -> Any:
    return register_metric(
        label=label,
        name=f"random_features_{key}",
        table="image quality by random features",
        place=("random_features", key),
        range=range,
        at_chance=None if key == "frechet_distance" else 0,
        higher_is_better=higher,
        needs={RANDOM_FEATURES},
        floor=("random_features", "floor", key),
    )


@_register("frechet_distance", "Fréchet distance, random features", (0, math.inf), higher=False)
def random_frechet_distance(subject: Subject) -> float:
    """Returns the Fréchet distance of the samples to real images; see `feature_distances.frechet_distance`."""
    return frechet_distance(features_of_samples(subject), _reference(subject).real)


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


@register_record("random_features", needs={RANDOM_FEATURES})
def settings(subject: Subject) -> dict[str, Any]:
    """Returns what quality is compared with: the values of real images, and how many images."""
    reference = _reference(subject)
    n = len(features_of_samples(subject))
    floor = {"frechet_distance": reference.floor_distance, **asdict(reference.floor_scores)}
    return {"floor": floor, "n_frechet": n, "n_manifold": min(n, MOST_MANIFOLD_IMAGES), "k": NEIGHBOURS}
