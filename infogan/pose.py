"""The pose of what G draws: where it is in the image, how large, and how far it is turned, by the codes alone.

    (x, y, size) = mean + W · codes                angle = π c / order, and which of its `order` parts by noise
    size · exp(v · codes that draw)

W is not trained. It is fitted to the training images before the first step, see `Pose.fit`: a code that is
named for shift-x, shift-y or scale moves along that axis, as far as images differ there. Codes that are named for
nothing take what is left, as its independent components: independent codes that are mixed linearly can be told from the
mixture, up to their order and signs, if they are not Gaussian. The circular code that is named for rotation turns; if
no code is, the first free one does. A code that poses draws nothing. By v, which is trained, what is drawn has a size
of its own: of two things with the same codes of place and size, one may be larger.

Sizes are linear in the codes, those of a Gaussian code too, whose smallest are cut off.

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
LEAST_SPREAD = 0.05  # of places among images, in half sides, or of sizes, in mean sizes: what is not named must have it
ROUNDING = 1e-6  # of places that are all equal
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
        self.turns_by = self._turning_code()
        # The noise says by which of the equal parts of a turn more: a square looks the same after any of them.
        self.register_buffer("parts_by", torch.tensor(_quantiles(spec, self.order)))

    def _turning_code(self) -> int | None:
        by_name = {name: position for position, name in self.spec.named}
        if "rotation" in by_name:
            return by_name["rotation"] if by_name["rotation"] in self.spec.circular else None
        return next((position for position in self.spec.circular if position not in by_name.values()), None)

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
        poses = (self.weight != 0).any(dim=0).float()
        # `fill_`, as what is assigned would be copied from the host, which a captured step may not do.
        if self.angle_column is not None:
            poses[self.angle_column].fill_(1.0)
        if self.order > 1:
            poses[0].fill_(1.0)
        return 1 - poses

    def sizes_by(self) -> Float[Tensor, " c"]:
        """Returns what each column of c adds to the logarithm of the size, 0 for what draws nothing, and for angles."""
        mask = self.draws()[self.spec.noise_dim :]
        for position in self.spec.circular:
            mask[self.spec.c_slices[position]].fill_(0.0)
        return self.own_size.weight[0] * mask

    def forward(self, latents: Float[Tensor, "n zc"]) -> Float[Tensor, "n 4"]:
        """Returns x, y, size and angle."""
        place, size = nn.functional.linear(latents, self.weight, self.bias).split([2, 1], dim=1)
        size = size * (latents[:, self.spec.noise_dim :] @ self.sizes_by()[:, None]).exp()
        angle = torch.zeros_like(size)
        if self.angle_column is not None:
            part = (latents[:, :1] > self.parts_by).sum(dim=1, keepdim=True)
            angle = math.pi / self.order * (latents[:, self.angle_column, None] + 2 * part)
        return torch.cat([place, size, angle], dim=1)

    def describe(self) -> list[str]:
        """Returns in words what each code poses; codes that draw are left out."""
        told = []
        for position in self.spec.continuous:
            effects = self.weight[:, self._column(position)].tolist()
            # Rounded first, and plus 0, so that there is no -0.00.
            x, y, size = (round(effect, n) + 0.0 for effect, n in zip(effects, (2, 2, 3), strict=True))
            if position == self.turns_by:
                does = f"turns what G draws by {180 / self.order:.3g}° per unit"
            elif any(effects):
                by = f"{x:.2f} in x, {y:.2f} in y and {size:.3f} in size"
                does = f"moves what G draws by {by}, in half sides per unit"
            else:
                continue
            told.append(f"{self.spec.titles[position]}: {does}")
        return told

    def fit(self, places: Float[Tensor, "k 3"]) -> None:
        """Fits W and the mean to where real images have their content, and how large it is.

        Args:
            places: x, y and the size of the content of k real images.

        Raises:
            UserError: Neither codes nor noise are enough for what images differ in.
        """
        mean, spread = places.mean(dim=0), places.std(dim=0, correction=0)
        weight, rest = torch.zeros(self.weight.shape), [*range(len(AXES))]
        for position, name in self.spec.named:
            if name in AXES:
                axis = AXES.index(name)
                rest.remove(axis)
                if spread[axis] > ROUNDING:
                    weight[axis, self._column(position)] = spread[axis] / self._deviation(position)
        if rest:
            # Sizes count by their share of the mean size.
            units = torch.tensor([1.0, 1.0, max(mean[2].item(), LEAST_SPREAD)])[rest]
            mixing = independent_components(((places - mean)[:, rest] / units).double().numpy())
            for (column, deviation), of_component in zip(self._sources(mixing.shape[1]), mixing.T, strict=True):
                weight[rest, column] = torch.from_numpy(of_component).float() * units / deviation
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
        first = int(self.order > 1)  # of the noise, one entry is the angle's then
        of_noise = 1.0 if self.spec.noise == "normal" else 3**-0.5
        sources += [(column, of_noise) for column in range(first, self.spec.noise_dim)][: n - len(sources)]
        if len(sources) < n:
            raise UserError(
                f"--noise-dim: expected at least {first + n - len(free)} with these codes, as images differ in place "
                f"and size, got {self.spec.noise_dim}"
            )
        return sources


def independent_components(values: np.ndarray) -> np.ndarray:
    """Returns the matrix that mixes independent components, each of variance 1, into values, (axes, components).

    There are as many as directions in which the values differ by `LEAST_SPREAD` or more.

    Args:
        values: Of shape (k, axes), with a mean of 0.
    """
    spreads = np.linalg.svd(values, compute_uv=False) / len(values) ** 0.5
    n = int((spreads >= LEAST_SPREAD).sum())
    if n == 0:
        return np.zeros((values.shape[1], 0))
    from sklearn.decomposition import FastICA  # only here: it takes a second
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what is Gaussian has no components of its own: any do
        found = FastICA(n_components=n, whiten="unit-variance", random_state=0, max_iter=1000).fit(values)
    mixing = np.asarray(found.mixing_)
    return mixing * np.sign(mixing[np.abs(mixing).argmax(axis=0), range(n)])  # each grows along its axis


def _quantiles(spec: LatentSpec, order: int) -> list[float]:
    """Returns what divides an entry of the noise into parts that are equally likely."""
    shares = [i / order for i in range(1, order)]
    return [NormalDist().inv_cdf(share) if spec.noise == "normal" else 2 * share - 1 for share in shares]
