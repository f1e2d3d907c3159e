"""How much the samples say of their codes: L_I(c_i; G, Q) by three Qs, with bootstrap intervals.

Axes: n samples, c columns of all codes, q columns of Q's output.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy  # its parts load when they are used: that takes a second
import torch
from jaxtyping import Float
from torch import Tensor

from infogan.config.spec import LatentSpec
from infogan.evaluation.fresh_q import calibrated, train_fresh_q
from infogan.evaluation.registry import CODE, register_metric, register_record
from infogan.evaluation.sampling import device_of, q_outputs
from infogan.evaluation.subject import Subject
from infogan.latents import log_q

N_CALIBRATION_IMAGES = 5000
N_RESAMPLES = 1000  # give the ends to a few percent of the width


def information(
    spec: LatentSpec, q_params: Float[Tensor, "n q"], c: Float[Tensor, "n c"], seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Returns L_I(c_i; G, Q) of each code: `nats`, its 95% bootstrap interval over the images, its value at chance.

    See `losses.mutual_information_lower_bound` for what it is; `LatentSpec.mi_ranges_nats` for its value at chance
    (0 for a category) and its limit (H(c) for a category).

    Args:
        spec: The latents.
        q_params: Q's output on samples.
        c: The codes these were made from.
        seed: Of the bootstrap.
    """
    values = (log_q(spec, q_params, c).double() + torch.tensor(spec.entropies_nats).double()).numpy()
    return {
        name: {
            "nats": float(column.mean()),
            "interval_95": list(bootstrap_interval(column, seed=seed)),
            "at_chance_nats": at_chance,
        }
        for name, column, (at_chance, _) in zip(spec.names, values.T, spec.mi_ranges_nats, strict=True)
    }


def bootstrap_interval(
    values: Float[np.ndarray, " n"], confidence: float = 0.95, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Returns the ends of a bootstrap interval for the mean (percentile method, in the unit of `values`).

    It says how far the mean of these images may be from that of all images; it knows nothing of the spread
    over training seeds. For large n about mean ± 1.96 s/√n at 95%. A constant gives an interval of width 0.

    Args:
        values: One finite number per image, two or more, such as log Q(c|x) in nats.
        confidence: Probability that it claims, in (0, 1).
        n_resamples: Resampled means.
        seed: Of a generator of its own; the same seed gives the same interval.

    Source: Efron and Tibshirani 1993, the percentile method.
    """
    assert len(values) > 1 and np.isfinite(values).all(), "values must be two or more finite numbers"
    found = scipy.stats.bootstrap(
        (values.astype(float),),
        np.mean,
        n_resamples=n_resamples,
        batch=100,  # all at once take gigabytes
        confidence_level=confidence,
        method="percentile",
        random_state=np.random.default_rng(seed),  # pyright: ignore[reportCallIssue]  `rng` since SciPy 1.15
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


@register_record("mutual_information", CODE)
def priors(subject: Subject) -> dict[str, dict[str, Any]]:
    """Returns what each code is."""
    return {name: {"code": str(code)} for name, code in zip(subject.spec.names, subject.spec.codes, strict=True)}


@register_metric(
    label="H(c)",
    table="L_I in nats",
    place=("mutual_information", CODE, "entropy_nats"),
    range=(0, math.inf),
    at_chance=None,
    higher_is_better=None,
    in_report=False,  # the same for all runs
)
def entropy(subject: Subject) -> dict[str, float]:
    """Returns the entropy of each code's prior, in nats; that of a continuous code is a differential entropy."""
    return dict(zip(subject.spec.names, subject.spec.entropies_nats, strict=True))


def _at_chance(kind: str) -> Callable[[dict[str, Any], str], float | None]:
    # Earlier evaluations do not hold it.
    return lambda scores, code: scores["mutual_information"][code][kind].get("at_chance_nats")


def _bound(kind: str, label: str, in_report: bool = True) -> Callable[..., Any]:
    return register_metric(
        label=label,
        table="L_I in nats",
        place=("mutual_information", CODE, kind),
        key="nats",
        spread="interval_95",
        range=(-math.inf, math.inf),
        at_chance=_at_chance(kind),
        higher_is_better=True,
        in_report=in_report,
    )


@_bound("own_q", "own Q")
def own_q(subject: Subject) -> dict[str, dict[str, Any]]:
    """Returns L_I by the run's own Q as it is."""
    q_params = q_outputs(subject.discriminator, subject.samples.images)
    return information(subject.spec, q_params, subject.samples.c, subject.seed)


@_bound("own_q_calibrated", "own Q, calibrated", in_report=False)
def own_q_calibrated(subject: Subject) -> dict[str, dict[str, Any]]:
    """Returns L_I by the run's own Q with its BatchNorm statistics taken on samples; see `fresh_q.calibrated`."""
    net = calibrated(subject.discriminator, subject.pool.images[:N_CALIBRATION_IMAGES])
    return information(subject.spec, q_outputs(net, subject.samples.images), subject.samples.c, subject.seed)


@_bound("fresh_q", "fresh Q")
def fresh_q(subject: Subject) -> dict[str, dict[str, Any]]:
    """Returns L_I by a Q trained from scratch on other samples; see `fresh_q.train_fresh_q`."""
    device = device_of(subject.generator)
    spec, net = train_fresh_q(subject.spec, subject.pool, subject.fresh_q, subject.seed, device)
    return information(spec, q_outputs(net, subject.samples.images), subject.samples.c, subject.seed)
