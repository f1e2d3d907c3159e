"""The latent specification: which codes c1, c2, ... a model has, and what is known of them beforehand.

One `LatentSpec` drives everything: the generator's input, the layout of Q's output, the prior's entropy in
the bound, and the rows, columns and titles of the pictures. Nothing here needs torch, so that a command line
can check its codes and answer at once; `infogan.latents` draws and scores them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from infogan.system.errors import UserError, shown

# What a continuous code may be named for; `infogan.data.transformations` says how each changes an image.
TRANSFORMATIONS = (
    *("slant", "rotation", "width", "height", "scale", "shift-x", "shift-y", "thickness"),
    *("brightness", "contrast", "hue", "saturation"),
)
WRAPPING = frozenset({"rotation", "hue"})  # a whole turn of them changes nothing
OF_COLOURS = frozenset({"hue", "saturation"})  # grey images have none
OF_INTENSITIES = frozenset({"brightness", "contrast"})

MAX_CODES = 100
MAX_CATEGORIES = 1000
MAX_ORDER = 100
MAX_NOISE_DIM = 10_000
Q_STD_RANGE = (0.001, 1000)  # beyond it, L_I is a sum of numbers that float32 cannot tell apart


@dataclass(frozen=True)
class Categorical:
    """A category out of `n_categories` equally likely ones, given to G as a one-hot vector."""

    n_categories: int

    def __post_init__(self) -> None:
        if self.n_categories < 2:
            raise UserError(f"codes: a categorical code needs at least 2 categories, got {self.n_categories}")
        if self.n_categories > MAX_CATEGORIES:
            raise UserError(f"codes: expected at most {MAX_CATEGORIES} categories, got {self.n_categories}")

    @property
    def dim(self) -> int:
        """Columns of c."""
        return self.n_categories

    @property
    def entropy_nats(self) -> float:
        """H(c) = ln K."""
        return math.log(self.n_categories)

    def __str__(self) -> str:
        return f"cat{self.n_categories}"


@dataclass(frozen=True)
class Uniform:
    """A continuous code, uniform on (-1, 1); it is free, or named for a transformation of images that it follows."""

    transformation: str | None = None

    prior = "uniform"
    dim = 1
    variance = 1.0 / 3.0
    entropy_nats = math.log(2.0)

    def __str__(self) -> str:
        return self.transformation or self.prior


@dataclass(frozen=True)
class Gaussian:
    """A continuous code, standard normal; it is free, or named for a transformation of images that it follows."""

    transformation: str | None = None

    prior = "gaussian"
    dim = 1
    variance = 1.0
    entropy_nats = 0.5 * math.log(2.0 * math.pi * math.e)

    def __str__(self) -> str:
        return f"{self.prior}:{self.transformation}" if self.transformation else self.prior


@dataclass(frozen=True)
class Circular:
    """A continuous code that wraps: an angle in half turns, uniform on (-1, 1), whose ends are one and the same.

    G is given its cosine and sine, and Q models it by a von Mises density. It is free, or named for rotation or hue,
    by any angle.

    Attributes:
        transformation: What it is named for.
        order: How often it goes round while an image is turned once: 4 for what looks the same after a quarter turn.
    """

    transformation: str | None = None
    order: int = 1

    prior = "circular"
    dim = 1
    entropy_nats = math.log(2.0)

    def __post_init__(self) -> None:
        if not 1 <= self.order <= MAX_ORDER:
            raise UserError(f"codes: expected an order of symmetry from 1 to {MAX_ORDER}, got {self.order}")
        if self.order > 1 and self.transformation is None:
            raise UserError(
                f"codes: expected an order of symmetry of a code that is named, got {self.order} of a free one"
            )

    def __str__(self) -> str:
        if self.transformation is None:
            return self.prior
        return f"{self.prior}:{self.transformation}" + (f"/{self.order}" if self.order > 1 else "")


Code = Categorical | Uniform | Gaussian | Circular

CODE_FORMS = (
    "catK (K categories, K >= 2), uniform, gaussian, circular, or uniform:NAME or gaussian:NAME, or NAME alone for "
    f"uniform:NAME, with one of {', '.join(TRANSFORMATIONS)}, or circular:NAME with {' or '.join(sorted(WRAPPING))}, "
    "and circular:NAME/N for what looks the same after an Nth of a turn"
)


def parse_code(text: str) -> Code:
    """Returns the code that `text` names: `cat10`, `uniform`, `gaussian`, `gaussian:slant`; `slant` is `uniform:slant`.

    Raises:
        UserError: `text` is none of these.
    """
    if match := re.fullmatch(r"cat([0-9]{1,6})", text):
        return Categorical(int(match.group(1)))
    prior, colon, name = text.partition(":")
    if text in TRANSFORMATIONS:
        prior, name = "uniform", text
    if match := re.fullmatch(rf"{Circular.prior}:({'|'.join(sorted(WRAPPING))})/(0|[1-9][0-9]{{0,9}})", text):
        return Circular(match.group(1), int(match.group(2)))
    names = WRAPPING if prior == Circular.prior else TRANSFORMATIONS
    if prior in _PRIORS and (name in names or not (colon or name)):
        return _PRIORS[prior](name or None)
    raise UserError(f"codes: expected a comma-separated list of {CODE_FORMS}, got {shown(text)}")


_PRIORS: dict[str, type[Uniform] | type[Gaussian] | type[Circular]] = {
    kind.prior: kind for kind in (Uniform, Gaussian, Circular)
}


@dataclass(frozen=True)
class LatentSpec:
    """The codes c1, c2, ..., the noise beside them, and how Q models a continuous code.

    Attributes:
        codes: In order; their columns of c follow each other.
        noise_dim: Entries of z.
        noise: The prior of each entry of z: `normal` N(0, 1), or `uniform` U(-1, 1).
        q_std: The fixed standard deviation of Q(c|x) for a continuous code; None has Q learn it per image.

    Raises:
        UserError: No code, no noise, a deviation that is not positive, or codes that are named for the same.
    """

    codes: tuple[Code, ...]
    noise_dim: int = 62
    noise: Literal["normal", "uniform"] = "normal"
    q_std: float | None = None

    def __post_init__(self) -> None:
        if not self.codes:
            raise UserError(f"codes: at least one code is needed: {CODE_FORMS}")
        if len(self.codes) > MAX_CODES:
            raise UserError(f"codes: expected at most {MAX_CODES} codes, got {len(self.codes)}")
        if not 1 <= self.noise_dim <= MAX_NOISE_DIM:
            raise UserError(f"noise-dim: expected 1 to {MAX_NOISE_DIM:,}, got {shown(self.noise_dim)}")
        if self.noise not in ("normal", "uniform"):
            raise UserError(f"noise: expected normal or uniform, got {self.noise!r}")
        least, most = Q_STD_RANGE
        if self.q_std is not None and not least <= self.q_std <= most:
            raise UserError(f"q-std: expected {least} to {most:,}, or learned, got {self.q_std}")
        names = [name for _, name in self.named]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UserError(f"codes: expected one code for each transformation, got {twice} twice")
        if {"width", "height", "scale"} <= {*names}:
            raise UserError("codes: expected two of width, height and scale, which make the third, got all three")

    @classmethod
    def parse(
        cls,
        codes: str,
        noise_dim: int = 62,
        noise: Literal["normal", "uniform"] = "normal",
        q_std: float | None = None,
    ) -> LatentSpec:
        """Returns the spec with the codes that `codes` lists, as in `"cat10,uniform,uniform"`."""
        return cls(tuple(parse_code(part.strip()) for part in codes.split(",")), noise_dim, noise, q_std)

    @property
    def names(self) -> tuple[str, ...]:
        """c1, c2, ... in order, as the paper names them."""
        return tuple(f"c{i + 1}" for i in range(len(self.codes)))

    @property
    def c_dim(self) -> int:
        """Columns of c."""
        return sum(code.dim for code in self.codes)

    @property
    def c_slices(self) -> tuple[slice, ...]:
        """The columns of c that each code takes."""
        return _consecutive(code.dim for code in self.codes)

    @property
    def q_slices(self) -> tuple[slice, ...]:
        """The columns of Q's output for each code: K logits, or a mean and, if learned, a log-deviation.

        The mean of a circular code takes two, the cosine and sine of its direction.
        """
        return _consecutive(self._q_dim(code) for code in self.codes)

    def _q_dim(self, code: Code) -> int:
        if isinstance(code, Categorical):
            return code.dim
        return (2 if isinstance(code, Circular) else 1) + (self.q_std is None)

    @property
    def q_dim(self) -> int:
        """Columns of Q's output."""
        return self.q_slices[-1].stop

    @property
    def entropies_nats(self) -> tuple[float, ...]:
        """H(c_i) of each code's prior, in nats; that of a continuous code is a differential entropy."""
        return tuple(code.entropy_nats for code in self.codes)

    @property
    def mi_ranges_nats(self) -> tuple[tuple[float, float], ...]:
        """L_I of each code, in nats: at chance, and the most that it can be.

        At chance Q answers the same for every image, and as well as one answer can. A category then has 0, and at most
        H(c). Of a continuous code, differential entropies are compared, so that either end may be below 0: Q's density
        is a Gaussian, which the prior need not be, and whose deviation, if it is fixed, is too wide at best.
        """
        return tuple(self._mi_range_nats(code) for code in self.codes)

    def _mi_range_nats(self, code: Code) -> tuple[float, float]:
        if isinstance(code, Categorical):
            return 0.0, code.entropy_nats
        if isinstance(code, Circular):
            if self.q_std is None:
                return 0.0, math.inf
            at_its_mean, concentration = -_log_bessel_scaled(self.q_std**-2), self.q_std**-2
            return at_its_mean - concentration, at_its_mean
        std = math.sqrt(code.variance) if self.q_std is None else self.q_std
        at_its_mean = code.entropy_nats - math.log(std) - 0.5 * math.log(2.0 * math.pi)
        return at_its_mean - 0.5 * code.variance / std**2, math.inf if self.q_std is None else at_its_mean

    @property
    def categorical(self) -> tuple[int, ...]:
        """Positions of the categorical codes."""
        return tuple(i for i, code in enumerate(self.codes) if isinstance(code, Categorical))

    @property
    def continuous(self) -> tuple[int, ...]:
        """Positions of the continuous codes."""
        return tuple(i for i, code in enumerate(self.codes) if not isinstance(code, Categorical))

    @property
    def circular(self) -> tuple[int, ...]:
        """Positions of the codes that wrap."""
        return tuple(i for i, code in enumerate(self.codes) if isinstance(code, Circular))

    @property
    def named(self) -> tuple[tuple[int, str], ...]:
        """The codes that are named for a transformation: their positions, and its name."""
        found = ((i, getattr(code, "transformation", None)) for i, code in enumerate(self.codes))
        return tuple((i, name) for i, name in found if name)

    @property
    def titles(self) -> tuple[str, ...]:
        """The names, each with the transformation that its code is named for, as in `c2 (slant)`."""
        transformations = dict(self.named)
        return tuple(
            f"{name} ({transformations[i]})" if i in transformations else name for i, name in enumerate(self.names)
        )

    def freed(self) -> LatentSpec:
        """Returns the spec with codes that are named for nothing."""
        codes = (code if isinstance(code, Categorical) else type(code)() for code in self.codes)
        return replace(self, codes=tuple(codes))

    def index(self, name: str, argument: str = "code") -> int:
        """Returns the position of the code called `name`, as in `"c2"`; an error names `argument`.

        Raises:
            UserError: The spec has no such code.
        """
        if name not in self.names:
            raise UserError(f"{argument}: expected one of {', '.join(self.names)}, got {name!r}")
        return self.names.index(name)

    def __str__(self) -> str:
        return ",".join(str(code) for code in self.codes)


def _log_bessel_scaled(concentration: float) -> float:
    """Returns ln(I_0(k) e^-k), I_0 the modified Bessel function of order 0: the mean of e^(k (cos - 1)) on a circle."""
    n = 10_000  # enough where Q_STD_RANGE ends
    return math.log(math.fsum(math.exp(concentration * (math.cos(2 * math.pi * i / n) - 1)) for i in range(n)) / n)


def _consecutive(widths: Iterable[int]) -> tuple[slice, ...]:
    slices, start = [], 0
    for width in widths:
        slices.append(slice(start, start + width))
        start += width
    return tuple(slices)
