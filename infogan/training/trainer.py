"""`Trainer` builds the nets and takes steps; `fit` runs it to its end, with everything that is kept on disk."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from infogan import auxiliary
from infogan.config.spec import LatentSpec
from infogan.config.train_config import MAY_CHANGE, TrainConfig, flag_of
from infogan.data.augment import AffineRange, Copies, change_contrast, random_affines, random_contrasts, warp
from infogan.data.datasets import ImageDataset, ShuffledBatches, epoch_of, load_dataset
from infogan.latents import sample_prior
from infogan.models import Discriminator, Generator, ImageShape
from infogan.system import distributed as ranks
from infogan.system.errors import NonFiniteLossError, UserError
from infogan.system.runtime import (
    make_deterministic,
    resolve_device,
    resolve_precision,
    rng_state,
    seed_everything,
    set_generator_state,
    set_rng_state,
    tune_for,
)
from infogan.training.run import Run, check_resumable, find_checkpoint, load_checkpoint
from infogan.training.step import AdversarialStep, StepLosses

MOST_SAMPLE_GRIDS = 50
CATEGORY_DELAY_STEPS = 150  # after `settle_step`: the categories learn from real images alone at first
CATEGORY_RAMP_STEPS = 500  # over which their L_I then sets in


class Trainer:
    """InfoGAN on a tensor of images, and beside it a vanilla GAN if the configuration says `baseline`.

    Seeds the global random generators with `config.seed`, and has torch use deterministic algorithms.
    Everything that a later step depends on is in `state_dict`: a trainer that loads it goes on bit for bit on
    the same device.

    Of several ranks (see `ranks`), each makes one, and their steps are in step.

    Args:
        config: nets, objective, rates, seed, device.
        images: uint8, NCHW, in [0, 255]; moved to the device.

    Attributes:
        generator: G, as trained.
        discriminator: D and Q.
        generator_ema: the average of G's weights, or None if `config.ema_decay` is 0.
        step: steps taken.
        total_steps: of the whole run, which `config.lr_decay` is a share of.

    Raises:
        UserError: images of another type or shape, fewer than a batch, or too small; a device that is not there.
    """

    def __init__(self, config: TrainConfig, images: Tensor) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise UserError(
                "images: expected uint8 in [0, 255] of shape (n, channels, height, width), "
                f"got {images.dtype} of shape {tuple(images.shape)}"
            )
        ranks.check_batch_size(config.batch_size)
        self.config, self.spec = config, config.spec
        self.device = resolve_device(config.device)
        make_deterministic()
        tune_for(self.device)
        seed_everything(config.seed)
        channels, height, width_px = images.shape[1:]
        self.image_shape: ImageShape = (channels, height, width_px)
        self.generator = Generator(self.spec, self.image_shape, config.width).to(self.device)
        self.discriminator = _make_discriminator(config, self.image_shape).to(self.device)
        if config.sync_batchnorm and ranks.n_ranks() > 1:
            ranks.use_global_batch_norm(self.generator)
            ranks.use_global_batch_norm(self.discriminator)
        # The vanilla GAN starts from the same weights and sees the same batches: only the objective differs.
        vanilla_nets = copy.deepcopy((self.generator, self.discriminator)) if config.baseline else None
        self._infogan = AdversarialStep(self.generator, self.discriminator, config, config.mi_updates)
        self._vanilla = AdversarialStep(*vanilla_nets, config, "probe") if vanilla_nets else None
        self.generator_ema = copy.deepcopy(self.generator) if config.ema_decay else None
        self.batches = ShuffledBatches(images.to(self.device), config.batch_size, config.seed)
        self._latents_rng = torch.Generator(self.device).manual_seed(config.seed)
        alteration = AffineRange(config.rotate, config.scale, config.shear, config.shift)
        self._alteration = alteration if config.is_consistent or config.is_equivariant else None
        epochs = config.epochs
        self.total_steps = config.steps if epochs is None else epochs * self.batches.per_epoch
        self.step = 0

    @property
    def picture_generator(self) -> Generator:
        """G for pictures: the average where there is one."""
        return self.generator if self.generator_ema is None else self.generator_ema

    def models(self) -> list[tuple[str, Generator, Discriminator]]:
        """Returns InfoGAN, with G for pictures, and the vanilla GAN if there is one, each after its metrics' prefix."""
        models = [("", self.picture_generator, self.discriminator)]
        if self._vanilla is not None:
            models.append(("vanilla_", self._vanilla.generator, self._vanilla.discriminator))
        return models

    def train_step(self) -> dict[str, Tensor]:
        """Takes one step and returns its losses and L_I by name, as scalars on the device.

        Raises:
            NonFiniteLossError: before the update that the loss would have made.
        """
        self._follow_schedule()
        batch = (self.batches.next(), *sample_prior(self.spec, self.config.batch_size, self._latents_rng))
        x_real, z, c = (ranks.share(part) for part in batch)
        copies = self._copies(x_real)
        try:
            metrics = self._named(self._infogan(x_real, z, c, copies))
            if self._vanilla is not None:
                vanilla = self._named(self._vanilla(x_real, z, c))
                metrics |= {f"vanilla_{name}": value for name, value in vanilla.items()}
        except NonFiniteLossError as error:
            raise NonFiniteLossError(f"step {self.step + 1}: {error}; stopped before its update") from None
        if self.generator_ema is not None:
            # A shorter memory at first, so that the average is not held back by the untrained weights.
            decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
            _move_average(self.generator_ema, self.generator, decay)
        self.step += 1
        return metrics

    def _copies(self, x_real: Tensor) -> Copies | None:
        if self._alteration is None:
            return None
        # All ranks draw what happens to the whole batch.
        n, strength = self.config.batch_size, self.config.contrast
        affines = ranks.share(random_affines(n, self._alteration, self._latents_rng))
        images = warp(x_real, affines)
        if strength > 0:
            images = change_contrast(images, ranks.share(random_contrasts(n, strength, self._latents_rng)))
        return Copies(images, affines)

    def _follow_schedule(self) -> None:
        """Sets what depends on the step: the rates, and with the consistency term the weights."""
        for step in filter(None, (self._infogan, self._vanilla)):
            step.scale_rates(self._rate)
        if not self.config.is_consistent:
            return
        settled, sets_in, full = category_steps(self.config)
        if self.step == settled:
            self._infogan.settle()
        self._infogan.settled = self.step >= settled
        # Little by little, or G loses its way: it has to give its categories another meaning.
        ramp = (self.step - sets_in) / (full - sets_in)
        self._infogan.category_weight = min(max(ramp, 0.0), 1.0)
        self._infogan.established = ramp >= 1

    @property
    def _rate(self) -> float:
        """The share of the learning rates that is in force: 1, and over the last steps down to 0 on a line."""
        remaining = 1 - self.step / self.total_steps
        return max(min(1.0, remaining / self.config.lr_decay), 0.0) if self.config.lr_decay else 1.0

    def _named(self, losses: StepLosses) -> dict[str, Tensor]:
        names = self.spec.names
        metrics = {"loss_d": losses.loss_d, "loss_g": losses.loss_g}
        metrics |= {f"mi_{name}": value for name, value in zip(names, losses.mi_nats, strict=True)}
        if losses.equivariance is not None:
            metrics["equivariance"] = losses.equivariance
        if losses.consistency_nats is not None:
            codes = zip(self.spec.categorical, losses.consistency_nats, strict=True)
            metrics |= {f"consistency_{names[i]}": value for i, value in codes}
        return metrics

    def is_finite(self) -> bool:
        """Returns whether every weight is a number."""
        nets = [self.generator, self.discriminator]
        if self._vanilla is not None:
            nets += [self._vanilla.generator, self._vanilla.discriminator]
        return all(bool(p.isfinite().all()) for net in nets for p in net.parameters())

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that later steps depend on, as tensors and plain values."""
        return {
            "step": self.step,
            "device": self.device.type,
            "config": self.config.to_dict(),
            "image_shape": list(self.image_shape),
            "n_images": len(self.batches.images),
            "infogan": self._infogan.state_dict(),
            "vanilla": None if self._vanilla is None else self._vanilla.state_dict(),
            "generator_ema": None if self.generator_ema is None else self.generator_ema.state_dict(),
            "batches": self.batches.state_dict(),
            "latents_rng": self._latents_rng.get_state(),
            "rng": rng_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues as the trainer did whose `state_dict` this is.

        Raises:
            UserError: it was made with another configuration, or other images; every difference is listed.
        """
        mine = {**self.config.to_dict(), "image-shape": list(self.image_shape), "n-images": len(self.batches.images)}
        theirs = {**state["config"], "image-shape": state["image_shape"], "n-images": state["n_images"]}
        differences = [
            f"{flag_of(name)} {theirs.get(name)} (expected {value})"
            for name, value in mine.items()
            if name not in {*MAY_CHANGE, "name", "dataset", "preset"} and theirs.get(name) != value
        ]
        if differences:
            raise UserError(f"the checkpoint is of another run: {'; '.join(differences)}")
        self._infogan.load_state_dict(state["infogan"])
        if self._vanilla is not None:
            self._vanilla.load_state_dict(state["vanilla"])
        if self.generator_ema is not None:
            self.generator_ema.load_state_dict(state["generator_ema"])
        self.batches.load_state_dict(state["batches"])
        set_generator_state(self._latents_rng, state["latents_rng"], self.config.seed + state["step"])
        set_rng_state(state["rng"])
        self.step = state["step"]


def category_steps(config: TrainConfig) -> tuple[int, int, int]:
    """Returns after which steps finer classes become categories, their L_I sets in, and it has its full weight."""
    sets_in = config.settle_step + CATEGORY_DELAY_STEPS
    return config.settle_step, sets_in, sets_in + CATEGORY_RAMP_STEPS


def _make_discriminator(config: TrainConfig, image_shape: ImageShape) -> Discriminator:
    n_overclusters = config.overclusters if config.is_consistent else 0
    d_by_category = config.d_by_category and config.is_consistent
    return Discriminator(
        config.spec, image_shape, config.width, n_overclusters, config.overcluster_heads, d_by_category
    )


@torch.no_grad()
def _move_average(average: Generator, current: Generator, decay: float) -> None:
    for kept, new in zip(average.parameters(), current.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)
    for kept, new in zip(average.buffers(), current.buffers(), strict=True):
        kept.copy_(new)  # BatchNorm's running statistics are averages already


class _Log:
    """Sums of metrics, kept on the device and read only for a row of metrics.jsonl."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._n = 0
        self.seconds = 0.0  # spent in steps; not in pictures and checkpoints

    def add(self, metrics: dict[str, Tensor], seconds: float) -> None:
        self._sums = {name: self._sums[name] + value if self._n else value for name, value in metrics.items()}
        self._n += 1
        self.seconds += seconds

    def read(self) -> dict[str, float]:
        """Returns the means since the last reading, over all ranks, and starts anew."""
        ranks.average(self._sums.values())
        means = {name: value.item() / self._n for name, value in self._sums.items()}
        self._sums, self._n = {}, 0
        return means

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self._sums, "n": self._n, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        self._sums = {name: value.to(device) for name, value in state["sums"].items()}
        self._n, self.seconds = state["n"], state["seconds"]


class _StopRequest:
    """Notes a first Ctrl-C or SIGTERM, so that the loop can end in order; a second one acts as it always does.

    Under torchrun a second one is ignored: it passes on a Ctrl-C that the terminal has sent to all, and kills ranks
    that do not end in time.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _StopRequest:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
            for number in self._before:
                signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        self.signal = signal.Signals(number)
        signal.signal(number, self._before[number] if ranks.launcher() is None else signal.SIG_IGN)


def train(config: TrainConfig, given: dict[str, Any] | None = None) -> Run:
    """Trains a new run, or goes on with `config.resume`, writes its pictures, and returns it.

    Args:
        config: the run.
        given: with `resume`, the fields that were asked for: what may change is changed, and what contradicts the
            run is refused. By default those that differ from `TrainConfig()`.

    Raises:
        UserError: input that cannot be used.
        NonFiniteLossError: training fell apart; the checkpoints stay.
    """
    with ranks.joined(resolve_device(config.device)):
        folder = ranks.from_first(lambda: _run_before_restart(config)) if config.resume is None else None
        if folder is not None:
            # It was made from these very flags, so there is nothing to hold against it.
            config, given = dataclasses.replace(config, resume=folder), {}
        if config.resume is None:
            session = _Session.start(config)
        else:
            session = _Session.resume(*ranks.from_first(lambda: resumed(config, given)))
        session.fit()
        return session.run


def _run_before_restart(config: TrainConfig) -> str | None:
    """Returns the folder of the run that the ranks trained before torchrun restarted them, if they came to make one."""
    run = Run.of_launcher(config.out_dir, ranks.launcher()) if ranks.is_restart() else None
    return None if run is None else str(run.folder)


def resumed(config: TrainConfig, given: dict[str, Any] | None = None) -> tuple[Run, TrainConfig]:
    """Returns the run that `config.resume` names, and its configuration with the changes that it allows.

    Raises:
        UserError: it is no run, or something was asked for that contradicts it.
    """
    run = Run.open(str(config.resume), "--resume")
    if given is None:
        fields = dataclasses.fields(TrainConfig)
        given = {f.name: getattr(config, f.name) for f in fields if getattr(config, f.name) != f.default}
    saved = TrainConfig.from_dict(run.read_config()).to_dict()
    check_resumable(saved, given)
    if "out_dir" in given and Path(config.out_dir).resolve() != run.out_dir.resolve():
        raise UserError(f"--out-dir: a resumed run stays in {str(run.out_dir)!r}, got {config.out_dir!r}")
    changes = {name: value for name, value in given.items() if name in MAY_CHANGE}
    if "steps" in changes:
        changes["epochs"] = None
    return run, TrainConfig.from_dict(saved, **changes, out_dir=str(run.out_dir), resume=config.resume)


def _load_on_all_ranks(config: TrainConfig) -> ImageDataset:
    """Returns the data set, the same on every rank: rank 0 decides which it is, and downloads it."""
    if ranks.n_ranks() == 1:
        return load_dataset(config.dataset, config.data_dir)
    name = ranks.from_first(lambda: load_dataset(config.dataset, config.data_dir).name)
    # On another machine its first rank downloads, if need be, and the others find it.
    dataset = load_dataset(name, config.data_dir) if ranks.is_first_here() else None
    ranks.wait_for_all()
    return dataset or load_dataset(name, config.data_dir)


def _resolved(config: TrainConfig, dataset: ImageDataset) -> TrainConfig:
    """Returns the configuration with what was meant as what it turned out to be.

    So it is saved, for a resumed run to find the same from anywhere.
    """
    device = resolve_device(config.device)
    return dataclasses.replace(
        config,
        dataset=dataset.name,
        data_dir=str(Path(config.data_dir).absolute()),
        device=str(device),
        precision=ranks.from_first(lambda: resolve_precision(config.precision, device)),
    )


class _Session:
    """One process's work on a run: the loop, and all that is written."""

    def __init__(self, run: Run, trainer: Trainer, dataset: ImageDataset) -> None:
        self.run, self.trainer, self.config, self.dataset = run, trainer, trainer.config, dataset
        self.log = _Log()
        self.per_epoch, self.total_steps = trainer.batches.per_epoch, trainer.total_steps
        n_epochs = epoch_of(self.total_steps, self.per_epoch)
        self.sample_every = self.config.sample_every or -(-n_epochs // MOST_SAMPLE_GRIDS)

    @classmethod
    def start(cls, config: TrainConfig) -> _Session:
        dataset = _load_on_all_ranks(config)
        config = _resolved(config, dataset)
        trainer = Trainer(config, dataset.images)
        _, sets_in, _ = category_steps(config)
        if config.is_consistent and trainer.total_steps <= sets_in and ranks.is_first():
            print(
                f"warning: {trainer.total_steps} steps are too few for the categories: their L_I sets in after step "
                f"{sets_in} ({CATEGORY_DELAY_STEPS} after --settle-step); G learns nothing of them before",
                file=sys.stderr,
            )
        # The run is made last, so that bad input leaves no empty folders.
        run = ranks.from_first(lambda: Run.create(config, dataset.name))
        session = cls(run, trainer, dataset)
        # From here on there is always a checkpoint, and a disk that cannot hold one is noticed at once.
        ranks.from_first(session.save_checkpoint)
        return session

    @classmethod
    def resume(cls, run: Run, config: TrainConfig) -> _Session:
        path = ranks.from_first(run.latest_checkpoint)
        state = ranks.from_first(lambda: load_checkpoint(path))
        dataset = _load_on_all_ranks(config)
        config = _resolved(config, dataset)
        trainer = Trainer(config, dataset.images)
        session = cls(run, trainer, dataset)
        try:
            trainer.load_state_dict(state)
            session.log.load_state_dict(state["log"], trainer.device)
        except UserError as error:
            raise UserError(f"--resume: {path}: {error}") from None
        except (LookupError, RuntimeError, TypeError, ValueError) as error:
            raise UserError(f"--resume: {path} is not a checkpoint of this run: {type(error).__name__}") from error
        if trainer.total_steps < trainer.step:
            flag, given = ("--steps", config.steps) if config.epochs is None else ("--epochs", config.epochs)
            raise UserError(f"{flag}: expected to reach at least step {trainer.step}, where the run is, got {given}")
        if state["device"] != trainer.device.type:
            print(
                f"warning: the run was on {state['device']}, and goes on with other random numbers on {trainer.device}",
                file=sys.stderr,
            )
        ranks.from_first(session.write_resumed)
        return session

    def write_resumed(self) -> None:
        """Brings the run's folder to where its checkpoint is."""
        self.run.make_folders()
        self.run.save_config(self.config.to_dict())
        self.run.cut_metrics(self.trainer.step)

    def fit(self) -> None:
        """Trains to the last step, or to a Ctrl-C or SIGTERM, and then saves and draws everything."""
        trainer, config = self.trainer, self.config
        first_step = trainer.step
        where = str(trainer.device) if ranks.n_ranks() == 1 else f"{ranks.n_ranks()} x {trainer.device.type}"
        if ranks.is_first():
            print(f"{self.run.folder}: step {first_step} of {self.total_steps} on {where}", file=sys.stderr)
        bar = tqdm(
            total=self.total_steps * config.batch_size,
            initial=first_step * config.batch_size,
            unit="img",
            unit_scale=True,
            disable=not ranks.is_first(),
            mininterval=0.5 if sys.stderr.isatty() else 30,  # seconds; a log file needs fewer lines
        )
        with _StopRequest() as stop, bar, self.saved_if_interrupted():
            while trainer.step < self.total_steps and not ranks.any_rank(stop.signal is not None):
                started = time.perf_counter()
                metrics = self.take_step()
                self.log.add(metrics, time.perf_counter() - started)
                bar.update(config.batch_size)

                # Below this line: all that is done only now and then.
                if trainer.step % config.log_every == 0:
                    self.write_metrics(bar)
                if not ranks.is_first():
                    continue
                if trainer.step % (self.per_epoch * self.sample_every) == 0:
                    self.draw_samples()
                if config.eval_every and trainer.step % config.eval_every == 0:
                    self.evaluate()
                if trainer.step % config.checkpoint_every == 0 and trainer.step < self.total_steps:
                    self.save_checkpoint()
            bar.close()
            if ranks.is_first():
                if trainer.step > first_step:
                    self.save_checkpoint()
                self.draw_all()
                self.report(first_step, stop.signal)

    @contextlib.contextmanager
    def saved_if_interrupted(self) -> Iterator[None]:
        """Saves what was learned before an error of the disk, as in drawing a picture, ends the run."""
        try:
            yield
        except UserError:
            with contextlib.suppress(UserError):  # the first error is the one to report
                self.save_checkpoint()
            raise

    def take_step(self) -> dict[str, Tensor]:
        try:
            return self.trainer.train_step()
        except NonFiniteLossError as error:
            # Of several machines, only that of rank 0 needs to have the folder.
            last_good = self.run.latest_checkpoint() if ranks.is_first() else self.run.checkpoints
            raise NonFiniteLossError(
                f"{error}; the last good state is {last_good}; "
                "another run with a smaller --lr-g, --lr-d or --lambda-cont may be stable"
            ) from None

    def write_metrics(self, bar: tqdm) -> None:
        means = self.log.read()
        if not ranks.is_first():
            return
        step = self.trainer.step
        progress = {
            "step": step,
            "epoch": epoch_of(step, self.per_epoch),
            "images_seen": step * self.config.batch_size,
            "seconds": round(self.log.seconds, 3),
        }
        self.run.append_metrics(progress | means)
        spec = self.trainer.spec
        shown = {"loss_d": means["loss_d"], "loss_g": means["loss_g"]}
        for kind, positions in (("cat", spec.categorical), ("cont", spec.continuous)):
            if positions:
                shown[f"L_I_{kind}"] = sum(means[f"mi_{spec.names[i]}"] for i in positions)
        bar.set_postfix({name: f"{value:.2f}" for name, value in shown.items()}, refresh=False)

    def evaluate(self) -> None:
        """Adds a row of cheap scores to metrics.jsonl, those of the vanilla GAN under `vanilla_`."""
        from infogan.evaluation.scoring import quick_scores  # imported only here: it takes seconds

        scores: dict[str, float] = {"step": self.trainer.step}
        for prefix, generator, discriminator in self.trainer.models():
            found = quick_scores(generator, discriminator, self.trainer.spec, self.dataset)
            scores |= {prefix + name: value for name, value in found.items()}
        self.run.append_metrics(scores)

    def save_checkpoint(self) -> None:
        if not ranks.is_first():
            return
        # A loss can be finite and the update that follows from it not: such weights must not replace good ones.
        if not self.trainer.is_finite():
            raise NonFiniteLossError(
                f"step {self.trainer.step}: weights are not finite; "
                f"the last good state is {self.run.latest_checkpoint()}"
            )
        self.run.save_checkpoint({"name": self.run.name, **self.trainer.state_dict(), "log": self.log.state_dict()})

    # Pictures

    def draw(self, latents: auxiliary.Latents, what: str, file_name: str) -> None:
        title = f"{self.run.name}, step {self.trainer.step}: {what}"
        picture = auxiliary.draw(self.trainer.picture_generator, latents, title)
        auxiliary.save_png(picture, self.run.samples / file_name)

    def draw_samples(self) -> None:
        """Draws the sample grid of the epoch that the last step is in."""
        epoch = epoch_of(self.trainer.step, self.per_epoch)
        self.draw(auxiliary.sample_latents(self.trainer.spec), "samples", f"Epoch_{epoch}.png")

    def draw_all(self) -> None:
        """Draws the last sample grid, a sweep of every code, the loss figures, and the GIF of training."""
        spec, samples = self.trainer.spec, self.run.samples
        self.draw_samples()
        for i, name in enumerate(spec.names):
            self.draw(auxiliary.sweep_latents(spec, i), f"sweep of {name}", f"sweep_{name}.png")
        events = ("finer classes become categories", "L_I sets in", "L_I at its full weight")
        events = dict(zip(category_steps(self.config), events, strict=True)) if self.config.is_consistent else {}
        figures = auxiliary.loss_figures(self.run.read_metrics(), spec, self.run.name, self.config.gan_loss, events)
        for name, picture in figures.items():
            auxiliary.save_png(picture, self.run.track_loss / f"{name}.png")
        # From the files, not from memory: a run that was interrupted and resumed has all of its grids.
        auxiliary.training_gif(epoch_grids(samples), samples / "training.gif")

    def report(self, first_step: int, stopped_by: signal.Signals | None) -> None:
        step, seconds = self.trainer.step, self.log.seconds
        if stopped_by is not None and step < self.total_steps:
            print(
                f"stopped by {stopped_by.name} at step {step} of {self.total_steps}; to go on:\n"
                f"  python scripts/train.py --resume {shlex.quote(str(self.run.folder))}"
            )
        elif step == first_step:
            print(f"nothing was left to train at step {step}; a larger --steps takes the run further")
        else:
            print(f"trained to step {step} ({step * self.config.batch_size} images) in {seconds:.0f} s of steps")
        print(f"pictures: {self.run.samples}\ncurves:   {self.run.track_loss}\nrun:      {self.run.folder}")


def epoch_grids(samples: Path) -> list[Path]:
    """Returns the sample grids in a folder, in the order of their epochs: 2 before 10."""
    grids = [path for path in samples.glob("Epoch_*.png") if path.stem[6:].isdigit()]
    return sorted(grids, key=lambda path: int(path.stem[6:]))


@dataclass(frozen=True)
class TrainedNets:
    """The nets of a checkpoint, in evaluation mode.

    Attributes:
        name: the run's.
        generator: G; its average where the run kept one.
        averaged_generator: whether it is the average.
        discriminator: D and Q.
        spec: the latents.
        config: the run's configuration.
        step: steps trained.
        seconds: that these steps took; None in a checkpoint that `fit` did not write.
    """

    name: str
    generator: Generator
    averaged_generator: bool
    discriminator: Discriminator
    spec: LatentSpec
    config: TrainConfig
    step: int
    seconds: float | None


def load_nets(path: str | Path, device: torch.device | str = "cpu", baseline: bool = False) -> TrainedNets:
    """Returns the nets that a checkpoint holds; it alone is needed, and it may be from another device.

    Args:
        path: the checkpoint, or a run's folder, as in runs/<name>, for its newest.
        device: where to put them.
        baseline: the vanilla GAN with its probe Q, of which no average is kept, instead of InfoGAN.

    Raises:
        UserError: the file is not a checkpoint, it is damaged, or it holds no vanilla GAN.
    """
    path = find_checkpoint(path, argument="path")
    state = load_checkpoint(path, device)
    try:
        # The name becomes a folder's: it is checked like one that a user gives.
        config = TrainConfig.from_dict({**state["config"], "name": state["name"]})
        trained, average = (state["vanilla"], None) if baseline else (state["infogan"], state["generator_ema"])
        if trained is None:
            raise UserError("it holds no vanilla GAN: expected the checkpoint of a run with --baseline")
        channels, height, width_px = state["image_shape"]
        generator = Generator(config.spec, (channels, height, width_px), config.width).to(device)
        discriminator = _make_discriminator(config, (channels, height, width_px)).to(device)
        generator.load_state_dict(trained["generator"] if average is None else average)
        discriminator.load_state_dict(trained["discriminator"])
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a whole checkpoint: {' '.join(str(error).split())}") from error
    return TrainedNets(
        name=state["name"],
        generator=generator.eval(),
        averaged_generator=average is not None,
        discriminator=discriminator.eval(),
        spec=config.spec,
        config=config,
        step=state["step"],
        seconds=state.get("log", {}).get("seconds"),
    )
