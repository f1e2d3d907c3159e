"""Augmented views of images: small random transformations, which leave what is shown the same.

Axes: n images, ch h w image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from infogan.data.transformations import LINEAR, SHIFTS, TABLE, content_centres, parameter_of_map, with_thickness


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
        parameters: How far each was transformed, in the order of `Augmentation.parameters`.
    """

    images: Float[Tensor, "n ch h w"]
    parameters: Float[Tensor, "n p"]


@dataclass(frozen=True)
class Augmentation:
    """How views differ from their images: an affine map, contrast, strokes, and what codes are named for.

    Attributes:
        affine: How far the maps go.
        contrast: How far contrasts go; 0 for none.
        named: The transformations that codes are named for, by their names.
        background: The grey level of the images' background.
        by_any_angle: Of the named ones, those that go all the way round.
        thicknesses: From what to what the strokes of views are thick, for their size, whatever those of their images;
            None: as these.
    """

    affine: AffineRange
    contrast: float
    named: tuple[str, ...] = ()
    background: float = -1.0
    by_any_angle: frozenset[str] = frozenset()
    thicknesses: tuple[float, float] | None = None

    def reaching(self) -> Augmentation:
        """Returns the augmentation with maps that go at least as far as the named transformations need."""
        affine = self.affine
        for name in self.named:
            least = TABLE[name].reach_by_any_angle if name in self.by_any_angle else TABLE[name].reach
            affine = replace(affine, **{key: max(value, getattr(affine, key)) for key, value in least.items()})
        return replace(self, affine=affine)

    @property
    def applied(self) -> tuple[str, ...]:
        """The named transformations that are no affine maps: each has a parameter of its own."""
        return tuple(name for name in self.named if TABLE[name].apply is not None)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The transformations whose parameters tell all that a named code may be told of a view."""
        if not self.named:
            return ()
        # Turned by any angle, a view leans in no one way.
        linear = tuple(name for name in LINEAR if name != "slant" or "rotation" not in self.by_any_angle)
        return linear + (SHIFTS if self._moves_content else ()) + self.applied

    @property
    def _moves_content(self) -> bool:
        """Whether a code is told where the content goes: then nothing but the shift may move it."""
        return not {*SHIFTS}.isdisjoint(self.named)

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns what happens to n images, as `views` takes it.

        That is affine maps, contrasts, parameters of `applied`, and thicknesses.

        Args:
            n: How many.
            generator: Drawn from, and advanced; the result is made on its device.
        """
        affines, device = random_affines(n, self.affine, generator), generator.device
        # What is not asked for draws nothing, so that it leaves all later random numbers as they are.
        contrasts = torch.ones((n, 2), device=device)
        if self.contrast > 0:
            contrasts = random_contrasts(n, self.contrast, generator)
        applied = thicknesses = torch.empty((n, 0), device=device)
        if self.applied:
            u = torch.rand((n, len(self.applied)), generator=generator, device=device) * 2 - 1
            limits = [math.pi if name in self.by_any_angle else TABLE[name].limit for name in self.applied]
            applied = torch.stack([limit * of_name for limit, of_name in zip(limits, u.unbind(1), strict=True)], dim=1)
        if self.thicknesses is not None:
            thicknesses = random_thicknesses(n, self.thicknesses, generator)
        return affines, contrasts, applied, thicknesses

    def views(
        self,
        images: Float[Tensor, "n ch h w"],
        affines: Float[Tensor, "n 2 3"],
        contrasts: Float[Tensor, "n 2"],
        applied: Float[Tensor, "n applied"],
        thicknesses: Float[Tensor, "n ..."],
    ) -> Views:
        """Returns views of images in [-1, 1], from what `draw` returned."""
        views = warp(images, about_content(affines, images, self.background) if self._moves_content else affines)
        if self.contrast > 0:
            views = change_contrast(views, contrasts)
        parameters = dict(zip(self.applied, applied.unbind(dim=1), strict=True))
        dilations = 0.0
        if self.thicknesses is not None:
            views, dilations = with_thickness(views, thicknesses, self.background)
        for name in self.named:
            if (apply := TABLE[name].apply) is not None:
                views = apply(views, parameters[name], self.background)
        if "thickness" in parameters:
            parameters["thickness"] = parameters["thickness"] + dilations
        columns = [
            parameters[name] if name in parameters else parameter_of_map(name, affines) for name in self.parameters
        ]
        return Views(views, torch.stack(columns, dim=1) if columns else images.new_empty((len(images), 0)))


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


def about_content(
    affines: Float[Tensor, "n 2 3"], images: Float[Tensor, "n ch h w"], background: float
) -> Float[Tensor, "n 2 3"]:
    """Returns maps that turn and scale each image about the centre of its content, and shift it as before.

    Args:
        affines: About the image's centre.
        images: In [-1, 1].
        background: Their grey level where there is no content.
    """
    centres = 2 * content_centres(images, background) - 1
    moved = centres - torch.einsum("nij,nj->ni", affines[:, :, :2], centres)
    return torch.cat([affines[:, :, :2], affines[:, :, 2:] + moved[:, :, None]], dim=2)


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


def random_thicknesses(n: int, range_: tuple[float, float], generator: torch.Generator) -> Float[Tensor, " n"]:
    """Returns n thicknesses of strokes, whose logarithms are uniform.

    Args:
        n: How many.
        range_: The least and the largest.
        generator: Drawn from, and advanced; the result is made on its device.
    """
    least, most = map(math.log, range_)
    return (least + (most - least) * torch.rand(n, generator=generator, device=generator.device)).exp()


def change_contrast(images: Float[Tensor, "n ch h w"], contrasts: Float[Tensor, "n 2"]) -> Float[Tensor, "n ch h w"]:
    """Returns images in [-1, 1] whose intensities u in [0, 1] became factor · u^exponent, at most 1; black stays black.

    Args:
        images: In [-1, 1].
        contrasts: The exponent and the factor of each image.
    """
    exponent, factor = contrasts[:, :, None, None, None].unbind(1)
    intensities = ((images + 1) / 2).clamp(0, 1)
    return (factor * intensities**exponent).clamp_max(1) * 2 - 1
