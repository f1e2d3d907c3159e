"""DiffAugment: D and Q see real and generated images through the same random, differentiable transformations.

D then does not win where images are few, and since G's images are transformed as well, G is not taught to draw
transformed ones. The gradient reaches G through the transformation. Source: Zhao et al. 2020, arXiv 2006.10738.

Q reads the features that D reads, and L_I remains a lower bound: by the data processing inequality a transformed image
T(x) tells no more of c than x does, L_I ≤ I(c; T(G(z, c))) ≤ I(c; G(z, c)).

Axes: n images, ch h w image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from infogan.system import distributed

MAX_TRANSLATION = 1 / 8  # of a side
CUTOUT = 1 / 2  # of a side
_N_RANDOM = {"color": 3, "translation": 2, "cutout": 2}  # numbers that a part takes for each image


class DiffAugment:
    """Transforms batches at random, each image by itself.

    Its random numbers depend on the seed and the step alone, so that a run that is resumed, or has a baseline beside
    it, sees the same.

    Args:
        policy: Comma-separated parts, of `color`, `translation` and `cutout`.
        seed: Of the run.
    """

    def __init__(self, policy: str, seed: int) -> None:
        self._parts = [part for part in _PARTS if part in policy.split(",")]
        self._seed = seed
        self._generator = torch.Generator()
        self._drawn: list[Tensor] = []  # in a step, in order; they stay where they are, for captured steps
        self.start_step(0)

    def start_step(self, step: int) -> None:
        """Goes to a step, counted from 0."""
        self._generator.manual_seed(int(np.random.SeedSequence([self._seed, step]).generate_state(1)[0]))
        for u in self._drawn:
            u.copy_(self._draw(u.shape))
        self._n_used = 0

    def _draw(self, shape: Sequence[int]) -> Tensor:
        n, n_random = shape
        return distributed.share(torch.rand((n * distributed.n_ranks(), n_random), generator=self._generator))

    def _next(self, n: int, n_random: int, like: Tensor) -> Float[Tensor, "n r"]:
        """Returns the next numbers of the step, for n images, where those of every step are."""
        if self._n_used == len(self._drawn):
            self._drawn.append(self._draw((n, n_random)).to(like))
        self._n_used += 1
        return self._drawn[self._n_used - 1]

    def __call__(self, images: Float[Tensor, "n ch h w"]) -> Float[Tensor, "n ch h w"]:
        """Returns images in about [-1, 1], transformed; each call draws anew, all ranks for the whole batch."""
        for part in self._parts:
            images = _PARTS[part](images, self._next(len(images), _N_RANDOM[part], images))
        return images


def change_color(images: Float[Tensor, "n ch h w"], u: Float[Tensor, "n 3"]) -> Float[Tensor, "n ch h w"]:
    """Returns images of another brightness (-0.5 to 0.5 is added), saturation (times 0 to 2), contrast (0.5 to 1.5).

    Grey images have no saturation to change.

    Args:
        images: Around 0.
        u: In [0, 1): where each image is in these three ranges.
    """
    brightness, saturation, contrast = u[:, :, None, None, None].unbind(1)
    images = images + (brightness - 0.5)
    grey = images.mean(dim=1, keepdim=True)
    images = grey + 2 * saturation * (images - grey)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (contrast + 0.5) * (images - mean)


def translate(images: Float[Tensor, "n ch h w"], u: Float[Tensor, "n 2"]) -> Float[Tensor, "n ch h w"]:
    """Returns images moved by whole pixels, up to an eighth of the side either way; what comes into view is 0.

    Args:
        images: To be moved.
        u: In [0, 1): from the farthest up and left to the farthest down and right.
    """
    down, right = (_shift(side, of_side) for side, of_side in zip(images.shape[2:], u.unbind(1), strict=True))
    return down[:, None] @ images @ right[:, None].mT


def _shift(side: int, u: Float[Tensor, " n"]) -> Float[Tensor, "n side side"]:
    """Returns matrices that move a vector's entries: a product is deterministic on any device, indexing is not."""
    most = int(MAX_TRANSLATION * side + 0.5)
    by = (u * (2 * most + 1)).long() - most
    source = torch.arange(side, device=u.device) - by[:, None] + most  # in a frame that is `most` wider on both sides
    return F.one_hot(source, side + 2 * most)[..., most : most + side].to(u.dtype)


def cut_out(images: Float[Tensor, "n ch h w"], u: Float[Tensor, "n 2"]) -> Float[Tensor, "n ch h w"]:
    """Returns images with a hole of 0, half as high and wide as they are, whose centre is anywhere in the image.

    Args:
        images: To be cut.
        u: In [0, 1): from the top to the bottom, from the left to the right.
    """
    rows, columns = (_hole(side, of_side) for side, of_side in zip(images.shape[2:], u.unbind(1), strict=True))
    return images * ~(rows[:, None, :, None] & columns[:, None, None, :])


def _hole(side: int, u: Float[Tensor, " n"]) -> Tensor:
    """Returns which pixels of a side are in the hole, (n, side)."""
    length = int(CUTOUT * side + 0.5)
    start = (u * (side + 1 - length % 2)).long() - length // 2
    pixels = torch.arange(side, device=u.device)
    return (pixels >= start[:, None]) & (pixels < start[:, None] + length)


_PARTS = {"color": change_color, "translation": translate, "cutout": cut_out}
