"""Measures how fast training is, beside InfoGAN as the most used public code has it: python scripts/benchmark.py --help

Each loop trains in a process of its own, and they take turns, a few steps each, so that a busy machine slows them
equally; what is compared is the ratio within a turn.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout works without being installed

from infogan.config.command_line import FOLDER, check_new_file, check_range, make_parser
from infogan.config.datasets import dataset_forms
from infogan.config.options import MAX_STEPS
from infogan.config.presets import PRESETS
from infogan.config.train_config import TrainConfig
from infogan.system.errors import UserError, run_script

if TYPE_CHECKING:
    import torch

    from infogan.data.datasets import ImageDataset
    from infogan.training.trainer import Trainer

REFERENCE = "reference"
# With what of their configuration differs.
CPU_LOOPS = {
    "ours, float32": {"precision": "float32", "matmul": "onednn"},
    "ours, float32, torch's own library": {"precision": "float32", "matmul": "default"},
    "ours, bfloat16": {"precision": "bfloat16", "matmul": "onednn"},
    REFERENCE: {"precision": "float32", "matmul": "default"},
}
CUDA_LOOPS = {
    "ours, float32": {"precision": "float32"},
    "ours, float32, without CUDA graphs": {"precision": "float32", "cuda_graphs": False},
    "ours, bfloat16": {"precision": "bfloat16"},
    REFERENCE: {"precision": "float32"},
}
MATRIX_SIDES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
QUICK_SCORES = {"mi_nats": "eval_mi_c1", "accuracy": "eval_accuracy_c1"}
AT_LEAST = {"mi_nats": (2.25,), "accuracy": (0.90, 0.95, 0.98)}
AT_MOST = {"frechet_digit_distance": (0.30, 0.25)}
TRAIN_SCRIPT = Path(__file__).with_name("train.py")


def parse_flags() -> argparse.Namespace:
    parser = make_parser(
        "Measure training: images/s beside a reference loop, the share of the machine's matrix-multiply rate, memory, "
        "start-up, and with --quality-seeds the time to a given quality."
    )
    parser.add_argument("--preset", default="paper", choices=list(PRESETS), help="nets and objective (default: paper)")
    parser.add_argument("--dataset", default="mnist", help=f"images (default: mnist): {dataset_forms()}")
    parser.add_argument(
        "--size", type=int, help="side of images in px (default: as they are; pictures that differ: 64)"
    )
    parser.add_argument("--data-dir", type=FOLDER, default="data", help="folder of the IDX files (default: data)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each loop (default: 9)")
    parser.add_argument("--steps", type=int, default=10, help="steps in a turn (default: 10)")
    parser.add_argument(
        "--quality-seeds", type=int, default=0, help="seeds to train for the time to quality (default: 0)"
    )
    parser.add_argument("--quality-steps", type=int, help="steps of each of them (default: the preset's)")
    parser.add_argument("--quality-every", type=int, default=250, help="steps between scorings (default: 250)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the measures here")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table as Markdown")
    flags = parser.parse_args()
    steps, turns = (1, MAX_STEPS), (1, 1000)
    check_range(flags, rounds=turns, steps=steps, quality_seeds=(0, 1000), quality_every=steps)
    if flags.quality_steps is not None:
        check_range(flags, quality_steps=steps)
    check_new_file(flags.json, "--json")
    check_new_file(flags.markdown, "--markdown")
    return flags


# The loops. Each has `train_step()`.


class ReferenceLoop:
    """An update as the most used public InfoGAN code makes it, with nets, batches, objective and rates of ours.

    Images are transformed one by one by a DataLoader; D learns from real and generated images, then G and Q from
    another pass of these through D; optimizers are of torch's defaults; gradients reach weights that a loss does not
    update; and every loss is read at every step.
    """

    def __init__(self, config: TrainConfig, images: torch.Tensor) -> None:
        import torch
        from torchvision import transforms

        from infogan.system.runtime import resolve_device, seed_everything
        from infogan.training.trainer import make_nets

        self.config, self.device = config, resolve_device(config.device)
        seed_everything(config.seed)
        shape = (images.shape[1], images.shape[2], images.shape[3])
        self.generator, net = make_nets(config, shape, [], self.device)
        self.discriminator = net
        betas = (config.beta1, config.beta2)
        self.opt_d = torch.optim.Adam([*net.trunk.parameters(), *net.d_head.parameters()], config.lr_d, betas)
        self.opt_g = torch.optim.Adam([*self.generator.parameters(), *net.q_head.parameters()], config.lr_g, betas)
        as_tensor = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5], [0.5])])
        dataset: Any = _TransformedImages(images.permute(0, 2, 3, 1).numpy(), as_tensor)
        loader = torch.utils.data.DataLoader(dataset, config.batch_size, shuffle=True, drop_last=True)
        self.batches = self._endless(loader)
        self.rng = torch.Generator(self.device).manual_seed(config.seed)

    @staticmethod
    def _endless(loader: Any) -> Iterator[torch.Tensor]:
        while True:
            yield from loader

    def train_step(self) -> dict[str, float]:
        import torch

        from infogan.latents import sample_prior
        from infogan.losses import discriminator_loss, generator_loss, mutual_information_lower_bound
        from infogan.training.step import code_weights

        spec, net, n = self.config.spec, self.discriminator, self.config.batch_size
        x_real = next(self.batches).to(self.device)

        z, c = sample_prior(spec, n, self.rng)
        x_fake = self.generator(z, c)
        logits_real, logits_fake = (net.d_head(net.trunk(x)) for x in (x_real, x_fake.detach()))
        loss_d = discriminator_loss(logits_real, logits_fake, self.config.gan_loss)
        self.opt_d.zero_grad()
        loss_d.backward()
        self.opt_d.step()

        logits, q_params = net(x_fake)
        mi_nats = mutual_information_lower_bound(spec, c, q_params)
        weights = torch.tensor(code_weights(self.config), device=self.device)
        loss_g = generator_loss(logits, self.config.gan_loss) - weights @ mi_nats
        self.opt_g.zero_grad()
        loss_g.backward()
        self.opt_g.step()
        return {"loss_d": loss_d.item(), "loss_g": loss_g.item()}


class _TransformedImages:
    """HWC uint8 images, each transformed when it is asked for."""

    def __init__(self, images: Any, transform: Any) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> torch.Tensor:
        return self.transform(self.images[i])


# Measuring, in the process of a loop


def _serve(name: str, config: TrainConfig, pipe: Connection) -> None:
    """Runs one loop in this process: answers each request of the parent with a measure."""
    try:
        from infogan.data.datasets import load_dataset

        images = load_dataset(config.dataset, config.data_dir, config.image_form).images
        started = time.perf_counter()
        loop = _make_loop(name, config, images)
        loop.train_step()
        _wait_for(loop.device)
        pipe.send(time.perf_counter() - started)
        measures = {
            "seconds": lambda n_steps: _seconds(loop, n_steps),
            "flop_per_image": lambda _: _flop_per_image(name, config, images),
            "matrix_rate": lambda _: _matrix_rate(loop.device, config),
            "peak_memory": lambda _: _peak_memory(loop.device),
        }
        while (request := pipe.recv()) is not None:
            what, argument = request
            pipe.send(measures[what](argument))
    except (UserError, OSError) as error:
        pipe.send(UserError(str(error)))


def _make_loop(name: str, config: TrainConfig, images: torch.Tensor) -> Any:
    from infogan.training.trainer import Trainer

    return ReferenceLoop(config, images) if name == REFERENCE else Trainer(config, images)


def _seconds(loop: Any, n_steps: int) -> float:
    started = time.perf_counter()
    for _ in range(n_steps):
        loop.train_step()
    _wait_for(loop.device)
    return time.perf_counter() - started


def _wait_for(device: torch.device) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _flop_per_image(name: str, config: TrainConfig, images: torch.Tensor) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    # What is replayed as a graph counts as nothing.
    loop = _make_loop(name, dataclasses.replace(config, cuda_graphs=False), images)
    with FlopCounterMode(display=False) as counter:
        loop.train_step()
    return counter.get_total_flops() / config.batch_size


def _matrix_rate(device: torch.device, config: TrainConfig) -> float:
    """Returns the FLOP/s of matrix multiplications as a loop's steps make them: the best of a few."""
    import torch

    from infogan.system.runtime import kept_global_state, tune_for

    best = 0.0
    with kept_global_state():
        tune_for(device, config.matmul)
        for side in MATRIX_SIDES[device.type]:
            a, b = torch.randn(2, side, side, device=device).to(getattr(torch, config.precision))
            for _ in range(5):
                started = time.perf_counter()
                torch.mm(a, b)
                _wait_for(device)
                best = max(best, 2 * side**3 / (time.perf_counter() - started))
    return best


def _peak_memory(device: torch.device) -> dict[str, float]:
    """Returns the most memory that the process held, in MiB; on CUDA also what it had allocated there."""
    import torch

    memory = {}
    with contextlib.suppress(ImportError):  # Windows has no such module
        import resource

        bytes_each = 1 if sys.platform == "darwin" else 1024
        memory["resident_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * bytes_each / 2**20
    if device.type == "cuda":
        memory["cuda_mib"] = torch.cuda.max_memory_allocated(device) / 2**20
    return memory


# Measuring, from the parent


class _Loop:
    """A loop in a process of its own, asked for one measure at a time."""

    def __init__(self, name: str, config: TrainConfig) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(name, config, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.warm_up_seconds: float = self._receive()

    def ask(self, what: str, argument: int = 0) -> Any:
        self._pipe.send((what, argument))
        return self._receive()

    def _receive(self) -> Any:
        try:
            answer = self._pipe.recv()
        except EOFError:
            raise UserError("a loop's process died; its own message is above") from None
        if isinstance(answer, UserError):
            raise answer
        return answer

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._pipe.send(None)
        self._process.join()


def measure_speed(config: TrainConfig, n_rounds: int, n_steps: int) -> dict[str, Any]:
    """Returns images/s of all loops, turn by turn, and what they need of the machine."""
    from infogan.system.runtime import has_bfloat16, resolve_device

    device = resolve_device(config.device)
    configs = {
        name: dataclasses.replace(config, **changes)
        for name, changes in (CUDA_LOOPS if device.type == "cuda" else CPU_LOOPS).items()
        # Without instructions for it, a CPU takes minutes to measure its bfloat16 matrix multiplications.
        if changes["precision"] == "float32" or device.type == "cuda" or has_bfloat16(device)
    }
    loops = {name: _Loop(name, of_loop) for name, of_loop in configs.items()}
    try:
        for loop in loops.values():
            loop.ask("seconds", n_steps)  # warm: caches, clocks, memory
        n_images = n_steps * config.batch_size
        rates: dict[str, list[float]] = {name: [] for name in loops}
        matrix_rates: dict[str, list[float]] = {of_loop.precision: [] for of_loop in configs.values()}
        peak_memory: dict[str, Any] = {}
        for _ in range(n_rounds):
            for name, loop in loops.items():
                rates[name].append(n_images / loop.ask("seconds", n_steps))
            # Before what else is measured: that takes memory too.
            peak_memory = peak_memory or {name: loop.ask("peak_memory") for name, loop in loops.items()}
            for name, loop in loops.items():
                if name != REFERENCE:
                    matrix_rates[configs[name].precision].append(loop.ask("matrix_rate"))
        return {
            "matrix_rates_flop_per_s": matrix_rates,
            "loops": {
                name: {
                    "precision": configs[name].precision,
                    "images_per_s": rates[name],
                    "flop_per_image": loop.ask("flop_per_image"),
                    "peak_memory": peak_memory[name],
                    "build_and_first_step_s": loop.warm_up_seconds,
                }
                for name, loop in loops.items()
            },
        }
    finally:
        for loop in loops.values():
            loop.close()


def measure_choice(config: TrainConfig, images: torch.Tensor) -> dict[str, Any]:
    """Returns what a run with nothing given would choose here; see `training.tuning`."""
    from infogan.system.runtime import kept_global_state, resolve_device
    from infogan.training.tuning import tuned

    config = dataclasses.replace(config, precision="auto", matmul="auto", threads=None)
    with kept_global_state():
        choice, _ = tuned(config, images, resolve_device(config.device))
    return choice


def measure_start_up(config: TrainConfig) -> dict[str, float]:
    """Returns seconds from the command to its answer: `--help`, the import of torch alone, and a first step."""
    with tempfile.TemporaryDirectory() as folder:
        train = [sys.executable, str(TRAIN_SCRIPT)]
        first_step = [*train, "--preset", config.preset, "--dataset", config.dataset, "--data-dir", config.data_dir]
        first_step += [] if config.size is None else ["--size", str(config.size)]
        first_step += ["--device", config.device, "--steps", "1", "--log-every", "1", "--out-dir", folder]
        return {
            "help_s": _until([*train, "--help"]),
            "import_torch_s": _until([sys.executable, "-c", "import torch"]),
            "first_step_s": _until(first_step, Path(folder)),
        }


def _until(command: list[str], run_root: Path | None = None) -> float:
    """Returns the seconds until a command ends, or until the run that it makes under `run_root` logs a step."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            if run_root is not None and any(run_root.glob("runs/*/metrics.jsonl")):
                break
            time.sleep(0.002)
        seconds = time.perf_counter() - started
        _, message = process.communicate()
    if process.returncode:
        raise UserError(message.strip().splitlines()[-1].removeprefix("error: "))
    return seconds


def measure_time_to_quality(config: TrainConfig, n_seeds: int, every: int) -> list[dict[str, Any]]:
    """Returns for each seed the seconds of training until each bar of quality was first met, None where never.

    Scored every few steps; the clock stands still while scoring.
    """
    from infogan.data.datasets import load_dataset
    from infogan.training.trainer import Trainer

    dataset = load_dataset(config.dataset, config.data_dir, config.image_form)
    score = make_score(dataset, config.device)
    results = []
    for seed in range(n_seeds):
        trainer = Trainer(dataclasses.replace(config, seed=seed), dataset.images)
        seconds, reached, scores = 0.0, {}, {}
        while trainer.step < config.steps and (not reached or None in reached.values()):
            seconds += _seconds(trainer, min(every, config.steps - trainer.step))
            scores = score(trainer)
            for bar, is_met in bars_met(scores).items():
                if reached.get(bar) is None:
                    reached[bar] = seconds if is_met else None
        results.append({"seed": seed, "steps": trainer.step, "seconds": seconds, "reached_s": reached, **scores})
        print(f"seed {seed}: {results[-1]}", file=sys.stderr)
    return results


def make_score(dataset: ImageDataset, device: str) -> Callable[[Trainer], dict[str, float]]:
    """Returns what scores a trainer: L_I of c1, of images with labels its accuracy, of digits their Fréchet distance.

    The first two are of a part of the test images, and of as many samples. The distance is of as many samples as there
    are test images, as in `scripts/evaluate.py`.
    """
    import torch

    from infogan.evaluation.classifier import load_digit_classifier
    from infogan.evaluation.feature_distances import frechet_distance
    from infogan.evaluation.reference import classify
    from infogan.evaluation.sampling import draw_samples
    from infogan.evaluation.scoring import quick_scores
    from infogan.evaluation.subject import DIGITS
    from infogan.system.runtime import resolve_device

    def quickly(trainer: Trainer) -> dict[str, float]:
        quick = quick_scores(trainer.picture_generator, trainer.discriminator, trainer.spec, dataset)
        return {name: quick[key] for name, key in QUICK_SCORES.items() if key in quick}

    if DIGITS not in dataset.measurable:
        return quickly
    classifier = load_digit_classifier(device=resolve_device(device))
    features, _ = classify(classifier, dataset.test_images)

    def with_distance(trainer: Trainer) -> dict[str, float]:
        rng = torch.Generator().manual_seed(0)  # the same latents each time, so that only learning shows
        samples = draw_samples(trainer.picture_generator, trainer.spec, len(dataset.test_images), rng, what=None)
        distance = frechet_distance(classify(classifier, samples.images)[0], features)
        return {**quickly(trainer), "frechet_digit_distance": distance}

    return with_distance


def bars_met(scores: dict[str, float]) -> dict[str, bool]:
    """Returns of each bar that there is for these scores whether it is met."""
    at_least = {
        f"{name} >= {bar}": scores[name] >= bar for name in AT_LEAST if name in scores for bar in AT_LEAST[name]
    }
    at_most = {f"{name} <= {bar}": scores[name] <= bar for name in AT_MOST if name in scores for bar in AT_MOST[name]}
    return at_least | at_most


# Telling


def describe(measures: dict[str, Any]) -> list[Any]:
    """Returns the measures as tables."""
    from infogan.evaluation.tables import Table

    loops = measures["speed"]["loops"]
    best = {precision: max(rates) for precision, rates in measures["speed"]["matrix_rates_flop_per_s"].items()}
    rows = []
    for name, loop in loops.items():
        images_per_s = statistics.median(loop["images_per_s"])
        rate = images_per_s * loop["flop_per_image"]
        pairs = zip(loop["images_per_s"], loops[REFERENCE]["images_per_s"], strict=True)
        ratios = [own / reference for own, reference in pairs]
        rows.append(
            [
                name,
                f"{images_per_s:,.0f}",
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
                f"{loop['flop_per_image'] / 1e6:,.0f}",
                f"{rate / 1e9:,.0f}",
                f"{rate / best[loop['precision']]:.0%}",
                " + ".join(f"{mib:,.0f}" for mib in loop["peak_memory"].values()),
            ]
        )
    environment, choice = measures["environment"], measures["choice"]
    speed = Table(
        f"{measures['preset']} preset, {measures['dataset']} ({' x '.join(map(str, measures['image_shape']))}), "
        f"batch {measures['batch_size']}, {measures['device']}, "
        f"{environment['threads']} threads, torch {environment['torch']}, commit {environment['commit']}, "
        f"{environment['started'][:10]}; matmul: "
        + ", ".join(f"{rate / 1e9:,.0f} GFLOP/s in {precision}" for precision, rate in best.items())
        + f"; chosen by --precision auto: {choice['precision']}, {choice['matmul']}, {choice['threads']} threads",
        ["loop", "images/s", "ratio (range)", "MFLOP/image", "GFLOP/s", "share", "peak MiB"],
        rows,
    )
    names = {
        "help_s": "train.py --help",
        "import_torch_s": "import torch, alone",
        "first_step_s": "train.py to its first step",
    }
    start_up = Table(
        "Start-up",
        ["from command to answer", "seconds"],
        [[names[key], f"{value:.2f}"] for key, value in measures["start_up"].items()],
    )
    tables = [speed, start_up]
    if quality := measures["time_to_quality"]:
        bars = [*quality[0]["reached_s"]]
        seeds = [[one["reached_s"][bar] for bar in bars] for one in quality]
        medians = [_median(times) for times in zip(*seeds, strict=True)]
        rows = [
            [name, *("-" if time is None else f"{time:.0f}" for time in times)]
            for name, times in zip(
                [*(f"seed {one['seed']}" for one in quality), "median"], [*seeds, medians], strict=True
            )
        ]
        title = "Seconds of training (scoring excluded) to quality on test images"
        tables.append(Table(title, ["", *bars], rows))
    return tables


def _median(times: Sequence[float | None]) -> float | None:
    """Returns the median of times, of which None is later than any."""
    median = statistics.median(math.inf if time is None else time for time in times)
    return None if median == math.inf else median


def main() -> None:
    flags = parse_flags()
    config = TrainConfig.from_preset(
        flags.preset,
        dataset=flags.dataset,
        data_dir=flags.data_dir,
        device=flags.device,
        seed=0,
        **({} if flags.size is None else {"size": flags.size}),
    )
    speed = measure_speed(config, flags.rounds, flags.steps)

    # Not before: what this process has in memory, those that it starts would count as theirs.
    from infogan.data.datasets import load_dataset

    images = load_dataset(config.dataset, config.data_dir, config.image_form).images
    choice = measure_choice(config, images)
    start_up = measure_start_up(config)
    as_chosen = choice if config.precision == "auto" else {}  # as `scripts/train.py` trains
    whole_run = dataclasses.replace(config, steps=flags.quality_steps or config.steps, **as_chosen)
    quality = measure_time_to_quality(whole_run, flags.quality_seeds, flags.quality_every)

    from infogan.system.files import write_atomically
    from infogan.system.runtime import resolve_device
    from infogan.training.environment import environment

    measures = {
        "preset": flags.preset,
        "dataset": Path(flags.dataset).name,
        "image_shape": list(images.shape[1:]),
        "batch_size": config.batch_size,
        "device": str(resolve_device(flags.device)),
        "environment": environment(),
        "speed": speed,
        "choice": choice,
        "start_up": start_up,
        "time_to_quality": quality,
    }
    tables = describe(measures)
    print("\n\n".join(table.plain() for table in tables))
    if flags.json is not None:
        content = json.dumps(measures, indent=2) + "\n"
        write_atomically(flags.json, lambda file: file.write(content.encode()), "--json")
    if flags.markdown is not None:
        markdown = "\n\n".join(table.markdown() for table in tables) + "\n"
        write_atomically(flags.markdown, lambda file: file.write(markdown.encode()), "--markdown")


if __name__ == "__main__":
    run_script(main)
