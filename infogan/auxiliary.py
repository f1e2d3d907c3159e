"""Pictures: sample grids, factor sweeps, interpolations and GIFs; and the gallery, which names every picture of a run.

A picture is made in three steps that can be used alone: latents (`sweep_latents`, `interpolate_latents`, ...),
images from them (`generate`), and a labelled RGB array of these (`image_grid`), which `save_png` and `save_gif`
write. Noise is drawn from generators of their own and nets are put in evaluation mode, so that taking a
picture changes nothing in training.

Axes: r rows, k columns, n = r·k images, row by row; ch h w image.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import os
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import imageio.v3 as iio
import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from infogan.circular import wrapped
from infogan.config.spec import Categorical, LatentSpec
from infogan.latents import quantile, sample_codes, sample_noise, sample_prior, traversal_values, with_code
from infogan.system.errors import UserError
from infogan.system.files import write_atomically
from infogan.system.runtime import evaluating

MAX_CATEGORIES_SHOWN = 30  # so that an alphabet is
N_NOISE_ROWS = 10
N_GIF_FRAMES = 36
GIF_FRAME_MS = 70
DPI = 100
CHARACTER_PX = 8  # of the title, on average
CHARACTERS_PER_INCH = 7  # of a title of a figure, if they are wide
MAX_COLUMN_NAME = 2  # characters of a class's name that have room above a column
MAX_PALETTE_PIXELS = 250_000  # of a frame of a GIF, that its palette is made from
MAX_GRID_PX = 2000  # of a side; larger images are shown in fewer rows and columns
ENLARGED_BELOW_PX = 64  # smaller images are shown at twice their size
GAP_PX = 2  # between images
MAX_BATCH_PX = 128 * 64 * 64  # that G draws at once: at a width of 32, a few hundred MB
CategoryPath = Literal["hold", "switch", "blend"]
NoisePath = Literal["linear", "spherical"]
# An interpolation that jumps midway shows nothing on the way; what leaves the prior for it is said in the title.
DEFAULT_CATEGORY_PATH: CategoryPath = "blend"


@dataclass(frozen=True)
class Latents:
    """Latents of a grid of images, row by row, with what its rows and columns stand for.

    Attributes:
        z: Noise of each image.
        c: Codes of each image.
        rows: A label for each row.
        columns: A label for each column.
        row_title: What the rows are.
        column_title: What the columns are.
        row_code: Position of the categorical code whose values, from 0, go down the rows; None for other rows.
        column_code: Likewise along the columns.
        before: Images to show at the left of the rows, one for each row, by the label of their column.
        after: Likewise at the right.
    """

    z: Float[Tensor, "n z"]
    c: Float[Tensor, "n c"]
    rows: Sequence[str]
    columns: Sequence[str]
    row_title: str = ""
    column_title: str = ""
    row_code: int | None = None
    column_code: int | None = None
    before: Mapping[str, Float[Tensor, "r ch h w"]] = field(default_factory=dict)
    after: Mapping[str, Float[Tensor, "r ch h w"]] = field(default_factory=dict)


@dataclass(frozen=True)
class Given:
    """Latents to draw pictures of, in place of drawn ones, with the images that they belong to.

    Attributes:
        names: Of the images.
        images: The images themselves, in [-1, 1].
        reconstructions: What G draws from the latents.
        z: Noise of each image.
        c: Codes of each image.
    """

    names: Sequence[str]
    images: Float[Tensor, "n ch h w"]
    reconstructions: Float[Tensor, "n ch h w"]
    z: Float[Tensor, "n z"]
    c: Float[Tensor, "n c"]

    def beside(self, rows: Sequence[int]) -> dict[str, Float[Tensor, "r ch h w"]]:
        """Returns the images in the given rows, and their reconstructions, as `Latents.before` takes them."""
        return {"image": self.images[rows], "G(z, c)": self.reconstructions[rows]}


# Latents


def with_digits(
    latents: Latents,
    spec: LatentSpec,
    code_to_digit: Mapping[str, Sequence[int | None]],
    class_names: Sequence[str] = (),
) -> Latents:
    """Returns latents whose categories, in rows or columns, are in the order of their digits and named by them.

    They read `3 → 7`, category and digit or class; categories without one come last.

    Args:
        latents: Left as they are where neither rows nor columns are categories, or these have no digits.
        spec: The latents' own.
        code_to_digit: The digit, or class, of each category by the code's name, None without one.
        class_names: Of the classes; numbers without, and above columns where a name is longer than a number.
    """
    shape = (len(latents.rows), len(latents.columns))
    z, c = latents.z.unflatten(0, shape), latents.c.unflatten(0, shape)
    if latents.row_code is not None and (matched := code_to_digit.get(spec.names[latents.row_code])):
        order = in_order_of_digits(matched[: shape[0]])
        z, c = z[order], c[order]
        latents = replace(latents, rows=category_labels(matched, order, class_names))
    if latents.column_code is not None and (matched := code_to_digit.get(spec.names[latents.column_code])):
        order = in_order_of_digits(matched[: shape[1]])
        z, c = z[:, order], c[:, order]
        names = class_names if max(map(len, class_names), default=0) <= MAX_COLUMN_NAME else ()
        latents = replace(latents, columns=category_labels(matched, order, names))
    return replace(latents, z=z.flatten(0, 1), c=c.flatten(0, 1))


def in_order_of_digits(matched: Sequence[int | None]) -> list[int]:
    """Returns the categories in the order of the digits that they are matched to; those without one come last."""
    return sorted(range(len(matched)), key=lambda k: (matched[k] is None, matched[k] or 0))


def category_labels(
    matched: Sequence[int | None], order: Sequence[int] | None = None, class_names: Sequence[str] = ()
) -> list[str]:
    """Returns a label for each category, in `order` if given: `3 → 7`, or `3 → -` without a digit or class."""
    names = {None: "-", **dict(enumerate(class_names))}
    return [f"{k} → {names.get(matched[k], matched[k])}" for k in (range(len(matched)) if order is None else order)]


def sample_latents(spec: LatentSpec, n_columns: int = 10, seed: int = 0) -> Latents:
    """Returns the latents of a sample grid: the first category's values down the rows.

    Each column has one noise and one draw of the other codes, so that down a column only the category changes.
    Without a category every image has latents of its own, in 10 rows.
    """
    rng = torch.Generator().manual_seed(seed)
    if not spec.categorical:
        z, c = sample_prior(spec, N_NOISE_ROWS * n_columns, rng)
        return Latents(z, c, [""] * N_NOISE_ROWS, [""] * n_columns)
    first = spec.categorical[0]
    values = _shown_values(spec, first)
    z, c = sample_prior(spec, n_columns, rng)
    z, c = z.repeat(len(values), 1), c.repeat(len(values), 1)
    c = with_code(spec, c, first, values.repeat_interleave(n_columns))
    rows, columns = _value_labels(spec, first, values), [""] * n_columns
    return Latents(z, c, rows, columns, _describe(spec, first), "one noise per column", row_code=first)


def sweep_latents(
    spec: LatentSpec, position: int, n_columns: int = 11, seed: int = 0, given: Given | None = None
) -> Latents:
    """Returns the latents of a sweep of one code: its values along the columns, the same noise along a row.

    Rows are the given images, or the values of the first other category. Without either, each row has noise and codes
    of its own.

    Args:
        spec: The latents.
        position: Which code, counted from 0.
        n_columns: Values of a continuous code; of a category all are shown, `MAX_CATEGORIES_SHOWN` at most.
        seed: Of the noise and of the codes that are not swept.
        given: Images whose latents are the rows.
    """
    values = _shown_values(spec, position, n_columns)
    z, c, rows, row_title, row_code = _row_latents(spec, (position,), seed, given)
    z, c = z.repeat_interleave(len(values), dim=0), c.repeat_interleave(len(values), dim=0)
    c = with_code(spec, c, position, values.repeat(len(rows)))
    columns = _value_labels(spec, position, values)
    column_title = f"{_describe(spec, position)}; {'all else as in the image' if given else 'one noise per row'}"
    column_code, before = _if_categorical(spec, position), given.beside(range(len(rows))) if given else {}
    return Latents(z, c, rows, columns, row_title, column_title, row_code, column_code, before)


def two_code_latents(
    spec: LatentSpec, down: int, along: int, n: int = 11, seed: int = 0, given: Given | None = None
) -> Latents:
    """Returns the latents of a grid in which one code varies down the rows and another along the columns.

    All images share one noise and one draw of the other codes: those of the first of the given images, if any.

    Raises:
        UserError: The two codes are one.
    """
    if down == along:
        raise UserError(f"expected two different codes, got {spec.names[down]} twice")
    row_values, column_values = _shown_values(spec, down, n), _shown_values(spec, along, n)
    n_rows, n_columns = len(row_values), len(column_values)
    z, c = (given.z[:1], given.c[:1]) if given else sample_prior(spec, 1, torch.Generator().manual_seed(seed))
    z, c = z.repeat(n_rows * n_columns, 1), c.repeat(n_rows * n_columns, 1)
    c = with_code(spec, c, down, row_values.repeat_interleave(n_columns))
    c = with_code(spec, c, along, column_values.repeat(n_rows))
    return Latents(
        z,
        c,
        _value_labels(spec, down, row_values),
        _value_labels(spec, along, column_values),
        _describe(spec, down),
        f"{_describe(spec, along)}; {'all else as in the image' if given else 'one noise for all'}",
        _if_categorical(spec, down),
        _if_categorical(spec, along),
        given.beside([0] * n_rows) if given else {},
    )


def moving_latents(
    spec: LatentSpec, fractions: dict[int, float], n_columns: int = 6, seed: int = 0, given: Given | None = None
) -> Latents:
    """Returns the latents of one frame of a GIF: some codes at given places, all else as in every frame.

    Rows are the values of the first category that does not move, columns are noises; or a row is a given image.

    Args:
        spec: The latents.
        fractions: The place in [0, 1] of its traversal for each code that moves, by position.
        n_columns: Noises.
        seed: Of the noise and of the other codes.
        given: Images whose latents are the rows, in one column.
    """
    z, c, rows, row_title, row_code = _row_latents(spec, tuple(fractions), seed, given)
    if given:
        n_columns = 1
    else:
        # Each image has a noise of its own; down the rows of a category the same ones come again, to be compared.
        n_noises = n_columns * len(rows) if row_code is None else n_columns
        z = sample_noise(spec, n_noises, torch.Generator().manual_seed(seed))
        z, c = z.repeat(len(rows) * n_columns // n_noises, 1), c.repeat_interleave(n_columns, dim=0)
    values = {i: quantile(spec.codes[i], torch.tensor([u])) for i, u in fractions.items()}
    for i, value in values.items():
        c = with_code(spec, c, i, value.expand(len(c)))
    shown = ", ".join(f"{spec.names[i]} = {_value_labels(spec, i, value)[0]}" for i, value in values.items())
    before = given.beside(range(len(rows))) if given else {}
    return Latents(z, c, rows, [""] * n_columns, row_title, shown, row_code, before=before)


def interpolate_latents(
    spec: LatentSpec,
    start: tuple[Float[Tensor, "r z"], Float[Tensor, "r c"]],
    end: tuple[Float[Tensor, "r z"], Float[Tensor, "r c"]],
    t: Float[Tensor, " k"],
    noise_path: NoisePath = "spherical",
    category_path: CategoryPath = DEFAULT_CATEGORY_PATH,
) -> Latents:
    """Returns the latents on the way from `start` (t = 0) to `end` (t = 1), one row for each pair.

    The noise follows a line, or the arc of `slerp`; continuous codes follow a line, and one that wraps the shorter way
    round. The prior has nothing between two categories: each is held at the start's value, or switches to the end's
    midway, or leaves the prior and goes linearly from one one-hot vector to the other.

    Args:
        spec: The latents.
        start: Z and c of each row's start.
        end: Z and c of each row's end.
        t: The places on the way, in [0, 1].
        noise_path: How the noise goes.
        category_path: `hold`, `switch` or `blend`.
    """
    (z0, c0), (z1, c1) = start, end
    mix = slerp if noise_path == "spherical" else _lerp
    t_each = t.repeat(len(z0))[:, None]
    z0, c0, z1, c1 = (x.repeat_interleave(len(t), dim=0) for x in (z0, c0, z1, c1))
    z, c = mix(z0, z1, t_each), _lerp(c0, c1, t_each)
    for columns in (spec.c_slices[i] for i in spec.circular):
        c[:, columns] = wrapped(c0[:, columns] + t_each * wrapped(c1[:, columns] - c0[:, columns]))
    if category_path != "blend":
        switched = (t_each >= 0.5) & (category_path == "switch")
        for i in spec.categorical:
            columns = spec.c_slices[i]
            c[:, columns] = torch.where(switched, c1[:, columns], c0[:, columns])
    rows = [f"pair {i + 1}" for i in range(len(z0) // len(t))]
    how = {"hold": "held", "switch": "switched midway", "blend": "blended (outside the prior)"}[category_path]
    title = f"t: noise {noise_path}, continuous codes linear" + (f", category {how}" if spec.categorical else "")
    return Latents(z, c, rows, [f"{value:.2f}" for value in t.tolist()], "", title)


def slerp(start: Float[Tensor, "n z"], end: Float[Tensor, "n z"], t: Float[Tensor, "n 1"]) -> Float[Tensor, "n z"]:
    """Returns the points at t on the arcs between vectors: spherical linear interpolation (Shoemake 1985).

    t = 0 gives `start` and t = 1 `end`. Where the two are parallel, opposite, or zero, no arc is defined and
    the line between them is taken.
    """
    cosine = torch.nn.functional.cosine_similarity(start, end, dim=1)[:, None].clamp(-1.0, 1.0)
    angle = torch.acos(cosine)
    sine = torch.sin(angle)
    is_zero = (start.norm(dim=1) == 0) | (end.norm(dim=1) == 0)
    on_line = (sine < 1e-4) | is_zero[:, None]  # below 1e-4 the quotient loses its digits
    safe = torch.where(on_line, torch.ones_like(sine), sine)
    arc = (torch.sin((1 - t) * angle) * start + torch.sin(t * angle) * end) / safe
    return torch.where(on_line, _lerp(start, end, t), arc)


def _lerp(start: Tensor, end: Tensor, t: Tensor) -> Tensor:
    return start * (1 - t) + end * t


def _row_latents(
    spec: LatentSpec, taken: tuple[int, ...], seed: int, given: Given | None = None
) -> tuple[Float[Tensor, "r z"], Float[Tensor, "r c"], list[str], str, int | None]:
    """Returns latents, labels, title and code of the rows: the first category that is not taken goes down them.

    Unless latents are given: these are the rows then.
    """
    if given:
        return given.z, given.c, [*given.names], "", None
    rng = torch.Generator().manual_seed(seed)
    free = [i for i in spec.categorical if i not in taken]
    if not free:
        z, c = sample_prior(spec, N_NOISE_ROWS, rng)
        return z, c, [str(i + 1) for i in range(N_NOISE_ROWS)], "noise and codes", None
    values = _shown_values(spec, free[0])
    # One draw of the other codes for all rows, so that rows differ by category and noise alone.
    z, c = sample_noise(spec, len(values), rng), sample_codes(spec, 1, rng).repeat(len(values), 1)
    c, rows = with_code(spec, c, free[0], values), _value_labels(spec, free[0], values)
    return z, c, rows, _describe(spec, free[0]), free[0]


def _if_categorical(spec: LatentSpec, position: int) -> int | None:
    return position if position in spec.categorical else None


def _shown_values(spec: LatentSpec, position: int, n: int = MAX_CATEGORIES_SHOWN) -> Float[Tensor, " n"]:
    code = spec.codes[position]
    return traversal_values(code, MAX_CATEGORIES_SHOWN if isinstance(code, Categorical) else n)


def _describe(spec: LatentSpec, position: int) -> str:
    return f"{spec.names[position]} ({spec.codes[position]})"


def _value_labels(spec: LatentSpec, position: int, values: Float[Tensor, " k"]) -> list[str]:
    digits = 0 if isinstance(spec.codes[position], Categorical) else 1
    return [f"{value + 0.0:.{digits}f}" for value in values.round(decimals=digits).tolist()]


# The gallery: every picture of a run, by name


@dataclass(frozen=True)
class Picture:
    """A picture of a run.

    Attributes:
        name: Of its file, without a suffix.
        what: It shows, for its title.
        latents: Of the PNG.
        frames: Makes the latents of the frames of the GIF; one that only has a PNG returns none.
    """

    name: str
    what: str
    latents: Latents
    frames: Callable[[], list[Latents]] = list


@dataclass(frozen=True)
class GalleryOptions:
    """What the pictures of a gallery show.

    Attributes:
        factors: Positions of the codes to sweep; None for all.
        grid: Positions of the two codes of the grid, rows and columns; None for the last two.
        n_columns: Values of a continuous code, or of t.
        n_pairs: Pairs of latents to interpolate between.
        category_path: How a category goes from one to the other.
        seed: Of the latents that are drawn.
        given: Images whose latents the pictures show instead, at least one.
    """

    factors: Sequence[int] | None = None
    grid: tuple[int, int] | None = None
    n_columns: int = 11
    n_pairs: int = 8
    category_path: CategoryPath = DEFAULT_CATEGORY_PATH
    seed: int = 0
    given: Given | None = None


PicturesOf = Callable[[LatentSpec, GalleryOptions], Iterable[Picture]]
GALLERY: dict[str, PicturesOf] = {}


def register_picture(name: str) -> Callable[[PicturesOf], PicturesOf]:
    """Returns a decorator that adds pictures to the gallery: training draws them, and so does `interpolate.py`."""

    def register(function: PicturesOf) -> PicturesOf:
        GALLERY[name] = function
        return function

    return register


def gallery(spec: LatentSpec, options: GalleryOptions | None = None) -> Iterator[Picture]:
    """Yields every picture of a run, in the order in which they were registered."""
    for pictures in GALLERY.values():
        yield from pictures(spec, options or GalleryOptions())


@register_picture("sweeps")
def sweep_pictures(spec: LatentSpec, options: GalleryOptions) -> Iterator[Picture]:
    """Yields a sweep of each code."""
    for i in range(len(spec.codes)) if options.factors is None else options.factors:
        name, seed = spec.names[i], options.seed

        def frames(i: int = i, seed: int = seed) -> list[Latents]:
            return [moving_latents(spec, {i: u}, seed=seed, given=options.given) for u in there_and_back()]

        latents = sweep_latents(spec, i, options.n_columns, seed, options.given)
        yield Picture(f"sweep_{name}", f"sweep of {spec.titles[i]}", latents, frames)


@register_picture("grid")
def grid_pictures(spec: LatentSpec, options: GalleryOptions) -> Iterator[Picture]:
    """Yields the grid of two codes; its GIF moves both in a circle. Nothing if there is but one code."""
    if options.grid is None and len(spec.codes) < 2:
        return
    down, along = options.grid or (len(spec.codes) - 2, len(spec.codes) - 1)
    names = spec.names[down], spec.names[along]

    def frames() -> list[Latents]:
        circle = zip(there_and_back(), there_and_back(phase=0.25), strict=True)
        return [moving_latents(spec, {down: u, along: v}, seed=options.seed, given=options.given) for u, v in circle]

    latents = two_code_latents(spec, down, along, options.n_columns, options.seed, options.given)
    title = f"{spec.titles[down]} and {spec.titles[along]}"
    yield Picture(f"grid_{names[0]}_{names[1]}", title, latents, frames)


@register_picture("interpolations")
def interpolation_pictures(spec: LatentSpec, options: GalleryOptions) -> Iterator[Picture]:
    """Yields linear and spherical interpolations between pairs of latents; a frame of the GIF has all pairs."""
    pairs = _pairs(spec, options)
    suffix = "" if options.category_path == DEFAULT_CATEGORY_PATH else f"_{options.category_path}"
    noise_paths: tuple[NoisePath, ...] = ("linear", "spherical")
    for path in noise_paths:

        def frame(u: float, path: NoisePath = path) -> Latents:
            latents = pairs.at(torch.tensor([u]), path, options.category_path)
            if options.given:  # the images stand beside their rows
                return replace(latents, columns=[f"t = {u:.2f}"])
            return replace(latents, rows=[f"t = {u:.2f}"], columns=latents.rows)

        def frames(frame: Callable[[float], Latents] = frame) -> list[Latents]:
            return [frame(u) for u in there_and_back()]

        latents = pairs.at(torch.linspace(0, 1, options.n_columns), path, options.category_path)
        yield Picture(f"interpolation_{path}{suffix}", f"{path} interpolation", latents, frames)


@dataclass(frozen=True)
class _Pairs:
    """The ends of interpolations, with the images that some of them belong to."""

    spec: LatentSpec
    start: tuple[Float[Tensor, "r z"], Float[Tensor, "r c"]]
    end: tuple[Float[Tensor, "r z"], Float[Tensor, "r c"]]
    names: Sequence[str] = ()
    before: Mapping[str, Float[Tensor, "r ch h w"]] = field(default_factory=dict)
    after: Mapping[str, Float[Tensor, "r ch h w"]] = field(default_factory=dict)

    def at(self, t: Float[Tensor, " k"], noise_path: NoisePath, category_path: CategoryPath) -> Latents:
        latents = interpolate_latents(self.spec, self.start, self.end, t, noise_path, category_path)
        return replace(latents, rows=self.names or latents.rows, before=self.before, after=self.after)


def _pairs(spec: LatentSpec, options: GalleryOptions) -> _Pairs:
    """Returns pairs of drawn latents; or from each given image to the next, or from the only one to drawn latents."""
    rng, n, given = torch.Generator().manual_seed(options.seed), options.n_pairs, options.given
    start, end = sample_prior(spec, n, rng), sample_prior(spec, n, rng)
    if given is None:
        return _Pairs(spec, start, end)
    if len(given.z) == 1:
        start = given.z.repeat(n, 1), given.c.repeat(n, 1)
        return _Pairs(spec, start, end, [*given.names] * n, given.beside([0] * n))
    n = len(given.z) - 1
    after = {"G(z, c)": given.reconstructions[1:], "image": given.images[1:]}
    names = [f"{a} → {b}" for a, b in itertools.pairwise(given.names)]
    ends = (given.z[:-1], given.c[:-1]), (given.z[1:], given.c[1:])
    return _Pairs(spec, *ends, names, given.beside(range(n)), after)


# Images


def thinned(latents: Latents, height: int, width: int) -> Latents:
    """Returns the latents of as much of a grid as fits `MAX_GRID_PX`: every row and column, or every second, third, ...

    Args:
        latents: Of the grid.
        height: Of its images, in pixels.
        width: Of its images, in pixels.
    """
    n_rows, n_columns = len(latents.rows), len(latents.columns)
    scale = default_scale(height, width)
    down, along = (-(-n * (side * scale + GAP_PX) // MAX_GRID_PX) for n, side in ((n_rows, height), (n_columns, width)))
    z, c = (x.unflatten(0, (n_rows, n_columns))[::down, ::along].flatten(0, 1) for x in (latents.z, latents.c))
    before, after = ({name: x[::down] for name, x in images.items()} for images in (latents.before, latents.after))
    kept = {"rows": latents.rows[::down], "columns": latents.columns[::along], "before": before, "after": after}
    return replace(latents, z=z, c=c, **kept)


def default_scale(height: int, width: int) -> int:
    """Returns how many screen pixels each side of an image's pixel gets."""
    return 2 if max(height, width) < ENLARGED_BELOW_PX else 1


def image_size(generator: nn.Module, latents: Latents) -> tuple[int, int]:
    """Returns the height and width in pixels of G's images."""
    device = next(generator.parameters()).device
    with evaluating(generator):
        height, width = generator(latents.z[:1].to(device), latents.c[:1].to(device)).shape[2:]
    return height, width


def generate(generator: nn.Module, latents: Latents, batch_size: int | None = None) -> Float[Tensor, "r k ch h w"]:
    """Returns G's images of a grid of latents, on the CPU, in [-1, 1]. G's mode and buffers stay as they are.

    Args:
        generator: G.
        latents: Of the grid.
        batch_size: Images that are drawn at once; None for as many as `MAX_BATCH_PX` allows, 256 at most.
    """
    device = next(generator.parameters()).device
    batch_size = batch_size or max(1, min(256, MAX_BATCH_PX // math.prod(image_size(generator, latents))))
    with evaluating(generator):
        batches = zip(latents.z.split(batch_size), latents.c.split(batch_size), strict=True)
        x = torch.cat([generator(z.to(device), c.to(device)).cpu() for z, c in batches])
    return x.view(len(latents.rows), len(latents.columns), *x.shape[1:])


def to_uint8(x: Float[Tensor, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Returns images in [-1, 1] as bytes in [0, 255], rounded."""
    return (x.clamp(-1, 1) + 1).mul(127.5).round().to(torch.uint8).numpy()


@contextlib.contextmanager
def default_style() -> Iterator[None]:
    """Has matplotlib draw by its default settings, whatever the user's are (no TeX, no notebook). Also a decorator."""
    backend = os.environ.pop("MPLBACKEND", None)  # a notebook's may not be there for its child processes
    try:
        import matplotlib.style  # imported only here: it takes a second
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    # A class may be called $x$, which is no formula.
    with matplotlib.style.context("default"), matplotlib.rc_context({"text.parse_math": False}):
        yield


def image_grid(
    x: Float[Tensor, "r k ch h w"], labels: Latents, title: str = "", scale: int | None = None
) -> UInt8[np.ndarray, "height width 3"]:
    """Returns a grid of images as RGB, with a title, and a label at each row and column.

    Args:
        x: Images in [-1, 1] with 1 or 3 channels (of any other number, the first is shown).
        labels: Names the rows, the columns and both axes.
        title: Above the grid.
        scale: Screen pixels for each image pixel, a whole number, so that pixels stay sharp; None for `default_scale`.
    """
    scale = scale or default_scale(*x.shape[-2:])
    canvas = _tile(x, scale)
    height, width = canvas.shape[:2]
    longest = max(map(len, labels.rows))
    left, right = (58 + 10 * max(0, longest - 4) if longest else 30 if labels.row_title else 14), 14
    bottom = 46 if any(labels.columns) else 30 if labels.column_title else 12
    top = 34 if title else 12
    # Wide enough for what is written above and below, however few columns there are.
    text_width = CHARACTER_PX * max(len(title), len(labels.column_title))
    beside = -(-(text_width - width) // 2)  # it is centred on the images, not on the picture
    left, right = max(left, beside), max(right, beside)
    # With Pillow: matplotlib takes ten times as long for a frame.
    picture = Image.new("RGB", (width + left + right, height + top + bottom), "white")
    picture.paste(Image.fromarray(canvas), (left, top))
    _write(picture, (left + width // 2, 19), title, 15)
    for i, name in enumerate(labels.columns):
        _write(picture, (left + width * (2 * i + 1) // (2 * len(labels.columns)), top + height + 12), name, 12)
    _write(picture, (left + width // 2, picture.height - 12), labels.column_title, 14)
    for i, name in enumerate(labels.rows):
        _write(picture, (left - 5, top + height * (2 * i + 1) // (2 * len(labels.rows))), name, 12, anchor="rm")
    if labels.row_title:
        upright = Image.new("RGB", (height, 24), "white")
        _write(upright, (height // 2, 12), labels.row_title, 14)
        picture.paste(upright.rotate(90, expand=True), (2, top))
    return np.asarray(picture)


def _write(picture: Image.Image, place: tuple[int, int], text: str, px: int, anchor: str = "mm") -> None:
    """Writes text into a picture, by default with its middle at a place, in matplotlib's font."""
    ImageDraw.Draw(picture).text(place, text, "black", _font(px), anchor)


@functools.lru_cache
def _font(px: int) -> ImageFont.FreeTypeFont:
    """Returns the font of matplotlib's figures, which comes with it, at a size."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), px)


def contact_sheet(images: UInt8[Tensor, "n ch h w"], n: int = 64) -> UInt8[np.ndarray, "height width 3"]:
    """Returns n of a data set's images, or as many as there are and fit `MAX_GRID_PX`, as one RGB picture.

    They are taken at equal distances, so that images that are sorted by their class show every class.
    """
    n_fitting = (MAX_GRID_PX // (max(images.shape[-2:]) + GAP_PX)) ** 2
    n = max(1, min(n, n_fitting, len(images)))
    shown = images[torch.linspace(0, len(images) - 1, n).round().long()].float() / 127.5 - 1
    n_columns = math.ceil(math.sqrt(len(shown)))
    n_rows = -(-len(shown) // n_columns)
    blank = shown.new_ones((n_rows * n_columns - len(shown), *shown.shape[1:]))
    scale = default_scale(*shown.shape[-2:])
    return _tile(torch.cat([shown, blank]).unflatten(0, (n_rows, n_columns)), scale)


def _tile(x: Float[Tensor, "r k ch h w"], scale: int, gap: int = GAP_PX) -> UInt8[np.ndarray, "height width 3"]:
    pixels = to_uint8(x if x.shape[2] in (1, 3) else x[:, :, :1])
    pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3, *pixels.shape[3:]))
    pixels = pixels.repeat(scale, axis=3).repeat(scale, axis=4)
    n_rows, n_columns, _, height, width = pixels.shape
    framed = np.full((n_rows, n_columns, 3, height + gap, width + gap), 255, dtype=np.uint8)
    framed[..., :height, :width] = pixels
    canvas = framed.transpose(0, 3, 1, 4, 2).reshape(n_rows * (height + gap), n_columns * (width + gap), 3)
    return canvas[:-gap, :-gap]


def new_figure(width_inch: float, height_inch: float, n_axes: int = 1, title: str = "") -> tuple[Any, list[Any]]:
    """Returns a new figure of matplotlib, and its axes, one below the other; a long title takes several lines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # imported only here: it takes a second
    from matplotlib.figure import Figure

    # The last bit of a quotient must not cost a pixel.
    figure = Figure(figsize=(width_inch + 1e-6, height_inch + 1e-6), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(textwrap.fill(title, int(width_inch * CHARACTERS_PER_INCH)), fontsize=11)
    return figure, [figure.add_subplot(n_axes, 1, i + 1) for i in range(n_axes)]


def render(figure: Any) -> UInt8[np.ndarray, "height width 3"]:
    """Returns a figure as RGB."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


def draw(generator: nn.Module, latents: Latents, title: str) -> UInt8[np.ndarray, "height width 3"]:
    """Returns the labelled picture of a grid of latents, with the images that are to stand beside it.

    A grid that does not fit `MAX_GRID_PX` is thinned out.
    """
    latents = thinned(latents, *image_size(generator, latents))
    x, before, after = generate(generator, latents), latents.before, latents.after
    beside = [torch.stack([*images.values()], dim=1) for images in (before, after) if images]
    x = torch.cat([*beside[: bool(before)], x, *beside[bool(before) :]], dim=1)
    return image_grid(x, replace(latents, columns=[*before, *latents.columns, *after]), title)


def picture_of(generator: nn.Module, latents: Latents, title: str = "") -> Image.Image:
    """Returns the labelled picture of a grid of latents as a PIL image, which a notebook shows by itself."""
    return Image.fromarray(draw(generator, latents, title))


def save_png(picture: UInt8[np.ndarray, "height width 3"], path: Path) -> Path:
    """Writes an RGB picture and returns its path."""
    return _save(path, lambda beside: Image.fromarray(picture).save(beside, "PNG"))


def save_gif(
    frames: Iterable[UInt8[np.ndarray, "height width 3"]], path: Path, frame_ms: int | list[int] = GIF_FRAME_MS
) -> Path:
    """Writes RGB frames of one size as a GIF that loops for ever, and returns its path.

    Args:
        frames: In order, one or more; each is taken when it is written, and not kept.
        path: Ends in .gif.
        frame_ms: How long each frame stays, in milliseconds.
    """
    images = map(_gif_frame, frames)
    first = next(images)
    how = {"save_all": True, "append_images": images, "duration": frame_ms, "loop": 0}
    return _save(path, lambda file: first.save(file, "GIF", **how))


def _gif_frame(frame: UInt8[np.ndarray, "height width 3"]) -> Image.Image:
    """Returns a frame with 32 levels of each colour: half the size, and hardly a difference to the eye."""
    frame = frame // 8 * 8
    if (frame == frame[..., :1]).all():
        return Image.fromarray(frame[..., 0])
    # To look for 256 colours among all pixels of a large frame takes ten times as long as all the rest.
    step = math.ceil(math.sqrt(frame[..., 0].size / MAX_PALETTE_PIXELS))
    palette = Image.fromarray(np.ascontiguousarray(frame[::step, ::step])).quantize()
    return Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)


def _save(path: Path, write: Callable[[BinaryIO], object]) -> Path:
    write_atomically(path, write)
    return path


def there_and_back(n_frames: int = N_GIF_FRAMES, phase: float = 0.0) -> list[float]:
    """Returns the places in [0, 1] of the frames of a loop: from 0 to 1 and back, slow at the ends.

    Args:
        n_frames: In the loop.
        phase: How far, of one loop, the first frame is ahead; with 0.25, two codes move in a circle.
    """
    return [0.5 - 0.5 * math.cos(2 * math.pi * (i / n_frames + phase)) for i in range(n_frames)]


def training_gif(grids: Sequence[Path], path: Path) -> Path | None:
    """Writes a GIF of sample grids over training, in the order given; None if not one of them can be read.

    A damaged grid is left out. Smaller ones, as of before a title grew by a digit, get a white margin.
    """
    shapes = {}
    for grid in grids:
        with contextlib.suppress(OSError, SyntaxError):  # what Pillow raises for a damaged PNG
            shapes[grid] = iio.imread(grid, plugin="pillow").shape
    if not shapes:
        return None
    height, width = (max(shape[i] for shape in shapes.values()) for i in (0, 1))
    frames = (_on_canvas(iio.imread(grid, plugin="pillow"), height, width) for grid in shapes)
    # Pillow takes a list of times for several frames alone.
    frame_ms = [300] * (len(shapes) - 1) + [1500] if len(shapes) > 1 else GIF_FRAME_MS
    return save_gif(frames, path, frame_ms)


def _on_canvas(frame: UInt8[np.ndarray, "h w 3"], height: int, width: int) -> UInt8[np.ndarray, "height width 3"]:
    """Returns a picture in the middle of a white canvas."""
    canvas = np.full((height, width, 3), 255, dtype=np.uint8)
    top, left = (height - frame.shape[0]) // 2, (width - frame.shape[1]) // 2
    canvas[top : top + frame.shape[0], left : left + frame.shape[1]] = frame
    return canvas
