"""The nets as a page runs them: lists of layers, and one array of float16 that holds their weights.

A layer multiplies rows by a k × n matrix and adds a bias: rows are whole images (linear), 4 × 4 patches (conv), or
pixels, whose products are added up in 4 × 4 patches (upconv). An activation follows. Nets that see the content of an
image have lists of layers within a layer. Activations are channels-last.
`matmul.wat` takes the matrix in panels of 16 columns, so n is padded with zeros to a multiple of 16.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float16
from torch import Tensor, nn

from infogan.circular import AngleEmbedding
from infogan.content_nets import LEAST_CONTENT, LEAST_SIZE, PLACE_SCALE, REACH, SIZE_UNIT, ContentTrunk
from infogan.export import Crop, Posed, Unflatten
from infogan.export.layers import linear_layer
from infogan.models import FlattenChannelsLast, ImageShape
from infogan.system.errors import UserError

PANEL_COLUMNS = 16
OF_CONTENT = {
    "reach": REACH,
    "place_scale": PLACE_SCALE,
    "size_unit": SIZE_UNIT,
    "least_size": LEAST_SIZE,
    "least_content": LEAST_CONTENT,
}
Layer = dict[str, Any]


class Packer:
    """Packs nets, one after the other, into one array."""

    def __init__(self) -> None:
        self._parts: list[Float16[np.ndarray, " _"]] = []
        self._size = 0

    @property
    def halves(self) -> Float16[np.ndarray, " n"]:
        """All weights so far: of each layer the panels of its matrix, then its bias."""
        return np.concatenate(self._parts)

    def pack(self, net: nn.Sequential, image_shape: ImageShape | None = None) -> list[Layer]:
        """Returns the page's layers of a net, whose weights are added to the array.

        Args:
            net: Plain layers, as `export.generator_layers` returns them.
            image_shape: Of its input; None for a net whose input is no image.

        Raises:
            UserError: A layer that a page cannot run, or weights beyond the range of float16.
        """
        layers: list[Layer] = []
        channels, height, width = image_shape or (0, 0, 0)
        for module in net:
            image = {"height": height, "width": width, "channels": channels}
            match module:
                case nn.Linear():
                    matrix = self._matrix(module.weight.T, module.bias)
                    layers.append({"kind": "linear", "inputs": module.in_features, **matrix})
                case nn.Conv2d():
                    matrix = self._matrix(module.weight.permute(2, 3, 1, 0).flatten(0, 2), module.bias)
                    layers.append({"kind": "conv", **image, **matrix})
                    channels, height, width = module.out_channels, height // 2, width // 2
                case nn.ConvTranspose2d():
                    matrix = self._matrix(module.weight.permute(0, 2, 3, 1).flatten(1), module.bias)
                    layers.append({"kind": "upconv", **image, **matrix})
                    channels, height, width = module.out_channels, height * 2, width * 2
                case nn.ReLU():
                    layers[-1]["activation"] = "relu"
                case nn.LeakyReLU():
                    layers[-1] |= {"activation": "lrelu", "slope": module.negative_slope}
                case nn.Tanh():
                    layers[-1]["activation"] = "tanh"
                case AngleEmbedding():
                    layers.append({"kind": "angles", "columns": module.columns})
                case Unflatten():
                    height, width = module.height, module.width_px
                    channels = layers[-1]["outputs"] // (height * width)
                case Crop():
                    if (height, width) != (module.height, module.width_px):
                        layers.append({"kind": "crop", **image, "rows": module.height, "columns": module.width_px})
                case nn.GroupNorm() | nn.LayerNorm():
                    gains, biases = self._add(module.weight), self._add(module.bias)
                    layers.append({"kind": "norm", "weight": gains, "bias": biases, "outputs": module.weight.numel()})
                case Posed():
                    layers.append({"kind": "posed", **self._posed(module), **OF_CONTENT})
                case ContentTrunk():
                    window: ImageShape = (channels, module.window_px, module.window_px)
                    stacks = {"windows": self.pack(module.layers, window)}
                    layers.append({"kind": "content", "side": module.window_px, **image, **OF_CONTENT, **stacks})
                case FlattenChannelsLast():
                    pass  # as activations lie in memory anyway
                case _:
                    raise UserError(f"explorer: a page cannot run a layer of type {type(module).__name__}")
        return layers

    def _posed(self, module: Posed) -> Layer:
        pose = module.pose
        own_size = torch.cat([pose.weight.new_zeros(pose.spec.noise_dim), pose.sizes_by()])
        angle = {"column": pose.angle_column, "order": pose.order, "parts_by": pose.parts_by.tolist()}
        return {
            "side": module.mean.shape[-1],
            "rows": module.height,
            "columns": module.width_px,
            "windows": self.pack(module.windows),
            "mean": self._add(module.mean.permute(1, 2, 0)),
            "mean_size": module.mean.numel(),
            "place": self.pack(nn.Sequential(linear_layer(pose.weight, pose.bias))),
            "own_size": self._add(own_size),
            "latents": own_size.numel(),
            "angle": None if pose.angle_column is None else angle,
        }

    def _matrix(self, matrix: Float[Tensor, "k n"], bias: Tensor | None) -> Layer:
        k, n = matrix.shape
        bias = matrix.new_zeros(n) if bias is None else bias
        padded = -(-n // PANEL_COLUMNS) * PANEL_COLUMNS
        panels = nn.functional.pad(matrix, (0, padded - n)).unflatten(1, (-1, PANEL_COLUMNS)).transpose(0, 1)
        places = {"weight": self._add(panels), "bias": self._add(bias)}
        return {"k": k, "n": padded, "outputs": len(bias), "activation": "none", **places}

    def _add(self, values: Tensor) -> int:
        """Adds numbers to the array, and returns where they begin."""
        halves = values.detach().cpu().numpy().astype(np.float16).ravel()
        if not np.isfinite(halves).all():
            raise UserError("explorer: the weights are beyond the range of float16")
        self._parts.append(halves)
        self._size += len(halves)
        return self._size - len(halves)
