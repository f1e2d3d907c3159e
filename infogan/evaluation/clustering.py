"""Categories of Q(c|x) against classes that it never saw: accuracy, NMI and ARI of the test images.

Of images without classes there is still to say whether every category is used.

Shapes: `n` images, `k` categories.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # its parts load when they are used: that takes a second
from jaxtyping import Float, Int, Integer
from torch import Tensor

from infogan.config.spec import Categorical, LatentSpec
from infogan.evaluation.registry import CODE, register_metric, register_record
from infogan.evaluation.subject import CATEGORICAL, LABELS, NO_DIGITS, Subject, once
from infogan.latents import posterior_categories


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
    n_classes: int,
) -> Clustering:
    """Returns the agreement of categories and labels under the best one-to-one matching.

    With fewer categories than classes, the images of unmatched classes count as errors, as do those of
    unmatched categories when there are more.

    Args:
        categories: argmax of Q(c|x), 0..n_categories-1.
        labels: True classes, 0..n_classes-1; used for nothing but the matching and the score.
        n_categories: Categories of the code, used or not.
        n_classes: Classes of the labels, present or not.

    Source: accuracy as in clustering papers since Yang et al. 2010 (Hungarian matching of Kuhn 1955).
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score  # only here: it takes a second

    assert len(categories) > 0, "categories must hold at least one image, got 0"
    check_range("categories", categories, n_categories)
    check_range("labels", labels, n_classes)
    cells = np.bincount(categories.astype(np.int64) * n_classes + labels, minlength=n_categories * n_classes)
    confusion = cells.reshape(n_categories, n_classes)
    rows, columns = scipy.optimize.linear_sum_assignment(confusion, maximize=True)
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


def check_range(name: str, values: Integer[np.ndarray, " n"], end: int) -> None:
    """Asserts that every value is in 0..end-1."""
    if len(values):
        assert values.min() >= 0 and values.max() < end, (
            f"{name} must be in 0..{end - 1}, got {values.min()}..{values.max()}"
        )


def n_categories(spec: LatentSpec, position: int) -> int:
    """Returns how many categories a categorical code has."""
    code = spec.codes[position]
    assert isinstance(code, Categorical)
    return code.n_categories


def cluster_by_codes(
    spec: LatentSpec, q_params: Float[Tensor, "n q"], labels: Int[np.ndarray, " n"], n_classes: int
) -> dict[str, Clustering]:
    """Returns the clustering of images by argmax Q(c|x) of each categorical code, by the code's name.

    Args:
        spec: The latents.
        q_params: Q's output on the images.
        labels: Their classes.
        n_classes: Classes there are.
    """
    return {name: cluster(found, labels, k, n_classes) for name, found, k in _categories_by_code(spec, q_params)}


def _categories_by_code(
    spec: LatentSpec, q_params: Float[Tensor, "n q"]
) -> Iterator[tuple[str, Int[np.ndarray, " n"], int]]:
    """Yields the name of each categorical code, argmax Q(c|x) of each image, and how many categories there are."""
    columns = posterior_categories(spec, q_params).numpy().T
    for i, categories in zip(spec.categorical, columns, strict=True):
        yield spec.names[i], categories, n_categories(spec, i)


@once
def clusterings(subject: Subject) -> dict[str, Clustering]:
    """Returns the clustering of the real images that are scored by each categorical code."""
    return cluster_by_codes(subject.spec, subject.q_on_test, subject.labels, subject.n_classes)


def _share_of_one_class(scores: dict[str, Any], code: str) -> float | None:
    confusion = scores["clustering"][code].get("confusion")
    return None if confusion is None else 1 / len(confusion[0])


def _register(key: str, label: str, at_chance: Any, range: tuple[float, float] = (0, 1)) -> Any:
    return register_metric(
        label=label,
        table="clustering of real images",
        place=("clustering", CODE, key),
        range=range,
        at_chance=at_chance,
        higher_is_better=True,
        needs={LABELS},
    )


@_register("accuracy", "accuracy", at_chance=_share_of_one_class)
def accuracy(subject: Subject) -> dict[str, float]:
    """Returns the accuracy of each categorical code; see `Clustering`."""
    return {name: found.accuracy for name, found in clusterings(subject).items()}


@_register("nmi", "NMI", at_chance=0)
def nmi(subject: Subject) -> dict[str, float]:
    """Returns the normalised mutual information of each categorical code; see `Clustering`."""
    return {name: found.nmi for name, found in clusterings(subject).items()}


@_register("ari", "ARI", at_chance=0, range=(-0.5, 1))
def ari(subject: Subject) -> dict[str, float]:
    """Returns the adjusted Rand index of each categorical code; see `Clustering`."""
    return {name: found.ari for name, found in clusterings(subject).items()}


@register_record("clustering", CODE, needs={LABELS})
def confusion(subject: Subject) -> dict[str, Any]:
    """Returns which class each category is matched to, and the images of each category and class."""
    return {
        name: {"code_to_digit": list(found.code_to_digit), "confusion": found.confusion.tolist()}
        for name, found in clusterings(subject).items()
    }


@register_metric(
    label="smallest category",
    name="smallest_category",
    table="categories of real images",
    place=("categories", CODE, "smallest_share"),
    range=(0, 1),
    at_chance=None,
    higher_is_better=True,
    needs={CATEGORICAL, NO_DIGITS},
)
def smallest_category(subject: Subject) -> dict[str, float]:
    """Returns the share of the test images that is in the smallest category of each code; 0: one is never used."""
    found = _categories_by_code(subject.spec, subject.q_on_test)
    return {name: float(np.bincount(of, minlength=k).min() / len(of)) for name, of, k in found}
