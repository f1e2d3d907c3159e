"""The encoder: a small net that estimates the noise z from an image.

It has the layers of D's trunk, but is narrower, so that it can travel with a model:

    E: x -> 4×4 conv, a stage each -> FC 8w -> FC z        (leaky ReLU, BatchNorm; w is 16)

For MNIST it has about 0.22 million weights.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from infogan.config.spec import LatentSpec
from infogan.models import NEGATIVE_SLOPE, FlattenChannelsLast, ImageShape, downsampling, stage_widths

WIDTH = 16  # channels of the outer stage


class Encoder(nn.Module):
    """E(x): the noise that G would draw an image from, as far as the image shows it.

    Args:
        spec: The latents.
        image_shape: Of x.
        width: Channels of the outer stage; the hidden layer has eight times as many units.

    Attributes:
        layers: All of its layers, in order.

    Raises:
        UserError: An image too small.
    """

    def __init__(self, spec: LatentSpec, image_shape: ImageShape, width: int = WIDTH) -> None:
        super().__init__()
        widths = stage_widths(image_shape, width)
        channels, *sides = image_shape
        height, width_px = (side >> len(widths) for side in sides)
        self.layers = nn.Sequential(
            *downsampling(channels, widths),
            FlattenChannelsLast(),
            nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
            nn.Linear(height * width_px * widths[-1], 8 * width, bias=False),
            nn.BatchNorm1d(8 * width),
            nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
            nn.Linear(8 * width, spec.noise_dim),
        )

    def forward(self, x: Float[Tensor, "n ch h w"]) -> Float[Tensor, "n z"]:
        """Returns estimates of the noise of images in [-1, 1]."""
        return self.layers(x)
