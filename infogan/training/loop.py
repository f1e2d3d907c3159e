"""A run from its start, or from its last checkpoint, to its end: `train`, `resume`, and the loop in both."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infogan.config.datasets import WHAT_AUTO_MAY_BE, is_own_images
from infogan.config.options import MAX_EPOCHS, MAX_STEPS, whole_number
from infogan.config.train_config import TrainConfig
from infogan.content_nets import ContentGenerator
from infogan.data.batches import epoch_of
from infogan.data.datasets import ImageDataset, load_dataset
from infogan.models import MIN_SIDE_PX
from infogan.system import distributed
from infogan.system.console import forgiving_console
from infogan.system.errors import MALFORMED, NonFiniteLossError, UserError, one_line
from infogan.system.paths import given_folder
from infogan.system.runtime import kept_global_state, resolve_device
from infogan.training.checkpoint import load_resumable
from infogan.training.recorder import MAX_SAMPLE_GRIDS, MeanLog, Monitor, Recorder, RunRecorder
from infogan.training.run import Run
from infogan.training.tensorboard import check_tensorboard
from infogan.training.trainer import Trainer, augmentation_of, fit_pose
from infogan.training.tuning import tuned

MIN_IMAGES = 2  # to train on: BatchNorm has no statistics of one


def train(
    config: TrainConfig,
    out_dir: str | Path = ".",
    epochs: int | None = None,
    monitor: Monitor | None = None,
    tensorboard: bool = False,
) -> Run:
    """Trains a new run, writes its pictures, and returns it.

    Args:
        config: The run.
        out_dir: Where samples/, track_loss/ and runs/ are made.
        epochs: Passes over the images, instead of `config.steps`.
        monitor: Scores the nets every `config.eval_every` steps; see `evaluation.quick_scores`.
        tensorboard: Whether TensorBoard gets the metrics and the sample grids too, in the run's folder.

    Raises:
        UserError: Input that cannot be used.
        NonFiniteLossError: Training fell apart; the checkpoints stay.
    """
    if tensorboard:
        check_tensorboard()
    with _own_process(config.device):
        if folder := distributed.from_first(lambda: _run_before_restart(out_dir)):
            # It was made from these very flags, so there is nothing to hold against it.
            return _resume(folder, {}, None, None, monitor, tensorboard)
        dataset = _load_on_all_ranks(config)
        config, choice = _resolved(config, dataset, epochs)
        _check_monitor(config, monitor)
        trainer, log = Trainer(config, dataset.images), MeanLog()
        # The run is made last, so that bad input leaves no empty folders.
        run = distributed.from_first(lambda: Run.create(config, out_dir))
        with _locked(run):
            recorder = _make_recorder(run, trainer, log, dataset, monitor, tensorboard)
            recorder.show_images()
            for warning in filter(None, (extension.warning() for extension in trainer.extensions)):
                recorder.warn(warning)
            # From here on there is always a checkpoint, and a disk that cannot hold one is noticed at once.
            distributed.from_first(recorder.save_checkpoint)
            recorder.say(choice)
            _fit(trainer, log, recorder)
        return run


def resume(
    run: str | Path,
    out_dir: str | Path | None = None,
    epochs: int | None = None,
    monitor: Monitor | None = None,
    tensorboard: bool = False,
    **changes: Any,
) -> Run:
    """Goes on with a run from its last checkpoint, to its end, and returns it.

    Args:
        run: Its folder, as in `runs/<name>`.
        out_dir: Checked, if given: a run stays where it is.
        epochs: Passes over the images in all, instead of `steps`.
        monitor: As in `train`.
        tensorboard: As in `train`.
        changes: What the run is to have instead; only what does not make it another run may change, as `steps`.

    Raises:
        UserError: It is no run, something was asked for that contradicts it, or its data set is not there.
        NonFiniteLossError: Training fell apart; the checkpoints stay.
    """
    if tensorboard:
        check_tensorboard()
    with _own_process(changes.get("device", "auto")):
        return _resume(run, changes, out_dir, epochs, monitor, tensorboard)


def instructions(config: TrainConfig) -> list[str]:
    """Returns in words what a run tells each code that is named for a transformation, and what codes pose.

    Both are measured on its images.

    Raises:
        UserError: The images cannot be loaded, or do not differ in what a code is named for.
    """
    from infogan.extensions.equivariance import instructions_for  # the paper's runs do without extensions

    images = load_dataset(config.dataset, config.data_dir, config.image_form).images
    told = []
    if config.spec.named:
        told += map(str, instructions_for(config.spec, images, augmentation_of(config, images)))
    if config.nets == "content":
        channels, height, width_px = images.shape[1:]
        generator = ContentGenerator(config.spec, (channels, height, width_px), config.width)
        fit_pose(generator, images)
        told += generator.pose.describe()
    return told


def resumed(folder: str | Path, changes: dict[str, Any], out_dir: str | Path | None = None) -> tuple[Run, TrainConfig]:
    """Returns a run, and its configuration with the changes that it allows.

    Raises:
        UserError: It is no run, or something was asked for that contradicts it.
    """
    run = Run.open(folder, "--resume")
    config, changes = run.read_config(), dict(changes)
    if "dataset" in changes and _may_be_the_same_images(config.dataset, asked := str(changes["dataset"])):
        del changes["dataset"]
        config = config if asked == "auto" else dataclasses.replace(config, dataset=asked)
    if changes.get("diffaugment") == "auto":  # the run has what that was
        del changes["diffaugment"]
    config = config.changed("--resume", **changes)
    if out_dir is not None and given_folder(out_dir, "--out-dir").resolve() != run.out_dir.resolve():
        raise UserError(f"--out-dir: a resumed run stays in {str(run.out_dir)!r}, got {str(out_dir)!r}")
    return run, config


def _may_be_the_same_images(run: str, asked: str) -> bool:
    """Returns whether a data set that is asked for may be a run's own: its file elsewhere, or what `auto` was then.

    Once they are loaded, the images are compared with those of the checkpoint.
    """
    return (is_own_images(asked) and is_own_images(run)) or (asked == "auto" and run in WHAT_AUTO_MAY_BE)


def _resume(
    folder: str | Path,
    changes: dict[str, Any],
    out_dir: str | Path | None,
    epochs: int | None,
    monitor: Monitor | None,
    tensorboard: bool,
) -> Run:
    # Of several machines, only that of rank 0 needs to have the run's folder.
    run, config = distributed.from_first(lambda: resumed(folder, changes, out_dir))
    with _locked(run):
        path, state = distributed.from_first(lambda: _newest_state(run, config)) or (None, None)
        dataset = _load_on_all_ranks(config)
        config, choice = _resolved(config, dataset, epochs)
        _check_monitor(config, monitor)
        trainer, log = Trainer(config, dataset.images), MeanLog()
        if path is not None and state is not None:
            _restore(trainer, log, dataset, state, path)
        if config.steps < trainer.step:
            flag, given = ("--steps", config.steps) if epochs is None else ("--epochs", epochs)
            raise UserError(f"{flag}: expected to reach at least step {trainer.step}, where the run is, got {given}")
        recorder = _make_recorder(run, trainer, log, dataset, monitor, tensorboard)
        if state is None:
            recorder.warn("the run has no checkpoint yet, and begins anew, from its configuration")
        elif state["device"] != trainer.device.type:
            recorder.warn(
                f"the run was on {state['device']}, and goes on with other random numbers on {trainer.device}"
            )
        distributed.from_first(lambda: recorder.write_resumed(state or {}))
        if state is None:
            distributed.from_first(recorder.save_checkpoint)
        recorder.say(choice)
        _fit(trainer, log, recorder)
        return run


def _newest_state(run: Run, config: TrainConfig) -> tuple[Path, dict[str, Any]] | None:
    """Returns a run's newest checkpoint and what it holds; None if the run was killed before its first.

    Raises:
        UserError: The checkpoint cannot be used, or there is none though the run has trained.
    """
    if not run.has_checkpoints() and not run.read_metrics():
        return None
    path = run.latest_checkpoint()
    return path, load_resumable(path, config)


def _restore(trainer: Trainer, log: MeanLog, dataset: ImageDataset, state: dict[str, Any], path: Path) -> None:
    """Brings a trainer and its log to where a checkpoint is.

    Raises:
        UserError: It is of another run or of other images, or it is damaged.
    """
    dataset.check_same(state.get("images_sha256"), state.get("n_images"))  # earlier checkpoints have no SHA-256
    try:
        trainer.load_state_dict(state)
        log.load_state_dict(state["log"], trainer.device)
    except UserError as error:
        raise UserError(f"--resume: {path}: {error}") from None
    except MALFORMED as error:
        raise UserError(f"--resume: {path} is not a checkpoint of this run: {one_line(error)}") from error


def _fit(trainer: Trainer, log: MeanLog, recorder: Recorder) -> None:
    """Trains to the last step, or to a signal to stop, and then saves and draws everything."""
    config, per_epoch = trainer.config, trainer.batches.per_epoch
    sample_steps = per_epoch * sample_every(config, per_epoch)
    with StopRequest() as stop, recorder:
        while trainer.step < config.steps and not distributed.any_rank(stop.signal is not None):
            started = time.perf_counter()
            try:
                metrics = trainer.train_step()
            except NonFiniteLossError as error:
                raise NonFiniteLossError(
                    f"{error}; the last good state is {recorder.last_good_state}; "
                    "another run with a smaller --lr-g, --lr-d or --lambda-cont may be stable"
                ) from None
            log.add(metrics, time.perf_counter() - started)
            recorder.advance()

            # Below this line: all that is done only now and then.
            if trainer.step % config.log_every == 0:
                recorder.write_metrics(log.read())
            if trainer.step % sample_steps == 0:
                recorder.draw_samples()
            if config.eval_every and trainer.step % config.eval_every == 0:
                recorder.evaluate()
            if trainer.step % config.checkpoint_every == 0 and trainer.step < config.steps:
                recorder.save_checkpoint()
        recorder.finish(stop.signal)


def sample_every(config: TrainConfig, per_epoch: int) -> int:
    """Returns the epochs between sample grids: as asked for, or as many as make `MAX_SAMPLE_GRIDS` at most."""
    return config.sample_every or -(-epoch_of(config.steps, per_epoch) // MAX_SAMPLE_GRIDS)


@contextlib.contextmanager
def _own_process(device: str) -> Iterator[None]:
    """A run's surroundings: its ranks are joined, its console never fails, and its caller's global state is kept."""
    with forgiving_console(), kept_global_state(), distributed.joined(resolve_device(device)):
        yield


@contextlib.contextmanager
def _locked(run: Run) -> Iterator[None]:
    """Keeps other processes from training a run; the first rank holds the lock for all."""
    with contextlib.ExitStack() as stack:
        distributed.from_first(lambda: stack.enter_context(run.locked()))
        yield


def _make_recorder(
    run: Run, trainer: Trainer, log: MeanLog, dataset: ImageDataset, monitor: Monitor | None, tensorboard: bool
) -> Recorder:
    if not distributed.is_first():
        return Recorder()
    return RunRecorder(run, trainer, log, dataset, monitor, tensorboard)


def _run_before_restart(out_dir: str | Path) -> str | None:
    """Returns the folder of the run that the ranks trained before torchrun restarted them, if they came to make one."""
    run = Run.of_launcher(out_dir, distributed.launcher()) if distributed.is_restart() else None
    return None if run is None else str(run.folder)


def _load_on_all_ranks(config: TrainConfig) -> ImageDataset:
    """Returns the data set, the same on every rank: rank 0 decides which it is, and downloads it."""
    if distributed.n_ranks() == 1:
        return load_dataset(config.dataset, config.data_dir, config.image_form)
    name = distributed.from_first(lambda: load_dataset(config.dataset, config.data_dir, config.image_form).name)
    # On another machine its first rank downloads, if need be, and the others find it.
    dataset = load_dataset(name, config.data_dir, config.image_form) if distributed.is_first_here() else None
    distributed.wait_for_all()
    return dataset or load_dataset(name, config.data_dir, config.image_form)


def _resolved(config: TrainConfig, dataset: ImageDataset, epochs: int | None) -> tuple[TrainConfig, str]:
    """Returns the configuration with what was meant as what it turned out to be, and a line on what was measured.

    So it is saved, for a resumed run to find the same from anywhere.
    """
    _check_images(config, dataset)
    device = resolve_device(config.device)
    per_epoch = len(dataset.images) // config.batch_size
    config = dataclasses.replace(
        config,
        dataset=dataset.name,
        data_dir=str(Path(config.data_dir).absolute()),
        device=str(device),
        diffaugment=config.diffaugment_for(len(dataset.images)),
        steps=config.steps if epochs is None else _steps_of(epochs, per_epoch),
    )
    choice, line = distributed.from_first(lambda: tuned(config, dataset.images, device))
    return dataclasses.replace(config, **choice), line


def _check_images(config: TrainConfig, dataset: ImageDataset) -> None:
    n, (height, width) = len(dataset.images), dataset.images.shape[2:]
    if n < MIN_IMAGES:
        raise UserError(f"--dataset: expected at least {MIN_IMAGES} training images, got {n}: {dataset.name}")
    if n < config.batch_size:
        raise UserError(
            f"--batch-size: expected at most {n:,}, as many training images as there are, got {config.batch_size:,}: "
            f"{dataset.name}"
        )
    if min(height, width) < MIN_SIDE_PX:
        raise UserError(
            f"--size: expected images of at least {MIN_SIDE_PX} x {MIN_SIDE_PX} px, got {width} x {height} px: "
            f"{dataset.name}; --size 32 makes them larger"
        )


def _steps_of(epochs: int, per_epoch: int) -> int:
    steps = whole_number(epochs, "--epochs", 1, MAX_EPOCHS) * max(1, per_epoch)
    if steps > MAX_STEPS:
        raise UserError(f"--epochs: expected at most {MAX_STEPS:,} steps, got {epochs} times {per_epoch:,} steps")
    return steps


def _check_monitor(config: TrainConfig, monitor: Monitor | None) -> None:
    if config.eval_every and monitor is None:
        raise UserError(f"eval_every: expected 0 without a monitor, got {config.eval_every}; infogan.train has one")


_HANGUP = getattr(signal, "SIGHUP", None)  # a terminal was closed; Windows has no such signal
_STOPPING = tuple(filter(None, (signal.SIGINT, signal.SIGTERM, _HANGUP)))


class StopRequest:
    """Notes a first Ctrl-C, SIGTERM or SIGHUP, so that the loop can end in order; a second one acts as it always does.

    A SIGHUP that is ignored, as under nohup, stays so.

    Under torchrun a second one is ignored: it passes on a Ctrl-C that the terminal has sent to all, and kills ranks
    that do not end in time.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            handlers = {number: signal.getsignal(number) for number in _STOPPING}
            self._before = {
                number: handler
                for number, handler in handlers.items()
                if number != _HANGUP or handler != signal.SIG_IGN
            }
            for number in self._before:
                signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        self.signal = signal.Signals(number)
        signal.signal(number, self._before[number] if distributed.launcher() is None else signal.SIG_IGN)
