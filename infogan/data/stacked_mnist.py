"""Stacked MNIST: three digits of MNIST in the three channels of an image, so that it has 1,000 modes.

What is learned from it shows how many of its modes a generator covers; see `evaluation.mode_coverage`.

Source: Metz et al. 2017, arXiv 1611.02163; Lin et al. 2018 (PacGAN), arXiv 1712.04086.

Axes: m digits, n stacked images, h w image.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from infogan.data.datasets import ImageDataset
from infogan.data.factors import N_TEST_IMAGES, KnownFactors
from infogan.data.idx import load_mnist

N_IMAGES = 60_000
CHANNELS = ("red", "green", "blue")


def load_stacked_mnist(data_dir: Path) -> ImageDataset:
    """Returns stacked MNIST: 60,000 images of three training digits each, and 15,000 of three test digits.

    Digits are drawn at random, the same every time. The three digits are known factors of an image; it has no label.

    Args:
        data_dir: The folder of the IDX files of MNIST.

    Raises:
        UserError: MNIST is not there and cannot be downloaded, or a file is damaged.
    """
    mnist = load_mnist(data_dir)
    rng = torch.Generator().manual_seed(0)
    images, _ = stack_digits(mnist.images, mnist.labels, N_IMAGES, rng)
    test_images, test_digits = stack_digits(mnist.test_images, mnist.test_labels, N_TEST_IMAGES, rng)
    no_labels = torch.empty(0, dtype=torch.int64)
    return ImageDataset(
        "stacked-mnist",
        images,
        no_labels,
        test_images,
        no_labels,
        measurable=frozenset({"stacked digits"}),
        factors=KnownFactors(CHANNELS, test_digits, frozenset(CHANNELS)),
    )


def stack_digits(
    images: UInt8[Tensor, "m 1 h w"], labels: Int[Tensor, " m"], n: int, rng: torch.Generator
) -> tuple[UInt8[Tensor, "n 3 h w"], Int[Tensor, "n 3"]]:
    """Returns stacked images, and the digit in each of their channels.

    Args:
        images: The digits, any of which may be drawn many times.
        labels: Which digit each is.
        n: How many stacked images.
        rng: Drawn from, and advanced.
    """
    drawn = torch.randint(len(images), (n, len(CHANNELS)), generator=rng)
    return images[:, 0][drawn], labels[drawn]
