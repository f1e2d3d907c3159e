"""Data sets that took long to make, kept on disk."""

from __future__ import annotations

import contextlib
import json
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

from infogan.data.datasets import ImageDataset
from infogan.system.errors import UserError
from infogan.system.files import write_atomically

_TENSORS = ("images", "labels", "test_images", "test_labels")


def cached(file: Path, key: str, make: Callable[[], ImageDataset]) -> ImageDataset:
    """Returns the data set that a file holds, if it was made under this key; else makes it, and writes the file.

    Of two processes that ask for it at once, one makes it and the other waits. Where no file can be written, it is
    made every time.

    Args:
        file: Ends in .npz.
        key: Everything that the data set depends on.
        make: Makes it.
    """
    lock = FileLock(file.with_suffix(".lock"))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, NotImplementedError):  # a folder that is read-only, a file system without locks
        return make()
    try:
        if (found := _read(file, key)) is None:
            found = make()
            _write(file, key, found)
        return found
    finally:
        lock.release()


def _read(file: Path, key: str) -> ImageDataset | None:
    try:
        with np.load(file, allow_pickle=False) as kept:
            about = json.loads(str(kept["about"]))
            if about["key"] != key:
                return None
            images, labels, test_images, test_labels = (torch.from_numpy(kept[name]) for name in _TENSORS)
    except (OSError, EOFError, ValueError, LookupError, TypeError, zipfile.BadZipFile, zlib.error):
        return None  # none there, or a damaged one: it is made anew
    names, notes = tuple(about["class_names"]), tuple(about["notes"])
    return ImageDataset(about["name"], images, labels, test_images, test_labels, names, notes=notes)


def _write(file: Path, key: str, dataset: ImageDataset) -> None:
    about = {"key": key, "name": dataset.name, "class_names": dataset.class_names, "notes": dataset.notes}
    arrays = {name: getattr(dataset, name).numpy() for name in _TENSORS}
    with contextlib.suppress(UserError):  # of a full disk, say: the next run makes it again
        write_atomically(file, lambda opened: np.savez(opened, about=np.array(json.dumps(about)), **arrays))
