"""What can be measured in an image of anything: its light, its colours, and where and how its content lies.

Content is what differs from the border, whose median colour is taken for the background: right for one object on an
even ground, and a rough figure for a photograph.

Axes: n images, ch h w image, a attributes.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from infogan.evaluation.sampling import BATCH_SIZE, progress_bar

IMAGE_ATTRIBUTES = (
    *("brightness", "contrast", "red-green", "yellow-blue", "saturation"),
    *("x", "y", "size", "slant", "aspect", "sharpness"),
)
_LUMA = torch.tensor([0.299, 0.587, 0.114])[:, None, None]  # ITU-R 601


def measure_images(images: UInt8[Tensor, "n ch h w"], what: str) -> Float[np.ndarray, "n a"]:
    """Returns the attributes of images, with a bar that says `what` they are; a row of NaN for a blank image.

    - brightness: mean luma, in [0, 1]
    - contrast: standard deviation of luma, in [0, 0.5]
    - red-green, yellow-blue: mean of red less green, and of their mean less blue, in [-1, 1]: the hue; 0 if grey
    - saturation: mean of the largest less the smallest channel, in [0, 1]; 0 if grey
    - x, y: centre of the content, in half sides from the image's centre, to the right and down
    - size: radius of gyration of the content, in half sides (of the shorter side)
    - slant: angle in radians of the content's main line from upright, positive to the right
    - aspect: natural logarithm of the content's width to its height
    - sharpness: mean length of luma's gradient, per pixel, in units of the contrast

    Args:
        images: Grey, or RGB; of any other number of channels the first is measured.
        what: They are.
    """
    rows = []
    with progress_bar(len(images), what) as bar:
        for batch in images.split(BATCH_SIZE):
            rows.append(_measure(batch.float() / 255).double().numpy())
            bar.update(len(batch))
    return np.concatenate(rows)


def _measure(x: Float[Tensor, "n ch h w"]) -> Float[Tensor, "n a"]:
    rgb = x if x.shape[1] == 3 else x[:, :1].expand(-1, 3, -1, -1)
    luma = (rgb * _LUMA).sum(1)
    red, green, blue = rgb.mean((2, 3)).unbind(1)
    contrast = luma.std((1, 2), correction=0)
    gradient = torch.hypot(luma[:, 1:, 1:] - luma[:, 1:, :-1], luma[:, 1:, 1:] - luma[:, :-1, 1:]).mean((1, 2))
    colours = [red - green, (red + green) / 2 - blue, (rgb.amax(1) - rgb.amin(1)).mean((1, 2))]
    columns = [luma.mean((1, 2)), contrast, *colours, *_content(rgb), gradient / contrast]
    attributes = torch.stack(columns, dim=1)
    return torch.where(contrast[:, None] > 0, attributes, torch.nan)


def _content(rgb: Float[Tensor, "n 3 h w"]) -> list[Float[Tensor, " n"]]:
    """Returns x, y, size, slant and aspect of the content, from its moments."""
    height, width = rgb.shape[2:]
    border = torch.cat([rgb[:, :, 0], rgb[:, :, -1], rgb[:, :, :, 0], rgb[:, :, :, -1]], dim=2)
    weight = (rgb - border.median(dim=2).values[:, :, None, None]).abs().mean(1)
    weight = weight / weight.sum((1, 2), keepdim=True)
    unit = min(height, width) / 2
    right = ((torch.arange(width) + 0.5 - width / 2) / unit).view(1, 1, -1)
    down = ((torch.arange(height) + 0.5 - height / 2) / unit).view(1, -1, 1)
    x, y = (weight * right).sum((1, 2)), (weight * down).sum((1, 2))
    right, down = right - x.view(-1, 1, 1), down - y.view(-1, 1, 1)
    # Content of a single row has a height all the same: that of a thousandth of a half side.
    xx, yy, xy = ((weight * product).sum((1, 2)) for product in (right**2, down**2, right * down))
    xx, yy = xx.clamp_min(1e-6), yy.clamp_min(1e-6)
    return [x, y, (xx + yy).sqrt(), torch.atan2(-xy, yy), (xx / yy).log() / 2]
