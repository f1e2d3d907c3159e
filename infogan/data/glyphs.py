"""Letters of a variable font: every combination of letter, weight, width, slant, size and, of the glyphs, place.

The axes of the font make the first factors, so that they are what a type designer means by them. Roboto Flex is taken
from the package `fontpkg-roboto-flex` (OFL-1.1), or a font of one's own from the data folder.
"""

from __future__ import annotations

import importlib
import itertools
import math
import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from infogan.data.datasets import ImageDataset
from infogan.data.factors import Blocks, drawn_once, sample_of_combinations
from infogan.system.errors import UserError, one_line

AXES = ("Weight", "Width", "Slant")  # of the font
SIDE_PX = 32
SUPERSAMPLING = 4  # a letter is drawn this much larger, so that its edges are grey and its centre is exact
OWN_FONT = "glyphs.ttf"


@dataclass(frozen=True)
class LetterSet:
    """A data set of letters: every combination of these.

    Attributes:
        name: Of the data set.
        letters: Its classes.
        n_steps: Along each axis of the font.
        sizes_px: Of an em.
        places_px: Of the letter's centre, from the image's, in x and in y.
    """

    name: str
    letters: str
    n_steps: int
    sizes_px: tuple[int, ...]
    places_px: tuple[int, ...] = (0,)

    @property
    def factor_sizes(self) -> dict[str, int]:
        """How many values each factor has, the fastest last."""
        axes = {axis.lower(): self.n_steps for axis in AXES}
        places = dict.fromkeys(("x", "y"), len(self.places_px)) if len(self.places_px) > 1 else {}
        return {"letter": len(self.letters), **axes, "size": len(self.sizes_px), **places}


# In both the boldest, widest and largest letter still fits at every place. I among the glyphs would show no width.
GLYPHS = LetterSet("glyphs", "ABCDEFGHJK", 5, sizes_px=(16, 19, 22, 25, 28), places_px=(-4, -2, 0, 2, 4))
CAPITALS = LetterSet("capitals", string.ascii_uppercase, 7, sizes_px=(15, 17, 19, 21, 23, 25, 27))


def load_glyphs(data_dir: Path) -> ImageDataset:
    """Returns glyphs: 156,250 grey images of 32 × 32, light on dark, and their factors; classes are letters.

    The first call draws the images into a .npy file of 160 MB in the data folder.

    Args:
        data_dir: The folder of the .npy file, and of `glyphs.ttf` if a font of one's own is to be used.

    Raises:
        UserError: There is no font, or it lacks an axis; a file cannot be read or written.
    """
    return _load(GLYPHS, data_dir)


def load_capitals(data_dir: Path) -> ImageDataset:
    """Returns capitals: 62,426 grey images of 32 × 32, light on dark, in the middle; classes are the 26 letters.

    The first call draws the images into a .npy file of 64 MB in the data folder.

    Args:
        data_dir: See `load_glyphs`.

    Raises:
        UserError: See `load_glyphs`.
    """
    return _load(CAPITALS, data_dir)


def _load(letter_set: LetterSet, data_dir: Path) -> ImageDataset:
    name, letters, sizes = letter_set.name, letter_set.letters, letter_set.factor_sizes
    font = find_font(letter_set, data_dir)
    n_images = math.prod(sizes.values())
    images = drawn_once(data_dir / f"{name}.npy", n_images, lambda: draw_all(letter_set, font))
    labels = torch.arange(len(letters)).repeat_interleave(n_images // len(letters))
    test, factors = sample_of_combinations(sizes, frozenset({"letter"}))
    return ImageDataset(name, images, labels, images[test], labels[test], tuple(letters), factors=factors)


def find_font(letter_set: LetterSet, data_dir: Path) -> Path:
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
            f"--dataset {letter_set.name}: expected a variable font at {own}, or the package fontpkg-roboto-flex "
            '(pip install -e ".[glyphs]"), got neither'
        ) from None
    return next((package.ROOT / "files").glob("*.ttf"))


def draw_all(letter_set: LetterSet, font: Path) -> Blocks:
    """Returns all images in blocks of one letter and weight, the last factor the fastest.

    Raises:
        UserError: The font cannot be read, or lacks an axis.
    """
    set_axes = _open_font(letter_set, font)
    steps = range(letter_set.n_steps)
    for letter, weight in itertools.product(letter_set.letters, steps):
        block = [
            _placed(_draw_letter(set_axes(size, (weight, width, slant)), letter), letter_set.places_px)
            for width, slant, size in itertools.product(steps, steps, letter_set.sizes_px)
        ]
        yield np.concatenate(block)


def _open_font(letter_set: LetterSet, path: Path) -> Callable[[int, tuple[int, int, int]], ImageFont.FreeTypeFont]:
    """Returns a function of a size in pixels and a value for each of `AXES` that returns the font set to them."""
    try:
        fonts = {size: ImageFont.truetype(str(path), size * SUPERSAMPLING) for size in letter_set.sizes_px}
        axes: list[dict[str, Any]] = [dict(axis) for axis in fonts[letter_set.sizes_px[0]].get_variation_axes()]
    except (OSError, NotImplementedError) as error:
        raise UserError(
            f"--dataset {letter_set.name}: cannot read a variable font from {path}: {one_line(error)}"
        ) from error
    names = [axis["name"].decode() for axis in axes]
    if missing := set(AXES) - set(names):
        raise UserError(
            f"--dataset {letter_set.name}: expected a font with the axes {', '.join(AXES)}, got {path} without "
            f"{', '.join(sorted(missing))}"
        )

    def set_axes(size: int, values: tuple[int, int, int]) -> ImageFont.FreeTypeFont:
        setting = [axis["default"] for axis in axes]
        for name, value in zip(AXES, values, strict=True):
            axis = axes[names.index(name)]
            # From upright to slanted: the axis counts degrees to the left.
            low, high = (axis["maximum"], axis["minimum"]) if name == "Slant" else (axis["minimum"], axis["maximum"])
            setting[names.index(name)] = low + (high - low) * value / (letter_set.n_steps - 1)
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


def _placed(image: UInt8[np.ndarray, "h w"], places_px: tuple[int, ...]) -> UInt8[np.ndarray, "places h w"]:
    """Returns an image moved to every place, y the fastest."""
    margin = max(places_px)
    padded = np.pad(image, margin)
    starts = [(margin - y, margin - x) for x in places_px for y in places_px]
    return np.stack([padded[top : top + SIDE_PX, left : left + SIDE_PX] for top, left in starts])
