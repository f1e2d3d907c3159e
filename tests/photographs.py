"""Photographs of real digits, as one takes them of paper: large, off-centre, unevenly lit, noisy, JPEG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

ORIENTATION = 0x0112  # EXIF's tag
TURNED_RIGHT = 6  # "rotate by 90 degrees clockwise to see it upright"


def photograph(digit: np.ndarray, path: Path, seed: int = 0, chalk: bool = False, turned: bool = False) -> Path:
    """Writes a photograph of a digit, (28, 28) uint8 with light ink, and returns its path.

    Args:
        digit: A real one.
        path: Ends in .jpg.
        seed: Of place, light and noise.
        chalk: Light on a dark board, instead of dark on paper.
        turned: The file's rows run down the paper, and its EXIF data say so, as of a phone that was held upright.
    """
    rng = np.random.default_rng(seed)
    side = int(rng.integers(150, 330))
    large = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    height, width = 480, 640
    ink = np.zeros((height, width))
    top, left = int(rng.integers(10, height - side - 10)), int(rng.integers(10, width - side - 10))
    ink[top : top + side, left : left + side] = np.asarray(large, dtype=float) / 255
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    slope_x, slope_y = rng.uniform(-60, 60, 2)
    paper = (70 if chalk else 170) + slope_x * (x - 0.5) + slope_y * (y - 0.5)
    pen = (235 if chalk else 45) + rng.normal(0, 8)
    level = paper * (1 - ink) + pen * ink + rng.normal(0, 6, ink.shape)
    tint = np.array([1.0, 0.97, 0.9])  # lamplight
    image = Image.fromarray((level[..., None] * tint).clip(0, 255).astype(np.uint8))
    exif = Image.Exif()
    if turned:
        exif[ORIENTATION] = TURNED_RIGHT
        image = image.rotate(90, expand=True)
    image.save(path, quality=80, exif=exif)
    return path
