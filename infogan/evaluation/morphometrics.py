"""Factors of a grey digit image: measure them as Morpho-MNIST does.

The definitions are those of Castro et al. 2019, "Morpho-MNIST: Quantitative Assessment and Diagnostics for
Representation Learning" (JMLR 20), and reproduce the attributes released with it. They hold for white ink on
black; nothing here knows which digit it sees.

Shapes: `n` images, `h w` their pixels, `H W` = 4h 4w the pixels of the enlarged image.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import scipy  # its parts load when they are used: that takes a second
from jaxtyping import Bool, Float, Int, Num, Shaped, UInt8

ATTRIBUTES = ("area", "length", "thickness", "slant", "width", "height")
ATTRIBUTE_UNITS = ("px²", "px", "px", "rad", "px", "px")

_SCALE = 4  # enlargement before the outline is drawn
_TAIL = 0.01  # share of the ink left outside on each side of the bounding parallelogram
_CENTRE = 4  # its bit in a 3x3 pattern: bit 3 r + c is the pixel in row r and column c
_CHUNK = 50  # images at a time, about 20 MiB of work space at 28x28: more leave the processor's cache


def measure_digits(images: Num[np.ndarray, "n h w"]) -> Float[np.ndarray, "n 6"]:
    """Returns area, length, thickness, slant, width and height of each image, in the order of `ATTRIBUTES`.

    Each image is enlarged by 4 (cubic, smoothed), and its outline drawn halfway between its darkest and its
    brightest pixel. Then, in pixels of the original image:

    - area (px²): pixels inside the outline.
    - length (px): length of the skeleton (medial axis), 1 per step along an axis and √2 per diagonal.
    - thickness (px): twice the mean distance from the skeleton to the outline.
    - slant (radians, in (-π/2, π/2)): arctan(-u11/u02) of the grey image's central moments; positive leans to
      the right, as italics do.
    - width (px): between the 1% and 99% quantiles of the ink along a row, after undoing the slant.
    - height (px): between the 1% and 99% quantiles of the ink along a column.

    An image's row depends on that image alone, not on its batch, and is the same on every run. 10,000 images
    of 28x28 take about 10 seconds on one core.

    Args:
        images: uint8 grey levels 0..255, ink bright; not changed. A side must be 2 pixels or more.

    Returns:
        float64; a row of NaN for an image that is of a single grey level once enlarged (blank, or with a
        difference too faint to survive the smoothing), and so has no outline.

    Source: Castro et al. 2019 and its released measurements. What reproduces those measurements is the
        Catmull-Rom kernel (the spline of today's scikit-image gives the first digit 0.1% less area and 4%
        less length), and ties between skeleton pixels broken by NumPy's legacy generator, seeded with 0 for
        every image. Deviation: NaN for a blank image, where theirs divides by zero.
    """
    n, h, w = images.shape
    assert images.dtype == np.uint8, f"images must be uint8, got {images.dtype}"
    assert min(h, w) > 1, f"images must have sides of 2 pixels or more, got {h}x{w}"
    attributes = np.full((n, len(ATTRIBUTES)), np.nan)
    for start in range(0, n, _CHUNK):
        grey = _enlarge(images[start : start + _CHUNK])
        drawn = np.flatnonzero(grey.max((1, 2)) > grey.min((1, 2)))
        attributes[start + drawn] = _measure_drawn(grey[drawn])
    return attributes


def _measure_drawn(grey: UInt8[np.ndarray, "n H W"]) -> Float[np.ndarray, "n 6"]:
    """Returns the attributes of enlarged images, each of which has at least two grey levels."""
    if len(grey) == 0:
        return np.empty((0, len(ATTRIBUTES)))
    low, high = grey.min((1, 2), keepdims=True), grey.max((1, 2), keepdims=True)
    inside = grey >= low + 0.5 * (high - low)
    squared = _squared_distance(inside)
    skeleton = _medial_axis(inside, squared)

    area = inside.sum((1, 2)) / _SCALE**2
    straight = _pairs(skeleton, 0, 1) + _pairs(skeleton, 1, 0)
    diagonal = _pairs(skeleton, 1, 1) + _pairs(skeleton[:, :, ::-1], 1, 1)
    length = (straight + np.sqrt(2) * diagonal) / _SCALE
    thickness = 2 * (np.sqrt(squared, dtype=float) * skeleton).sum((1, 2)) / skeleton.sum((1, 2)) / _SCALE
    slant, width, height = _slant_and_extent(grey)
    return np.stack([area, length, thickness, slant, width, height], axis=1)


def _pairs(mask: Bool[np.ndarray, "n H W"], down: int, right: int) -> Float[np.ndarray, " n"]:
    """Returns how many pixels of each mask have a neighbour `down` below and `right` of them."""
    height, width = mask.shape[1:]
    return (mask[:, down:, right:] & mask[:, : height - down, : width - right]).sum((1, 2)).astype(float)


@cache
def _cubic_matrix(size: int) -> Float[np.ndarray, "H h"]:
    """Returns the matrix that enlarges a line of `size` pixels by 4 with the Catmull-Rom cubic.

    Pixel centres are aligned, and the line is mirrored at its end pixels.
    """
    position = (np.arange(_SCALE * size) + 0.5) / _SCALE - 0.5
    first = np.floor(position).astype(int)
    t = position - first
    weights = 0.5 * np.stack(
        [
            -t + 2 * t**2 - t**3,
            2 - 5 * t**2 + 3 * t**3,
            t + 4 * t**2 - 3 * t**3,
            -(t**2) + t**3,
        ]
    )
    matrix = np.zeros((_SCALE * size, size))
    for tap in range(4):
        source = np.abs(first + tap - 1) % (2 * size - 2)
        source = np.minimum(source, 2 * size - 2 - source)
        np.add.at(matrix, (np.arange(_SCALE * size), source), weights[tap])
    return matrix


def _enlarge(images: UInt8[np.ndarray, "n h w"]) -> UInt8[np.ndarray, "n H W"]:
    """Returns the images enlarged by 4: cubic, cut to the image's own range, smoothed, whole grey levels."""
    rows, columns = _cubic_matrix(images.shape[1]), _cubic_matrix(images.shape[2])
    large = rows @ images.astype(float) @ columns.T
    low, high = images.min((1, 2), keepdims=True), images.max((1, 2), keepdims=True)
    np.clip(large, low, high, out=large)
    sigma = 2 * _SCALE / 6  # a Gaussian over the span of one original pixel
    return scipy.ndimage.gaussian_filter(large, (0, sigma, sigma), mode="reflect").astype(np.uint8)


@cache
def _keep_table() -> Bool[np.ndarray, " 512"]:
    """Returns, for each 3x3 pattern, whether the skeleton keeps its centre.

    It does where taking the centre away changes the number of 8-connected parts, or where there are fewer
    than three pixels.
    """
    eight_connected = np.ones((3, 3))
    keep = np.zeros(512, dtype=bool)
    for index in range(512):
        pattern = (index >> np.arange(9) & 1).astype(bool).reshape(3, 3)
        ring = pattern.copy()
        ring[1, 1] = False
        parts, parts_without = np.empty((2, 3, 3), dtype=np.int32)
        scipy.ndimage.label(pattern, eight_connected, output=parts)
        scipy.ndimage.label(ring, eight_connected, output=parts_without)
        keep[index] = pattern[1, 1] and (parts.max() != parts_without.max() or pattern.sum() < 3)
    return keep


def _squared_distance(inside: Bool[np.ndarray, "n H W"]) -> Shaped[np.ndarray, "n H W"]:
    """Returns the squared distance of each pixel to the nearest one outside, as whole numbers; 0 outside.

    The nearest pixel outside is in some row, k above or below, at the distance that it has within that row. All
    images at once take a fifth of the time of `scipy.ndimage.distance_transform_edt`, which gives the same.
    """
    height, width = inside.shape[1:]
    far = height + width  # within a row that is all inside: beyond any distance there is
    dtype = np.min_scalar_type(far**2 + height**2)
    in_row = np.ascontiguousarray(inside.transpose(2, 0, 1)) * dtype.type(far)
    for left, here in pairwise(in_row):
        np.minimum(here, left + dtype.type(1), out=here)
    for right, here in pairwise(in_row[::-1]):
        np.minimum(here, right + dtype.type(1), out=here)
    squared_in_row = np.ascontiguousarray(in_row.transpose(1, 2, 0)) ** 2
    squared = squared_in_row.copy()
    for k in range(1, height):
        if k**2 >= squared.max():
            break
        off_row = squared_in_row + dtype.type(k**2)
        np.minimum(squared[:, k:], off_row[:, :-k], out=squared[:, k:])
        np.minimum(squared[:, :-k], off_row[:, k:], out=squared[:, :-k])
    return squared


def _medial_axis(inside: Bool[np.ndarray, "n H W"], squared: Shaped[np.ndarray, "n H W"]) -> Bool[np.ndarray, "n H W"]:
    """Returns the skeleton of each shape: the ridge of its distance map, as connected as the shape.

    As if the pixels of a shape were visited once, from the outline inwards, those with the most neighbours first,
    and taken away unless `_keep_table` says no: what scikit-image's `medial_axis` does, one by one, in 20 ms an image.
    Here all pixels are decided at once, as if the neighbours visited before them were gone. Where one of these was
    kept, the pixel is decided again, until nothing changes, after a dozen rounds: a pixel depends on none after it.

    Args:
        inside: The shapes.
        squared: Their `_squared_distance`.
    """
    height, width = inside.shape[1:]
    # A frame of background, so that every pixel has eight neighbours.
    padded = np.pad(inside, ((0, 0), (1, 1), (1, 1)))
    # Foreground pixels of each 3x3 neighbourhood, 0..9.
    around = np.zeros(inside.shape, dtype=np.int8)
    for r in range(3):
        for c in range(3):
            around += padded[:, r : r + height, c : c + width].view(np.int8)

    pixels = np.flatnonzero(padded)  # indices into `padded`, image by image
    # When each pixel is visited: its rank in its image; background is before all.
    rank = np.zeros(padded.size, dtype=np.int64)
    rank[pixels] = (16 * squared[inside].astype(np.int64) - around[inside] << 32) + _ties(inside.sum((1, 2)))
    own_rank = rank[pixels]
    place = np.zeros(padded.size, dtype=np.int32)  # of each pixel among `pixels`
    place[pixels] = np.arange(len(pixels))
    # Of the other 3x3 pixels; a pixel has the opposite bit in the pattern of its neighbour.
    neighbours = {bit: (width + 2) * (bit // 3 - 1) + bit % 3 - 1 for bit in range(9) if bit != _CENTRE}

    pattern = np.full(len(pixels), 1 << _CENTRE, dtype=np.int16)
    for bit, offset in neighbours.items():
        pattern |= (rank[pixels + offset] > own_rank).astype(np.int16) << bit
    keep = _keep_table()
    kept = keep[pattern]
    changed = np.flatnonzero(kept)
    while len(changed):
        seen_by = []
        for bit, offset in neighbours.items():
            others = pixels[changed] + offset
            later = place[others[rank[others] > own_rank[changed]]]
            pattern[later] ^= 1 << (8 - bit)
            seen_by.append(later)
        again = np.concatenate(seen_by)
        changed = np.unique(again[keep[pattern[again]] != kept[again]])
        kept[changed] ^= True
    padded.reshape(-1)[pixels] = kept
    return padded[:, 1:-1, 1:-1]


def _ties(counts: Int[np.ndarray, " n"]) -> Int[np.ndarray, " pixels"]:
    """Returns for each image a permutation of as many numbers as it has pixels, by a generator seeded with 0."""
    generator = np.random.RandomState()
    ties = []
    for count in counts:
        generator.seed(0)
        ties.append(generator.permutation(count))
    return np.concatenate(ties)


def _slant_and_extent(
    grey: UInt8[np.ndarray, "n H W"],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Returns slant (radians), width and height (original pixels), from moments and quantiles of the ink."""
    n, height, width = grey.shape
    ink = grey.astype(float)
    by_row, by_column = ink.sum(2), ink.sum(1)
    total = by_row.sum(1)
    y, x = np.arange(height), np.arange(width)
    mean_y, mean_x = by_row @ y / total, by_column @ x / total
    u02 = by_row @ y**2 / total - mean_y**2
    u11 = (ink @ x * y).sum(1) / total - mean_x * mean_y
    # Ink within one row of pixels leans nowhere; two rows have a variance far above this bound.
    shear = np.divide(u11, u02, out=np.zeros(n), where=u02 > 1e-6)

    # Each row slid back by the shear. A pixel is left of the bound at t if its centre is smaller than t: the first
    # such bound is as far beyond its column all along a row.
    first = np.floor(0.5 - shear[:, None] * (y - mean_y[:, None])).astype(int) + 1
    bound = np.clip(x + first[:, :, None], 0, width)
    cell = bound + (width + 1) * np.arange(n)[:, None, None]
    cells = np.bincount(cell.reshape(-1), weights=ink.reshape(-1), minlength=n * (width + 1))
    upright_cdf = np.cumsum(cells.reshape(n, width + 1)[:, :width], axis=1) / total[:, None]
    above = np.concatenate([np.zeros((n, 1)), by_row[:, :-1]], axis=1)
    height_cdf = np.cumsum(above, axis=1) / total[:, None]
    return -np.arctan(shear), _ink_span(upright_cdf) / _SCALE, _ink_span(height_cdf) / _SCALE


def _ink_span(cdf: Float[np.ndarray, "n bounds"]) -> Float[np.ndarray, " n"]:
    """Returns the distance between the tail quantiles of each row, whose bounds are 0, 1, 2 and so on."""
    bounds = np.arange(cdf.shape[1])
    quantiles = [np.interp([_TAIL, 1 - _TAIL], row, bounds) for row in cdf]
    return np.diff(quantiles, axis=1)[:, 0]
