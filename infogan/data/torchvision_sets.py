"""USPS, SVHN and CIFAR-10, in their original formats, which torchvision reads, checks and downloads."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infogan.data.datasets import DIGITS, ImageDataset
from infogan.data.idx import download
from infogan.system.errors import UserError, one_line

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def load_usps(data_dir: Path) -> ImageDataset:
    """Returns USPS: 7,291 digits of 16 x 16 pixels, and 2,007 test images; `usps.bz2` and `usps.t.bz2`."""
    from torchvision.datasets import USPS  # imported only here: it takes seconds

    def read(root: str, train: bool, **how: Any) -> tuple[np.ndarray, Any]:
        found = USPS(root, train=train, **how)
        return found.data[:, None], found.targets

    urls = [url for url, *_ in USPS.split_list.values()]
    return _load("usps", USPS.__name__, data_dir, ["usps.bz2", "usps.t.bz2"], urls, read, DIGITS)


def load_svhn(data_dir: Path) -> ImageDataset:
    """Returns SVHN: 73,257 house numbers of 32 x 32 pixels in colour, and 26,032 test images; `train_32x32.mat`, ..."""
    from torchvision.datasets import SVHN

    def read(root: str, train: bool, **how: Any) -> tuple[np.ndarray, Any]:
        found = SVHN(root, split="train" if train else "test", **how)
        return np.ascontiguousarray(found.data), found.labels

    files = ["train_32x32.mat", "test_32x32.mat"]
    urls = [SVHN.split_list[split][0] for split in ("train", "test")]
    return _load("svhn", SVHN.__name__, data_dir, files, urls, read, DIGITS)


def load_cifar10(data_dir: Path) -> ImageDataset:
    """Returns CIFAR-10: 50,000 photographs of 32 x 32 pixels, and 10,000 test images; `cifar-10-batches-py/`."""
    from torchvision.datasets import CIFAR10

    def read(root: str, train: bool, **how: Any) -> tuple[np.ndarray, Any]:
        found = CIFAR10(root, train=train, **how)
        return np.ascontiguousarray(found.data.transpose(0, 3, 1, 2)), found.targets

    batches = [name for name, _ in [*CIFAR10.train_list, *CIFAR10.test_list]] + [CIFAR10.meta["filename"]]
    files = [f"{CIFAR10.base_folder}/{name}" for name in batches]
    archive = CIFAR10.filename  # torchvision unpacks it where it lies
    return _load("cifar10", CIFAR10.__name__, data_dir, files, [CIFAR10.url], read, CIFAR10_CLASSES, archive)


def _load(
    name: str,
    source: str,
    data_dir: Path,
    files: list[str],
    urls: list[str],
    read: Callable[..., tuple[np.ndarray, Any]],
    class_names: tuple[str, ...],
    archive: str | None = None,
) -> ImageDataset:
    """Returns a data set whose files lie in the data folder or in one of its name, or are downloaded.

    Args:
        name: Of the data set.
        source: torchvision's name for it.
        data_dir: The data folder.
        files: That the data set consists of.
        urls: Where they come from.
        read: Reads images and labels in a folder, of the training or test images; with `download`, fetches them first.
        class_names: Of the labels.
        archive: That the files come in.
    """
    places = [data_dir, data_dir / source, data_dir / name]
    wanted = [*files, *([archive] if archive else [])]
    root = next((place for place in places if any((place / file).is_file() for file in wanted)), data_dir)
    if missing := [file for file in files if not (root / file).is_file()]:

        def fetch() -> None:
            for train in (True, False):
                read(str(root), train, download=True)

        if archive is not None and (root / archive).is_file():
            _refuse_damage(fetch, root, archive)
        else:
            are = "is" if len(missing) == 1 else "are"
            what = f"{', '.join(missing)} of {source} {are} missing in {root}"
            download(fetch, source, urls, root, what if len(missing) < len(files) else f"no {source} files in {root}")
    parts = [_refuse_damage(lambda train=train: read(str(root), train), root, name) for train in (True, False)]
    (images, labels), (test_images, test_labels) = (
        (torch.from_numpy(x), torch.from_numpy(np.asarray(y, dtype=np.int64))) for x, y in parts
    )
    return ImageDataset(name, images, labels, test_images, test_labels, class_names)


def _refuse_damage(read: Callable[[], Any], root: Path, what: str) -> Any:
    try:
        return read()
    # What the readers of these formats raise; a file that torchvision knows to be another is a RuntimeError.
    except (OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, pickle.PickleError, zlib.error) as e:
        raise UserError(f"--data-dir: cannot read {what} in {root}, is it whole? {one_line(e)}") from e
