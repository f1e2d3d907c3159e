"""The names of the data sets and where each is loaded; needs no torch, so that a wrong name is answered at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# A loader takes the data folder and returns an `ImageDataset`; as text, `module:function`, it is loaded when used.
DATASETS: dict[str, str | Callable[[Any], Any]] = {
    "auto": "infogan.data.idx:load_mnist_or_mnist5k",
    "mnist": "infogan.data.idx:load_mnist",
    "mnist5k": "infogan.data.mnist5k:load_mnist5k",
    "fashion": "infogan.data.idx:load_fashion",
}
WHAT_AUTO_MAY_BE = ("mnist", "mnist5k")


def is_image_file(dataset: str) -> bool:
    """Returns whether a data set is a file of one's own images, which have no labels."""
    return dataset.endswith(".npy")


def dataset_forms() -> str:
    """Returns in words what `--dataset` may be."""
    return f"{', '.join(DATASETS)} or a .npy file"
