"""What is shown and kept of a run while it trains; rank 0 has a `RunRecorder`, the others one that does nothing."""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from infogan import auxiliary
from infogan.data.batches import epoch_of
from infogan.data.datasets import ImageDataset
from infogan.system import distributed
from infogan.system.errors import NonFiniteLossError, UserError, as_warning, show_warning
from infogan.system.files import sync_file
from infogan.system.paths import numbered_files
from infogan.system.progress import seconds_between_updates
from infogan.training.curves import loss_figures
from infogan.training.run import Run
from infogan.training.tensorboard import EventWriter
from infogan.training.trainer import Trainer

MAX_SAMPLE_GRIDS = 50

# Scores of one model (G, D and Q, their spec, a data set), as rows of metrics.jsonl take them.
Monitor = Callable[..., dict[str, float]]


class MeanLog:
    """Sums of metrics, kept on the device and read only for a row of metrics.jsonl."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._n = 0
        self.seconds = 0.0  # spent in steps; not in pictures and checkpoints

    def add(self, metrics: dict[str, Tensor], seconds: float) -> None:
        """Adds what a step returned, and the seconds that it took."""
        self._sums = {name: self._sums[name] + value if self._n else value for name, value in metrics.items()}
        self._n += 1
        self.seconds += seconds

    def read(self) -> dict[str, float]:
        """Returns the means since the last reading, over all ranks, and starts anew."""
        distributed.average(self._sums.values())
        means = {name: value.item() / self._n for name, value in self._sums.items()}
        self._sums, self._n = {}, 0
        return means

    def state_dict(self) -> dict[str, Any]:
        """Returns the sums so far."""
        return {"sums": self._sums, "n": self._n, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Continues as the log did whose `state_dict` this is."""
        self._sums = {name: value.to(device) for name, value in state["sums"].items()}
        self._n, self.seconds = state["n"], state["seconds"]


class Recorder:
    """Shows and keeps nothing; `RunRecorder` does."""

    last_good_state: object = "with rank 0"

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        pass

    def warn(self, text: str) -> None:
        """Shows a warning."""

    def say(self, line: str) -> None:
        """Says something of the run, if the line is not empty."""

    def show_images(self) -> None:
        """Shows what was made of images of one's own."""

    def write_resumed(self, state: dict[str, Any]) -> None:
        """Brings the run's folder to where its checkpoint is, given what that holds."""

    def advance(self) -> None:
        """Notes a step."""

    def write_metrics(self, means: dict[str, float]) -> None:
        """Adds a row of metrics."""

    def draw_samples(self) -> None:
        """Draws the sample grid of the epoch that the last step is in."""

    def evaluate(self) -> None:
        """Adds a row of cheap scores."""

    def save_checkpoint(self) -> None:
        """Saves the state of the trainer."""

    def finish(self, stopped_by: signal.Signals | None) -> None:
        """Saves and draws everything, and says what came of the run."""


class RunRecorder(Recorder):
    """Writes a run's metrics, pictures and checkpoints, and shows how far it is.

    What cannot be drawn is a warning. Within it, an error between two steps saves what was learned before it ends the
    run.

    Args:
        run: Where it writes.
        trainer: What it records; never changed.
        log: Saved with the trainer.
        dataset: Scored by the monitor.
        monitor: Makes the rows of `eval_every`.
        tensorboard: Whether TensorBoard gets the metrics and the sample grids too.
    """

    def __init__(
        self,
        run: Run,
        trainer: Trainer,
        log: MeanLog,
        dataset: ImageDataset,
        monitor: Monitor | None,
        tensorboard: bool = False,
    ) -> None:
        self.run, self.trainer, self.log, self.dataset, self.monitor = run, trainer, log, dataset, monitor
        self.config, self.first_step = trainer.config, trainer.step
        self.images_sha256 = dataset.digest()
        self._bar: tqdm | None = None
        self._events = EventWriter(run.folder, trainer.step) if tensorboard else None

    @property
    def last_good_state(self) -> object:
        """The newest checkpoint's path."""
        return self.run.latest_checkpoint()

    def __enter__(self) -> RunRecorder:
        trainer, n_ranks = self.trainer, distributed.n_ranks()
        self.first_step = trainer.step
        where = str(trainer.device) if n_ranks == 1 else f"{n_ranks} x {trainer.device.type}"
        print(f"{self.run.folder}: step {trainer.step} of {self.config.steps} on {where}", file=sys.stderr)
        self._bar = tqdm(
            total=self.config.steps * self.config.batch_size,
            initial=trainer.step * self.config.batch_size,
            unit="img",
            unit_scale=True,
            mininterval=seconds_between_updates(),
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._events is not None:
            self._events.close()
        if error is not None and not self.trainer.is_stepping:  # within a step, the state is of neither end of it
            with contextlib.suppress(Exception):  # the first error is the one to report
                self.save_checkpoint()

    def warn(self, text: str) -> None:
        show_warning(text)

    def say(self, line: str) -> None:
        if line:
            print(line, file=sys.stderr)

    def show_images(self) -> None:
        if self.dataset.notes:
            sheet = self.run.samples / "training_images.png"
            auxiliary.save_png(auxiliary.contact_sheet(self.dataset.images), sheet)
            policy = self.config.diffaugment
            diffaugment = [] if policy == "none" else [f"D and Q see them through DiffAugment: {policy}"]
            print(*self.dataset.notes, f"some of them: {sheet}", *diffaugment, sep="\n", file=sys.stderr)

    def write_resumed(self, state: dict[str, Any]) -> None:
        self.run.make_folders()
        self.run.save_config(self.config)
        step = self.trainer.step
        self.run.restore_metrics(step, state.get("unwritten_rows", []))
        # An evaluation may have been what failed: then its row is not there yet.
        is_due = self.config.eval_every and step and step % self.config.eval_every == 0
        if is_due and not any(row["step"] == step and _is_evaluation(row) for row in self.run.read_metrics()):
            self.evaluate()

    def advance(self) -> None:
        assert self._bar is not None
        self._bar.update(self.config.batch_size)

    @property
    def epoch(self) -> int:
        """The epoch that the last step is in, from 1."""
        return epoch_of(self.trainer.step, self.trainer.batches.per_epoch)

    def write_metrics(self, means: dict[str, float]) -> None:
        step, spec = self.trainer.step, self.trainer.spec
        progress = {
            "step": step,
            "epoch": self.epoch,
            "images_seen": step * self.config.batch_size,
            "seconds": round(self.log.seconds, 3),
        }
        self._append(progress | means)
        shown = {"loss_d": means["loss_d"], "loss_g": means["loss_g"]}
        for kind, positions in (("cat", spec.categorical), ("cont", spec.continuous)):
            if positions:
                shown[f"L_I_{kind}"] = sum(means[f"mi_{spec.names[i]}"] for i in positions)
        if self._bar is not None:
            self._bar.set_postfix({name: f"{value:.2f}" for name, value in shown.items()}, refresh=False)

    def evaluate(self) -> None:
        """Adds a row of cheap scores to metrics.jsonl, those of the vanilla GAN under `vanilla_`."""
        assert self.monitor is not None
        scores: dict[str, float] = {"step": self.trainer.step}
        for prefix, generator, discriminator in self.trainer.models():
            found = self.monitor(generator, discriminator, self.trainer.spec, self.dataset)
            scores |= {prefix + name: value for name, value in found.items()}
        self._append(scores)

    def _append(self, row: dict[str, float]) -> None:
        """Adds a row to metrics.jsonl; a disk that is full for a moment costs none."""
        try:
            self.run.append_metrics(row)
        except UserError as error:
            self.warn(f"{error}; the row is written with the next")
        if self._events is not None:
            self._events.write_metrics(row)

    def save_checkpoint(self) -> None:
        # A loss can be finite and the update that follows from it not: such weights must not replace good ones.
        if not self.trainer.is_finite():
            raise NonFiniteLossError(
                f"step {self.trainer.step}: weights are not finite; the last good state is {self.last_good_state}"
            )
        with contextlib.suppress(UserError):  # the rows that its file does not take are in the checkpoint
            self.run.write_metrics()
        sync_file(self.run.metrics_file)
        self.run.save_checkpoint(
            {
                "name": self.config.name or self.run.name,
                **self.trainer.state_dict(),
                "log": self.log.state_dict(),
                "images_sha256": self.images_sha256,
                "unwritten_rows": self.run.unwritten_rows,
            }
        )

    def finish(self, stopped_by: signal.Signals | None) -> None:
        assert self._bar is not None
        self._bar.close()
        if self.trainer.step > self.first_step:
            self.save_checkpoint()
        self.draw_all()
        self.report(stopped_by)
        self.run.write_metrics()  # if the disk still takes no rows, the run ends with its error

    # Pictures

    def draw(self, latents: auxiliary.Latents, what: str, file_name: str) -> None:
        title = f"{self.run.name}, step {self.trainer.step}: {what}"
        with as_warning(file_name):
            picture = auxiliary.draw(self.trainer.picture_generator, latents, title)
            auxiliary.save_png(picture, self.run.samples / file_name)
            if self._events is not None:
                self._events.show(what, picture, self.trainer.step)

    def draw_samples(self) -> None:
        self.draw(auxiliary.sample_latents(self.trainer.spec), "samples", f"Epoch_{self.epoch}.png")

    def draw_all(self) -> None:
        """Draws the last sample grid, the gallery, the curves, and the GIF of training."""
        spec, samples = self.trainer.spec, self.run.samples
        self.draw_samples()
        with as_warning("gallery"):
            for picture in auxiliary.gallery(spec):
                self.draw(picture.latents, picture.what, f"{picture.name}.png")
        with as_warning("curves"):
            events = {step: text for extension in self.trainer.extensions for step, text in extension.events().items()}
            figures = loss_figures(self.run.read_metrics(), spec, self.run.name, self.config.gan_loss, events)
            for name, figure in figures.items():
                auxiliary.save_png(figure, self.run.track_loss / f"{name}.png")
        # From the files, not from memory: a run that was interrupted and resumed has all of its grids.
        with as_warning("training.gif"):
            auxiliary.training_gif(epoch_grids(samples), samples / "training.gif")

    def report(self, stopped_by: signal.Signals | None) -> None:
        """Says how far the run came, and where its files are."""
        step, seconds = self.trainer.step, self.log.seconds
        if stopped_by is not None and step < self.config.steps:
            print(
                f"stopped by {stopped_by.name} at step {step} of {self.config.steps}; to go on:\n"
                f"  python scripts/train.py --resume {shlex.quote(str(self.run.folder))}"
            )
        elif step == self.first_step:
            print(f"nothing was left to train at step {step}; a larger --steps takes the run further")
        else:
            print(f"trained to step {step} ({step * self.config.batch_size} images) in {seconds:.0f} s of steps")
        print(f"pictures: {self.run.samples}\ncurves:   {self.run.track_loss}\nrun:      {self.run.folder}")
        print(f"explore:  python scripts/explore.py --checkpoint {shlex.quote(str(self.run.folder))}")


def _is_evaluation(row: dict[str, float]) -> bool:
    return any("eval_" in name for name in row)


def epoch_grids(samples: Path) -> list[Path]:
    """Returns the sample grids in a folder, in the order of their epochs: 2 before 10."""
    return numbered_files(samples, "Epoch_", ".png")
