"""Endless shuffled batches of real images, and what an update works on.

Images are NCHW: uint8 in [0, 255] as stored, float32 in [-1, 1] as batches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from infogan.data.augment import Views
from infogan.system.errors import UserError
from infogan.system.runtime import set_generator_state


@dataclass(frozen=True)
class UpdateBatch:
    """What one update works on: images, codes, and the features of these images by the trunk.

    Attributes:
        x_fake: Generated images.
        c: The codes that they were made from.
        features_fake: Their features.
        x_real: Real images; the update of G has none.
        features_real: Their features.
        views: Augmented views of the real images, if an extension needs them.
        features_views: Their features.
    """

    x_fake: Float[Tensor, "n ch h w"]
    c: Float[Tensor, "n c"]
    features_fake: Float[Tensor, "n f"]
    x_real: Float[Tensor, "n ch h w"] | None = None
    features_real: Float[Tensor, "n f"] | None = None
    views: Views | None = None
    features_views: Float[Tensor, "n f"] | None = None

    def real_and_views(self) -> tuple[Float[Tensor, "n f"], Float[Tensor, "n f"]]:
        """Returns the features of the real images and of their views, in an update of D that has them."""
        assert self.features_real is not None and self.features_views is not None
        return self.features_real, self.features_views


def to_unit_range(images: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Returns images as float32 in [-1, 1], from uint8 in [0, 255]."""
    return images.float().div_(127.5).sub_(1.0)


def fair_sample(n: int, most: int) -> Int[Tensor, " k"]:
    """Returns the indices of up to `most` of n images, drawn with a fixed seed: the same on every call.

    Every tenth would be no fair sample: MNIST's training images are of two kinds of writers by turns.
    """
    return torch.randperm(n, generator=torch.Generator().manual_seed(0))[:most]


class ShuffledBatches:
    """Endless batches of real images; each epoch is a new permutation, less the remainder.

    Args:
        images: Kept as they are, on the device they are on.
        batch_size: Images per batch.
        seed: Of the permutations.

    Raises:
        UserError: Fewer images than one batch.
    """

    def __init__(self, images: UInt8[Tensor, "n c h w"], batch_size: int, seed: int) -> None:
        if len(images) < batch_size:
            raise UserError(f"--batch-size: expected at most the {len(images)} images at hand, got {batch_size}")
        self.images = images
        self.batch_size = batch_size
        self._seed = seed
        self._generator = torch.Generator(images.device).manual_seed(seed)
        self._start_epoch(0)

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch."""
        return len(self.images) // self.batch_size

    def _start_epoch(self, position: int) -> None:
        # The state before the draw and the position in it are all that is needed to draw it again.
        self._epoch_state = self._generator.get_state()
        self._order = torch.randperm(len(self.images), generator=self._generator, device=self.images.device)
        self._position = position

    def at(self, indices: Int[Tensor, " n"]) -> Float[Tensor, "n c h w"]:
        """Returns a batch, in [-1, 1], from the indices of its images."""
        return to_unit_range(self.images[indices])

    def next(self) -> Int[Tensor, " n"]:
        """Returns the indices of the next batch."""
        if self._position == self.per_epoch:
            self._start_epoch(0)
        start = self._position * self.batch_size
        self._position += 1
        return self._order[start : start + self.batch_size]

    def state_dict(self) -> dict[str, Any]:
        """Returns where in which permutation the next batch starts."""
        return {"epoch_state": self._epoch_state, "position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues as the batches did whose `state_dict` this is."""
        set_generator_state(self._generator, state["epoch_state"], self._seed)
        self._start_epoch(state["position"])


def epoch_of(step: int, steps_per_epoch: int) -> int:
    """Returns the number, from 1, of the epoch that `step` steps end in; 0 before the first."""
    return math.ceil(step / steps_per_epoch)
