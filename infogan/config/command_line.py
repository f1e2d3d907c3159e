"""The command line: flags made from the fields of `TrainConfig`, and what the scripts' parsers share."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from infogan.config.datasets import check_dataset
from infogan.config.options import (
    MAX_EPOCHS,
    MAX_STEPS,
    choices,
    flag_of,
    members,
    parse_float,
    parse_int,
    whole_number,
)
from infogan.config.presets import default_preset
from infogan.config.train_config import HINTS, TrainConfig
from infogan.system.errors import UserError, shortened
from infogan.system.paths import usable_folder, usable_path

# Of what `find_checkpoint` takes.
CHECKPOINT_HELP = "a run, as in runs/<name>, a .pt file, or exported or pretrained weights (default: the newest run)"
GROUPS = ("run", "data", "codes", "nets", "objective", "extensions", "optimisation", "output")


FOLDER = "folder"  # the type of an argument that is one, beside int, float and Path


class _Parser(argparse.ArgumentParser):
    """argparse, with its errors in one line and no usage before it.

    Numbers have ASCII digits, and paths are checked and `~` in them is the home folder, whatever the argument.
    """

    def __init__(self, **about: Any) -> None:
        super().__init__(**about)
        for kind, parse in _PARSERS.items():
            self.register("type", kind, parse)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{shortened(message)} (see --help)")


def _numbers(parse: Callable[[str], Any], name: str) -> Callable[[str], Any]:
    def parse_or_refuse(text: str) -> Any:
        if (number := parse(text)) is None:
            raise ValueError
        return number

    parse_or_refuse.__name__ = name  # argparse names it in its error
    return parse_or_refuse


def _paths(check: Callable[[str], Path]) -> Callable[[str], Path]:
    def check_or_refuse(text: str) -> Path:
        try:
            return check(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None  # argparse shows the message of no other

    return check_or_refuse


_PARSERS: dict[Any, Callable[[str], Any]] = {
    int: _numbers(parse_int, "int"),
    float: _numbers(parse_float, "float"),
    Path: _paths(usable_path),
    FOLDER: _paths(usable_folder),
}


def make_parser(description: str) -> argparse.ArgumentParser:
    """Returns an argument parser that raises `UserError`, shows defaults, and takes no abbreviations."""
    return _Parser(description=description, usage="%(prog)s [flags]", allow_abbrev=False)


def check_range(flags: argparse.Namespace, **ranges: tuple[int, int | None]) -> None:
    """Checks numbers of a command line: the least that each may be, and the most; None is that of steps.

    Raises:
        UserError: One is out of its range; the message names it.
    """
    for name, (least, most) in ranges.items():
        whole_number(getattr(flags, name), flag_of(name), least, MAX_STEPS if most is None else most)


def check_new_file(file: Path | None, argument: str) -> None:
    """Checks that a file can be written, if one is asked for.

    Raises:
        UserError: It is a folder, or would be in one that cannot be written; the message names `argument`.
    """
    if file is not None and (file.is_dir() or not os.access(file.absolute().parent, os.W_OK)):
        raise UserError(f"{argument}: expected a file in a folder that can be written, got {str(file)!r}")


@dataclass(frozen=True)
class StartRun:
    """A new run, as a command line asks for it.

    Attributes:
        config: The run.
        out_dir: The folder in which samples/, track_loss/ and runs/ are made.
        epochs: Passes over the images, instead of `config.steps`; None without.
        dry_run: Whether the resolved configuration is only printed.
        tensorboard: Whether TensorBoard is written to as well.
    """

    config: TrainConfig
    out_dir: str = "."
    epochs: int | None = None
    dry_run: bool = False
    tensorboard: bool = False


@dataclass(frozen=True)
class ResumeRun:
    """A run to go on with, as a command line asks for it.

    Attributes:
        run: Its folder, as in `runs/<name>`.
        changes: The fields that were given, with their values.
        out_dir: As given; it has to be the run's own.
        epochs: As in `StartRun`.
        dry_run: As in `StartRun`.
        tensorboard: As in `StartRun`.
    """

    run: str
    changes: dict[str, Any]
    out_dir: str | None = None
    epochs: int | None = None
    dry_run: bool = False
    tensorboard: bool = False


def parse_train_flags(argv: Sequence[str], description: str) -> StartRun | ResumeRun:
    """Returns what a command line asks for: a new run, or to go on with one.

    A flag wins over the preset, and the preset over the field's default.

    Raises:
        UserError: A flag that does not exist, or a value that is not allowed.
    """
    given = vars(_train_parser(description).parse_args(argv))
    of_the_call = ("resume", "dry_run", "out_dir", "epochs", "tensorboard")
    resume, dry_run, out_dir, epochs, tensorboard = (given.pop(name, None) for name in of_the_call)
    if epochs is not None:
        whole_number(epochs, "--epochs", 1, MAX_EPOCHS)
    if epochs is not None and "steps" in given:
        raise UserError(f"--epochs: give --steps or --epochs, not both, got {epochs}")
    if resume is not None:
        of_run = None if out_dir is None else str(out_dir)
        return ResumeRun(str(resume), given, of_run, epochs, bool(dry_run), bool(tensorboard))
    config = TrainConfig.from_preset(**{"preset": default_preset(given.get("dataset", "auto")), **given})
    check_dataset(config.dataset)
    return StartRun(config, str(out_dir or "."), epochs, bool(dry_run), bool(tensorboard))


def _train_parser(description: str) -> argparse.ArgumentParser:
    parser = make_parser(description)
    first = parser.add_argument_group("to begin with")
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    for field in dataclasses.fields(TrainConfig):
        about = field.metadata
        _add_flag(first if about["first"] else groups[about["group"]], field)
    first.add_argument(
        "--out-dir",
        type=FOLDER,
        metavar="DIR",
        help="folder in which samples/, track_loss/ and runs/ are made (default: .)",
    )
    first.add_argument(
        "--resume",
        type=FOLDER,
        metavar="RUN",
        help="go on with this run, as in runs/<name>; a larger --steps trains it further",
    )
    first.add_argument(
        "--dry-run", action="store_true", help="print the resolved configuration, and train nothing (default: no)"
    )
    groups["output"].add_argument(
        "--tensorboard",
        action="store_true",
        help="also write curves and sample grids for TensorBoard, to runs/<name>/tensorboard (default: no)",
    )
    groups["run"].add_argument(
        "--epochs", type=int, metavar="INT", help="passes over the images to train, instead of --steps"
    )
    return parser


def _or_none(kind: type, word: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        return None if text == word else _PARSERS[kind](text)

    parse.__name__ = f"{kind.__name__} or {word}"
    return parse


def _add_flag(parser: Any, field: dataclasses.Field) -> None:
    hint, word = HINTS[field.name], field.metadata["none"]
    if bool in members(hint):
        kind: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
    elif words := choices(hint):
        kind = {"choices": words}
    elif field.name == "data_dir":
        kind = {"type": FOLDER, "metavar": "DIR"}
    else:
        kind = {"type": members(hint)[0], "metavar": members(hint)[0].__name__.upper()}
        if word:
            kind = {"type": _or_none(kind["type"], word), "metavar": f"{kind['metavar']}|{word}"}
    doc = field.metadata["doc"]
    if word or not (field.default is None or field.default is False or field.default == ""):
        doc += f" (default: {word if field.default is None else field.default})"
    # Suppressed defaults leave only what was given, so that a preset can tell the two apart.
    parser.add_argument(flag_of(field.name), default=argparse.SUPPRESS, help=doc.replace("%", "%%"), **kind)
