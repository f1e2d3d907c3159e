"""Letters of a variable font: every combination of letter, weight, width, slant, size and place.

The axes of the font make the first factors, so that they are what a type designer means by them. Roboto Flex is taken
from the package `fontpkg-roboto-flex` (OFL-1.1), or a font of one's own from the data folder.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from infogan.data.datasets import ImageDataset
from infogan.data.factors import Blocks, drawn_once, sample_of_combinations
from infogan.system.errors import UserError, one_line

LETTERS = "ABCDEFGHJK"  # I would show no width
N_VALUES = 5  # of every other factor
AXES = ("Weight", "Width", "Slant")  # of the font
SIZES_PX = (16, 19, 22, 25, 28)  # of an em; the boldest and widest letter still fits at every place
PLACES_PX = (-4, -2, 0, 2, 4)  # of the letter's centre, from the image's
SIZES = {"letter": len(LETTERS), **dict.fromkeys(("weight", "width", "slant", "size", "x", "y"), N_VALUES)}
N_IMAGES = len(LETTERS) * N_VALUES**6
SIDE_PX = 32
SUPERSAMPLING = 4  # a letter is drawn this much larger, so that its edges are grey and its centre is exact
OWN_FONT = "glyphs.ttf"


def load_glyphs(data_dir: Path) -> ImageDataset:
    """Returns glyphs: 156,250 grey images of 32 × 32, light on dark, and their factors; classes are letters.

    The first call draws the images into a .npy file of 160 MB in the data folder.

    Args:
        data_dir: The folder of the .npy file, and of `glyphs.ttf` if a font of one's own is to be used.

    Raises:
        UserError: There is no font, or it lacks an axis; a file cannot be read or written.
    """
    font = find_font(data_dir)
    images = drawn_once(data_dir / "glyphs.npy", N_IMAGES, lambda: draw_all(font))
    labels = torch.arange(len(LETTERS)).repeat_interleave(N_IMAGES // len(LETTERS))
    test, factors = sample_of_combinations(SIZES, frozenset({"letter"}))
    return ImageDataset("glyphs", images, labels, images[test], labels[test], tuple(LETTERS), factors=factors)


def find_font(data_dir: Path) -> Path:
    """Returns the file of the font: one's own in the data folder, or else Roboto Flex.

    Raises:
        UserError: There is neither.
    """
    own = data_dir / OWN_FONT
    if own.is_file():
        return own
    try:
        package = importlib.import_module("fontpkg_roboto_flex")
    except ImportError:
        raise UserError(
            f"--dataset glyphs: expected a variable font at {own}, or the package fontpkg-roboto-flex "
            '(pip install -e ".[glyphs]"), got neither'
        ) from None
    return next((package.ROOT / "files").glob("*.ttf"))


def draw_all(font: Path) -> Blocks:
    """Returns all images in blocks of one letter and weight, the last factor the fastest.

    Raises:
        UserError: The font cannot be read, or lacks an axis.
    """
    set_axes = _open_font(font)
    steps = range(N_VALUES)
    for letter, weight in itertools.product(LETTERS, steps):
        block = [
            _placed(_draw_letter(set_axes(size, (weight, width, slant)), letter))
            for width, slant, size in itertools.product(steps, steps, SIZES_PX)
        ]
        yield np.concatenate(block)


def _open_font(path: Path) -> Callable[[int, tuple[int, int, int]], ImageFont.FreeTypeFont]:
    """Returns a function of a size in pixels and a value for each of `AXES` that returns the font set to them."""
    try:
        fonts = {size: ImageFont.truetype(str(path), size * SUPERSAMPLING) for size in SIZES_PX}
        axes: list[dict[str, Any]] = [dict(axis) for axis in fonts[SIZES_PX[0]].get_variation_axes()]
    except (OSError, NotImplementedError) as error:
        raise UserError(f"--dataset glyphs: cannot read a variable font from {path}: {one_line(error)}") from error
    names = [axis["name"].decode() for axis in axes]
    if missing := set(AXES) - set(names):
        raise UserError(
            f"--dataset glyphs: expected a font with the axes {', '.join(AXES)}, got {path} without "
            f"{', '.join(sorted(missing))}"
        )

    def set_axes(size: int, values: tuple[int, int, int]) -> ImageFont.FreeTypeFont:
        setting = [axis["default"] for axis in axes]
        for name, value in zip(AXES, values, strict=True):
            axis = axes[names.index(name)]
            # From upright to slanted: the axis counts degrees to the left.
            low, high = (axis["maximum"], axis["minimum"]) if name == "Slant" else (axis["minimum"], axis["maximum"])
            setting[names.index(name)] = low + (high - low) * value / (N_VALUES - 1)
        fonts[size].set_variation_by_axes(setting)
        return fonts[size]

    return set_axes


def _draw_letter(font: ImageFont.FreeTypeFont, letter: str) -> UInt8[np.ndarray, "h w"]:
    """Returns a letter of light on dark whose bounding box is in the middle of the image."""
    left, top, right, bottom = font.getbbox(letter, anchor="ls")
    middle = SIDE_PX * SUPERSAMPLING / 2
    canvas = Image.new("L", (SIDE_PX * SUPERSAMPLING, SIDE_PX * SUPERSAMPLING))
    corner = (round(middle - (left + right) / 2), round(middle - (top + bottom) / 2))
    ImageDraw.Draw(canvas).text(corner, letter, 255, font=font, anchor="ls")
    return np.asarray(canvas.reduce(SUPERSAMPLING))


def _placed(image: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "places h w"]:
    """Returns an image moved to every place, y the fastest."""
    margin = max(PLACES_PX)
    padded = np.pad(image, margin)
    starts = [(margin - y, margin - x) for x in PLACES_PX for y in PLACES_PX]
    return np.stack([padded[top : top + SIDE_PX, left : left + SIDE_PX] for top, left in starts])
