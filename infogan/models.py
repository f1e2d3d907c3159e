"""The nets: a generator, and a discriminator whose trunk feeds two heads, D(x) and Q(c|x).

They are the paper's nets for MNIST (appendix C.1, table 1) at `width` 64. Every width scales with `width`,
and the two outer layers with the image, so that images of any size and number of channels fit.

    G: [z, c] -> FC 16w -> FC (h/4·w/4·2w) -> 4×4 upconv w -> 4×4 upconv channels -> tanh     (ReLU, BatchNorm)
    D: x -> 4×4 conv w -> 4×4 conv 2w -> FC 16w = features -> d_head: FC 1                (lReLU, BatchNorm)
                                                           -> q_head: FC 2w -> FC q

Axes: n batch, c h w image, z noise, q columns of Q's output. Images are NCHW in [-1, 1].
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from infogan.errors import UserError
from infogan.spec import LatentSpec

ImageShape = tuple[int, int, int]  # channels, height, width in pixels
MIN_SIDE_PX = 8
LEAK = 0.1  # "lReLU rate 0.1" (appendix C); the authors' code has 0.01.


class Generator(nn.Module):
    """G(z, c): an image from noise and codes."""

    def __init__(self, spec: LatentSpec, image_shape: ImageShape = (1, 28, 28), width: int = 64) -> None:
        super().__init__()
        _check_image_shape(image_shape)
        channels, self.height, self.width_px = image_shape
        # Two doublings make the next multiple of 4; a side that is none is cropped at the end.
        self.seed_height, self.seed_width = -(-self.height // 4), -(-self.width_px // 4)
        seed = self.seed_height * self.seed_width * 2 * width
        self.project = nn.Sequential(
            nn.Linear(spec.noise_dim + spec.c_dim, 16 * width, bias=False),
            nn.BatchNorm1d(16 * width),
            nn.ReLU(inplace=True),
            nn.Linear(16 * width, seed, bias=False),
            nn.BatchNorm1d(seed),
            nn.ReLU(inplace=True),
        )
        self.draw = nn.Sequential(
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1),
            nn.Tanh(),
        )
        self.apply(_initialise)

    def forward(self, z: Float[Tensor, "n z"], c: Float[Tensor, "n c"]) -> Float[Tensor, "n ch h w"]:
        """Returns images, NCHW in [-1, 1]."""
        seed = self.project(torch.cat([z, c], dim=1))
        # Channels last, so that the convolutions need no copy.
        seed = seed.view(len(seed), self.seed_height, self.seed_width, -1).permute(0, 3, 1, 2)
        return self.draw(seed)[:, :, : self.height, : self.width_px]


class Discriminator(nn.Module):
    """D and Q on one trunk: `d_head(trunk(x))` is D's logit, `q_head(trunk(x))` the parameters of Q(c|x)."""

    def __init__(self, spec: LatentSpec, image_shape: ImageShape = (1, 28, 28), width: int = 64) -> None:
        super().__init__()
        _check_image_shape(image_shape)
        channels, height, width_px = image_shape
        n_features = 16 * width
        self.trunk = nn.Sequential(
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(LEAK, inplace=True),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(LEAK, inplace=True),
            _FlattenChannelsLast(),
            nn.Linear((height // 4) * (width_px // 4) * 2 * width, n_features, bias=False),
            nn.BatchNorm1d(n_features),
            nn.LeakyReLU(LEAK, inplace=True),
        )
        self.d_head = nn.Sequential(nn.Linear(n_features, 1), nn.Flatten(0))
        self.q_head = nn.Sequential(
            nn.Linear(n_features, 2 * width, bias=False),
            nn.BatchNorm1d(2 * width),
            nn.LeakyReLU(LEAK, inplace=True),
            nn.Linear(2 * width, spec.q_dim),
        )
        self.apply(_initialise)

    def forward(self, x: Float[Tensor, "n ch h w"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n q"]]:
        """Returns D's logits and the parameters of Q(c|x) of images in [-1, 1]."""
        features = self.trunk(x)
        return self.d_head(features), self.q_head(features)


class _FlattenChannelsLast(nn.Module):
    """Flattens to (n, h·w·c): for a tensor that lies channels-last in memory this is free."""

    def forward(self, x: Float[Tensor, "n ch h w"]) -> Float[Tensor, "n features"]:
        return x.permute(0, 2, 3, 1).flatten(1)


def _initialise(module: nn.Module) -> None:
    """N(0, 0.02) weights, N(1, 0.02) BatchNorm gains and zero biases, as in the authors' code."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def _check_image_shape(image_shape: ImageShape) -> None:
    channels, height, width_px = image_shape
    if channels < 1 or height < MIN_SIDE_PX or width_px < MIN_SIDE_PX:
        raise UserError(
            f"image_shape: expected (channels >= 1, height >= {MIN_SIDE_PX}, width >= {MIN_SIDE_PX}), "
            f"got {tuple(image_shape)}"
        )
