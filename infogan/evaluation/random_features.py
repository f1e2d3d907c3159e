"""A small net with random weights, and the features that it makes of images.

Its layers are those of D's trunk. No label and no training is behind them: the weights are drawn with a fixed seed, and
BatchNorm takes its statistics on training images. So the features of a data set are the same in every run and on every
machine, and two runs on the same images can be compared. Random features see how images differ in local structure,
colour and layout, and what of it is missing; they know nothing of what is shown.

Source: Naeem et al. 2020, arXiv 2002.09797, for random features where those of ImageNet do not fit.

Shapes: n images.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from infogan.evaluation.sampling import batches_of
from infogan.models import NEGATIVE_SLOPE, ImageShape, downsampling, stage_widths
from infogan.system.runtime import evaluating

N_FEATURES = 64
WIDTH, MOST_CHANNELS = 32, 128
N_CALIBRATION_IMAGES = 2_500
NET_SEED = 0


def make_random_net(images: UInt8[Tensor, "n ch h w"], device: torch.device | str = "cpu") -> nn.Module:
    """Returns the random net for images of this shape, in evaluation mode; it gives `N_FEATURES` from each.

    Args:
        images: Of which some set the statistics of BatchNorm, the same ones each time.
        device: Where the net works.
    """
    channels, height, width_px = images.shape[1:]
    shape: ImageShape = (channels, height, width_px)
    widths = [min(width, MOST_CHANNELS) for width in stage_widths(shape, WIDTH)]
    n_flat = (height >> len(widths)) * (width_px >> len(widths)) * widths[-1]
    net = nn.Sequential(
        *downsampling(channels, widths),
        nn.LeakyReLU(NEGATIVE_SLOPE),
        nn.Flatten(),
        nn.Linear(n_flat, N_FEATURES, bias=False),
        nn.BatchNorm1d(N_FEATURES),
        nn.ReLU(),
    )
    rng = torch.Generator().manual_seed(NET_SEED)
    for layer in net:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fan_in = layer.weight[0].numel()
            layer.weight.data = torch.randn(layer.weight.shape, generator=rng) / math.sqrt(fan_in)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.momentum = None  # the plain mean over all batches
    net.to(device)
    kept = torch.linspace(0, len(images) - 1, min(len(images), N_CALIBRATION_IMAGES)).round().long()
    with torch.no_grad():
        for x in batches_of(net, images[kept]):
            net(x)
    return net.eval().requires_grad_(False)


def random_features(net: nn.Module, images: UInt8[Tensor, "n ch h w"]) -> Float[np.ndarray, "n 64"]:
    """Returns what the random net makes of images."""
    with evaluating(net):
        return torch.cat([net(x).cpu() for x in batches_of(net, images)]).numpy()
