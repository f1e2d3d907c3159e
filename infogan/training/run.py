"""Everything a run keeps on disk, and how it comes back.

    <out-dir>/runs/<name>/        config.json  environment.json  metrics.jsonl  checkpoints/step_<n>.pt
    <out-dir>/samples/<name>/     sample grids, sweeps, interpolations, GIFs
    <out-dir>/track_loss/<name>/  Generator_Loss.png  Discriminator_Loss.png  L1_Loss.png

A run never writes over another. A checkpoint is written beside the last one, synced, and renamed, so that at
any moment, with a full disk too, there is one that loads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infogan.config.train_config import TrainConfig
from infogan.system.errors import UserError, one_line
from infogan.system.files import append_whole, locked, partial_beside, remove_partial, write_atomically
from infogan.system.paths import given_folder, given_path, numbered_files
from infogan.system.readers import is_count, is_number, parse_json, read_bytes, read_json
from infogan.system.tensor_files import write_tensors
from infogan.training.environment import environment, read_sessions
from infogan.weights.pretrained import is_pretrained

CHECKPOINT_FORMAT = "infogan-checkpoint-1"
N_CHECKPOINTS_KEPT = 2
MAX_CONFIG_BYTES = 2**20  # it has 1,000
MAX_METRICS_BYTES = 2**30  # a row has 400


class Run:
    """The three folders of one run.

    Args:
        out_dir: The root of `runs/`, `samples/` and `track_loss/`.
        name: The run's folder in each.
        folder: Its folder, if that is not in `runs/`.
    """

    def __init__(self, out_dir: Path, name: str, folder: Path | None = None) -> None:
        self.out_dir, self.name = out_dir, name
        self.folder = folder or out_dir / "runs" / name
        self.checkpoints = self.folder / "checkpoints"
        self.metrics_file = self.folder / "metrics.jsonl"
        self.samples = out_dir / "samples" / name
        self.track_loss = out_dir / "track_loss" / name
        self.unwritten_rows: list[dict[str, float]] = []  # of metrics.jsonl

    @classmethod
    def create(cls, config: TrainConfig, out_dir: str | Path = ".") -> Run:
        """Returns a new run: its folders, config.json and environment.json are written.

        A name that the user chose must be free; the default one is numbered until it is.

        Args:
            config: The run; its data set is the one that was really loaded.
            out_dir: The root of `runs/`, `samples/` and `track_loss/`.

        Raises:
            UserError: The name is taken, or a folder cannot be written.
        """
        out_dir = given_folder(out_dir, "--out-dir")
        if config.name is not None:
            run = cls(out_dir, config.name)
            if not run._claim(config):
                go_on = f"; to go on with that run, --resume {run.folder}" if run.is_there() else ""
                raise UserError(f"--name: expected a name no run has yet, got {config.name!r}{go_on}")
        else:
            images = re.sub(r"[^\w+-]+", "-", Path(config.dataset).stem)[:60]  # of a file, what can name a folder
            what = "-".join(dict.fromkeys((images, config.preset)))  # the preset for Fashion-MNIST has its name
            default = f"{what}-seed{config.seed}"
            names = (default if i == 1 else f"{default}-{i}" for i in itertools.count(1))
            run = next(run for run in (cls(out_dir, name) for name in names) if run._claim(config))
        run.make_folders()
        return run

    @classmethod
    def open(cls, folder: str | Path, argument: str) -> Run:
        """Returns the run whose folder this is; an error names `argument`.

        The pictures of one that was moved out of a `runs/` folder are in the folder itself.

        Raises:
            UserError: It is not such a folder.
        """
        path = Path(os.path.abspath(given_path(folder, argument)))  # noqa: PTH100  a link to a run's folder is not followed
        run = cls(path.parent.parent, path.name) if path.parent.name == "runs" else cls(path, path.name, path)
        if not run.is_there():
            raise UserError(f"{argument}: expected a run's folder, as in runs/<name>, got {str(folder)!r}")
        return run

    @classmethod
    def of_checkpoint(cls, checkpoint: Path) -> Run | None:
        """Returns the run that a checkpoint lies in, or None if it lies elsewhere."""
        if checkpoint.parent.name == "checkpoints":
            with contextlib.suppress(UserError):
                return cls.open(checkpoint.parent.parent, "checkpoint")
        return None

    @classmethod
    def file_of(cls, checkpoint: Path, name: str) -> Path:
        """Returns where a file made from a checkpoint belongs: in its run's folder, or beside it if it is of no run."""
        run = cls.of_checkpoint(checkpoint)
        return checkpoint.with_suffix(f".{name}") if run is None else run.folder / name

    @classmethod
    def for_pictures(cls, checkpoint: Path, name: str, out_dir: str | Path | None) -> Run:
        """Returns where pictures of a checkpoint belong: under `out_dir` if given, else with its run, or beside it.

        Those of weights that the package ships are not put beside them, but here, and under a name that tells them
        from the run that the weights are of.

        Args:
            checkpoint: The file, or that of exported weights.
            name: Of its run.
            out_dir: The root of `samples/`.
        """
        if is_pretrained(checkpoint):
            return cls(Path(out_dir or "."), f"{name}-pretrained")
        if out_dir is None and (run := cls.of_checkpoint(checkpoint)) is not None:
            return run
        return cls(checkpoint.parent if out_dir is None else given_folder(out_dir, "--out-dir"), name)

    @classmethod
    def of_launcher(cls, out_dir: str | Path, launcher: str | None) -> Run | None:
        """Returns the newest run under `out_dir` that this torchrun's ranks have made, or None."""
        if launcher is None:
            return None
        for file in sorted((Path(out_dir) / "runs").glob("[!.]*/environment.json"), key=lambda f: -f.stat().st_mtime):
            sessions = read_sessions(file.parent)
            if sessions and sessions[-1].get("launcher") == launcher:
                return cls.open(file.parent, "--out-dir")
        return None

    def _claim(self, config: TrainConfig) -> bool:
        """Makes the run's folder, with its configuration in it, unless there is a run of this name.

        Of two processes, one succeeds. A run that is killed at any moment after it can be resumed.
        """
        if self.samples.exists() or self.track_loss.exists() or self.folder.exists():
            return False
        made = partial_beside(self.folder)
        try:
            made.mkdir(parents=True)
            Run(self.out_dir, self.name, made).save_config(dataclasses.replace(config, name=self.name))
            made.rename(self.folder)
        except (OSError, UserError) as error:
            shutil.rmtree(made, ignore_errors=True)
            if self.folder.is_dir():
                return False
            raise self._not_writable(error) from error
        return True

    def is_there(self) -> bool:
        """Returns whether there is such a run."""
        return (self.folder / "config.json").is_file()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from training this run, and removes what killed ones left half written.

        Raises:
            UserError: Another process trains it.
        """
        with locked(self.folder, f"{self.folder} is being trained"):
            remove_partial(self.checkpoints, older_than_seconds=0)  # only the lock's owner writes there
            for folder in (self.folder, self.samples, self.track_loss):
                remove_partial(folder)
            yield

    def _not_writable(self, why: object) -> UserError:
        return UserError(f"--out-dir: expected a folder that can be written, got {str(self.out_dir)!r}: {why}")

    def make_folders(self) -> None:
        """Makes what is missing of the run's folders, and tries to write to each.

        Raises:
            UserError: One of them cannot be written.
        """
        for folder in (self.checkpoints, self.samples, self.track_loss):
            self._make_folder(folder)

    def make_samples_folder(self) -> Path:
        """Makes the folder of the run's pictures if it is missing, and returns it.

        Raises:
            UserError: It cannot be written.
        """
        self._make_folder(self.samples)
        return self.samples

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(b"x")
        except OSError as error:
            raise self._not_writable(error) from error

    def read_config(self) -> TrainConfig:
        """Returns the run's configuration.

        Raises:
            UserError: Config.json cannot be read.
        """
        path = self.folder / "config.json"
        values = read_json(path, "config", MAX_CONFIG_BYTES)
        if not isinstance(values, dict):
            raise UserError(f"config: cannot read {path}: it holds no configuration")
        try:
            return TrainConfig.from_dict(values)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    def save_config(self, config: TrainConfig) -> None:
        """Writes config.json, and adds what this process runs on to environment.json, which lists all of them."""
        self._write_json("config.json", config.to_dict())
        self._write_json("environment.json", [*read_sessions(self.folder), environment()])

    def _write_json(self, name: str, values: Any) -> None:
        content = (json.dumps(values, indent=2) + "\n").encode()
        write_atomically(self.folder / name, lambda file: file.write(content))

    # Metrics

    def append_metrics(self, row: dict[str, float]) -> None:
        """Adds a row to metrics.jsonl; one that cannot be written is kept, and written before the next.

        Raises:
            UserError: It could not be written now.
        """
        self.unwritten_rows.append(row)
        self.write_metrics()

    def write_metrics(self) -> None:
        """Writes the rows of metrics.jsonl that could not be written before.

        Raises:
            UserError: They still cannot be.
        """
        if not self.unwritten_rows:
            return
        try:
            append_whole(self.metrics_file, _as_lines(self.unwritten_rows))
        except OSError as error:
            raise UserError(f"--out-dir: cannot write {self.metrics_file}: {one_line(error)}") from error
        self.unwritten_rows = []

    def read_metrics(self) -> list[dict[str, float]]:
        """Returns the rows of metrics.jsonl, oldest first; none if there is no file."""
        if not self.metrics_file.is_file():
            return []
        return list(_readable_rows(read_bytes(self.metrics_file, "metrics", MAX_METRICS_BYTES)))

    def restore_metrics(self, step: int, unwritten_rows: list[dict[str, float]]) -> None:
        """Has metrics.jsonl be as it was at a checkpoint: later rows are dropped, and one that was cut short.

        Args:
            step: The checkpoint's.
            unwritten_rows: Rows that the file had not taken by then; some may have come to it later.
        """
        if not self.metrics_file.is_file() and not unwritten_rows:
            return
        kept = [row for row in self.read_metrics() if row["step"] <= step]
        kept += [row for row in unwritten_rows if row not in kept]
        content = _as_lines(sorted(kept, key=lambda row: row["step"]))
        write_atomically(self.metrics_file, lambda file: file.write(content))

    # Checkpoints

    def save_checkpoint(self, state: dict[str, Any]) -> Path:
        """Writes `checkpoints/step_<n>.pt` whole or not at all, and then drops all but the newest few.

        Raises:
            UserError: It could not be written; the earlier ones are untouched.
        """
        path = self.checkpoints / f"step_{state['step']}.pt"
        write_atomically(path, lambda file: write_tensors({"format": CHECKPOINT_FORMAT, **state}, file))
        # The newest are those up to this one: a file of a later step is somebody else's, and is left alone.
        numbered = self._all_checkpoints()
        for old in numbered[: numbered.index(path) + 1][:-N_CHECKPOINTS_KEPT]:
            with contextlib.suppress(OSError):  # Windows deletes no file that is being read
                old.unlink()
        return path

    def has_checkpoints(self) -> bool:
        """Returns whether there is a checkpoint; a run that was killed early has none."""
        return bool(self._all_checkpoints())

    def latest_checkpoint(self) -> Path:
        """Returns the path of the checkpoint with the most steps.

        Raises:
            UserError: There is none.
        """
        if not (paths := self._all_checkpoints()):
            raise UserError(
                f"expected a checkpoint in {self.checkpoints}, got none; "
                f"python scripts/train.py --resume {self.folder} begins the run anew"
            )
        return paths[-1]

    def _all_checkpoints(self) -> list[Path]:
        # The number orders the files; how far a run has come is read inside them.
        return numbered_files(self.checkpoints, "step_", ".pt")


def _as_lines(rows: list[dict[str, float]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _readable_rows(metrics: bytes) -> Iterator[dict[str, float]]:
    """Yields the rows of metrics.jsonl, less those that were cut short or damaged."""
    for line in metrics.splitlines():
        with contextlib.suppress(ValueError):
            row = parse_json(line)
            if isinstance(row, dict) and is_count(row.get("step")) and all(map(is_number, row.values())):
                yield row
