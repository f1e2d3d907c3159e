"""Real digits as the classifier and the measurements see them, which samples are compared with.

Axes: m test images, r real and s generated images that are compared.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from infogan.data.datasets import ImageDataset
from infogan.evaluation.classifier import IMAGE_SIZE_PX, N_DIGITS, DigitClassifier, load_digit_classifier
from infogan.evaluation.feature_distances import ManifoldScores, frechet_distance, precision_recall_density_coverage
from infogan.evaluation.morphometrics import measure_digits
from infogan.evaluation.sampling import BATCH_SIZE, batches_of, progress_bar
from infogan.system.errors import UserError

MOST_MANIFOLD_IMAGES = 5000  # the cost of precision and recall grows with the square
NEIGHBOURS = 5


@dataclass(frozen=True, eq=False)
class DigitReference:
    """Measurements of real digits: made once, and compared with those of the samples of each model.

    Attributes:
        classifier: The frozen digit classifier.
        attributes: Of every test image, in the order of `morphometrics.ATTRIBUTES`.
        test_features: Of test images in random order, in the classifier's feature space.
        train_features: Of as many training images.
        class_counts: Training images of each digit.
        floor_distance: Fréchet digit distance of the training images to the test images.
        floor_scores: Precision, recall, density and coverage of the training images against the test images.
    """

    classifier: DigitClassifier
    attributes: Float[np.ndarray, "m 6"]
    test_features: Float[np.ndarray, "r 64"]
    train_features: Float[np.ndarray, "r 64"]
    class_counts: Int[np.ndarray, " 10"]
    floor_distance: float
    floor_scores: ManifoldScores


def measure_reference(dataset: ImageDataset, n_samples: int, seed: int, device: torch.device | str) -> DigitReference:
    """Returns what samples of digits are compared with; 10,000 test images take 20 seconds on one core.

    Args:
        dataset: Of digits.
        n_samples: Samples that will be compared; fewer real images are used if that is fewer.
        seed: Which real images these are.
        device: Where the classifier works.

    Raises:
        UserError: The images are not what the digit classifier reads.
    """
    shape = tuple(dataset.images.shape[1:])
    if shape != (1, IMAGE_SIZE_PX, IMAGE_SIZE_PX):
        raise UserError(f"{dataset.name}: the digit classifier reads images of shape (1, 28, 28), got {shape}")
    classifier = load_digit_classifier(device=device)
    rng = torch.Generator().manual_seed(seed)
    n = min(n_samples, len(dataset.test_images), len(dataset.images))
    test, train = (
        classify(classifier, images[torch.randperm(len(images), generator=rng)[:n]])[0]
        for images in (dataset.test_images, dataset.images)
    )
    return DigitReference(
        classifier,
        measure_attributes(dataset.test_images, "test images"),
        test,
        train,
        np.bincount(dataset.labels.numpy(), minlength=N_DIGITS),
        frechet_distance(train, test),
        manifold_scores(test, train),
    )


def manifold_scores(real: Float[np.ndarray, "r 64"], fake: Float[np.ndarray, "s 64"]) -> ManifoldScores:
    """Returns precision, recall, density and coverage of at most `MOST_MANIFOLD_IMAGES` of each."""
    return precision_recall_density_coverage(real[:MOST_MANIFOLD_IMAGES], fake[:MOST_MANIFOLD_IMAGES], NEIGHBOURS)


@torch.no_grad()
def classify(
    classifier: DigitClassifier, images: UInt8[Tensor, "n 1 28 28"]
) -> tuple[Float[np.ndarray, "n 64"], Int[np.ndarray, " n"]]:
    """Returns the classifier's features of images, and the digit that it reads in each."""
    features = torch.cat([classifier.features(x) for x in batches_of(classifier, images)])
    return features.cpu().numpy(), classifier.head(features).argmax(dim=1).cpu().numpy()


def measure_attributes(images: UInt8[Tensor, "n 1 28 28"], what: str) -> Float[np.ndarray, "n 6"]:
    """Returns `morphometrics.measure_digits` of images, with a bar that says `what` they are.

    As many batches at a time as torch has threads: NumPy and SciPy work on one each.
    """
    rows = []
    batches = images[:, 0].numpy()
    batches = [batches[start : start + BATCH_SIZE] for start in range(0, len(images), BATCH_SIZE)]
    with progress_bar(len(images), what) as bar, ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for batch in threads.map(measure_digits, batches):
            rows.append(batch)
            bar.update(len(batch))
    return np.concatenate(rows)
