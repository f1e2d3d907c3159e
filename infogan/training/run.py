"""Everything a run keeps on disk, and how it comes back.

    <out-dir>/runs/<name>/        config.json  environment.json  metrics.jsonl  checkpoints/step_<n>.pt
    <out-dir>/samples/<name>/     sample grids, sweeps, interpolations, GIFs
    <out-dir>/track_loss/<name>/  Generator_Loss.png  Discriminator_Loss.png  L1_Loss.png

A run never writes over another. A checkpoint is written beside the last one, synced, and renamed, so that at
any moment, with a full disk too, there is one that loads.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pickle
import platform
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from infogan.config.train_config import MAY_CHANGE, TrainConfig, flag_of
from infogan.system.distributed import launcher, n_ranks
from infogan.system.errors import UserError

CHECKPOINT_FORMAT = "infogan-checkpoint-1"
N_CHECKPOINTS_KEPT = 2


class Run:
    """The three folders of one run.

    Args:
        out_dir: the root of `runs/`, `samples/` and `track_loss/`.
        name: the run's folder in each.
    """

    def __init__(self, out_dir: Path, name: str) -> None:
        self.out_dir, self.name = out_dir, name
        self.folder = out_dir / "runs" / name
        self.checkpoints = self.folder / "checkpoints"
        self.metrics_file = self.folder / "metrics.jsonl"
        self.samples = out_dir / "samples" / name
        self.track_loss = out_dir / "track_loss" / name

    @classmethod
    def create(cls, config: TrainConfig, dataset_name: str) -> Run:
        """Returns a new run: its folders, config.json and environment.json are written.

        A name that the user chose must be free; the default one is numbered until it is.

        Raises:
            UserError: the name is taken, or a folder cannot be written.
        """
        out_dir = Path(config.out_dir)
        if config.name is not None:
            run = cls(out_dir, config.name)
            if not run._claim():
                raise UserError(
                    f"--name: expected a name no run has yet, got {config.name!r}; to go on with that run, "
                    f"--resume {run.folder}"
                )
        else:
            images = re.sub(r"[^\w+-]+", "-", Path(dataset_name).stem)[:60]  # of a file, what can name a folder
            what = "-".join(dict.fromkeys((images, config.preset)))  # the preset for Fashion-MNIST has its name
            default = f"{what}-seed{config.seed}"
            names = (default if i == 1 else f"{default}-{i}" for i in itertools.count(1))
            run = next(run for run in (cls(out_dir, name) for name in names) if run._claim())
        run.make_folders()
        resolved = {**config.to_dict(), "name": run.name, "dataset": dataset_name}
        run.save_config(resolved)
        return run

    @classmethod
    def open(cls, folder: str | Path, argument: str) -> Run:
        """Returns the run whose `runs/<name>` folder this is; an error names `argument`.

        Raises:
            UserError: it is not such a folder.
        """
        path = Path(os.path.abspath(folder))  # noqa: PTH100  a link to a run's folder is not followed
        if not (path / "config.json").is_file() or path.parent.name != "runs":
            raise UserError(f"{argument}: expected a run's folder, as in runs/<name>, got {str(folder)!r}")
        return cls(path.parent.parent, path.name)

    @classmethod
    def of_checkpoint(cls, checkpoint: Path) -> Run | None:
        """Returns the run that a checkpoint lies in, or None if it lies elsewhere."""
        if checkpoint.parent.name == "checkpoints":
            with contextlib.suppress(UserError):
                return cls.open(checkpoint.parent.parent, "checkpoint")
        return None

    @classmethod
    def for_pictures(cls, checkpoint: Path, name: str, out_dir: str | None) -> Run:
        """Returns where pictures of a checkpoint belong: under `out_dir` if given, else with its run, or beside it.

        Args:
            checkpoint: the file.
            name: of its run.
            out_dir: the root of `samples/`.
        """
        if out_dir is None and (run := cls.of_checkpoint(checkpoint)) is not None:
            return run
        return cls(checkpoint.parent if out_dir is None else Path(out_dir), name)

    @classmethod
    def of_launcher(cls, out_dir: str | Path, launcher: str | None) -> Run | None:
        """Returns the newest run under `out_dir` that this torchrun's ranks have made, or None."""
        if launcher is None:
            return None
        for file in sorted((Path(out_dir) / "runs").glob("*/environment.json"), key=lambda f: -f.stat().st_mtime):
            with contextlib.suppress(OSError, ValueError, LookupError):
                if json.loads(file.read_text())[-1]["launcher"] == launcher:
                    return cls.open(file.parent, "--out-dir")
        return None

    def _claim(self) -> bool:
        """Makes the run's folder, unless there is a run of this name; of two processes, one succeeds."""
        if self.samples.exists() or self.track_loss.exists():
            return False
        try:
            self.folder.mkdir(parents=True)
        except FileExistsError:
            if self.folder.is_dir():
                return False
            raise self._not_writable("a file is in its place") from None
        except OSError as error:
            raise self._not_writable(error) from error
        return True

    def _not_writable(self, why: object) -> UserError:
        return UserError(f"--out-dir: expected a folder that can be written, got {str(self.out_dir)!r}: {why}")

    def make_folders(self) -> None:
        """Makes what is missing of the run's folders, and tries to write to each.

        Raises:
            UserError: one of them cannot be written.
        """
        for folder in (self.checkpoints, self.samples, self.track_loss):
            self._make_folder(folder)

    def make_samples_folder(self) -> Path:
        """Makes the folder of the run's pictures if it is missing, and returns it.

        Raises:
            UserError: it cannot be written.
        """
        self._make_folder(self.samples)
        return self.samples

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / ".writable"
            probe.write_bytes(b"x")
            probe.unlink()
        except OSError as error:
            raise self._not_writable(error) from error

    def read_config(self) -> dict[str, Any]:
        """Returns the run's configuration.

        Raises:
            UserError: config.json cannot be read.
        """
        path = self.folder / "config.json"
        try:
            values = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {path}: {error}") from error
        if not isinstance(values, dict):
            raise UserError(f"cannot read {path}: it holds no configuration")
        return values

    def save_config(self, values: dict[str, Any]) -> None:
        """Writes config.json, and adds what this process runs on to environment.json, which lists all of them."""
        self._write_json("config.json", values)
        self._write_json("environment.json", [*read_sessions(self.folder), environment()])

    def _write_json(self, name: str, values: Any) -> None:
        content = (json.dumps(values, indent=2) + "\n").encode()
        write_atomically(self.folder / name, lambda file: file.write(content))

    # Metrics

    def append_metrics(self, row: dict[str, float]) -> None:
        """Adds a row to metrics.jsonl."""
        try:
            with self.metrics_file.open("a") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise UserError(f"--out-dir: cannot write {self.metrics_file}: {error}") from error

    def read_metrics(self) -> list[dict[str, float]]:
        """Returns the rows of metrics.jsonl, oldest first; none if there is no file."""
        if not self.metrics_file.is_file():
            return []
        return list(_readable_rows(self.metrics_file.read_text(errors="replace")))

    def cut_metrics(self, step: int) -> None:
        """Drops the rows later than `step`, among them one cut short when the run was killed."""
        if not self.metrics_file.is_file():
            return
        kept = "".join(json.dumps(row) + "\n" for row in self.read_metrics() if row["step"] <= step)
        write_atomically(self.metrics_file, lambda file: file.write(kept.encode()))

    # Checkpoints

    def save_checkpoint(self, state: dict[str, Any]) -> Path:
        """Writes `checkpoints/step_<n>.pt` whole or not at all, and then drops all but the newest few.

        Raises:
            UserError: it could not be written; the earlier ones are untouched.
        """
        path = self.checkpoints / f"step_{state['step']}.pt"
        write_atomically(path, lambda file: torch.save({"format": CHECKPOINT_FORMAT, **state}, file))
        for old in self._all_checkpoints()[:-N_CHECKPOINTS_KEPT]:
            old.unlink(missing_ok=True)
        return path

    def latest_checkpoint(self) -> Path:
        """Returns the path of the checkpoint with the most steps.

        Raises:
            UserError: there is none.
        """
        if not (paths := self._all_checkpoints()):
            raise UserError(f"expected a checkpoint in {self.checkpoints}, got none")
        return paths[-1]

    def _all_checkpoints(self) -> list[Path]:
        # The number orders the files; how far a run has come is read inside them.
        numbered = [path for path in self.checkpoints.glob("step_*.pt") if path.stem[5:].isdigit()]
        return sorted(numbered, key=lambda path: int(path.stem[5:]))


def _readable_rows(metrics: str) -> Iterator[dict[str, float]]:
    """Yields the rows of metrics.jsonl, less those that were cut short or damaged."""
    for line in metrics.splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            row = json.loads(line)
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                yield row


def load_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Returns what a checkpoint holds, with its tensors on `device`, wherever they were saved.

    Nothing in the file is executed: only tensors and plain values are read.

    Raises:
        UserError: the file cannot be read, is truncated, or is not a checkpoint of this package.
    """
    path = Path(path)
    refusal = (
        f"{path} is not a checkpoint of this package, or it is truncated or altered; a run keeps the newest "
        f"{N_CHECKPOINTS_KEPT}, and uses the one before if this one is deleted"
    )
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not compare the checksums
            intact = archive.testzip() is None
        state = torch.load(path, map_location=device, weights_only=True) if intact else None
    except OSError as error:
        raise UserError(f"cannot read the checkpoint {path}: {error.strerror or error}") from error
    except _DAMAGE as error:
        raise UserError(refusal) from error
    if not isinstance(state, dict) or state.get("format") != CHECKPOINT_FORMAT:
        raise UserError(refusal)
    return state


# What torch and pickle raise where the bytes make no sense.
_DAMAGE = (
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    NotImplementedError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)


def find_checkpoint(run_or_file: str | Path | None, out_dir: str | Path = ".", argument: str = "--checkpoint") -> Path:
    """Returns a checkpoint's path: of the file or run given, else of the newest run under `out_dir`.

    An error names `argument`.

    Raises:
        UserError: there is none.
    """
    if run_or_file is not None:
        given = Path(run_or_file)
        if not given.exists():
            raise UserError(
                f"{argument}: expected a run's folder, as in runs/<name>, or a .pt file, got {str(given)!r}"
            )
        return Run.open(given, argument).latest_checkpoint() if given.is_dir() else given
    files = list((Path(out_dir) / "runs").glob("*/checkpoints/step_*.pt"))
    if not files:
        raise UserError(
            f"{argument}: expected a run or file, or a run under {str(Path(out_dir) / 'runs')!r}, got none; "
            "python scripts/train.py makes one"
        )
    newest = max(files, key=lambda path: path.stat().st_mtime)
    return Run.open(newest.parent.parent, argument).latest_checkpoint()


def check_resumable(saved: dict[str, Any], given: dict[str, Any]) -> None:
    """Checks that no flag asks for another run than the one saved.

    Args:
        saved: the run's configuration.
        given: the flags of the command line, by field.

    Raises:
        UserError: a list of every difference.
    """
    differences = [
        f"{flag_of(name)} {value} (the run has {saved[name]})"
        for name, value in given.items()
        if name in saved and name not in MAY_CHANGE and saved[name] != value
    ]
    if differences:
        raise UserError(f"--resume: a run goes on with its own configuration, got {'; '.join(differences)}")


def write_atomically(path: Path, write: Callable[[BinaryIO], object], argument: str = "--out-dir") -> None:
    """Has `write` fill a file beside `path`, syncs it, and renames it to `path`.

    Raises:
        UserError: it could not be written; the message names `argument`, and what was there before stays.
    """
    beside = path.with_name(path.name + ".partial")
    try:
        with beside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as either
        beside.unlink(missing_ok=True)
        reason = " ".join(str(error).split())
        raise UserError(f"{argument}: cannot write {path}: {reason}; what was there before is untouched") from error
    with contextlib.suppress(OSError):  # some file systems sync no folders; the file itself is safe
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened to be synced
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_sessions(run_folder: Path) -> list[dict[str, Any]]:
    """Returns what a run's environment.json lists; empty if there is none, or it is damaged: a run can do without."""
    try:
        return json.loads((run_folder / "environment.json").read_text())
    except (OSError, ValueError):
        return []


def environment() -> dict[str, Any]:
    """Returns what is needed to repeat a run: versions, machine, commit, command."""
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "threads": torch.get_num_threads(),
        "ranks": n_ranks(),
        "launcher": launcher(),
        # A process that does not use CUDA must not take hold of a device for this.
        "cuda_devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        if torch.cuda.is_initialized()
        else [],
    }


def _commit() -> str | None:
    """Returns the commit of the package's own checkout, marked if it was changed; None outside of one."""
    if not _git("ls-files", Path(__file__).name):  # a copy may lie in another repository's folder
        return None
    return _git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*") or None


def _git(*command: str) -> str:
    """Returns what git prints in the package's folder; nothing where it cannot."""
    try:
        done = subprocess.run(["git", *command], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
