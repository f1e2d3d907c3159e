"""Augmented views of images: small random affine transformations and contrasts, which leave what is shown the same.

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
    """How far images are transformed: each quantity is uniform, up to this to either side.

    Attributes:
        rotation_degrees: Rotation about the image's centre.
        scale: Relative change of size, of each axis by itself.
        shear: Columns that a row is moved, for each row from the centre.
        translation: Of each axis, as a share of the image's side.
    """

    rotation_degrees: float
    scale: float
    shear: float
    translation: float


@dataclass(frozen=True)
class Views:
    """Augmented views of images.

    Attributes:
        images: The views.
        affines: The maps from their pixels to those of the originals.
    """

    images: Float[Tensor, "n ch h w"]
    affines: Float[Tensor, "n 2 3"]


@dataclass(frozen=True)
class Augmentation:
    """How views differ from their images: an affine transformation, and by `contrast` in contrast, if it is not 0."""

    affine: AffineRange
    contrast: float

    def draw(self, n: int, generator: torch.Generator) -> tuple[Float[Tensor, "n 2 3"], Float[Tensor, "n 2"] | None]:
        """Returns what happens to n images, as `make_views` takes it: the affine maps, and contrasts or None."""
        affines = random_affines(n, self.affine, generator)
        return affines, random_contrasts(n, self.contrast, generator) if self.contrast > 0 else None


def make_views(
    images: Float[Tensor, "n ch h w"], affines: Float[Tensor, "n 2 3"], contrasts: Float[Tensor, "n 2"] | None = None
) -> Views:
    """Returns views of images in [-1, 1], transformed by affine maps and, if given, changed in contrast."""
    transformed = warp(images, affines)
    return Views(transformed if contrasts is None else change_contrast(transformed, contrasts), affines)


def random_affines(n: int, range_: AffineRange, generator: torch.Generator) -> Float[Tensor, "n 2 3"]:
    """Returns n maps from the pixels of a view to those of the original, as `warp` takes them.

    Args:
        n: How many.
        range_: How far they go.
        generator: Drawn from, and advanced; the maps are made on its device.
    """
    u = torch.rand((6, n), generator=generator, device=generator.device) * 2 - 1
    angle, scale_x, scale_y, shear, shift_x, shift_y = u
    angle = angle * math.radians(range_.rotation_degrees)
    cos, sin = angle.cos(), angle.sin()
    scale_x, scale_y, shear = 1 + range_.scale * scale_x, 1 + range_.scale * scale_y, range_.shear * shear
    # Rotation after shear after scale; coordinates run from -1 to 1, so that a side is 2 long.
    row_x = torch.stack([cos * scale_x, (cos * shear - sin) * scale_y, 2 * range_.translation * shift_x], dim=1)
    row_y = torch.stack([sin * scale_x, (sin * shear + cos) * scale_y, 2 * range_.translation * shift_y], dim=1)
    return torch.stack([row_x, row_y], dim=1)


def slant_and_widening(affines: Float[Tensor, "n 2 3"]) -> Float[Tensor, "n 2"]:
    """Returns the slant that views add, positive to the right, and the logarithm of how much wider they are.

    The first is the angle in radians of what was an upright line, the second the natural logarithm of a ratio: that of
    a level chord of the view to the chord of the original that it shows.

    Args:
        affines: The maps, from the pixels of a view to those of the original.
    """
    slant = torch.atan2(affines[:, 0, 1], affines[:, 0, 0])
    widening = -torch.hypot(affines[:, 0, 0], affines[:, 1, 0]).log()
    return torch.stack([slant, widening], dim=1)


def warp(images: Float[Tensor, "n ch h w"], affines: Float[Tensor, "n 2 3"]) -> Float[Tensor, "n ch h w"]:
    """Returns images transformed by affine maps, bilinear; beyond an image, its nearest border pixel is repeated."""
    grid = F.affine_grid(affines, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def random_contrasts(n: int, strength: float, generator: torch.Generator) -> Float[Tensor, "n 2"]:
    """Returns an exponent and a factor for each of n images, as `change_contrast` takes them.

    Args:
        n: How many.
        strength: Their logarithms are uniform, up to this to either side.
        generator: Drawn from, and advanced; the result is made on its device.
    """
    u = torch.rand((n, 2), generator=generator, device=generator.device) * 2 - 1
    return (strength * u).exp()


def change_contrast(images: Float[Tensor, "n ch h w"], contrasts: Float[Tensor, "n 2"]) -> Float[Tensor, "n ch h w"]:
    """Returns images in [-1, 1] whose intensities u in [0, 1] became factor · u^exponent, at most 1; black stays black.

    Args:
        images: In [-1, 1].
        contrasts: The exponent and the factor of each image.
    """
    exponent, factor = contrasts[:, :, None, None, None].unbind(1)
    intensities = ((images + 1) / 2).clamp(0, 1)
    return (factor * intensities**exponent).clamp_max(1) * 2 - 1
