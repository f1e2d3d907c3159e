"""Codes that wrap: an angle in half turns, as G is given it and as Q models it.

Axes: n batch, z noise, c codes, p columns of Q's output for one code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from infogan.config.spec import LatentSpec


def wrapped(angles: Float[Tensor, "*n"], period: float = 2.0) -> Float[Tensor, "*n"]:
    """Returns angles, or differences of such, as the same ones within half a period of 0.

    Args:
        angles: In half turns, or in the unit of `period`.
        period: Infinite for what does not wrap, which stays as it is.
    """
    return angles if math.isinf(period) else (angles + period / 2) % period - period / 2


def direction(params: Float[Tensor, "n p"]) -> Float[Tensor, " n"]:
    """Returns the angle, in half turns within [-1, 1], of a direction whose cosine and sine come first."""
    return torch.atan2(params[:, 1], params[:, 0]) / math.pi


def von_mises_log_density(
    params: Float[Tensor, "n p"], angles: Float[Tensor, " n"], log_std: Float[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Returns the logarithm of a von Mises density of angles in half turns.

    Args:
        params: Its mean direction; the length of the vector plays no part.
        angles: To score.
        log_std: Its concentration is that of this deviation in radians: 1 / deviation².
    """
    concentration = torch.exp(-2 * log_std)
    cosine = torch.cos(math.pi * (angles - direction(params)))
    return concentration * (cosine - 1) - torch.special.i0e(concentration).log() - math.log(2.0)


class AngleEmbedding(nn.Module):
    """Replaces angles, in half turns, by their cosines, and appends their sines behind all columns.

    Args:
        columns: Of the angles.
    """

    def __init__(self, columns: Sequence[int]) -> None:
        super().__init__()
        self.columns = [*columns]

    def forward(self, x: Float[Tensor, "n zc"]) -> Float[Tensor, "n embedded"]:
        angles = [math.pi * x[:, column, None] for column in self.columns]
        parts, start = [], 0
        for column, angle in zip(self.columns, angles, strict=True):
            parts += [x[:, start:column], angle.cos()]
            start = column + 1
        return torch.cat([*parts, x[:, start:], *(angle.sin() for angle in angles)], dim=1)


def embed_angles(spec: LatentSpec) -> tuple[int, list[nn.Module]]:
    """Returns how many columns G's first linear layer takes, and what is before it: nothing, unless codes wrap."""
    columns = [spec.noise_dim + spec.c_slices[i].start for i in spec.circular]
    return spec.noise_dim + spec.c_dim + len(columns), [AngleEmbedding(columns)] if columns else []
