"""The nets: a generator, and a discriminator whose trunk feeds two heads, D(x) and Q(c|x).

At 28 × 28 and `width` 64 they are the paper's nets for MNIST (appendix C.1, table 1). The number of stages follows the
image's side, and each stage has twice the channels of the one outside it, up to 8w, unless a list of widths says
otherwise:

    G: [z, c] -> FC 16w -> FC (seed of 4 to 7 px, widths[-1]) -> 4×4 upconv, a stage each -> tanh    (ReLU, BatchNorm)
    D: x -> 4×4 conv, a stage each -> FC 16w = features -> d_head: FC 1                             (lReLU, BatchNorm)
                                                        -> q_head: FC 2w -> FC q

    side in px      28    32    64    128
    stages           2     3     4      5
    seed in px       7     4     4      4

Axes: n batch, ch h w image, z noise, q columns of Q's output. Images are NCHW in [-1, 1].
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from infogan.circular import embed_angles
from infogan.config.spec import LatentSpec
from infogan.system.errors import UserError

ImageShape = tuple[int, int, int]  # channels, height, width in pixels
MakeHead = Callable[[int, int], nn.Module]  # from the numbers of features and of hidden units
MIN_SIDE_PX = 8
MAX_SEED_PX = 7  # the paper's, on MNIST
MAX_DOUBLINGS = 3  # from 128 px on: the weights would grow as fast as the pixels
NEGATIVE_SLOPE = 0.1  # "lReLU rate 0.1" (appendix C); the authors' code has 0.01.


def build(
    spec: LatentSpec,
    image_shape: ImageShape = (1, 28, 28),
    width: int | Sequence[int] = 64,
    d_head: MakeHead | None = None,
    q_head: MakeHead | None = None,
) -> tuple[Generator, Discriminator]:
    """Returns G and D for images of any size, freshly initialised from torch's global generator.

    Args:
        spec: The latents.
        image_shape: Channels, height and width in pixels.
        width: Channels of the outer stage, or of each stage, from the image inwards.
        d_head: Makes another head of D than the paper's.
        q_head: Makes another head of Q than the paper's.

    Raises:
        UserError: An image too small, or another number of widths than of stages.
    """
    return Generator(spec, image_shape, width), Discriminator(spec, image_shape, width, d_head, q_head)


def stage_widths(image_shape: ImageShape, width: int | Sequence[int]) -> list[int]:
    """Returns the channels of each stage, from the image inwards; a stage halves the side.

    Raises:
        UserError: An image too small, or another number of widths than of stages.
    """
    channels, *sides = image_shape
    if channels < 1 or min(sides) < MIN_SIDE_PX:
        raise UserError(
            f"image_shape: expected (channels >= 1, height >= {MIN_SIDE_PX}, width >= {MIN_SIDE_PX}), "
            f"got {tuple(image_shape)}"
        )
    n_stages = 2
    # The longer side comes down to the seed's, as far as the shorter one can be halved.
    while max(sides) > MAX_SEED_PX << n_stages and min(sides) >> (n_stages + 1):
        n_stages += 1
    widths = [width << min(i, MAX_DOUBLINGS) for i in range(n_stages)] if isinstance(width, int) else [*width]
    if len(widths) != n_stages:
        raise UserError(f"width: expected {n_stages} of them for images of {sides[0]} x {sides[1]}, got {widths}")
    return widths


def downsampling(channels: int, widths: Sequence[int]) -> list[nn.Module]:
    """Returns the convolutions of a net that reads images, a stage each, up to the last one's leaky ReLU."""
    layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 4, stride=2, padding=1)]
    for outer, inner in itertools.pairwise(widths):
        layers += [
            nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
            nn.Conv2d(outer, inner, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(inner),
        ]
    return layers


class Generator(nn.Module):
    """G(z, c): an image from noise and codes."""

    def __init__(
        self, spec: LatentSpec, image_shape: ImageShape = (1, 28, 28), width: int | Sequence[int] = 64
    ) -> None:
        super().__init__()
        widths = stage_widths(image_shape, width)
        channels, self.height, self.width_px = image_shape
        # The doublings make the next multiple; a side that is none is cropped at the end.
        self.seed_height, self.seed_width = (-(-side >> len(widths)) for side in (self.height, self.width_px))
        seed = self.seed_height * self.seed_width * widths[-1]
        n_inputs, embedding = embed_angles(spec)
        self.project = nn.Sequential(
            *embedding,
            nn.Linear(n_inputs, 16 * widths[0], bias=False),
            nn.BatchNorm1d(16 * widths[0]),
            nn.ReLU(inplace=True),
            nn.Linear(16 * widths[0], seed, bias=False),
            nn.BatchNorm1d(seed),
            nn.ReLU(inplace=True),
        )
        layers: list[nn.Module] = []
        for inner, outer in zip(widths[:0:-1], widths[-2::-1], strict=True):
            layers += [
                nn.ConvTranspose2d(inner, outer, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(outer),
                nn.ReLU(inplace=True),
            ]
        self.draw = nn.Sequential(*layers, nn.ConvTranspose2d(widths[0], channels, 4, stride=2, padding=1), nn.Tanh())
        self.apply(initialise)

    def forward(self, z: Float[Tensor, "n z"], c: Float[Tensor, "n c"]) -> Float[Tensor, "n ch h w"]:
        """Returns images, NCHW in [-1, 1]."""
        seed = self.project(torch.cat([z, c], dim=1))
        # Channels last, so that the convolutions need no copy.
        seed = seed.view(len(seed), self.seed_height, self.seed_width, -1).permute(0, 3, 1, 2)
        return self.draw(seed)[:, :, : self.height, : self.width_px]


class Discriminator(nn.Module):
    """D and Q on one trunk: `d_head(trunk(x))` are D's logits, `q_head(trunk(x))` the parameters of Q(c|x).

    Args:
        spec: The latents.
        image_shape: Of x.
        width: As in `build`.
        d_head: As in `build`.
        q_head: As in `build`.
    """

    def __init__(
        self,
        spec: LatentSpec,
        image_shape: ImageShape = (1, 28, 28),
        width: int | Sequence[int] = 64,
        d_head: MakeHead | None = None,
        q_head: MakeHead | None = None,
    ) -> None:
        super().__init__()
        widths = stage_widths(image_shape, width)
        channels, *sides = image_shape
        height, width_px = (side >> len(widths) for side in sides)
        n_features, n_hidden = 16 * widths[0], 2 * widths[0]
        self.trunk = Trunk(
            *downsampling(channels, widths),
            FlattenChannelsLast(),  # before the leaky ReLU, whose gradient is slow where two memory layouts meet
            nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
            nn.Linear(height * width_px * widths[-1], n_features, bias=False),
            nn.BatchNorm1d(n_features),
            nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
        )
        self.d_head = (d_head or DHead)(n_features, n_hidden)
        self.q_head = q_head(n_features, n_hidden) if q_head else HiddenLayerHead(n_features, n_hidden, spec.q_dim)
        self.apply(initialise)

    def forward(self, x: Float[Tensor, "n ch h w"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n q"]]:
        """Returns D's logits and the parameters of Q(c|x) of images in [-1, 1]."""
        features = self.trunk(x)
        return self.d_head(features), self.q_head(features)

    def linear_heads(self) -> list[nn.Module]:
        """Returns the layers that are linear on the trunk's features; they may have a learning rate of their own."""
        return [self.d_head, *getattr(self.q_head, "linear_layers", [])]


class Trunk(nn.Sequential):
    """The layers that D and Q share, in order."""

    def forward(self, x: Float[Tensor, "n ch h w"]) -> Float[Tensor, "n features"]:
        """Returns the features of images in [-1, 1]."""
        return self.each(x)[0]

    def each(self, *batches: Float[Tensor, "_ ch h w"]) -> list[Float[Tensor, "_ features"]]:
        """Returns the features of each batch, as if it had passed alone: BatchNorm mixes no two of them.

        The linear layers take all batches at once. The gradient of their weights, a matrix multiplication over so few
        images, takes as long to write as to compute: once costs little more for three batches than for one.
        """
        sizes = [len(batch) for batch in batches]
        # As the last layers of G and the flattening here have it: convolutions are slower where two layouts meet.
        parts = [batch.to(memory_format=torch.channels_last) for batch in batches]
        for layer in self:
            if isinstance(layer, nn.Linear):
                parts = [*layer(torch.cat(parts)).split(sizes)]
            else:
                parts = [layer(part) for part in parts]
        return parts


class DHead(nn.Sequential):
    """The paper's d_head: one logit, linear on the features."""

    def __init__(self, n_features: int, n_hidden: int) -> None:
        super().__init__(nn.Linear(n_features, 1), nn.Flatten(0))


class HiddenLayerHead(nn.Sequential):
    """The paper's q_head: a hidden layer of n_hidden units, then Q's parameters."""

    def __init__(self, n_features: int, n_hidden: int, n_outputs: int) -> None:
        super().__init__(
            nn.Linear(n_features, n_hidden, bias=False),
            nn.BatchNorm1d(n_hidden),
            nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
            nn.Linear(n_hidden, n_outputs),
        )


class FlattenChannelsLast(nn.Module):
    """Flattens to (n, h·w·ch): for a tensor that lies channels-last in memory this is free."""

    def forward(self, x: Float[Tensor, "n ch h w"]) -> Float[Tensor, "n features"]:
        return x.permute(0, 2, 3, 1).flatten(1)


def initialise(module: nn.Module) -> None:
    """N(0, 0.02) weights, N(1, 0.02) BatchNorm gains and zero biases, as in the authors' code."""
    if getattr(getattr(module, "weight", None), "is_meta", False):
        return  # a shape alone; to draw for it makes torch load its compiler, which takes seconds
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)
