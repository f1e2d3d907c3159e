"""Data sets whose images are drawn from known factors: every combination of their values is one image.

Axes: n images, m test images, f factors.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from tqdm import tqdm

from infogan.system.errors import UserError, one_line
from infogan.system.files import write_atomically

N_TEST_IMAGES = 15_000  # as many as the protocols of the disentanglement metrics train on and test on together

Blocks = Iterator[UInt8[np.ndarray, "block h w"]]


@dataclass(frozen=True, eq=False)
class KnownFactors:
    """The factors that images were drawn from; for scoring alone.

    Attributes:
        names: Of the factors.
        values: Of each test image the number of each factor's value, from 0.
        nominal: Names of the factors whose values have no order, such as a shape.
    """

    names: tuple[str, ...]
    values: Int[Tensor, "m f"]
    nominal: frozenset[str] = frozenset()


def combinations(indices: Int[Tensor, " m"], sizes: tuple[int, ...]) -> Int[Tensor, "m f"]:
    """Returns the values of the factors of images in row-major order, in which the last factor is the fastest.

    Args:
        indices: Of the images.
        sizes: How many values each factor has.
    """
    return torch.stack(torch.unravel_index(indices, sizes), dim=1)


def sample_of_combinations(sizes: Mapping[str, int], nominal: frozenset[str]) -> tuple[Int[Tensor, " m"], KnownFactors]:
    """Returns which images of a full grid of factors are tested on, and their factors; the same every time.

    They are learned from too, as is usual where the images are all there are: no part of training sees a factor.

    Args:
        sizes: How many values each factor has, by its name.
        nominal: See `KnownFactors`.
    """
    n_images = int(np.prod(list(sizes.values())))
    indices = torch.randperm(n_images, generator=torch.Generator().manual_seed(0))[:N_TEST_IMAGES]
    return indices, KnownFactors(tuple(sizes), combinations(indices, tuple(sizes.values())), nominal)


def drawn_once(path: Path, n_images: int, draw: Callable[[], Blocks]) -> UInt8[Tensor, "n 1 h w"]:
    """Returns the images of a file that is mapped into memory, and drawn first where it is not there.

    Mapped, so that runs on one machine share one copy, and the system can take its memory back.

    Args:
        path: A .npy file. It is written whole or not at all.
        n_images: How many there are.
        draw: Returns them in blocks.

    Raises:
        UserError: The file cannot be read or written, or its first images are not those that are drawn.
    """
    first = next(draw())
    shape = (n_images, *first.shape[1:])
    if not path.is_file():
        _write(path, shape, draw())
    try:
        # Copy on write: the file stays as it is, and torch has no unwritable arrays.
        images = np.lib.format.open_memmap(path, mode="c")
    except (OSError, ValueError) as error:
        raise UserError(f"--data-dir: cannot read {path}: {one_line(error)}") from error
    if images.dtype != np.uint8 or images.shape != shape or not np.array_equal(images[: len(first)], first):
        raise UserError(
            f"--data-dir: expected {n_images:,} images as they are drawn today in {path}, got others; "
            "without the file they are drawn again"
        )
    return torch.from_numpy(images)[:, None]


def _write(path: Path, shape: tuple[int, ...], blocks: Blocks) -> None:
    # Other runs may be at the same file at this moment.
    mine = path.with_name(f"{path.stem}.{os.getpid()}{path.suffix}")

    def write(file) -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        with tqdm(total=shape[0], desc=f"drawing {path}", unit="img", unit_scale=True, disable=None) as bar:
            for block in blocks:
                file.write(block.data)
                bar.update(len(block))

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(mine, write, "--data-dir")
        mine.replace(path)
    except OSError as error:
        raise UserError(f"--data-dir: cannot write {path}: {one_line(error)}") from error
    finally:
        for left in (mine, mine.with_name(mine.name + ".partial")):  # of an interrupted drawing
            left.unlink(missing_ok=True)
