"""The transformations that a continuous code may be named for: one table of what each does to an image.

An affine one is read off the map by which a view was made, another one is applied with a parameter of its own. Each
has a statistic of an image that it changes: how far this varies among real images says how far the transformation
reaches there. The statistics are moments and means of pixels; none is one that a run is scored by.

Axes: n images, ch h w image. Images are in [-1, 1]; x grows to the right and y downwards, a side being 1 long.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Images = Float[Tensor, "n ch h w"]
PerImage = Float[Tensor, " n"]
AffineMaps = Float[Tensor, "n 2 3"]
SHIFTS = ("shift-x", "shift-y")
# Together they are an affine map, but for where it shifts: the scale follows from them.
LINEAR = ("slant", "rotation", "width", "height")
MOST_DILATIONS = 3  # of 3×3 pixels
LEAST_STROKE_PX = 0.5  # of images without any, too
_TINY = 1e-6  # below it there is nothing in an image that a statistic could be of


@dataclass(frozen=True)
class Transformation:
    """What a code can be named for. It is affine and has `of_map`, or changes pixels and has `apply`.

    Attributes:
        unit: Of its parameter, in words; the parameter is 0 for an image that stays as it is.
        statistic: What of images it changes, from images and the grey level of their background.
        of_map: Its parameter, from the affine maps from a view's pixels to the original's.
        reach: How far views go at least, by the field of `AffineRange`.
        reach_by_any_angle: The same for a code that wraps.
        apply: Images changed by a parameter each, from images, parameters and the grey level of the background.
        limit: The parameter that is drawn for `apply` is uniform, up to this to either side.
        period: Of the statistic, if it is an angle that wraps.
    """

    unit: str
    statistic: Callable[[Images, float], PerImage]
    of_map: Callable[[AffineMaps], PerImage] | None = None
    reach: Mapping[str, float] = field(default_factory=dict)
    reach_by_any_angle: Mapping[str, float] = field(default_factory=dict)
    apply: Callable[[Images, PerImage, float], Images] | None = None
    limit: float = 0.0
    period: float = math.inf


def background_of(images: Images) -> float:
    """Returns the grey level of the background of images: the median of their outermost pixels."""
    grey = images.mean(dim=1)
    border = torch.cat([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], dim=1)
    return border.median().item()


# Affine maps: of a view, A leads from its pixels to the original's. So what a view shows is changed by A's inverse.


def _slant_of_map(maps: AffineMaps) -> PerImage:
    """The angle of what was an upright line, positive to the right."""
    return torch.atan2(maps[:, 0, 1], maps[:, 0, 0])


def _rotation_of_map(maps: AffineMaps) -> PerImage:
    """The angle of the rotation that comes closest, positive counter-clockwise."""
    return torch.atan2(maps[:, 1, 0] - maps[:, 0, 1], maps[:, 0, 0] + maps[:, 1, 1])


def _width_of_map(maps: AffineMaps) -> PerImage:
    """The logarithm of the ratio of a level chord to the chord of the original that it shows."""
    return -torch.hypot(maps[:, 0, 0], maps[:, 1, 0]).log()


def _scale_of_map(maps: AffineMaps) -> PerImage:
    return -0.5 * _determinant(maps).log()


def _determinant(maps: AffineMaps) -> PerImage:
    return maps[:, 0, 0] * maps[:, 1, 1] - maps[:, 0, 1] * maps[:, 1, 0]


def _height_of_map(maps: AffineMaps) -> PerImage:
    """What is left of the change of the area without that of the width."""
    return 2 * _scale_of_map(maps) - _width_of_map(maps)


def _shift_of_map(maps: AffineMaps) -> Float[Tensor, "n 2"]:
    """Where what was at the centre goes, in sides."""
    (a, b, x), (c, d, y) = (row.unbind(dim=1) for row in maps.unbind(dim=1))
    return torch.stack([b * y - d * x, c * x - a * y], dim=1) / (2 * _determinant(maps)[:, None])


def _shift_x_of_map(maps: AffineMaps) -> PerImage:
    return _shift_of_map(maps)[:, 0]


def _shift_y_of_map(maps: AffineMaps) -> PerImage:
    return _shift_of_map(maps)[:, 1]


# Moments of what is not background.


@dataclass(frozen=True)
class _Moments:
    """Of the content of images: its centre, and its variances and covariance, in sides and squares of them."""

    x: PerImage
    y: PerImage
    xx: PerImage
    yy: PerImage
    xy: PerImage


def _content(images: Images, background: float) -> Float[Tensor, "n h w"]:
    return (images.mean(dim=1) - background).abs()


def _moments(images: Images, background: float) -> _Moments:
    content = _content(images, background)
    weights = content / content.sum(dim=(1, 2), keepdim=True).clamp_min(_TINY)
    height, width = content.shape[1:]
    x = (torch.arange(width, device=images.device) + 0.5) / width
    y = (torch.arange(height, device=images.device) + 0.5) / height
    of_x, of_y = weights.sum(dim=1), weights.sum(dim=2)
    # Sums of products, and no matrix products: these may differ in the last bits from one call to the next.
    mean_x, mean_y = (of_x * x).sum(dim=1), (of_y * y).sum(dim=1)
    xy = ((weights * x).sum(dim=2) * y).sum(dim=1) - mean_x * mean_y
    xx, yy = (of_x * x**2).sum(dim=1) - mean_x**2, (of_y * y**2).sum(dim=1) - mean_y**2
    return _Moments(mean_x, mean_y, xx, yy, xy)


def _centre_x(images: Images, background: float) -> PerImage:
    return _moments(images, background).x


def _centre_y(images: Images, background: float) -> PerImage:
    return _moments(images, background).y


def content_centres(images: Images, background: float) -> Float[Tensor, "n 2"]:
    """Returns the centre of what is not background, x and y, in sides from the upper left corner."""
    moments = _moments(images, background)
    return torch.stack([moments.x, moments.y], dim=1)


def _slant(images: Images, background: float) -> PerImage:
    moments = _moments(images, background)
    return torch.atan(-moments.xy / moments.yy.clamp_min(_TINY))


def _orientation(images: Images, background: float) -> PerImage:
    """The angle of the longest axis, counter-clockwise."""
    moments = _moments(images, background)
    return 0.5 * torch.atan2(-2 * moments.xy, moments.xx - moments.yy)


def _width(images: Images, background: float) -> PerImage:
    """The logarithm of the deviation along a row, once the slant is undone."""
    moments = _moments(images, background)
    return 0.5 * (moments.xx - moments.xy**2 / moments.yy.clamp_min(_TINY)).clamp_min(_TINY).log()


def _height(images: Images, background: float) -> PerImage:
    return 0.5 * _moments(images, background).yy.clamp_min(_TINY).log()


def _scale(images: Images, background: float) -> PerImage:
    return (_width(images, background) + _height(images, background)) / 2


# Strokes.


def thickness_px(images: Images, background: float) -> PerImage:
    """The thickness of strokes in pixels: twice their area over the length of their outline.

    The outline's length is the sum of gradients, and a pixel's gradient the mean over its four corners: one corner
    alone sees more of a stroke that leans to the left than of one that leans to the right. Beyond its edge, an image is
    background.
    """
    content = F.pad(_content(images, background), (2, 2, 2, 2))
    step_x = content[:, 1:-1].diff(dim=2)
    step_y = content[:, :, 1:-1].diff(dim=1)
    corners = [
        torch.hypot(x, y) for x in (step_x[:, :, 1:], step_x[:, :, :-1]) for y in (step_y[:, 1:], step_y[:, :-1])
    ]
    outline = torch.stack(corners).mean(dim=0).sum(dim=(1, 2))
    return 2 * content.sum(dim=(1, 2)) / outline.clamp_min(_TINY)


def _thicken(images: Images, t: PerImage, background: float) -> Images:
    """x + t (max3×3(x) - x) for t > 0 and x + |t| (min3×3(x) - x) for t < 0; of dark strokes, max and min in turn."""
    t = _each(t if background < 0 else -t)
    sign = t.sign()
    extreme = sign * _largest_of_three(_largest_of_three(sign * images, dim=2), dim=3)  # min is -max of the negative
    return images + t.abs() * (extreme - images)


def _largest_of_three(images: Images, dim: int) -> Images:
    """Returns the largest of each pixel and its neighbours along an axis; as max_pool2d, in a tenth of its time."""
    n = images.shape[dim]
    of_two = torch.maximum(images.narrow(dim, 0, n - 1), images.narrow(dim, 1, n - 1))
    first, last = images.narrow(dim, 0, 1), images.narrow(dim, n - 1, 1)
    return torch.maximum(torch.cat([first, of_two], dim), torch.cat([of_two, last], dim))


def _size_px(images: Images, background: float) -> PerImage:
    """The geometric mean of the deviations along both axes: in a narrow letter there is no room for a thick stroke."""
    return math.sqrt(images[0, 0].numel()) * _scale(images, background).exp()


def _boldness(images: Images, background: float) -> PerImage:
    """The thickness of strokes in pixels over the cube root of the size.

    A view that is wider has thicker strokes, and a real digit that is wider has not. A code that is told of pixels
    follows the width too, and one that is told of thickness for its size leaves thickness to the code named slant. This
    is between the two: docs/tried.md has the figures.
    """
    return thickness_px(images, background) / _size_px(images, background) ** (1 / 3)


def thickness_range(images: Images, background: float) -> tuple[float, float]:
    """Returns between which thicknesses nine in ten images' strokes are, for the size of what they show."""
    thicknesses = thickness_px(images, background).clamp_min(LEAST_STROKE_PX) / _size_px(images, background)
    least, most = thicknesses.quantile(torch.tensor([0.05, 0.95])).tolist()
    return least, most


def with_thickness(images: Images, thicknesses: PerImage, background: float) -> tuple[Images, PerImage]:
    """Returns images whose strokes are about as thick as is given, and by how many dilations they became so.

    Args:
        images: Of any thickness.
        thicknesses: As `thickness_range` has them: a small letter is as bold as a large one if its strokes are thinner.
            No stroke gains or loses more than twice `MOST_DILATIONS`, and none becomes thinner than `LEAST_STROKE_PX`.
        background: The grey level of their background.
    """
    wanted_px = (thicknesses * _size_px(images, background)).clamp_min(LEAST_STROKE_PX)
    t = (wanted_px - thickness_px(images, background)) / 2  # a stroke grows on both sides
    t = t.clamp(-MOST_DILATIONS, MOST_DILATIONS)
    for done in range(MOST_DILATIONS):
        images = _thicken(images, (t.abs() - done).clamp(0, 1) * t.sign(), background)
    return images, t


# Intensities and colours.


def _brighten(images: Images, t: PerImage, background: float) -> Images:
    return (images + _each(t)).clamp(-1, 1)


def _brightness(images: Images, background: float) -> PerImage:
    return images.mean(dim=(1, 2, 3))


def _change_contrast(images: Images, t: PerImage, background: float) -> Images:
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (mean + _each(t).exp() * (images - mean)).clamp(-1, 1)


def _contrast(images: Images, background: float) -> PerImage:
    return images.mean(dim=1).flatten(1).std(dim=1).clamp_min(_TINY).log()


# The two directions of colour, at right angles to grey (1, 1, 1) and to each other.
_COLOURS = ((2 / 6**0.5, -1 / 6**0.5, -1 / 6**0.5), (0.0, 1 / 2**0.5, -1 / 2**0.5))


def _colours(images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 2 h w"]:
    channels = images.unbind(dim=1)
    parts = [sum(share * channel for share, channel in zip(colour, channels, strict=True)) for colour in _COLOURS]
    return torch.stack(parts, dim=1)  # pyright: ignore[reportArgumentType]  no sum of nothing


def _with_colours(images: Float[Tensor, "n 3 h w"], colours: Float[Tensor, "n 2 h w"]) -> Float[Tensor, "n 3 h w"]:
    a, b = colours.unbind(dim=1)
    back = torch.stack([of_a * a + of_b * b for of_a, of_b in zip(*_COLOURS, strict=True)], dim=1)
    return (images.mean(dim=1, keepdim=True) + back).clamp(-1, 1)


def _turn_hue(images: Float[Tensor, "n 3 h w"], t: PerImage, background: float) -> Float[Tensor, "n 3 h w"]:
    (a, b), t = _colours(images).unbind(dim=1), t[:, None, None]
    return _with_colours(images, torch.stack([t.cos() * a - t.sin() * b, t.sin() * a + t.cos() * b], dim=1))


def _hue(images: Float[Tensor, "n 3 h w"], background: float) -> PerImage:
    a, b = _colours(images).mean(dim=(2, 3)).unbind(dim=1)
    return torch.atan2(b, a)


def _saturate(images: Float[Tensor, "n 3 h w"], t: PerImage, background: float) -> Float[Tensor, "n 3 h w"]:
    return _with_colours(images, _each(t).exp() * _colours(images))


def _saturation(images: Float[Tensor, "n 3 h w"], background: float) -> PerImage:
    return _colours(images).norm(dim=1).mean(dim=(1, 2)).clamp_min(_TINY).log()


def _each(values: PerImage) -> Float[Tensor, "n 1 1 1"]:
    return values[:, None, None, None]


TABLE: dict[str, Transformation] = {
    "slant": Transformation("radian", _slant, _slant_of_map, {"shear": 0.15}),
    "rotation": Transformation(
        "radian",
        _orientation,
        _rotation_of_map,
        {"rotation_degrees": 20.0},
        {"rotation_degrees": 180.0},
        period=math.pi,
    ),
    "width": Transformation("e-fold", _width, _width_of_map, {"scale": 0.1}),
    "height": Transformation("e-fold", _height, _height_of_map, {"scale": 0.1}),
    "scale": Transformation("e-fold", _scale, _scale_of_map, {"scale": 0.1}),
    "shift-x": Transformation("side of the image", _centre_x, _shift_x_of_map, {"translation": 0.07}),
    "shift-y": Transformation("side of the image", _centre_y, _shift_y_of_map, {"translation": 0.07}),
    "thickness": Transformation("dilation", _boldness, apply=_thicken, limit=0.6),
    "brightness": Transformation("unit of the range [-1, 1]", _brightness, apply=_brighten, limit=0.4),
    "contrast": Transformation("e-fold", _contrast, apply=_change_contrast, limit=0.4),
    "hue": Transformation("radian", _hue, apply=_turn_hue, limit=0.5, period=2 * math.pi),
    "saturation": Transformation("e-fold", _saturation, apply=_saturate, limit=0.4),
}


def parameter_of_map(name: str, maps: AffineMaps) -> PerImage:
    """Returns the parameter of an affine transformation, from the maps from a view's pixels to the original's."""
    parameter = TABLE[name].of_map
    assert parameter is not None, f"{name} is no affine map"
    return parameter(maps)
