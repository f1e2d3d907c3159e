"""dSprites (Matthey et al. 2017): white sprites in black images, every combination of five factors.

Shape (square, ellipse, heart), scale (0.5 to 1), orientation (0 to 2π), x and y. The original file is used where it
lies in the data folder. Otherwise the images are drawn from formulas that were fitted to the 320 frames that the
authors publish: 64 of their 1,310,720 pixels differ.

Axes: v vertices, p places of the centre, h w image.
"""

from __future__ import annotations

import functools
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8

from infogan.data.datasets import ImageDataset
from infogan.data.factors import Blocks, drawn_once, sample_of_combinations
from infogan.system.errors import UserError, one_line

SHAPES = ("square", "ellipse", "heart")
SIZES = {"shape": 3, "scale": 6, "orientation": 40, "x": 32, "y": 32}  # the last is the fastest
N_IMAGES = 737_280
SIDE_PX = 64
ORIGINAL = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
ORIGINAL_BLOCK = 1024  # images


def load_dsprites(data_dir: Path) -> ImageDataset:
    """Returns dSprites: 737,280 binary images (0 and 255) of 64 × 64, and their factors; classes are shapes.

    The first call unpacks the original file, or draws the images, into a .npy file of 3.0 GB in the data folder.

    Args:
        data_dir: The folder of the original file and of the .npy file.

    Raises:
        UserError: A file cannot be read or written, or is not what it should be.
    """
    original = data_dir / ORIGINAL
    if original.is_file():
        images = drawn_once(original.with_suffix(".npy"), N_IMAGES, lambda: read_original(original, N_IMAGES))
    else:
        images = drawn_once(data_dir / "dsprites-drawn.npy", N_IMAGES, draw_all)
    labels = torch.arange(len(SHAPES)).repeat_interleave(N_IMAGES // len(SHAPES))
    test, factors = sample_of_combinations(SIZES, frozenset({"shape"}))
    return ImageDataset("dsprites", images, labels, images[test], labels[test], SHAPES, factors=factors)


def read_original(path: Path, n_images: int) -> Blocks:
    """Returns the images of the original file in blocks, white as 255.

    Raises:
        UserError: The file cannot be read, or holds something else.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open("imgs.npy") as file:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise ValueError(f"version {version} of the array format")
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            if shape != (n_images, SIDE_PX, SIDE_PX) or dtype != np.uint8:
                raise ValueError(f"expected {n_images:,} images of 64 x 64 as uint8, got {dtype} of shape {shape}")
            for start in range(0, n_images, ORIGINAL_BLOCK):
                n = min(ORIGINAL_BLOCK, n_images - start)
                block = np.frombuffer(file.read(n * SIDE_PX**2), np.uint8).reshape(n, SIDE_PX, SIDE_PX)
                if block.max() > 1:
                    raise ValueError(f"expected pixels 0 and 1, got {block.max()}")
                yield block * np.uint8(255)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"--data-dir: cannot read {path}: {one_line(error)}") from error


def draw_all() -> Blocks:
    """Returns all images in the original's order, in blocks of one shape, scale and orientation."""
    for shape in range(SIZES["shape"]):
        for scale in range(SIZES["scale"]):
            for orientation in range(SIZES["orientation"]):
                yield draw_pose(shape, scale, orientation)


def draw_pose(shape: int, scale: int, orientation: int) -> UInt8[np.ndarray, "p h w"]:
    """Returns the images of one sprite at all 32 × 32 places, y the fastest; 255 inside, 0 outside.

    A pixel is inside if its centre is: if an odd number of the outline's edges are to the left of it. Where these edges
    cross a row of pixels does not depend on x, so that each row is made of a few runs.
    """
    outline = _turned(_outline(SHAPES[shape]) * (0.5 + 0.1 * scale), 2 * np.pi * orientation / 39)
    (x, y), (next_x, next_y) = outline.T, np.roll(outline, -1, axis=0).T
    centre_px = 16 + 32 * np.arange(32) / 31
    row = (np.arange(SIDE_PX) + 0.5 - centre_px[:, None])[..., None]  # (y, h, 1): rows of pixels from the centre
    crosses = (y <= row) != (next_y <= row)
    with np.errstate(divide="ignore", invalid="ignore"):  # of horizontal edges, which cross no row
        crossings = np.where(crosses, x + (row - y) * (next_x - x) / (next_y - y), np.inf)
    crossings = np.sort(crossings, axis=-1)[..., : crosses.sum(axis=-1).max()]
    # The first column of pixels whose centre is beyond the crossing: (x, y, h, crossing).
    column = np.floor(crossings + centre_px[:, None, None, None] - 0.5) + 1
    column = column.clip(0, SIDE_PX).astype(np.intp)
    beyond = np.where(np.arange(SIDE_PX) >= np.arange(SIDE_PX + 1)[:, None], 255, 0).astype(np.uint8)
    images = functools.reduce(np.bitwise_xor, (beyond[column[..., k]] for k in range(column.shape[-1])))
    return images.reshape(-1, SIDE_PX, SIDE_PX)


def _turned(outline: Float[np.ndarray, "v 2"], angle: float) -> Float[np.ndarray, "v 2"]:
    """Returns an outline rotated counter-clockwise on the screen, where y points down."""
    cos, sin = np.cos(angle), np.sin(angle)
    return outline @ np.array([[cos, -sin], [sin, cos]])


def _outline(shape: str) -> Float[np.ndarray, "v 2"]:
    """Returns the vertices of a sprite at scale 1, x and y (down) in pixels from its centre."""
    if shape == "square":
        return 9.6 * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    if shape == "ellipse":
        t = np.linspace(0, 2 * np.pi, 34, endpoint=False)  # with as few vertices as the original seems to have
        return np.stack([12.8 * np.cos(t), 7.25 * np.sin(t)], axis=1)
    t = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([9.6 * np.sin(t) ** 3, -19.2 / 29 * y - 1.4375], axis=1)
