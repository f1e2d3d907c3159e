"""What a run learned, in numbers: clustering, factor correlations, sample quality, coverage, uncertainty.

Pure functions of NumPy arrays. They know nothing of runs, nets or files, draw nothing unless given a seed,
and change none of their arguments.

Shapes: `n m` images, `k` categories, `j` continuous codes, `a` attributes, `d` features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float, Int, Integer, Num
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from infogan.system.errors import UserError

# Share of a variable's variance below which what the controls leave of it is rounding error.
_NO_VARIANCE = 1e-9
_CHUNK_BYTES = 128 * 2**20


@dataclass(frozen=True, eq=False)
class Clustering:
    """How well a categorical code agrees with labels that it never saw.

    Attributes:
        accuracy: Share of images whose category is matched to their label, in [0, 1]; 1 when perfect. Chance
            is the share of the most frequent class for a constant category, and a little above 1/classes for
            one drawn at random (0.11 to 0.12 for 10,000 digits), because the matching looks at the labels.
        nmi: Normalised mutual information (arithmetic mean), in [0, 1]; 1 when perfect, 0 at chance.
        ari: Adjusted Rand index, in [-0.5, 1]; 1 when perfect, 0 on average at chance.
        confusion: Number of images of each category (rows) and class (columns).
        code_to_digit: For each category the class it is matched to, or None if it has none: there are more
            categories than classes, or the category never occurs with the class left for it.
    """

    accuracy: float
    nmi: float
    ari: float
    confusion: Int[np.ndarray, "k classes"]
    code_to_digit: tuple[int | None, ...]


def cluster(
    categories: Integer[np.ndarray, " n"],
    labels: Integer[np.ndarray, " n"],
    n_categories: int,
    n_classes: int = 10,
) -> Clustering:
    """Returns the agreement of categories and labels under the best one-to-one matching.

    With fewer categories than classes, the images of unmatched classes count as errors, as do those of
    unmatched categories when there are more.

    Args:
        categories: argmax of Q(c|x), 0..n_categories-1.
        labels: True classes, 0..n_classes-1; used for nothing but the matching and the score.
        n_categories: Categories of the code, used or not.
        n_classes: Classes of the labels, present or not.

    Raises:
        UserError: If there are no images, or a category or label is out of range.

    Source: accuracy as in clustering papers since Yang et al. 2010 (Hungarian matching of Kuhn 1955).
    """
    if len(categories) == 0:
        raise UserError("categories must hold at least one image, got 0")
    _check_range("categories", categories, n_categories)
    _check_range("labels", labels, n_classes)
    cells = np.bincount(categories.astype(np.int64) * n_classes + labels, minlength=n_categories * n_classes)
    confusion = cells.reshape(n_categories, n_classes)
    rows, columns = linear_sum_assignment(confusion, maximize=True)
    code_to_digit: list[int | None] = [None] * n_categories
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        if confusion[row, column]:
            code_to_digit[row] = column
    return Clustering(
        accuracy=float(confusion[rows, columns].sum() / len(labels)),
        nmi=float(normalized_mutual_info_score(labels, categories)),
        ari=float(adjusted_rand_score(labels, categories)),
        confusion=confusion,
        code_to_digit=tuple(code_to_digit),
    )


def partial_correlations(
    posterior_means: Float[np.ndarray, "n j"],
    attributes: Float[np.ndarray, "n a"],
    categories: Integer[np.ndarray, " n"] | None = None,
    n_categories: int = 0,
) -> Float[np.ndarray, "j a"]:
    """Returns the partial correlation of each continuous code with each attribute of the image.

    Controlled for the category and for all the other codes, but not for the other attributes. In [-1, 1]; ±1
    when the code fixes the attribute linearly within each category, 0 when it says nothing linear about it.
    At chance it is 0 on average with a deviation of about 1/√n.

    An entry is NaN, on purpose, where it has no value: a code or attribute that is constant, or is fixed by
    the controls (two equal codes: both), and everything when fewer rows than controls + 3 are left. A
    constant or repeated control does no harm to the others.

    Args:
        posterior_means: Mean of Q(c_j|x) of each image.
        attributes: Such as those of `digits.measure_digits`. A row that holds a NaN is left out.
        categories: 0..n_categories-1, or None for a model without a categorical code.
        n_categories: Categories of the code; 0 without one. Categories that never occur are left out.

    Raises:
        UserError: If a posterior mean is not finite, an attribute is infinite, or a category is out of
            range.

    Source: Castro et al. 2019 (Morpho-MNIST): −P01 / √(P00 P11) of the inverse covariance P of
        code, attribute and controls. Computed from the Schur complement S of the controls instead, the
        inverse of that 2x2 block of P, where the same number is S01 / √(S00 S11): it needs no inverse of a
        covariance that collinear controls make singular.
    """
    if not np.isfinite(posterior_means).all():
        raise UserError("posterior_means must be finite")
    if np.isinf(attributes).any():
        raise UserError("attributes must be finite or NaN, got an infinity")
    n_codes, n_attributes = posterior_means.shape[1], attributes.shape[1]
    rows = ~np.isnan(attributes).any(axis=1)
    codes, attributes = posterior_means[rows].astype(float), attributes[rows].astype(float)
    one_hot = np.zeros((len(codes), 0))
    if categories is not None and n_categories > 0:
        _check_range("categories", categories, n_categories)
        present = np.unique(categories[rows])
        # The one-hots add up to 1, so the first is fixed by the rest and the mean.
        one_hot = (categories[rows, None] == present[1:]).astype(float)

    correlations = np.full((n_codes, n_attributes), np.nan)
    if len(codes) < n_codes - 1 + one_hot.shape[1] + 3:
        return correlations
    variables = np.concatenate([codes, attributes, one_hot], axis=1)
    scale = variables.std(axis=0)
    # Rounding leaves a constant column of large values a deviation of about 1e-16 of them.
    scale[scale <= 1e-12 * np.abs(variables).max(axis=0)] = 0
    standard = np.divide(variables - variables.mean(axis=0), scale, out=np.zeros_like(variables), where=scale > 0)
    covariance = standard.T @ standard / len(standard)
    indices = np.arange(len(covariance))
    measured = indices[n_codes : n_codes + n_attributes]
    for j in range(n_codes):
        pair = np.concatenate([[j], measured])
        controls = np.setdiff1d(indices, pair)
        cross = covariance[np.ix_(controls, pair)]
        inverse = np.linalg.pinv(covariance[np.ix_(controls, controls)], rcond=_NO_VARIANCE, hermitian=True)
        left = covariance[np.ix_(pair, pair)] - cross.T @ inverse @ cross  # (1 + a, 1 + a)
        variance = np.where(left.diagonal() > _NO_VARIANCE, left.diagonal(), np.nan)
        correlations[j] = np.clip(left[0, 1:] / np.sqrt(variance[0] * variance[1:]), -1, 1)
    return correlations


def frechet_distance(features_a: Float[np.ndarray, "n d"], features_b: Float[np.ndarray, "m e"]) -> float:
    """Returns the squared Fréchet distance of Gaussians fitted to two sets of features (their unit squared).

        |μ_a − μ_b|² + tr(C_a) + tr(C_b) − 2 tr((C_a C_b)^½)

    At least 0; 0 when means and covariances agree; symmetric. It is biased upwards by few samples, so its
    floor is not 0 but the distance of two sets of real images of the same sizes. In the features of
    `DigitClassifier` it is called the Fréchet digit distance, never FID.

    Computed in float64, with the trace from the eigenvalues of C_a^½ C_b C_a^½, which are those of C_a C_b
    but real and not negative also when few samples leave the covariances singular.

    Args:
        features_a: One row per image, 2 or more.
        features_b: The same features of other images, 2 or more.

    Raises:
        UserError: If a set has fewer than 2 rows or a value that is not finite, or if the dimensions differ.

    Source: Dowson and Landau 1982; Heusel et al. 2017, for its use on samples.
    """
    for name, features in (("features_a", features_a), ("features_b", features_b)):
        if len(features) < 2:
            raise UserError(f"{name} must have 2 rows or more, got {len(features)}")
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
    64 float32 features take about 10 seconds on two cores, and 0.5 GiB.

    Args:
        real: One row per real image, more than k.
        fake: The same features of generated images, more than k.
        k: Neighbours that fix a ball's radius. 5 as in Naeem et al.; Kynkäänniemi et al. take 3.

    Raises:
        UserError: If k is below 1, a set has k rows or fewer or a value that is not finite, or the
            dimensions differ.

    Source: Kynkäänniemi et al. 2019 (precision, recall); Naeem et al. 2020 (density, coverage).
    """
    if k < 1:
        raise UserError(f"k must be 1 or more, got {k}")
    for name, features in (("real", real), ("fake", fake)):
        if len(features) <= k:
            raise UserError(f"{name} must have more than k = {k} rows, got {len(features)}")
    _check_comparable(real, fake)
    dtype = np.result_type(real, fake, np.float32)
    x, y = torch.from_numpy(real.astype(dtype)), torch.from_numpy(fake.astype(dtype))
    radius_x, radius_y = _neighbour_distances(x, k), _neighbour_distances(y, k)

    balls_holding_y = torch.zeros(len(y), dtype=torch.long)
    x_recalled = torch.zeros(len(x), dtype=torch.bool)
    x_covered = torch.zeros(len(x), dtype=torch.bool)
    for rows in torch.arange(len(x)).split(_chunk_rows(len(y))):
        distance = _distances(x[rows], y)  # (rows, m)
        in_ball_of_x = distance <= radius_x[rows, None]
        balls_holding_y += in_ball_of_x.sum(0)
        x_covered[rows] = in_ball_of_x.any(1)
        x_recalled[rows] = (distance <= radius_y).any(1)
    return ManifoldScores(
        precision=(balls_holding_y > 0).double().mean().item(),
        recall=x_recalled.double().mean().item(),
        density=balls_holding_y.double().mean().item() / k,
        coverage=x_covered.double().mean().item(),
    )


def bootstrap_interval(
    values: Float[np.ndarray, " n"], confidence: float = 0.95, n_resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Returns the ends of a bootstrap interval for the mean (percentile method, in the unit of `values`).

    It says how far the mean of these images may be from that of all images; it knows nothing of the spread
    over training seeds. For large n about mean ± 1.96 s/√n at 95%. A constant gives an interval of width 0.

    Args:
        values: One number per image, such as log Q(c|x) in nats or a hit (1.0) or miss (0.0).
        confidence: Probability that it claims, in (0, 1).
        n_resamples: Resampled means; 1,000 give the ends to a few percent of the width.
        seed: Of a generator of its own; the same seed gives the same interval.

    Raises:
        UserError: If there are no values or one is not finite, confidence is not in (0, 1), or n_resamples
            is below 1.

    Source: Efron and Tibshirani 1993, the percentile method.
    """
    if len(values) == 0:
        raise UserError("values must hold at least one number, got 0")
    if not np.isfinite(values).all():
        raise UserError("values must be finite")
    if not 0 < confidence < 1:
        raise UserError(f"confidence must be in (0, 1), got {confidence}")
    if n_resamples < 1:
        raise UserError(f"n_resamples must be 1 or more, got {n_resamples}")
    values = values.astype(float)
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(n_resamples)]
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


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


def digit_histogram(
    digits: Integer[np.ndarray, " n"],
    n_classes: int = 10,
    wanted: Num[np.ndarray, " classes"] | None = None,
) -> DigitHistogram:
    """Returns how many samples fall into each class, how many classes are covered, and the KL to `wanted`.

    Args:
        digits: Class of each sample by the digit classifier, 0..n_classes-1.
        n_classes: Classes there are.
        wanted: Positive shares of the classes, scaled to sum to 1 here (counts of real digits will do); None
            for the uniform, that of a uniform categorical code.

    Raises:
        UserError: If there are no samples, a class is out of range, or `wanted` is not n_classes positive
            numbers.

    Source: the coverage protocol of Lin et al. 2018 (PacGAN).
    """
    if len(digits) == 0:
        raise UserError("digits must hold at least one sample, got 0")
    _check_range("digits", digits, n_classes)
    wanted = np.ones(n_classes) if wanted is None else wanted
    if len(wanted) != n_classes or not (np.isfinite(wanted) & (wanted > 0)).all():
        raise UserError(f"wanted must be {n_classes} positive numbers, got {wanted}")
    counts = np.bincount(digits, minlength=n_classes)
    covered = counts > 0
    shares = counts[covered] / len(digits)
    kl_nats = float((shares * np.log(shares / (wanted / wanted.sum())[covered])).sum())
    return DigitHistogram(counts=counts, n_covered=int(covered.sum()), kl_nats=max(kl_nats, 0.0))


def _check_range(name: str, values: Integer[np.ndarray, " n"], end: int) -> None:
    """Raises UserError unless every value is in 0..end-1."""
    if len(values) and not (values.min() >= 0 and values.max() < end):
        raise UserError(f"{name} must be in 0..{end - 1}, got {values.min()}..{values.max()}")


def _check_comparable(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m e"]) -> None:
    """Raises UserError unless two sets of features are finite and of one dimension."""
    if a.shape[1] != b.shape[1]:
        raise UserError(f"features must be of one dimension, got {a.shape[1]} and {b.shape[1]}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise UserError("features must be finite")


def _distances(a: Float[torch.Tensor, "n d"], b: Float[torch.Tensor, "m d"]) -> Float[torch.Tensor, "n m"]:
    """Returns Euclidean distances, each from its own differences.

    |a|² + |b|² − 2ab would be faster, but leaves equal rows a distance above 0 and makes a distance depend on
    the chunk it was computed in; a ball's edge must not.
    """
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _chunk_rows(n_columns: int) -> int:
    """Returns how many rows of float64 distances to `n_columns` points fit into one chunk."""
    return max(1, _CHUNK_BYTES // (8 * n_columns))


def _neighbour_distances(x: Float[torch.Tensor, "n d"], k: int) -> Float[torch.Tensor, " n"]:
    """Returns the distance of each row to its k-th nearest other row."""
    radii = []
    for rows in torch.arange(len(x)).split(_chunk_rows(len(x))):
        # The row itself is among the k + 1 nearest, at 0.
        radii.append(_distances(x[rows], x).kthvalue(k + 1, dim=1).values)
    return torch.cat(radii)
