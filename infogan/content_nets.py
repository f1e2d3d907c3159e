"""Nets that look at the content of an image, wherever it is: D and Q see it in a window, and its place beside.

    G: [z, c] -> G of `models.build`, up to the tanh: a window      [z, c] -> its pose: where, how large, how far turned
         -> its content at one size, turned, put there -> tanh
    D: x -> window of the content -> conv, a stage each -> FC 16w \\
         -> the content's centre, log of its size, border's grey  -> features -> d_head, q_head

Content is what differs from the mean of the image's border; its centre and size are moments, so that no part of this is
learned. A window moves, grows and shrinks with the content: Q need not learn anew what a thing looks like at each place
and in each size, and neither need G. With the consistency term, categories are not given the place
(`extensions.overclusters`), and so do not come to stand for places or sizes. D has layer normalisation instead of
BatchNorm: real and generated windows differ too much for common statistics, and Q is to answer to either. For images of
one thing before a plain background.

Source: the window is the sampler of spatial transformers, Jaderberg et al. 2015, arXiv 1506.02025, with moments in the
place of a localisation net.

Places are in half sides of each axis: of an image that is not square, a window is as much longer as the image is, and
what is turned in it is stretched by as much.

Axes: n batch, ch h w image, s side of the window.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from infogan.config.spec import LatentSpec
from infogan.models import (
    NEGATIVE_SLOPE,
    Discriminator,
    Generator,
    HiddenLayerHead,
    ImageShape,
    MakeHead,
    Trunk,
)
from infogan.pose import Pose

N_PLACE = 4  # features: the centre's x and y, the size, and the grey of the border
MIN_WINDOW_PX = 16
REACH = 2.25  # of D's window to each side of the centre, in deviations of the content; a square's corners are at 1.73
PLACE_SCALE = 4.0  # so that places differ by about as much as other features
SIZE_UNIT = 0.2  # half sides: so that the logarithms of sizes are about 0
LEAST_SIZE = 0.05  # of content, in half sides
GOLDEN_ANGLE = math.pi * (3 - 5**0.5)  # whose multiples are spread evenly over a turn
BRIGHTEST = 0.99  # of the mean window: beyond it, tanh has no gradient to speak of
LEAST_CONTENT = 0.05  # of an image that has any: the mean squared difference from its border


def build_content_nets(
    spec: LatentSpec,
    image_shape: ImageShape,
    width: int,
    d_head: MakeHead | None = None,
    q_head: MakeHead | None = None,
) -> tuple[Generator, Discriminator]:
    """Returns G and D for images of any size, freshly initialised; see `models.build` for the rest."""
    return ContentGenerator(spec, image_shape, width), ContentDiscriminator(spec, image_shape, width, d_head, q_head)


class ContentGenerator(Generator):
    """G(z, c): draws a window of half the image's side, and puts what it shows into the image by its pose.

    Codes that pose it draw nothing, see `infogan.pose`; which they are, `fit` finds.
    """

    mean_window: Float[Tensor, "ch s s"]

    def __init__(self, spec: LatentSpec, image_shape: ImageShape, width: int) -> None:
        channels, self.image_height, self.image_width = image_shape
        window_px = max(MIN_WINDOW_PX, min(image_shape[1:]) // 2)
        super().__init__(spec, (channels, window_px, window_px), width)
        self.pose = Pose(spec)
        self.register_buffer("mean_window", torch.zeros(channels, window_px, window_px))
        # The tanh comes last, once the window is put in its place: so an edge is as sharp as the image has pixels.
        *layers, self.squash = self.draw
        self.draw = nn.Sequential(*layers)

    def forward(self, z: Float[Tensor, "n z"], c: Float[Tensor, "n c"]) -> Float[Tensor, "n ch h w"]:
        """Returns images, NCHW in [-1, 1]."""
        latents = torch.cat([z, c], dim=1)
        drawn = (latents * self.pose.draws()).split([z.shape[1], c.shape[1]], dim=1)
        windows = super().forward(*drawn)
        with torch.autocast(z.device.type, enabled=False):  # a place is not to be rounded to eight bits
            windows, pose = windows.float() + self.mean_window, self.pose(latents.float())
            return self.squash(posed(windows, pose, self.image_height, self.image_width))

    def fit(self, parts: Iterable[Float[Tensor, "_ ch h w"]]) -> None:
        """Fits the pose to where training images have their content, and starts all windows as the mean of theirs.

        So G begins with something of their grey on their background: else its content may be dark where theirs is
        bright, for good.

        Args:
            parts: Such images in [-1, 1], some at a time.

        Raises:
            UserError: Neither codes nor noise are enough for what images differ in.
        """
        places, sum_of_windows, n = [], torch.zeros(self.mean_window.shape), 0
        for x in parts:
            x = x.cpu()
            centre, size, _ = content_of(x)
            places.append(torch.cat([centre, size], dim=1))
            windows = content_windows(x, centre, size, sum_of_windows.shape[-1])
            if self.pose.angle_column is not None:  # before it is turned, content has no angle: all, evenly
                angle = GOLDEN_ANGLE * torch.arange(n, n + len(x))[:, None]
                windows = turned(windows, torch.zeros_like(centre), torch.full_like(size, 1 / REACH), angle)
            sum_of_windows, n = sum_of_windows + windows.sum(dim=0), n + len(x)
        self.pose.fit(torch.cat(places))
        self.mean_window.copy_((sum_of_windows / n).clamp(-BRIGHTEST, BRIGHTEST).atanh())


class ContentDiscriminator(Discriminator):
    """D and Q on a trunk that sees a window of the content, and on its place.

    Args:
        spec: The latents.
        image_shape: Of x.
        width: Channels of the outer stage.
        d_head: As in `models.build`.
        q_head: As in `models.build`.
    """

    def __init__(
        self,
        spec: LatentSpec,
        image_shape: ImageShape,
        width: int,
        d_head: MakeHead | None = None,
        q_head: MakeHead | None = None,
    ) -> None:
        make_d, make_q = d_head or HiddenDHead, q_head or (lambda n, n_hidden: HiddenLayerHead(n, n_hidden, spec.q_dim))
        window_px = max(MIN_WINDOW_PX, min(image_shape[1:]) // 4)
        super().__init__(
            spec,
            (image_shape[0], window_px, window_px),
            width,
            lambda n_features, n_hidden: make_d(n_features + N_PLACE, n_hidden),
            lambda n_features, n_hidden: make_q(n_features + N_PLACE, n_hidden),
        )
        self.trunk = Trunk(ContentTrunk(nn.Sequential(*map(_by_layer, self.trunk)), window_px))
        for head in [part for part in self.q_head.modules() if isinstance(part, HiddenLayerHead)]:
            # A place must pass unchanged, and the authors' N(0, 0.02) is too little of it: torch's own start.
            hidden = head[0]
            assert isinstance(hidden, nn.Linear)
            head[0] = nn.Linear(hidden.in_features, hidden.out_features)
            del head[1]


class HiddenDHead(nn.Sequential):
    """A d_head with a hidden layer: the place reaches D here, and no linear function of it has a best value."""

    def __init__(self, n_features: int, n_hidden: int) -> None:
        super().__init__(
            nn.Linear(n_features, n_hidden), nn.LeakyReLU(NEGATIVE_SLOPE), nn.Linear(n_hidden, 1), nn.Flatten(0)
        )


def _by_layer(layer: nn.Module) -> nn.Module:
    """Returns the layer, or of BatchNorm one that normalises each image by itself."""
    if isinstance(layer, nn.BatchNorm2d):
        return nn.GroupNorm(1, layer.num_features)
    return nn.LayerNorm(layer.num_features) if isinstance(layer, nn.BatchNorm1d) else layer


class ContentTrunk(nn.Module):
    """Gives layers the window of the content, and appends the place to what they return.

    Args:
        layers: From windows to features.
        window_px: Side of the window.
    """

    def __init__(self, layers: nn.Sequential, window_px: int) -> None:
        super().__init__()
        self.layers, self.window_px = layers, window_px

    def forward(self, x: Float[Tensor, "n ch h w"]) -> Float[Tensor, "n features"]:
        """Returns the features of images in [-1, 1], the last `N_PLACE` of which are the place."""
        return self.features(*self.look(x))

    def look(self, x: Float[Tensor, "n ch h w"]) -> tuple[Float[Tensor, "n ch s s"], Float[Tensor, "n place"]]:
        """Returns the window of each image, and its place."""
        centre, size, border = content_of(x)
        place = PLACE_SCALE * torch.cat([centre, (size / SIZE_UNIT).log(), border], dim=1)
        return content_windows(x, centre, size, self.window_px), place

    def features(
        self, windows: Float[Tensor, "n ch s s"], place: Float[Tensor, "n place"]
    ) -> Float[Tensor, "n features"]:
        """Returns the features of windows and their places."""
        return torch.cat([self.layers(windows), place], dim=1)


def content_of(x: Float[Tensor, "n ch h w"]) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n 1"], Float[Tensor, "n 1"]]:
    """Returns the centre of the content, x and y in [-1, 1], its deviation from there in half sides, and the border.

    A pixel's weight is its squared difference from the border's mean grey, so that a background that is nearly even
    hardly counts.
    """
    grey = x.float().mean(dim=1)
    border = _border_mean(grey[:, None])
    weights = (grey - border[:, :, None]).square()
    # What is missing is everywhere: or the place of next to nothing would change by much for next to nothing.
    weights = weights + (LEAST_CONTENT - weights.mean(dim=(1, 2), keepdim=True)).clamp_min(0)
    weights = weights / weights.sum(dim=(1, 2), keepdim=True)
    of_columns, of_rows = weights.sum(dim=1), weights.sum(dim=2)
    along_x, along_y = (_positions(of.shape[1], x.device) for of in (of_columns, of_rows))
    centre = torch.stack([(of_columns * along_x).sum(dim=1), (of_rows * along_y).sum(dim=1)], dim=1)
    squares = (of_columns * along_x**2).sum(dim=1) + (of_rows * along_y**2).sum(dim=1)
    variance = squares - centre.square().sum(dim=1)
    return centre, variance.clamp_min(LEAST_SIZE**2).sqrt()[:, None], border


def _positions(n: int, device: torch.device) -> Float[Tensor, " n"]:
    """Returns where the middles of n pixels are, a side going from -1 to 1."""
    return (2 * torch.arange(n, device=device) + 1) / n - 1


def _pixels(positions: Float[Tensor, "n s"], n: int) -> Float[Tensor, "n s"]:
    """Returns positions, a side going from -1 to 1, in pixels from the middle of the first of n."""
    return ((positions + 1) * n - 1) / 2


def _bilinear(at: Float[Tensor, "n s"], n: int) -> Float[Tensor, "n s pixels"]:
    """Returns the weights of n pixels in samples that are taken where `at` says; beyond the pixels they are 0."""
    return (1 - (at[:, :, None] - torch.arange(n, device=at.device)).abs()).clamp_min(0)


def _sampled(
    x: Float[Tensor, "n ch h w"], of_rows: Float[Tensor, "n s h"], of_columns: Float[Tensor, "n t w"]
) -> Float[Tensor, "n ch s t"]:
    """Returns samples of images. The axes are sampled one after the other, as products of matrices.

    torch's own sampler has no deterministic gradient on CUDA.
    """
    with torch.autocast(x.device.type, enabled=False):  # as G's place
        return of_rows[:, None] @ x.float() @ of_columns[:, None].transpose(2, 3)


def content_windows(
    x: Float[Tensor, "n ch h w"], centre: Float[Tensor, "n 2"], size: Float[Tensor, "n 1"], window_px: int
) -> Float[Tensor, "n ch s s"]:
    """Returns square windows around the content; beyond an image, its nearest border pixel is repeated.

    No gradient passes to where a window is: the place has its own way.

    Args:
        x: Images.
        centre: Of their content, as `content_of` returns it.
        size: Likewise.
        window_px: Side of the windows; each pixel is the mean of four bilinear samples.
    """
    across = REACH * size.detach() * _positions(2 * window_px, x.device)
    sampling = []
    for of_centre, n_pixels in zip(centre.detach().flip(1).unbind(dim=1), x.shape[2:], strict=True):
        at = _pixels(of_centre[:, None] + across, n_pixels).clamp(0, n_pixels - 1)
        sampling.append(_bilinear(at, n_pixels).unflatten(1, (window_px, 2)).mean(dim=2))
    return _sampled(x, *sampling)


def posed(
    windows: Float[Tensor, "n ch s s"], pose: Float[Tensor, "n 4"], height: int, width_px: int
) -> Float[Tensor, "n ch h w"]:
    """Returns images in which what windows show has a pose.

    Args:
        windows: Square, before the tanh.
        pose: The content's centre in [-1, 1], x and y, its deviation from there in half sides, its angle in radians.
        height: Of the images, in pixels.
        width_px: Likewise.
    """
    centre, size, angle = pose.split([2, 1, 1], dim=1)
    shown = turned(windows, *content_of(windows.tanh())[:2], angle)
    return placed(shown, centre, REACH * size.clamp_min(LEAST_SIZE), height, width_px)


def turned(
    windows: Float[Tensor, "n ch s s"],
    centre: Float[Tensor, "n 2"],
    size: Float[Tensor, "n 1"],
    angle: Float[Tensor, "n 1"],
) -> Float[Tensor, "n ch s s"]:
    """Returns windows with their content in the middle, at one size and turned, bilinear; beyond them is their border.

    Args:
        windows: Square.
        centre: Of their content, as `content_of` returns it.
        size: Likewise.
        angle: In radians, counter-clockwise.
    """
    channels, side = windows.shape[1:3]
    along = REACH * size * _positions(side, windows.device)
    x, y = along[:, None, :], along[:, :, None]
    cos, sin = angle.cos()[:, :, None], angle.sin()[:, :, None]
    x, y = (
        _pixels(offset.flatten(1) + middle, side)
        for offset, middle in zip((cos * x - sin * y, sin * x + cos * y), centre.split(1, dim=1), strict=True)
    )
    border = _border_mean(windows)[:, :, None]
    inner = windows.flatten(2) - border
    samples = torch.zeros_like(inner)
    left, top = x.detach().floor(), y.detach().floor()
    for row in (top, top + 1):
        for column in (left, left + 1):
            within = (row >= 0) & (row < side) & (column >= 0) & (column < side)
            weight = (1 - (x - column).abs()) * (1 - (y - row).abs()) * within
            at = torch.where(within, row * side + column, 0).long()
            # Its gradient is deterministic on CUDA too; that of torch's own sampler is not.
            samples = samples + weight[:, None] * inner.gather(2, at[:, None].expand(-1, channels, -1))
    return (samples + border).view_as(windows)


def placed(
    windows: Float[Tensor, "n ch s s"],
    centre: Float[Tensor, "n 2"],
    half_side: Float[Tensor, "n 1"],
    height: int,
    width_px: int,
) -> Float[Tensor, "n ch h w"]:
    """Returns images in which a window is somewhere, bilinear; around it is the mean of the window's border.

    Args:
        windows: Square.
        centre: Where their centres are, x and y in [-1, 1].
        half_side: Of the windows, in half sides of the image.
        height: Of the images, in pixels.
        width_px: Likewise.
    """
    x, y = centre.split(1, dim=1)
    window_px = windows.shape[-1]
    of_rows, of_columns = (
        _bilinear(_pixels((_positions(n, centre.device) - middle) / half_side, window_px), window_px)
        for n, middle in ((height, y), (width_px, x))
    )
    background = _border_mean(windows)[:, :, None, None]
    return _sampled(windows - background, of_rows, of_columns) + background


def _border_mean(x: Float[Tensor, "n ch h w"]) -> Float[Tensor, "n ch"]:
    """Returns the mean of the outermost pixels of each channel."""
    return torch.cat([x[:, :, 0], x[:, :, -1], x[:, :, 1:-1, 0], x[:, :, 1:-1, -1]], dim=2).mean(dim=2)
