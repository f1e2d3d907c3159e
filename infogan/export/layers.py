"""G and Q as stacks of plain layers, for programs that know no more of a net than its layers.

`generator_layers` and `recognition_layers` return an `nn.Sequential` of these alone:

    Linear  Conv2d  ConvTranspose2d  ReLU  LeakyReLU  Tanh  FlattenChannelsLast  Unflatten  Crop  AngleEmbedding

and of nets that see the content of an image, of these two, which have such stacks within, and what normalises there:

    Posed  ContentTrunk  LayerNorm  GroupNorm

The flattened entries of an image are ordered by row, then column, then channel: (h, w, ch).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from infogan.config.spec import LatentSpec
from infogan.content_nets import ContentGenerator, posed
from infogan.extensions.overclusters import OverclusteredQ
from infogan.models import NEGATIVE_SLOPE, Discriminator, Generator, HiddenLayerHead
from infogan.pose import Pose
from infogan.weights.folding import folded


class Unflatten(nn.Module):
    """Makes (n, h·w·ch) an image (n, ch, h, w), as `models.FlattenChannelsLast` flattens one.

    Args:
        height: In pixels.
        width_px: In pixels.
    """

    def __init__(self, height: int, width_px: int) -> None:
        super().__init__()
        self.height, self.width_px = height, width_px

    def forward(self, x: Float[Tensor, "n entries"]) -> Float[Tensor, "n ch h w"]:
        return x.unflatten(1, (self.height, self.width_px, -1)).permute(0, 3, 1, 2)


class Crop(nn.Module):
    """Cuts an image to its first rows and columns.

    Args:
        height: Rows that are kept.
        width_px: Columns that are kept.
    """

    def __init__(self, height: int, width_px: int) -> None:
        super().__init__()
        self.height, self.width_px = height, width_px

    def forward(self, x: Float[Tensor, "n ch h_in w_in"]) -> Float[Tensor, "n ch h w"]:
        return x[:, :, : self.height, : self.width_px]


class Posed(nn.Module):
    """Gives what a window shows its pose, as `content_nets.ContentGenerator` does.

    Args:
        windows: From z and c to how windows differ from their mean.
        mean: Of windows.
        pose: From z and c to poses.
        height: Of the images, in pixels.
        width_px: Likewise.
    """

    mean: Float[Tensor, "ch s s"]

    def __init__(
        self, windows: nn.Sequential, mean: Float[Tensor, "ch s s"], pose: Pose, height: int, width_px: int
    ) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.windows, self.pose, self.height, self.width_px = windows, pose, height, width_px

    def forward(self, x: Float[Tensor, "n zc"]) -> Float[Tensor, "n ch h w"]:
        return posed(self.windows(x) + self.mean, self.pose(x), self.height, self.width_px)


def generator_layers(generator: Generator) -> nn.Sequential:
    """Returns G as plain layers, from z and c side by side, (n, z + c), to images, NCHW in [-1, 1].

    Args:
        generator: Left as it is.
    """
    plain = folded(generator)
    layers = nn.Sequential(
        *plain.project,
        Unflatten(plain.seed_height, plain.seed_width),
        *plain.draw,
        Crop(plain.height, plain.width_px),
    )
    if not isinstance(plain, ContentGenerator):
        return layers
    drawn = plain.pose.draws()
    windows = nn.Sequential(linear_layer(torch.diag(drawn), torch.zeros_like(drawn)), *layers)
    shape = plain.image_height, plain.image_width
    return nn.Sequential(Posed(windows, plain.mean_window, plain.pose, *shape), plain.squash)


def recognition_layers(discriminator: Discriminator) -> nn.Sequential:
    """Returns Q as plain layers, trunk and q_head, from images in [-1, 1] to the parameters of Q(c|x), (n, q).

    Args:
        discriminator: Left as it is; with the paper's q_head or that with over-clusters.
    """
    plain = folded(discriminator)
    head = plain.q_head
    assert isinstance(head, HiddenLayerHead | OverclusteredQ), f"no plain layers are known for {type(head).__name__}"
    return nn.Sequential(*plain.trunk, *(head if isinstance(head, HiddenLayerHead) else _in_one_stack(head)))


def _in_one_stack(head: OverclusteredQ) -> nn.Sequential:
    """Returns a q_head whose categories are linear on the features, and whose continuous codes are not, as one stack.

    With slope s, lrelu(x) - lrelu(-x) = (1 + s)·x: so a category passes the hidden layer of the continuous codes
    unchanged, as a pair of hidden units.
    """
    # Categories are not given the last features, where these are a place.
    n_place = head.n_features - head.categories.in_features
    categories = linear_layer(nn.functional.pad(head.categories.weight, (0, n_place)), head.categories.bias)
    if head.continuous is None:
        return nn.Sequential(categories)
    hidden, _, output = head.continuous
    assert isinstance(hidden, nn.Linear) and isinstance(output, nn.Linear)
    first = linear_layer(
        torch.cat([hidden.weight, categories.weight, -categories.weight]),
        torch.cat([hidden.bias, categories.bias, -categories.bias]),
    )
    unchanged = torch.eye(categories.out_features, device=output.weight.device) / (1 + NEGATIVE_SLOPE)
    weight = torch.block_diag(output.weight, torch.cat([unchanged, -unchanged], dim=1))
    bias = torch.cat([output.bias, torch.zeros_like(categories.bias)])
    order = _order_in_spec(head.spec)
    return nn.Sequential(first, nn.LeakyReLU(NEGATIVE_SLOPE), linear_layer(weight[order], bias[order]))


def _order_in_spec(spec: LatentSpec) -> list[int]:
    """Returns where each column of Q's output is, when those of all continuous codes come first."""
    stacked = [
        column
        for i in (*spec.continuous, *spec.categorical)
        for column in range(spec.q_slices[i].start, spec.q_slices[i].stop)
    ]
    return [stacked.index(column) for column in range(spec.q_dim)]


def linear_layer(weight: Float[Tensor, "out in"], bias: Float[Tensor, " out"]) -> nn.Linear:
    """Returns a linear layer with these weights."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight, layer.bias = (nn.Parameter(value, requires_grad=False) for value in (weight, bias))
    return layer
