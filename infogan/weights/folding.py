"""Folding: nets for evaluation alone, whose BatchNorm has become part of the layers before it."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn
from torch.nn.utils import fusion

Net = TypeVar("Net", bound=nn.Module)


def folded(net: Net) -> Net:
    """Returns a copy of a net in evaluation mode that computes the same without BatchNorm.

    There BatchNorm is a fixed scale and shift of each channel, and so is merged into the weights and biases of the
    linear layer or convolution before it. What the copy does not need, such as over-clusters, it does not have: a part
    with a method `drop_training_state` is asked to drop it.

    Args:
        net: G, D and Q, or any other net whose layers are in `nn.Sequential`; left as it is.
    """
    plain = copy.deepcopy(net).eval().requires_grad_(False)
    for part in [*plain.modules()]:
        if isinstance(part, nn.Sequential):
            _fold(part)
        if hasattr(part, "drop_training_state"):
            part.drop_training_state()  # pyright: ignore[reportCallIssue]
    return plain


def _fold(layers: nn.Sequential) -> None:
    """Merges each BatchNorm into the layer before it, and takes it out."""
    for i in reversed(range(1, len(layers))):
        before, norm = layers[i - 1], layers[i]
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) and norm.weight.is_meta:
            # Shapes alone: to compute with them makes torch load its compiler, which takes a second.
            before.register_parameter("bias", norm.bias)
        elif isinstance(norm, nn.BatchNorm1d) and isinstance(before, nn.Linear):
            layers[i - 1] = fusion.fuse_linear_bn_eval(before, norm)
        elif isinstance(norm, nn.BatchNorm2d) and isinstance(before, nn.Conv2d | nn.ConvTranspose2d):
            layers[i - 1] = fusion.fuse_conv_bn_eval(before, norm, isinstance(before, nn.ConvTranspose2d))
        else:
            continue
        del layers[i]
