"""How many of the 1,000 modes of stacked MNIST samples cover, and how evenly.

A mode is a triple of digits, one in each channel, as the frozen digit classifier reads them. It is covered if at least
one of 26,000 samples falls into it.

Source: Lin et al. 2018 (PacGAN), arXiv 1712.04086, section 4.2.

Axes: n images, h w image.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from infogan.evaluation.classifier import N_DIGITS, DigitClassifier, load_digit_classifier
from infogan.evaluation.quality import DigitHistogram, digit_histogram
from infogan.evaluation.reference import classify
from infogan.evaluation.registry import register_metric, register_record
from infogan.evaluation.sampling import device_of, draw_samples
from infogan.evaluation.subject import STACKED_DIGITS, Subject, once

N_SAMPLES = 26_000  # the KL of fewer samples has a higher floor, so that the protocol's number is not to be changed
N_CHANNELS = 3
N_MODES = N_DIGITS**N_CHANNELS


def digits_of(classifier: DigitClassifier, images: UInt8[Tensor, "n 3 h w"]) -> Int[np.ndarray, "n 3"]:
    """Returns the digit that the classifier reads in each channel of images."""
    return np.stack([classify(classifier, channel[:, None])[1] for channel in images.unbind(dim=1)], axis=1)


def mode_histogram(digits: Int[np.ndarray, "n 3"]) -> DigitHistogram:
    """Returns how many of the 1,000 modes triples of digits cover, and their KL to equal shares.

    KL(samples ‖ uniform) in nats: ln 1,000 if all are of one mode; for n triples drawn uniformly about 999 / 2n, which
    is 0.0192 at 26,000.
    """
    modes = digits @ N_DIGITS ** np.arange(N_CHANNELS)
    return digit_histogram(modes, wanted=np.ones(N_MODES))


@once
def histogram(subject: Subject) -> DigitHistogram:
    """Returns the modes of fresh samples."""
    rng = torch.Generator().manual_seed(subject.seed)  # of its own: it moves the figures of no other metric
    samples = draw_samples(subject.generator, subject.spec, N_SAMPLES, rng, "samples for mode coverage")
    return mode_histogram(digits_of(_classifier(subject), samples.images))


def _classifier(subject: Subject) -> DigitClassifier:
    return load_digit_classifier(device=device_of(subject.generator))


def _register(key: str, label: str, range: tuple[float, float], higher_is_better: bool, digits: int) -> Any:
    return register_metric(
        label=label,
        name=f"stacked_digits_{key}",
        table=f"mode coverage, {N_SAMPLES:,} samples",
        place=("mode_coverage", key),
        range=range,
        at_chance=None,
        higher_is_better=higher_is_better,
        needs={STACKED_DIGITS},
        floor=("mode_coverage", "real", key),
        digits=digits,
    )


@_register("modes", f"modes of {N_MODES:,}", range=(1, N_MODES), higher_is_better=True, digits=0)
def modes(subject: Subject) -> int:
    """Returns how many modes at least one sample falls into."""
    return histogram(subject).n_covered


@_register("kl_nats", "KL of their shares, nats", range=(0, math.log(N_MODES)), higher_is_better=False, digits=4)
def kl_nats(subject: Subject) -> float:
    """Returns KL(samples ‖ uniform) over the modes, in nats."""
    return histogram(subject).kl_nats


@register_record("mode_coverage", needs={STACKED_DIGITS})
def real_images(subject: Subject) -> dict[str, Any]:
    """Returns what as many training images have, read by the same classifier."""
    real = mode_histogram(digits_of(_classifier(subject), subject.dataset.images[:N_SAMPLES]))
    return {"n_samples": N_SAMPLES, "real": {"modes": real.n_covered, "kl_nats": real.kl_nats}}
