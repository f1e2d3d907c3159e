"""What each continuous code controls: its partial correlations with the measured attributes of digits.

Shapes: `n` images, `j` continuous codes, `a` attributes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from infogan.evaluation.clustering import check_range, n_categories
from infogan.evaluation.morphometrics import ATTRIBUTES
from infogan.evaluation.reference import measure_attributes
from infogan.evaluation.registry import CODE, register_metric, register_record
from infogan.evaluation.subject import CONTINUOUS, DIGITS, Subject
from infogan.latents import posterior_categories, posterior_means

# Share of a variable's variance below which what the controls leave of it is rounding error.
_NO_VARIANCE = 1e-9


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

    Source: Castro et al. 2019 (Morpho-MNIST): −P01 / √(P00 P11) of the inverse covariance P of
        code, attribute and controls. Computed as the correlation of what least squares on the controls leaves of
        code and attribute, which is the same number and needs no inverse of a covariance that collinear controls
        make singular.
    """
    assert np.isfinite(posterior_means).all(), "posterior_means must be finite"
    assert not np.isinf(attributes).any(), "attributes must be finite or NaN, got an infinity"
    n_codes, n_attributes = posterior_means.shape[1], attributes.shape[1]
    rows = ~np.isnan(attributes).any(axis=1)
    codes, attributes = _standardised(posterior_means[rows]), _standardised(attributes[rows])
    one_hot = np.ones((len(codes), 1))  # without a category: the mean alone
    if categories is not None and n_categories > 0:
        check_range("categories", categories, n_categories)
        one_hot = (categories[rows, None] == np.unique(categories[rows])).astype(float)

    correlations = np.full((n_codes, n_attributes), np.nan)
    if len(codes) < n_codes + one_hot.shape[1] + 1:
        return correlations
    for j in range(n_codes):
        controls = np.concatenate([np.delete(codes, j, axis=1), one_hot], axis=1)
        pair = np.concatenate([codes[:, [j]], attributes], axis=1)  # (n, 1 + a)
        left = pair - controls @ np.linalg.lstsq(controls, pair, rcond=_NO_VARIANCE**0.5)[0]
        covariance = left.T @ left / len(left)
        variance = np.where(covariance.diagonal() > _NO_VARIANCE, covariance.diagonal(), np.nan)
        correlations[j] = np.clip(covariance[0, 1:] / np.sqrt(variance[0] * variance[1:]), -1, 1)
    return correlations


def _standardised(values: Float[np.ndarray, "n v"]) -> Float[np.ndarray, "n v"]:
    """Returns columns of mean 0 and deviation 1; those that are constant as 0."""
    values = values.astype(float)
    if len(values) == 0:
        return values
    deviation = values.std(axis=0)
    # Rounding leaves a constant column of large values a deviation of about 1e-16 of them.
    varies = deviation > 1e-12 * np.abs(values).max(axis=0)
    return np.divide(values - values.mean(axis=0), deviation, out=np.zeros_like(values), where=varies)


def _register(key: str, where: str) -> Any:
    return register_metric(
        label=f"partial correlation of continuous codes with attributes, {where}",
        name=f"correlations_{key}",
        table="what the continuous codes control",
        place=("factors", key, CODE),
        axis=ATTRIBUTES,
        range=(-1, 1),
        at_chance=0,
        higher_is_better=None,
        needs={CONTINUOUS, DIGITS},
        digits=2,
    )


@register_record("factors", needs={CONTINUOUS, DIGITS})
def names(subject: Subject) -> dict[str, Any]:
    """Returns the names of the attributes."""
    return {"attributes": list(ATTRIBUTES)}


@_register("test_images", "test images")
def on_test_images(subject: Subject) -> dict[str, Float[np.ndarray, " a"]]:
    """Returns the partial correlations of Q's mean with the attributes of the test images."""
    assert subject.reference is not None
    return correlations_in_images(subject, subject.reference.attributes)


def correlations_in_images(
    subject: Subject, attributes: Float[np.ndarray, "n a"]
) -> dict[str, Float[np.ndarray, " a"]]:
    """Returns the partial correlations of Q's mean with attributes of the test images, by the code's name.

    Controlled for the first category (argmax of Q) and the other continuous codes; see `partial_correlations`.
    """
    spec, categories, k = subject.spec, None, 0
    if spec.categorical:
        categories = posterior_categories(spec, subject.q_on_test)[:, 0].numpy()
        k = n_categories(spec, spec.categorical[0])
    means = posterior_means(spec, subject.q_on_test).numpy()
    return _by_code(subject, partial_correlations(means, attributes, categories, k))


@_register("samples", "samples")
def on_samples(subject: Subject) -> dict[str, Float[np.ndarray, " a"]]:
    """Returns the partial correlations of the codes themselves with the attributes of the images made from them."""
    return correlations_in_samples(subject, measure_attributes(subject.samples.images, "attributes of samples"))


def correlations_in_samples(
    subject: Subject, attributes: Float[np.ndarray, "n a"]
) -> dict[str, Float[np.ndarray, " a"]]:
    """Returns the partial correlations of the codes with attributes of the samples, by the code's name."""
    spec, samples, categories, k = subject.spec, subject.samples, None, 0
    if spec.categorical:
        first = spec.categorical[0]
        categories = samples.c[:, spec.c_slices[first]].argmax(dim=1).numpy()
        k = n_categories(spec, first)
    codes = samples.c[:, [spec.c_slices[i].start for i in spec.continuous]].numpy()
    return _by_code(subject, partial_correlations(codes, attributes, categories, k))


def _by_code(subject: Subject, rows: Float[np.ndarray, "j a"]) -> dict[str, Float[np.ndarray, " a"]]:
    return {subject.spec.names[i]: row for i, row in zip(subject.spec.continuous, rows, strict=True)}
