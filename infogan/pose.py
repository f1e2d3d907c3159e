"""The pose of what G draws: where it is in the image, how large, and how far it is turned, by the codes alone.

    (x, y, size) = mean + W · codes                angle = π c / order, and which of its `order` parts by noise
    size · exp(v · codes that draw)

W is not trained. It is fitted to the training images before the first step, see `Pose.fit`: a code that is
named for shift-x, shift-y or scale moves along that axis, as far as images differ there. Codes that are named for
nothing take what is left, as its independent components: independent codes that are mixed linearly can be told from the
mixture, up to their order and signs, if they are not Gaussian. The first circular code that is free, or named for
rotation, turns. A code that poses draws nothing. By v, which is trained, what is drawn has a size of its own: of two
things with the same codes of place and size, one may be larger.

Source: Comon 1994, "Independent component analysis, a new concept?", Signal Processing 36; FastICA of Hyvärinen 1999,
IEEE Transactions on Neural Networks 10.

Axes: n batch, zc entries of z and c side by side. Places and sizes are in half sides of an image.
"""

from __future__ import annotations

import math
import warnings
from statistics import NormalDist

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from infogan.config.spec import Circular, Gaussian, LatentSpec, Uniform
from infogan.system.errors import UserError

AXES = ("shift-x", "shift-y", "scale")
LEAST_SPREAD = 0.05  # of a place among images, in half sides, or of the size, in mean sizes: below it nothing is posed
START_SIZE = 0.4  # before any images are known


class Pose(nn.Module):
    """From z and c to x, y, the size and the angle in radians, positive counter-clockwise.

    Args:
        spec: The latents.
    """

    weight: Float[Tensor, "axes zc"]
    bias: Float[Tensor, " axes"]
    parts_by: Float[Tensor, " parts"]

    def __init__(self, spec: LatentSpec) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("weight", torch.zeros(len(AXES), spec.noise_dim + spec.c_dim))
        self.register_buffer("bias", torch.tensor([0.0, 0.0, START_SIZE]))
        self.own_size = nn.Linear(spec.c_dim, 1, bias=False)
        nn.init.zeros_(self.own_size.weight)
        self.turns_by = next(filter(self._turns, spec.circular), None)
        # The noise says in which of the equal parts of a turn an angle is: of a square in none that could be seen.
        self.register_buffer("parts_by", torch.tensor(_quantiles(spec, self.order)))

    def _turns(self, position: int) -> bool:
        return getattr(self.spec.codes[position], "transformation", None) in (None, "rotation")

    @property
    def order(self) -> int:
        """How often the angle's code goes round in a turn."""
        code = None if self.turns_by is None else self.spec.codes[self.turns_by]
        return code.order if isinstance(code, Circular) else 1

    @property
    def angle_column(self) -> int | None:
        """The angle's code in z and c side by side, if there is one."""
        return None if self.turns_by is None else self._column(self.turns_by)

    def _column(self, position: int) -> int:
        return self.spec.noise_dim + self.spec.c_slices[position].start

    def draws(self) -> Float[Tensor, " zc"]:
        """Returns 1 for each entry of z and c that is left to draw from, and 0 for each that poses or turns."""
        poses = (self.weight != 0).any(dim=0)
        if self.angle_column is not None:
            poses[self.angle_column] = True
            poses[0] |= self.order > 1
        return (~poses).float()

    def forward(self, latents: Float[Tensor, "n zc"]) -> Float[Tensor, "n 4"]:
        """Returns x, y, size and angle."""
        place, size = nn.functional.linear(latents, self.weight, self.bias).split([2, 1], dim=1)
        size = size * self.own_size((latents * self.draws())[:, self.spec.noise_dim :]).exp()
        angle = torch.zeros_like(size)
        if self.angle_column is not None:
            part = (latents[:, :1] > self.parts_by).sum(dim=1, keepdim=True)
            angle = math.pi / self.order * (latents[:, self.angle_column, None] + 2 * part)
        return torch.cat([place, size, angle], dim=1)

    def describe(self) -> list[str]:
        """Returns in words what each code poses, one that draws left out."""
        told = []
        for position in self.spec.continuous:
            x, y, size = self.weight[:, self._column(position)].tolist()
            moves = f"moves what G draws by {x:.2f} in x, {y:.2f} in y and {size:.3f} in size, in half sides per unit"
            angle = f"turns what G draws by {1 / self.order:.3g} half turns per unit"
            if position == self.turns_by or (x, y, size) != (0, 0, 0):
                told.append(f"{self.spec.titles[position]}: {angle if position == self.turns_by else moves}")
        return told

    def fit(self, places: Float[Tensor, "k 3"]) -> None:
        """Fits W and the mean to where real images have their content, and how large it is.

        Args:
            places: x, y and the size of the content of k real images.

        Raises:
            UserError: Neither codes nor noise are enough for what images differ in.
        """
        mean, spread = places.mean(dim=0), places.std(dim=0)
        relative = spread / torch.tensor([1.0, 1.0, max(mean[2].item(), 1e-6)])
        differing = [axis for axis in range(len(AXES)) if relative[axis] >= LEAST_SPREAD]
        weight = torch.zeros(self.weight.shape)
        for position, name in self.spec.named:
            if name in AXES and AXES.index(name) in differing and position not in self.spec.circular:
                axis = AXES.index(name)
                differing.remove(axis)
                weight[axis, self._column(position)] = spread[axis] / self._deviation(position)
        if differing:
            sources = self._sources(len(differing))
            mixing = independent_components(places[:, differing].double().numpy())
            for (column, deviation), of_component in zip(sources, mixing.T, strict=True):
                weight[differing, column] = torch.from_numpy(of_component).float() / deviation
        self.weight.copy_(weight)
        self.bias.copy_(mean)

    def _deviation(self, position: int) -> float:
        code = self.spec.codes[position]
        assert isinstance(code, Uniform | Gaussian)
        return code.variance**0.5

    def _sources(self, n: int) -> list[tuple[int, float]]:
        """Returns n columns of z and c and their deviations: of codes that are named for nothing, then of noise."""
        free = [i for i in self.spec.continuous if i not in self.spec.circular and i not in dict(self.spec.named)]
        sources = [(self._column(i), self._deviation(i)) for i in free[:n]]
        # The first entry of the noise is the angle's.
        of_noise = 1.0 if self.spec.noise == "normal" else 3**-0.5
        sources += [(column, of_noise) for column in range(1, self.spec.noise_dim)][: n - len(sources)]
        if len(sources) < n:
            raise UserError(
                f"--noise-dim: expected at least {1 + n - len(free)} with these codes, as images differ in place and "
                f"size, got {self.spec.noise_dim}"
            )
        return sources


def independent_components(values: np.ndarray) -> np.ndarray:
    """Returns the matrix that mixes independent components, each of variance 1, into values, but for their mean.

    Args:
        values: Of shape (k, axes).
    """
    from sklearn.decomposition import FastICA  # only here: it takes a second
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what is Gaussian has no components of its own: any do
        return np.asarray(FastICA(whiten="unit-variance", random_state=0, max_iter=1000).fit(values).mixing_)


def _quantiles(spec: LatentSpec, order: int) -> list[float]:
    """Returns what divides an entry of the noise into parts that are equally likely."""
    shares = [i / order for i in range(1, order)]
    return [NormalDist().inv_cdf(share) if spec.noise == "normal" else 2 * share - 1 for share in shares]
