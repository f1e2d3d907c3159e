"""A small net that sees what is shown in images of any kind: a part of the space of Fréchet feature distances.

It is trained once by `scripts/train_feature_net.py` to tell characters of many fonts and photographs of CIFAR-10 apart,
frozen, and shipped as package data. So labels are behind it, as those of ImageNet are behind Inception and its FID, but
none of the images that it measures, unless these are CIFAR-10's. docs/metrics.md says what it was tried on.

Shapes: n images.
"""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from infogan.evaluation.sampling import batches_of
from infogan.evaluation.shipped_nets import load_shipped
from infogan.system.runtime import evaluating

FEATURE_DIM = 128  # half of them are read by each head
CHARACTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
N_PHOTOGRAPH_CLASSES = 10
SIDE_PX = 32  # of the images that it learned from
CELLS = 3  # along each side, of the last map that features are read from


class FeatureNet(nn.Module):
    """Features of images in colour: 0.25 million parameters.

    Input contract of every method: NCHW, 3 channels, any size, float32 in [-1, 1], on the device of the weights; the
    input is not changed.

    Attributes:
        sha256: Hexadecimal SHA-256 of the weight file when built by `load_feature_net`, else None: it names the space
            in which a distance was measured.
    """

    sha256: str | None = None

    def __init__(self) -> None:
        """Builds the net with PyTorch's default initialisation, from the global random state."""
        super().__init__()
        self.trunk = nn.Sequential(
            *_block(3, 32, kernel=5),
            *_block(32, 64, kernel=3),
            *_block(64, 128, kernel=3),
            nn.AdaptiveAvgPool2d(CELLS),
            nn.Flatten(),
            nn.Linear(128 * CELLS**2, FEATURE_DIM, bias=False),
            nn.BatchNorm1d(FEATURE_DIM),
            nn.ReLU(),
        )
        self.character_head = nn.Linear(FEATURE_DIM // 2, len(CHARACTERS))
        self.photograph_head = nn.Linear(FEATURE_DIM // 2, N_PHOTOGRAPH_CLASSES)

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 128"]:
        """Returns the activations that the heads read (128 numbers, each >= 0, no unit).

        Images of another size are resized to 32 x 32 first: what the net knows is as large as it was there.
        """
        if x.shape[2:] != (SIDE_PX, SIDE_PX):
            x = F.interpolate(x, (SIDE_PX, SIDE_PX), mode="bilinear", antialias=True)
        return self.trunk(x)

    def logits(self, features: Float[Tensor, "n 128"]) -> tuple[Float[Tensor, "n 62"], Float[Tensor, "n 10"]]:
        """Returns the scores before softmax: of `CHARACTERS`, by the first half of the features, and of the classes of
        photographs, by the second.
        """
        of_characters, of_photographs = features.chunk(2, dim=1)
        return self.character_head(of_characters), self.photograph_head(of_photographs)


def _block(n_in: int, n_out: int, kernel: int) -> list[nn.Module]:
    convolution = nn.Conv2d(n_in, n_out, kernel, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(n_out), nn.ReLU(), nn.MaxPool2d(2)]


def load_feature_net(path: Path | None = None, device: torch.device | str = "cpu") -> FeatureNet:
    """Returns the frozen feature net: evaluation mode, no gradients to its weights, `sha256` set.

    Args:
        path: Weight file written by `save_shipped`; None reads the one shipped with the package.
        device: Where to put the weights.

    Raises:
        UserError: If the weight file cannot be read, or was altered; the message names the command that writes it.
    """
    net = FeatureNet()
    net.sha256 = load_shipped(net, "feature net", "train_feature_net.py", path)
    return net.to(memory_format=torch.channels_last).to(device)


def learned_features(net: FeatureNet, images: UInt8[Tensor, "n ch h w"]) -> Float[np.ndarray, "n 128"]:
    """Returns what the feature net makes of images; those of other channels than three are seen in grey."""
    with evaluating(net):
        return torch.cat([net(_in_colour(x)).cpu() for x in batches_of(net, images)]).numpy()


def _in_colour(x: Float[Tensor, "n ch h w"]) -> Float[Tensor, "n 3 h w"]:
    return x if x.shape[1] == 3 else x.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
