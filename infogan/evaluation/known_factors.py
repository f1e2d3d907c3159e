"""The disentanglement metrics of a model on images whose factors are known, beside their ceiling and value at chance.

What Q answers to the test images is compared with the factors that these were drawn from; see `disentanglement` for
the metrics. The ceiling is the score of the factors themselves as codes, and chance that of random codes, as many as
the model has, both on the same images.

Axes: n images, q columns of Q's output, j codes.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from infogan.config.spec import LatentSpec
from infogan.data.factors import KnownFactors
from infogan.evaluation.disentanglement import (
    PROTOCOLS,
    CodesAndFactors,
    Metric,
    dci_boosted,
    forest_importances,
    normalised_mutual_information,
)
from infogan.evaluation.factors import partial_correlations
from infogan.evaluation.registry import register_metric, register_record
from infogan.evaluation.subject import FACTORS, Subject, once
from infogan.latents import posterior_categories, posterior_means

# Of disentanglement_lib's 10,000, with which the boosted trees take minutes; its label says so.
N_DCI_IMAGES = 1000
# Of boosted trees, measured on dSprites: 1.000 and 0.001. To measure it anew would take as long as the metric itself.
BOOSTED_IDEAL_AND_RANDOM = (1.0, 0.0)


def code_vectors(spec: LatentSpec, q_params: Float[Tensor, "n q"]) -> Float[np.ndarray, "n j"]:
    """Returns what the metrics take as a model's codes: of a continuous code Q's mean, of a category its number.

    A category is one code, not K: as K columns that know the same factor, MIG and SAP would find no gap between them.

    Args:
        spec: The latents.
        q_params: Q's output on images.
    """
    codes = np.empty((len(q_params), len(spec.codes)))
    codes[:, list(spec.categorical)] = posterior_categories(spec, q_params).numpy()
    codes[:, list(spec.continuous)] = posterior_means(spec, q_params).numpy()
    return codes


@once
def of_model(subject: Subject) -> CodesAndFactors:
    """Returns Q's codes of the test images, and the factors that these were drawn from."""
    known = subject.dataset.factors
    assert known is not None
    return _with_factors(code_vectors(subject.spec, subject.q_on_test), known, subject.seed)


def _with_factors(codes: np.ndarray, known: KnownFactors, seed: int) -> CodesAndFactors:
    return CodesAndFactors.checked(codes, known.values.numpy(), known.names, known.nominal, seed)


@functools.cache
def _ideal_and_random(metric: Metric, known: KnownFactors, n_codes: int, seed: int) -> tuple[float, float]:
    """Returns a metric of the factors themselves as codes, and of random codes; of two models it is the same."""
    random = np.random.default_rng(seed).uniform(-1, 1, (len(known.values), n_codes))
    ideal = _with_factors(known.values.numpy(), known, seed)
    return metric(ideal), metric(replace(ideal, codes=random))


def _register(
    protocol: str, name: str, metric: Metric, label: str, ideal_and_random: tuple[float, float] | None = None
) -> None:
    place = ("disentanglement", protocol, name)

    def at_chance(scores: dict[str, Any], code: str) -> float:
        return scores["disentanglement"][protocol][name]["random"]

    @register_metric(
        label=label,
        name=f"{name} ({protocol})",
        table=f"disentanglement by the protocol of {protocol}",
        place=place,
        key="score",
        ceiling="ideal",
        range=(0, 1),
        at_chance=at_chance,
        higher_is_better=True,
        needs={FACTORS},
    )
    def score(subject: Subject) -> dict[str, float]:
        """Returns the score of the model's codes, of ideal codes and of random codes."""
        known, given = subject.dataset.factors, of_model(subject)
        assert known is not None
        ideal, random = ideal_and_random or _ideal_and_random(metric, known, given.codes.shape[1], subject.seed)
        return {"score": metric(given), "ideal": ideal, "random": random}


def _register_all() -> None:
    for protocol, metrics in PROTOCOLS.items():
        for name, metric in metrics.items():
            if metric is dci_boosted:
                quick = functools.partial(dci_boosted, n_train=N_DCI_IMAGES)
                _register(protocol, name, quick, f"{name}, {N_DCI_IMAGES:,} images", BOOSTED_IDEAL_AND_RANDOM)
            else:
                _register(protocol, name, metric, name)


_register_all()


@register_record("disentanglement", needs={FACTORS})
def factor_matrix(subject: Subject) -> dict[str, Any]:
    """Returns, for each code, its normalised mutual information with each factor and its importance to forests.

    And for each continuous code its partial correlation with each factor whose values have an order.
    """
    given = of_model(subject)

    def by_code(matrix: np.ndarray) -> dict[str, list[float]]:
        return dict(zip(subject.spec.names, matrix.tolist(), strict=True))

    return {
        "factors": list(given.names),
        "n_images": len(given.codes),
        "mutual_information": by_code(normalised_mutual_information(given.codes, given.factors)),
        "importances": by_code(forest_importances(given)),
        "partial_correlations": partial_correlations_with_factors(given, subject.spec),
    }


def partial_correlations_with_factors(given: CodesAndFactors, spec: LatentSpec) -> dict[str, list[float | None]]:
    """Returns the partial correlation of each continuous code with each factor, by the code's name.

    Controlled for the factors whose values have no order, as a shape, and for the other continuous codes; None for such
    a factor itself. See `factors.partial_correlations`.

    Args:
        given: The codes of images, and the factors.
        spec: The latents.
    """
    nominal = [i for i, name in enumerate(given.names) if name in given.nominal]
    kinds, kind = np.unique(given.factors[:, nominal], axis=0, return_inverse=True)
    continuous = list(spec.continuous)
    found = partial_correlations(given.codes[:, continuous], given.factors.astype(float), kind.reshape(-1), len(kinds))
    rows = [[None if np.isnan(r) else float(r) for r in row] for row in found]
    return dict(zip((spec.names[i] for i in continuous), rows, strict=True))
