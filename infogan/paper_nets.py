"""The paper's nets for SVHN, CelebA, faces and chairs (appendices C.2 to C.5), which differ from `models.build`.

    nets      G: [z, c] ->                                    D: x ->
    svhn      FC (2 px, 7w), upconv 4w, 2w, w, channels       conv w, 2w, 4w
    faces     FC 16w, FC (8 px, 2w), upconv w, channels       conv w, 2w, FC 16w
    chairs    FC 16w, FC (8 px, 4w), two flat 4w,             conv w, 2w, 4w, two flat 4w, FC 16w
              upconv 2w, w, channels

w is `width`, 64 in the paper. Convolutions are 4×4; they halve or double the side, and flat ones, of stride 1, keep it.
CelebA's nets are SVHN's. Where the paper has a sigmoid and images in [0, 1], there is a tanh here and images in
[-1, 1], which is the same up to the scale of what goes into it.

Axes: as in `models`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from torch import nn

from infogan.circular import embed_angles
from infogan.config.spec import LatentSpec
from infogan.models import (
    NEGATIVE_SLOPE,
    DHead,
    Discriminator,
    FlattenChannelsLast,
    Generator,
    HiddenLayerHead,
    ImageShape,
    MakeHead,
    Trunk,
    initialise,
)
from infogan.system.errors import UserError


@dataclass(frozen=True)
class Layout:
    """What tells one of the paper's pairs of nets from another; widths are multiples of `width`.

    Attributes:
        side: Of the images, in pixels.
        g_widths: Channels of G's stages, from the image inwards; the last are those of the seed.
        d_widths: Likewise of D's.
        n_flat: Stages of stride 1 at the seed's size, in both.
        has_wide_layer: Whether both have a fully connected layer of 16w units.
        normalises_outer: Whether all of G's stages have BatchNorm, or only the innermost.
    """

    side: int
    g_widths: tuple[int, ...]
    d_widths: tuple[int, ...]
    n_flat: int = 0
    has_wide_layer: bool = True
    normalises_outer: bool = True


LAYOUTS = {
    "svhn": Layout(32, (1, 2, 4, 7), (1, 2, 4), has_wide_layer=False, normalises_outer=False),
    "faces": Layout(32, (1, 2), (1, 2)),
    "chairs": Layout(64, (1, 2, 4), (1, 2, 4), n_flat=2),
}


def build_paper_nets(
    name: str,
    spec: LatentSpec,
    image_shape: ImageShape,
    width: int,
    d_head: MakeHead | None = None,
    q_head: MakeHead | None = None,
) -> tuple[Generator, Discriminator]:
    """Returns the paper's G and D for a data set, freshly initialised; see `models.build` for the rest.

    Args:
        name: `svhn`, `faces` or `chairs`.
        spec: The latents.
        image_shape: Channels, height and width in pixels.
        width: w; 64 in the paper.
        d_head: As in `models.build`.
        q_head: As in `models.build`.

    Raises:
        UserError: Images of another size than the paper's.
    """
    layout = LAYOUTS[name]
    if image_shape[1:] != (layout.side, layout.side):
        raise UserError(
            f"--nets {name}: expected images of {layout.side} x {layout.side} pixels, got "
            f"{image_shape[2]} x {image_shape[1]}; --size {layout.side} makes them so"
        )
    return (
        PaperGenerator(layout, spec, image_shape, width),
        PaperDiscriminator(layout, spec, image_shape, width, d_head, q_head),
    )


class PaperGenerator(Generator):
    """G(z, c) of one of the paper's layouts."""

    def __init__(self, layout: Layout, spec: LatentSpec, image_shape: ImageShape, width: int) -> None:
        nn.Module.__init__(self)
        channels, self.height, self.width_px = image_shape
        widths = [multiple * width for multiple in layout.g_widths]
        self.seed_height = self.seed_width = layout.side >> len(widths)
        n_inputs, layers = embed_angles(spec)
        for n_units in [16 * width] * layout.has_wide_layer + [self.seed_height * self.seed_width * widths[-1]]:
            layers += [nn.Linear(n_inputs, n_units, bias=False), nn.BatchNorm1d(n_units), nn.ReLU(inplace=True)]
            n_inputs = n_units
        self.project = nn.Sequential(*layers)
        layers = []
        for _ in range(layout.n_flat):  # transposed or not is the same at stride 1
            layers += [_flat(widths[-1]), nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True)]
        for i, (inner, outer) in enumerate(zip(widths[:0:-1], widths[-2::-1], strict=True)):
            is_normal = layout.normalises_outer or i == 0
            layers.append(nn.ConvTranspose2d(inner, outer, 4, stride=2, padding=1, bias=not is_normal))
            layers += [nn.BatchNorm2d(outer)] * is_normal + [nn.ReLU(inplace=True)]
        self.draw = nn.Sequential(*layers, nn.ConvTranspose2d(widths[0], channels, 4, stride=2, padding=1), nn.Tanh())
        self.apply(initialise)


class PaperDiscriminator(Discriminator):
    """D and Q on one trunk, of one of the paper's layouts."""

    def __init__(
        self,
        layout: Layout,
        spec: LatentSpec,
        image_shape: ImageShape,
        width: int,
        d_head: MakeHead | None = None,
        q_head: MakeHead | None = None,
    ) -> None:
        nn.Module.__init__(self)
        widths = [multiple * width for multiple in layout.d_widths]
        layers: list[nn.Module] = [nn.Conv2d(image_shape[0], widths[0], 4, stride=2, padding=1)]
        convolutions = [
            *(
                nn.Conv2d(outer, inner, 4, stride=2, padding=1, bias=False)
                for outer, inner in itertools.pairwise(widths)
            ),
            *(_flat(widths[-1]) for _ in range(layout.n_flat)),
        ]
        for convolution in convolutions:
            layers += [
                nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
                convolution,
                nn.BatchNorm2d(convolution.out_channels),
            ]
        layers += [FlattenChannelsLast(), nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)]
        n_features = (layout.side >> len(widths)) ** 2 * widths[-1]
        if layout.has_wide_layer:
            layers += [nn.Linear(n_features, 16 * width, bias=False), nn.BatchNorm1d(16 * width)]
            layers.append(nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True))
            n_features = 16 * width
        self.trunk = Trunk(*layers)
        n_hidden = 2 * width
        self.d_head = (d_head or DHead)(n_features, n_hidden)
        self.q_head = q_head(n_features, n_hidden) if q_head else HiddenLayerHead(n_features, n_hidden, spec.q_dim)
        self.apply(initialise)


def _flat(width: int) -> nn.Conv2d:
    return nn.Conv2d(width, width, 4, padding="same", bias=False)
