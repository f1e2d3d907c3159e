"""Distances between two sets of features: Fréchet distance, precision, recall, density and coverage.

Shapes: `n m` images, `d` features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # its parts load when they are used: that takes a second
import torch
from jaxtyping import Bool, Float
from torch import Tensor

_CHUNK_BYTES = 128 * 2**20


def frechet_distance(features_a: Float[np.ndarray, "n d"], features_b: Float[np.ndarray, "m e"]) -> float:
    """Returns the squared Fréchet distance of Gaussians fitted to two sets of features (their unit squared).

        |μ_a − μ_b|² + tr(C_a) + tr(C_b) − 2 tr((C_a C_b)^½)

    At least 0; 0 when means and covariances agree; symmetric. It is biased upwards by few samples, so its
    floor is not 0 but the distance of two sets of real images of the same sizes. In the features of
    `DigitClassifier` it is called the Fréchet digit distance, never FID.

    Computed in float64, with the trace from the eigenvalues of C_a^½ C_b C_a^½, which are those of C_a C_b
    but real and not negative also when few samples leave the covariances singular.

    Args:
        features_a: One row per image, 2 or more, all finite.
        features_b: The same features of other images, 2 or more.

    Source: Dowson and Landau 1982; Heusel et al. 2017, for its use on samples.
    """
    for name, features in (("features_a", features_a), ("features_b", features_b)):
        assert len(features) > 1, f"{name} must have 2 rows or more, got {len(features)}"
    _check_comparable(features_a, features_b)
    a, b = features_a.astype(np.float64), features_b.astype(np.float64)
    covariance_a = np.atleast_2d(np.cov(a, rowvar=False))
    covariance_b = np.atleast_2d(np.cov(b, rowvar=False))
    values, vectors = scipy.linalg.eigh(covariance_a)
    root_a = vectors * np.sqrt(values.clip(min=0)) @ vectors.T
    product = scipy.linalg.eigvalsh(root_a @ covariance_b @ root_a).clip(min=0)
    mean_term = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    distance = mean_term + np.trace(covariance_a) + np.trace(covariance_b) - 2 * np.sqrt(product).sum()
    return float(max(distance, 0.0))


@dataclass(frozen=True)
class ManifoldScores:
    """Fidelity and diversity of samples, from balls around images that reach their k-th nearest neighbour.

    Attributes:
        precision: Share of fakes inside the ball of some real image, in [0, 1].
        recall: Share of real images inside the ball of some fake, in [0, 1].
        density: Mean number of real balls that hold a fake, divided by k; at least 0, about 1 when both sets
            have one distribution, and it can exceed 1 where fakes crowd into dense regions.
        coverage: Share of real images with a fake inside their ball, in [0, 1]; for two sets of n of one
            distribution 1 − Π_{i=1..k} (n − i)/(2n − i), about 1 − 2^−k (0.97 at k = 5).

    All are 0 for distant sets. For a copy of the real set all are 1, except density, which is (k + 1)/k.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall_density_coverage(
    real: Float[np.ndarray, "n d"], fake: Float[np.ndarray, "m e"], k: int = 5
) -> ManifoldScores:
    """Returns precision, recall, density and coverage of fake features against real ones.

    Balls are closed: an image at exactly the k-th neighbour's distance counts as inside, so that a radius of
    0 (k duplicates) still holds the image itself. An image is not its own neighbour. 10,000 against 10,000 of
    64 features take about 5 seconds on one core, and 0.3 GiB.

    Args:
        real: One row per real image, more than k.
        fake: The same features of generated images, more than k.
        k: Neighbours that fix a ball's radius. 5 as in Naeem et al.; Kynkäänniemi et al. take 3.

    Source: Kynkäänniemi et al. 2019 (precision, recall); Naeem et al. 2020 (density, coverage).
    """
    assert k > 0, f"k must be 1 or more, got {k}"
    for name, features in (("real", real), ("fake", fake)):
        assert len(features) > k, f"{name} must have more than k = {k} rows, got {len(features)}"
    _check_comparable(real, fake)
    x, y = torch.from_numpy(real.astype(np.float64)), torch.from_numpy(fake.astype(np.float64))
    radius_x, radius_y = _neighbour_distances(x, k), _neighbour_distances(y, k)

    balls_holding_y = torch.zeros(len(y), dtype=torch.long)
    x_recalled = torch.zeros(len(x), dtype=torch.bool)
    x_covered = torch.zeros(len(x), dtype=torch.bool)
    for rows in torch.arange(len(x)).split(_chunk_rows(len(y))):
        in_ball_of_x, in_ball_of_y = _in_balls(x[rows], radius_x[rows], y, radius_y)  # (rows, m)
        balls_holding_y += in_ball_of_x.sum(0)
        x_covered[rows] = in_ball_of_x.any(1)
        x_recalled[rows] = in_ball_of_y.any(1)
    return ManifoldScores(
        precision=(balls_holding_y > 0).double().mean().item(),
        recall=x_recalled.double().mean().item(),
        density=balls_holding_y.double().mean().item() / k,
        coverage=x_covered.double().mean().item(),
    )


def _check_comparable(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m e"]) -> None:
    assert a.shape[1] == b.shape[1], f"features must be of one dimension, got {a.shape[1]} and {b.shape[1]}"
    assert np.isfinite(a).all() and np.isfinite(b).all(), "features must be finite"


def _distances(a: Float[Tensor, "*batch n d"], b: Float[Tensor, "*batch m d"]) -> Float[Tensor, "*batch n m"]:
    """Returns Euclidean distances, each from its own differences: of equal rows 0, and the same in any chunk."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _squared_distances(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> tuple[Float[Tensor, "n m"], float]:
    """Returns |a|² + |b|² − 2ab, a quarter of the time of `_distances`, and a bound on its rounding error.

    The error is of the size of |a|² and |b|², so that it can decide which of two nearly equal distances is the
    larger. What it could decide is computed again, from differences: `_distances`.
    """
    squares_a, squares_b = a.square().sum(1, keepdim=True), b.square().sum(1)
    # Each of the three sums over d has an error of at most d ε/2 of its absolute terms; twice that is beyond doubt,
    # and covers the rounding of `_distances` too.
    error = 2 * (a.shape[1] + 4) * torch.finfo(a.dtype).eps * (squares_a.max() + squares_b.max()).item()
    return (squares_a + squares_b).addmm_(a, b.T, alpha=-2), error


def _chunk_rows(n_columns: int) -> int:
    """Returns how many rows of float64 distances to `n_columns` points fit into one chunk."""
    return max(1, _CHUNK_BYTES // (8 * n_columns))


def _neighbour_distances(x: Float[Tensor, "n d"], k: int) -> Float[Tensor, " n"]:
    """Returns the distance of each row to its k-th nearest other row."""
    radii = torch.empty(len(x), dtype=x.dtype)
    for rows in torch.arange(len(x)).split(_chunk_rows(len(x))):
        squared, error = _squared_distances(x[rows], x)
        # The row itself is among the k + 1 nearest, at 0; one more shows whether they are surely the nearest.
        squared, nearest = squared.topk(min(k + 2, len(x)), dim=1, largest=False)
        radii[rows] = _distances(x[rows, None], x[nearest[:, : k + 1]]).amax((1, 2))
        doubtful = rows[(squared[:, k + 1 :] - squared[:, k : k + 1] <= 2 * error).any(1)]
        radii[doubtful] = _distances(x[doubtful], x).topk(k + 1, dim=1, largest=False).values[:, -1]
    return radii


def _in_balls(
    a: Float[Tensor, "n d"], radius_a: Float[Tensor, " n"], b: Float[Tensor, "m d"], radius_b: Float[Tensor, " m"]
) -> tuple[Bool[Tensor, "n m"], Bool[Tensor, "n m"]]:
    """Returns which rows of `b` lie in the balls of which of `a`, and the other way round; a ball has its surface."""
    squared, error = _squared_distances(a, b)

    def within(radius: Tensor) -> Tensor:
        surely = squared <= radius.square() - error
        doubtful = (surely != (squared <= radius.square() + error)).any(1)
        surely[doubtful] = _distances(a[doubtful], b) <= radius.expand_as(squared)[doubtful]
        return surely

    return within(radius_a[:, None]), within(radius_b[None])
