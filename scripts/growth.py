"""Measures how time and memory grow with images' side, their number, and the ranks: python scripts/growth.py --help

Each measure is made in a process of its own, on a CPU, one after another: it takes that process's memory alone, and
what one leaves in a cache does not speed up the next. The images are MNIST's, enlarged to each side; where more are
needed than it has, they are repeated.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import multiprocessing
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout works without being installed

from infogan.config.command_line import FOLDER, check_new_file, make_parser
from infogan.config.options import whole_number
from infogan.config.presets import IMAGES_PRESET
from infogan.config.train_config import TrainConfig
from infogan.system.errors import UserError, run_script

if TYPE_CHECKING:
    from infogan.evaluation.tables import Table
    from infogan.training.trainer import Trainer

SIDES = (28, 32, 64, 128)
COUNTS = (10_000, 100_000, 1_000_000)
RANKS = (1, 2)
BATCH_SIZE = TrainConfig.from_preset(IMAGES_PRESET).batch_size
SIDE_OF_MANY = 28  # px, of the images whose number grows, and of those that ranks share
N_IMAGES = 5_000  # of each side
N_STEPS = 5  # after a first one
# An evaluation with a twentieth of the images of `scripts/evaluate.py`, so that 128 px take seconds and not minutes.
N_SAMPLES, N_FRESH_Q_IMAGES = 500, 1_024
STEP, READ, PICTURES, EVALUATION = "a training step", "from file to first batch", "all pictures of a run", "evaluation"


@dataclass(frozen=True)
class Cost:
    """What something took: seconds, processor seconds of all threads, and the most memory of its process."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


@dataclass(frozen=True)
class Row:
    """Something measured at one size.

    Attributes:
        what: It is.
        unit: Of the size: `px`, of a side; `images`; or `ranks`.
        size: That was tried.
        cost: Of it.
    """

    what: str
    unit: str
    size: int
    cost: Cost

    @property
    def amount(self) -> int:
        """What cost may be proportional to: of a side in px its square, the pixels of an image."""
        return self.size**2 if self.unit == "px" else self.size

    @property
    def in_words(self) -> str:
        """The size with its unit, as in `1 rank`."""
        return f"{self.size:,} {self.unit.removesuffix('s') if self.size == 1 else self.unit}"


def parse_flags() -> argparse.Namespace:
    parser = make_parser(
        "Measure how seconds, processor seconds and memory grow: of a training step, pictures and evaluation with the "
        "side of images; of reading images and of a step with their number; and of a step with the ranks that share "
        "its batch. Takes 5 minutes on two cores, 3 GiB of memory, and 1.5 GB in the folder for temporary files."
    )
    sizes: dict[str, Any] = {"type": int, "nargs": "+", "metavar": "N"}
    parser.add_argument("--sides", **sizes, default=SIDES, help="sides of images in px (default: 28 32 64 128)")
    parser.add_argument("--counts", **sizes, default=COUNTS, help="numbers of images (default: 10^4, 10^5 and 10^6)")
    parser.add_argument("--ranks", **sizes, default=RANKS, help="ranks, with one thread each (default: 1 2)")
    parser.add_argument("--data-dir", type=FOLDER, default="data", help="folder of the IDX files (default: data)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the measures here")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the tables as Markdown")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also plot seconds and memory, as a PNG file")
    flags = parser.parse_args()
    for name, least, most in (("sides", 8, 1024), ("counts", BATCH_SIZE, 10**8), ("ranks", 1, BATCH_SIZE // 2)):
        setattr(flags, name, sorted({whole_number(size, f"--{name}", least, most) for size in getattr(flags, name)}))
    for name in ("json", "markdown", "plot"):
        check_new_file(getattr(flags, name), f"--{name}")
    return flags


# Measuring, each in a process of its own. `folder` has what `save_images` and `save_run` left there.


class _Stopwatch:
    """Runs from when it is made; what it shows is for one of `n` equal things."""

    def __init__(self) -> None:
        self._seconds, self._cpu_seconds = time.perf_counter(), time.process_time()

    def cost(self, n: int = 1) -> Cost:
        import resource

        seconds, cpu_seconds = time.perf_counter() - self._seconds, time.process_time() - self._cpu_seconds
        bytes_each = 1 if sys.platform == "darwin" else 1024
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * bytes_each / 2**20
        return Cost(seconds / n, cpu_seconds / n, peak_mib)


def save_images(folder: Path, sides: Sequence[int], counts: Sequence[int], data_dir: Path) -> None:
    """Writes real digits as .npy files: some of each side, and as many as each count."""
    import numpy as np

    from infogan.config.datasets import ImageForm
    from infogan.data.arrays import in_form
    from infogan.data.datasets import load_dataset

    images = load_dataset("auto", data_dir).images
    for side in {*sides, SIDE_OF_MANY}:
        np.save(_of_side(folder, side), in_form(images[:N_IMAGES], ImageForm(size=side)).numpy())
    for count in counts:
        np.save(_of_count(folder, count), np.resize(images.numpy(), (count, *images.shape[1:])))


def save_run(folder: Path, side: int) -> None:
    """Trains a run for a step, which is enough to draw and to evaluate."""
    import infogan

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        infogan.train(_config(_of_side(folder, side), name=f"{side}px", steps=1), folder)


def _of_side(folder: Path, side: int) -> Path:
    return folder / f"{side}px.npy"


def _of_count(folder: Path, count: int) -> Path:
    return folder / f"{count}images.npy"


def _config(file: Path, **changes: Any) -> TrainConfig:
    """Returns what is measured: the preset for images of one's own, the same for few images as for many."""
    fixed: dict[str, Any] = {"device": "cpu", "precision": "float32", "diffaugment": "none"}
    return TrainConfig.from_preset(IMAGES_PRESET, dataset=str(file), **fixed, **changes)


def _trainer(file: Path, **changes: Any) -> Trainer:
    from infogan.data.datasets import load_dataset
    from infogan.training.trainer import Trainer

    config = _config(file, **changes)
    return Trainer(config, load_dataset(config.dataset, config.data_dir, config.image_form).images)


def _cost_of_a_step(trainer: Trainer) -> Cost:
    trainer.train_step()  # the first one allocates what the others use
    stopwatch = _Stopwatch()
    for _ in range(N_STEPS):
        trainer.train_step()
    return stopwatch.cost(N_STEPS)


def measure_step_at_side(folder: Path, side: int) -> Cost:
    return _cost_of_a_step(_trainer(_of_side(folder, side)))


def measure_step_of_many(folder: Path, count: int) -> Cost:
    return _cost_of_a_step(_trainer(_of_count(folder, count)))


def measure_reading(folder: Path, count: int) -> Cost:
    from infogan.data.batches import ShuffledBatches
    from infogan.data.datasets import load_dataset

    config = _config(_of_count(folder, count))
    stopwatch = _Stopwatch()
    images = load_dataset(config.dataset, config.data_dir, config.image_form).images
    batches = ShuffledBatches(images, config.batch_size, config.seed)
    batches.at(batches.next())
    return stopwatch.cost()


def measure_pictures(folder: Path, side: int) -> Cost:
    from infogan import auxiliary, load_nets

    nets = load_nets(folder / "runs" / f"{side}px")
    stopwatch = _Stopwatch()
    for picture in auxiliary.gallery(nets.spec):
        auxiliary.save_png(auxiliary.draw(nets.generator, picture.latents, picture.what), folder / "picture.png")
    return stopwatch.cost()


def measure_evaluation(folder: Path, side: int) -> Cost:
    import infogan
    from infogan.evaluation.fresh_q import FreshQ

    fresh_q = FreshQ(n_images=N_FRESH_Q_IMAGES)
    stopwatch = _Stopwatch()
    infogan.evaluate(folder / "runs" / f"{side}px", n_samples=N_SAMPLES, fresh_q=fresh_q)
    return stopwatch.cost()


def measure_rank(folder: Path, n_ranks: int, rank: int, port: int) -> Cost:
    """Returns what a step costs one of some ranks, each with one thread: they share the images of a batch."""
    import os

    # As torchrun sets them.
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(n_ranks)}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "growth"}
    import torch

    from infogan.system.distributed import joined

    with joined(torch.device("cpu")):
        return _cost_of_a_step(_trainer(_of_side(folder, SIDE_OF_MANY), threads=1))


# Measuring, from the parent, which stays small: a process that it starts begins with the memory that it has.

Call = tuple[Any, ...]  # a function of this module, and its arguments
BY_SIDE = {STEP: measure_step_at_side, PICTURES: measure_pictures, EVALUATION: measure_evaluation}
BY_COUNT = {READ: measure_reading, STEP: measure_step_of_many}


def measure(sides: Sequence[int], counts: Sequence[int], ranks: Sequence[int], data_dir: Path) -> list[Row]:
    """Returns all rows; nothing is left on the disk."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _in_processes((save_images, folder, sides, counts, data_dir))
        for side in sides:
            _in_processes((save_run, folder, side))
        jobs: list[tuple[str, str, int, list[Call]]] = [
            (what, "px", side, [(f, folder, side)]) for what, f in BY_SIDE.items() for side in sides
        ]
        jobs += [(what, "images", count, [(f, folder, count)]) for what, f in BY_COUNT.items() for count in counts]
        for n in ranks:
            port = _free_port()
            jobs.append((STEP, "ranks", n, [(measure_rank, folder, n, rank, port) for rank in range(n)]))
        rows = []
        for what, unit, size, calls in jobs:
            rows.append(Row(what, unit, size, _together(_in_processes(*calls))))
            print(f"{what}, {rows[-1].in_words}: {rows[-1].cost.seconds:.3g} s", file=sys.stderr)
        return rows


def _in_processes(*calls: Call) -> list[Any]:
    """Returns what each call returns, made at the same time, each in a new process of its own."""
    with ProcessPoolExecutor(len(calls), multiprocessing.get_context("spawn")) as pool:
        try:
            return [call.result() for call in [pool.submit(*call) for call in calls]]
        except BrokenProcessPool:
            raise UserError("a measuring process died; its own message, if it left one, is above") from None


def _together(costs: Sequence[Cost]) -> Cost:
    """Returns what processes side by side cost: the longest's time, and the sum of what they use."""
    return Cost(
        max(cost.seconds for cost in costs),
        sum(cost.cpu_seconds for cost in costs),
        sum(cost.peak_mib for cost in costs),
    )


def _free_port() -> int:
    with socket.socket() as any_port:
        any_port.bind(("localhost", 0))
        return any_port.getsockname()[1]


# Telling


MEASURES: dict[str, Callable[[Cost], float]] = {
    "CPU seconds": lambda cost: cost.cpu_seconds,
    "peak MiB": lambda cost: cost.peak_mib,
}
UNITS = {"px": "pixels", "images": "images", "ranks": "ranks"}  # in words, of amounts


def exponent(rows: Sequence[Row], measure: Callable[[Cost], float]) -> float:
    """Returns b of a cost that grows as the amount to the power of b: the slope of its logarithms, by least squares.

    1 is linear, 0 constant. What is constant hides the growth of the rest, most of all at small sizes, so that the
    exponent of the last two rows alone says more of large ones.
    """
    import numpy as np

    amounts, costs = np.log([row.amount for row in rows]), np.log([measure(row.cost) for row in rows])
    return float(np.polyfit(amounts, costs, 1)[0])


def grouped(rows: Sequence[Row]) -> list[list[Row]]:
    """Returns the rows of each thing that was measured, from its smallest size."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.what, row.unit), []).append(row)
    return [sorted(group, key=lambda row: row.size) for group in groups.values()]


def describe(rows: Sequence[Row], title: str) -> list[Table]:
    """Returns the measures as tables: all rows, and the exponents of what was measured at several sizes."""
    from infogan.evaluation.tables import Table

    costs, exponents = [], []
    for row in rows:
        cost = row.cost
        costs.append(
            [row.what, row.in_words, f"{cost.seconds:.3f}", f"{cost.cpu_seconds:.3f}", f"{cost.peak_mib:,.0f}"]
        )
    for group in (group for group in grouped(rows) if len(group) > 1):
        of_all_and_last = [(exponent(group, f), exponent(group[-2:], f)) for f in MEASURES.values()]
        cells = [f"{of_all:.2f} ({of_last:.2f})" for of_all, of_last in of_all_and_last]
        exponents.append([f"{group[0].what}, in {UNITS[group[0].unit]}", *cells])
    return [
        Table(title, ["", "size", "seconds", *MEASURES], costs),
        Table("Exponents, 1 being linear; in brackets of the last two sizes", ["", *MEASURES], exponents),
    ]


def save_plot(rows: Sequence[Row], path: Path) -> None:
    """Draws each measure over pixels, images and ranks, on logarithmic axes, and dotted what would be linear."""
    from infogan.auxiliary import default_style, new_figure, render, save_png

    units = [unit for unit in UNITS if any(row.unit == unit for row in rows)]
    with default_style():
        figure, _ = new_figure(3.4 * len(units), 4.6, n_axes=0)
        panels = figure.subplots(len(MEASURES), len(units), squeeze=False, sharex="col")
        for axes_of_measure, (name, measure) in zip(panels, MEASURES.items(), strict=True):
            for axes, unit in zip(axes_of_measure, units, strict=True):
                _draw_panel(axes, [group for group in grouped(rows) if group[0].unit == unit], measure)
            axes_of_measure[0].set_ylabel(name)
        for top, bottom, unit in zip(panels[0], panels[-1], units, strict=True):
            top.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1))  # above, on no curve
            bottom.set_xlabel("side, px" if unit == "px" else unit)
        save_png(render(figure), path)


def _draw_panel(axes: Any, groups: Sequence[Sequence[Row]], measure: Callable[[Cost], float]) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator

    axes.set_xscale("log")
    axes.set_yscale("log")
    curves = [([row.amount for row in group], [measure(row.cost) for row in group]) for group in groups]
    for i, (group, curve) in enumerate(zip(groups, curves, strict=True)):
        axes.plot(*curve, marker="o", color=f"C{i}", label=group[0].what)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)  # what was measured sets the scale, not what would be linear
    for i, (amounts, costs) in enumerate(curves):
        axes.plot(amounts, [costs[0] * amount / amounts[0] for amount in amounts], linestyle=":", color=f"C{i}")
    sizes = {row.amount: f"{row.size:,}" for group in groups for row in group}
    axes.set_xticks([*sizes], [*sizes.values()], fontsize=8)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high > 10 * low else MaxNLocator(5))
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.minorticks_off()


def main() -> None:
    flags = parse_flags()
    rows = measure(flags.sides, flags.counts, flags.ranks, flags.data_dir)

    from infogan.system.files import write_atomically
    from infogan.training.environment import environment

    ran_on = environment()
    title = (
        f"Batches of {BATCH_SIZE}, float32, evaluation of {N_SAMPLES:,} samples; "
        f"{ran_on['threads']} threads, torch {ran_on['torch']}, commit {ran_on['commit']}, {ran_on['started'][:10]}"
    )
    tables = describe(rows, title)
    print("\n\n".join(table.plain() for table in tables))
    if flags.json is not None:
        measures = {"environment": ran_on, "rows": [dataclasses.asdict(row) for row in rows]}
        content = json.dumps(measures, indent=2) + "\n"
        write_atomically(flags.json, lambda file: file.write(content.encode()), "--json")
    if flags.markdown is not None:
        markdown = "\n\n".join(table.markdown() for table in tables) + "\n"
        write_atomically(flags.markdown, lambda file: file.write(markdown.encode()), "--markdown")
    if flags.plot is not None:
        save_plot(rows, flags.plot)


if __name__ == "__main__":
    run_script(main)
