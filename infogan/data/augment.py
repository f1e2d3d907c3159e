"""Small random changes of images, affine maps and contrast: what an image may suffer and still show the same thing.

Axes: n images, ch h w image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class AffineRange:
    """How far an image is altered: each quantity is uniform, up to this to either side.

    Attributes:
        rotate_degrees: of rotation about the image's centre.
        scale: relative change of size, of each axis by itself.
        shear: columns that a row is moved, for each row from the centre.
        shift: of each axis, as a share of the image's side.
    """

    rotate_degrees: float
    scale: float
    shear: float
    shift: float


@dataclass(frozen=True)
class Copies:
    """Altered copies of images.

    Attributes:
        images: the copies.
        affines: the maps from their pixels to those of the originals.
    """

    images: Float[Tensor, "n ch h w"]
    affines: Float[Tensor, "n 2 3"]


def random_affines(n: int, range_: AffineRange, generator: torch.Generator) -> Float[Tensor, "n 2 3"]:
    """Returns n maps from the pixels of an altered image to those of the original, as `warp` takes them.

    Args:
        n: how many.
        range_: how far they go.
        generator: drawn from, and advanced; the maps are made on its device.
    """
    u = torch.rand((6, n), generator=generator, device=generator.device) * 2 - 1
    angle, scale_x, scale_y, shear, shift_x, shift_y = u
    angle = angle * math.radians(range_.rotate_degrees)
    cos, sin = angle.cos(), angle.sin()
    scale_x, scale_y, shear = 1 + range_.scale * scale_x, 1 + range_.scale * scale_y, range_.shear * shear
    # Rotation after shear after scale; coordinates run from -1 to 1, so that a side is 2 long.
    row_x = torch.stack([cos * scale_x, (cos * shear - sin) * scale_y, 2 * range_.shift * shift_x], dim=1)
    row_y = torch.stack([sin * scale_x, (sin * shear + cos) * scale_y, 2 * range_.shift * shift_y], dim=1)
    return torch.stack([row_x, row_y], dim=1)


def lean_and_widening(affines: Float[Tensor, "n 2 3"]) -> Float[Tensor, "n 2"]:
    """Returns how far altered images lean to the right, and by how much they are wider, as against the originals.

    The first is the angle in radians of what was an upright line, the second the natural logarithm of a ratio: that of
    a level chord of the altered image to the chord of the original that it shows.

    Args:
        affines: the maps, from the pixels of an altered image to those of the original.
    """
    lean = torch.atan2(affines[:, 0, 1], affines[:, 0, 0])
    widening = -torch.hypot(affines[:, 0, 0], affines[:, 1, 0]).log()
    return torch.stack([lean, widening], dim=1)


def warp(images: Float[Tensor, "n ch h w"], affines: Float[Tensor, "n 2 3"]) -> Float[Tensor, "n ch h w"]:
    """Returns images altered by affine maps, bilinear; what comes from outside an image is its nearest border pixel."""
    grid = F.affine_grid(affines, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def random_contrasts(n: int, strength: float, generator: torch.Generator) -> Float[Tensor, "n 2"]:
    """Returns an exponent and a factor for each of n images, as `change_contrast` takes them.

    Args:
        n: how many.
        strength: their logarithms are uniform, up to this to either side.
        generator: drawn from, and advanced; the result is made on its device.
    """
    u = torch.rand((n, 2), generator=generator, device=generator.device) * 2 - 1
    return (strength * u).exp()


def change_contrast(images: Float[Tensor, "n ch h w"], contrasts: Float[Tensor, "n 2"]) -> Float[Tensor, "n ch h w"]:
    """Returns images in [-1, 1] whose intensities u in [0, 1] became factor · u^exponent, at most 1; black stays black.

    Args:
        images: in [-1, 1].
        contrasts: the exponent and the factor of each image.
    """
    exponent, factor = contrasts[:, :, None, None, None].unbind(1)
    intensities = ((images + 1) / 2).clamp(0, 1)
    return (factor * intensities**exponent).clamp_max(1) * 2 - 1
