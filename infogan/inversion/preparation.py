"""Makes a picture of one's own into an image like those that a model was trained on.

What these are like is seen from what G draws, so that no training image is needed. If they show an object on a plain
background, as MNIST's do, the object is cut out of the picture, made light on dark or dark on light, and scaled and
centred as theirs are. Pictures for any other model are cropped to their centre and resized.

Axes: ch h w image; grey levels are in [0, 255].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy  # its parts load when they are used: that takes a second
import torch
from jaxtyping import Bool, Float, Num, UInt8
from PIL import Image
from torch import Tensor

from infogan.auxiliary import to_uint8
from infogan.data.pictures import read_picture
from infogan.latents import sample_prior
from infogan.system.errors import UserError
from infogan.system.runtime import evaluating
from infogan.training.checkpoint import TrainedNets

N_SAMPLES = 256  # of G, to see what its images are like
PLAIN_SHARE = 0.98  # of the border of images on a plain background
PLAIN_LEVELS = 24  # grey levels by which a plain background may vary
WORKING_SIDE_PX = 400  # a larger picture is reduced to this before the object is looked for
LEAST_CONTRAST = 20  # grey levels between object and background
INK = 0.4  # of the darkest ink: what is at least this dark is part of the object
FAINT_INK = 0.2  # and what is fainter than this, paper


@dataclass(frozen=True)
class Prepared:
    """A picture as the model takes it.

    Attributes:
        image: Of the shape that the model was trained on.
        what: Was done to it, in words.
    """

    image: UInt8[Tensor, "ch h w"]
    what: str


@dataclass(frozen=True)
class Layout:
    """How images show an object on a plain background.

    Attributes:
        is_light: Whether the background is light.
        object_px: The longer side of the object's bounding box, the median of all images.
        by_mass: Whether an object is centred by its centre of mass, or else by its bounding box.
    """

    is_light: bool
    object_px: float
    by_mass: bool


@dataclass(frozen=True)
class _Object:
    """What was found in a picture: `ink` in [0, 1] of its bounding box, and where that is, in pixels of the picture."""

    ink: Float[np.ndarray, "h w"]
    is_dark: bool
    left: int
    top: int
    width: int
    height: int


def prepare_pictures(nets: TrainedNets, files: Sequence[str | Path], argument: str = "--image") -> list[Prepared]:
    """Returns pictures of any size, colour and orientation as images like those that the model was trained on.

    Args:
        nets: The model.
        files: PNG, JPEG, WebP, BMP, GIF or TIFF.
        argument: Named by the error.

    Raises:
        UserError: A file is no such picture, or shows nothing but its background.
    """
    layout = find_layout(nets)
    return [_prepare(Path(file), nets.image_shape, layout, argument) for file in files]


def find_layout(nets: TrainedNets) -> Layout | None:
    """Returns how a model's images show their object; None if they are in colour, or their background is not plain."""
    if nets.image_shape[0] != 1:
        return None
    rng = torch.Generator(next(nets.generator.parameters()).device).manual_seed(0)
    with evaluating(nets.generator):
        x = to_uint8(nets.generator(*sample_prior(nets.spec, N_SAMPLES, rng)).cpu())[:, 0]
    borders = _border(x)
    level = np.median(borders)
    if (np.abs(borders - level) <= PLAIN_LEVELS).mean() < PLAIN_SHARE:
        return None
    ink = np.abs(x - level)
    found = [(image, _box(image > 64)) for image in ink if (image > 64).any()]
    if not found:
        return None
    middle = (np.array(x.shape[1:]) - 1) / 2
    boxes = np.array([[(top + bottom) / 2, (left + right) / 2] for _, (top, bottom, left, right) in found])
    masses = np.array([scipy.ndimage.center_of_mass(image) for image, _ in found])
    return Layout(
        is_light=bool(level > 127),
        object_px=float(np.median([max(bottom - top, right - left) + 1 for _, (top, bottom, left, right) in found])),
        by_mass=bool(np.square(masses - middle).mean() < np.square(boxes - middle).mean()),
    )


def _prepare(file: Path, shape: tuple[int, int, int], layout: Layout | None, argument: str) -> Prepared:
    channels, *size = shape
    if layout is None:
        height, width = read_picture(file, channels, argument=argument).shape[1:]
        image = read_picture(file, channels, (size[0], size[1]), argument=argument)
        done = [] if [height, width] == size else [f"its centre, resized from {width} x {height}"]
        return Prepared(torch.from_numpy(image), ", ".join(done) or "as it is")
    picture = read_picture(file, 1, argument=argument)[0]
    if [*picture.shape] == size and _is_plain(picture):
        return _with_polarity(picture, layout)
    # White ink on a transparent background shows on black alone.
    found = _find_object(picture) or _find_object(read_picture(file, 1, background="black", argument=argument)[0])
    if found is None:
        raise UserError(f"{argument}: expected something on a plain background, got {file}, all background")
    ink = _centred(_scaled(found.ink, layout.object_px, size), size, layout.by_mass)
    level = 255 * (1 - ink if layout.is_light else ink)
    done = [f"cropped to {found.width} x {found.height} at ({found.left}, {found.top})", "centred"]
    if found.is_dark != layout.is_light:
        done.insert(0, _inverted(found.is_dark))
    return Prepared(torch.from_numpy(level.round().astype(np.uint8)[None]), ", ".join(done))


def _inverted(is_dark: bool) -> str:
    return f"inverted: {'dark on light' if is_dark else 'light on dark'}"


def _border(images: Num[np.ndarray, "*n h w"]) -> Float[np.ndarray, " pixels"]:
    """Returns the values of the outermost pixels."""
    edges = (images[..., 0, :], images[..., -1, :], images[..., :, 0], images[..., :, -1])
    return np.concatenate([edge.ravel() for edge in edges]).astype(float)


def _is_plain(picture: UInt8[np.ndarray, "h w"]) -> bool:
    border = _border(picture)
    return bool((np.abs(border - np.median(border)) <= PLAIN_LEVELS).mean() >= PLAIN_SHARE)


def _with_polarity(picture: UInt8[np.ndarray, "h w"], layout: Layout) -> Prepared:
    """Returns a picture of the right size, inverted if its background is the other one."""
    is_light = bool(np.median(_border(picture)) > 127)
    if is_light == layout.is_light:
        return Prepared(torch.from_numpy(picture[None].copy()), "as it is")
    return Prepared(torch.from_numpy(255 - picture[None]), _inverted(is_light))


def _find_object(picture: UInt8[np.ndarray, "h w"]) -> _Object | None:
    """Returns what stands out from the background of a picture, or None if nothing does."""
    reduction = max(1.0, max(picture.shape) / WORKING_SIDE_PX)
    small = Image.fromarray(picture)
    if reduction > 1:
        height, width = (max(1, round(side / reduction)) for side in picture.shape)
        small = small.resize((width, height), Image.Resampling.BOX)
    levels = np.asarray(small, dtype=float)
    levels = scipy.ndimage.gaussian_filter(levels, max(levels.shape) / 300)
    height_above, noise = _above_background(levels)
    is_dark = bool(np.sum(height_above**3) < 0)  # the object is what lies far off, on whichever side
    ink = np.maximum(-height_above if is_dark else height_above, 0)
    darkest = float(np.quantile(ink, 0.995))
    if darkest < max(LEAST_CONTRAST, 6 * noise):
        return None
    mask = _connected(ink > max(INK * darkest, 4 * noise))
    ink = ((ink / darkest - FAINT_INK) / (1 - 2 * FAINT_INK)).clip(0, 1)
    ink = np.where(scipy.ndimage.binary_dilation(mask, iterations=2), ink, 0)  # a stroke fades out at its edge
    top, bottom, left, right = _box(ink > 0)
    x, y, width, height = (round(side * reduction) for side in (left, top, right + 1 - left, bottom + 1 - top))
    return _Object(ink[top : bottom + 1, left : right + 1], is_dark, x, y, width, height)


def _above_background(levels: Float[np.ndarray, "h w"]) -> tuple[Float[np.ndarray, "h w"], float]:
    """Returns by how many grey levels each pixel lies above the background, and the background's noise.

    The background is a quadratic surface, as uneven light makes it, fitted to the pixels that are near it.
    """
    y, x = (np.linspace(-1, 1, side) for side in levels.shape)
    x, y = np.meshgrid(x, y)
    terms = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=-1)
    above, noise = levels - np.median(levels), 0.0
    for _ in range(8):
        deviation = np.median(np.abs(above - np.median(above)))
        noise = max(1.4826 * float(deviation), 1.0)
        near = np.abs(above) <= 2.5 * noise
        surface, *_ = np.linalg.lstsq(terms[near], levels[near], rcond=None)
        above = levels - terms @ surface
    return above, noise


def _connected(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Returns the largest connected part of a mask and those a tenth as large; an edge of the paper is no part."""
    parts = np.zeros(mask.shape, dtype=np.int32)
    n_parts = int(np.asarray(scipy.ndimage.label(mask, np.ones((3, 3)), output=parts)))
    if n_parts == 0:
        return mask
    areas = np.bincount(parts.ravel())[1:]
    at_border = np.isin(np.arange(1, n_parts + 1), _border(parts))
    if areas[~at_border].max(initial=0) >= 0.1 * areas.max():
        areas = np.where(at_border, 0, areas)
    return np.isin(parts, 1 + np.flatnonzero(areas >= 0.1 * areas.max()))


def _box(mask: Bool[np.ndarray, "h w"]) -> tuple[int, int, int, int]:
    """Returns the first and last row, and the first and last column, of what is in a mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def _scaled(ink: Float[np.ndarray, "h w"], longer_side_px: float, size: list[int]) -> Float[np.ndarray, "h2 w2"]:
    """Returns an object with a longer side of so many pixels, its darkest ink at 1."""
    factor = min(longer_side_px / max(ink.shape), size[0] / ink.shape[0], size[1] / ink.shape[1])
    height, width = (max(1, round(side * factor)) for side in ink.shape)
    image = Image.fromarray(ink.astype(np.float32)).resize((width, height), Image.Resampling.LANCZOS)
    scaled = np.asarray(image, dtype=float).clip(0, 1)
    return scaled / max(float(np.quantile(scaled, 0.98)), 0.1) if scaled.max() > 0 else scaled


def _centred(ink: Float[np.ndarray, "h w"], size: list[int], by_mass: bool) -> Float[np.ndarray, "h2 w2"]:
    """Returns an object in the middle of an empty image, as far as it fits."""
    canvas = np.zeros(size)
    middle = scipy.ndimage.center_of_mass(ink) if by_mass else [(side - 1) / 2 for side in ink.shape]
    top, left = (
        int(np.clip(np.round((whole - 1) / 2 - centre), 0, whole - side))
        for whole, centre, side in zip(size, middle, ink.shape, strict=True)
    )
    canvas[top : top + ink.shape[0], left : left + ink.shape[1]] = ink.clip(0, 1)
    return canvas
