"""Checkpoints and exported weights: found, read without executing anything, and made into nets."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from infogan.config.spec import LatentSpec
from infogan.config.train_config import STRATIFIED, TrainConfig, had_fixed_slopes
from infogan.models import Discriminator, Generator, ImageShape
from infogan.system.errors import MALFORMED, UserError, one_line, shown
from infogan.system.paths import given_folder, given_path
from infogan.system.readers import is_count
from infogan.system.tensor_files import read_tensors
from infogan.training.run import CHECKPOINT_FORMAT, N_CHECKPOINTS_KEPT, Run
from infogan.training.trainer import differences_between, extensions_of_nets, make_folded_nets, make_nets
from infogan.weights.files import (
    ENCODER,
    WEIGHTS_FILE,
    WEIGHTS_FORMAT,
    WEIGHTS_SUFFIX,
    read_description,
    read_weights,
)
from infogan.weights.pretrained import pretrained_file, pretrained_names


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Returns what a checkpoint holds, with its tensors on the CPU, wherever they were saved.

    Nothing in the file is executed: only tensors and plain values are read.

    Raises:
        UserError: The file cannot be read, is truncated or altered, or is not a checkpoint of this package.
    """
    path = Path(path)
    try:
        state = read_tensors(path, "checkpoint")
        if not isinstance(state, dict) or state.get("format") != CHECKPOINT_FORMAT:
            raise ValueError(f"it has no format {CHECKPOINT_FORMAT}")
    except UserError:
        raise
    except ValueError as error:
        raise UserError(
            f"{path} is not a checkpoint of this package, or it is truncated or altered; a run keeps the newest "
            f"{N_CHECKPOINTS_KEPT}, and uses the one before if this one is deleted ({error})"
        ) from error
    with _naming(path):
        if not is_count(state["step"]):
            raise ValueError(f"expected a step of 0 or more, got {shown(state['step'])}")
        return _renamed(state)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Has an error of what a checkpoint holds name the file."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except MALFORMED as error:
        raise UserError(f"{path} is not a whole checkpoint: {one_line(error)}") from error


# Names of weights and buffers of before, and today's.
_RENAMED = {"q_head.classes.": "q_head.overclusters.", "q_head.class_joints": "q_head.overcluster_joints"}


def _renamed(state: dict[str, Any]) -> dict[str, Any]:
    """Returns a checkpoint's content with its weights under today's names."""
    for nets in filter(None, (state.get("infogan"), state.get("vanilla"))):
        weights = nets.get("discriminator", {})
        for name in list(weights):
            for before, now in _RENAMED.items():
                if name.startswith(before):
                    weights[now + name.removeprefix(before)] = weights.pop(name)
    return state


def find_checkpoint(run_or_file: str | Path | None, out_dir: str | Path = ".", argument: str = "--checkpoint") -> Path:
    """Returns the path of a checkpoint or of exported weights; if none is given, of the newest run under `out_dir`.

    An error names `argument`.

    Args:
        run_or_file: A run's folder, for its newest checkpoint; a checkpoint or a safetensors file; a folder with
            exported weights; or the name of weights that the package ships.
        out_dir: The folder of `runs/`.
        argument: What the user calls `run_or_file`.

    Raises:
        UserError: There is none.
    """
    if run_or_file is not None:
        given = given_path(run_or_file, argument)
        if given.is_dir():
            weights = given / WEIGHTS_FILE
            return weights if weights.is_file() else Run.open(given, argument).latest_checkpoint()
        if given.exists():
            return given
        if (shipped := pretrained_file(str(run_or_file))) is not None:
            return shipped
        raise UserError(
            f"{argument}: expected a run's folder, as in runs/<name>, exported weights, the name of pretrained ones "
            f"({', '.join(pretrained_names())}) or a .pt file, got {str(run_or_file)!r}"
        )
    runs = given_folder(out_dir, "--out-dir") / "runs"
    files = list(runs.glob("*/checkpoints/step_*.pt"))
    if not files:
        raise UserError(
            f"{argument}: expected a run or file, or a run under {str(runs)!r}, got none; "
            "python scripts/train.py makes one"
        )
    newest = max(files, key=lambda path: path.stat().st_mtime)
    return Run.open(newest.parent.parent, argument).latest_checkpoint()


@dataclass(frozen=True)
class TrainedNets:
    """The nets of a checkpoint, or of exported weights, in evaluation mode.

    Attributes:
        name: The run's, or what the exported model is called.
        generator: G; its EMA where the run kept one.
        averaged_generator: Whether it is the EMA.
        discriminator: D and Q.
        spec: The latents.
        config: The run's configuration.
        step: Steps trained.
        seconds: That these steps took; None in a checkpoint that no run wrote.
        image_shape: Channels, height and width in pixels.
        checkpoint: The file they are from.
        images_sha256: Of the training images, as `ImageDataset.digest` has it; None in exported weights.
        encoder_weights: Of the encoder that exported nets came with, without BatchNorm, by their names; empty where
            there is none, and for a checkpoint, beside whose run it is kept.
    """

    name: str
    generator: Generator
    averaged_generator: bool
    discriminator: Discriminator
    spec: LatentSpec
    config: TrainConfig
    step: int
    seconds: float | None
    image_shape: ImageShape
    checkpoint: Path
    images_sha256: str | None = None
    encoder_weights: Mapping[str, Tensor] = field(default_factory=dict)


def load_nets(path: str | Path, device: torch.device | str = "cpu", baseline: bool = False) -> TrainedNets:
    """Returns the nets of a checkpoint or of exported weights; the file alone is needed, from whichever device.

    Args:
        path: A checkpoint; a run's folder, as in runs/<name>, for its newest; what `scripts/export.py` wrote as
            safetensors or for Hugging Face; or the name of weights that the package ships.
        device: Where to put them.
        baseline: The vanilla GAN with its probe Q, of which no EMA is kept, instead of InfoGAN.

    Raises:
        UserError: The file is of another kind, it is damaged, or it holds no vanilla GAN.
    """
    path = find_checkpoint(path, argument="path")
    return (_of_weights if path.suffix == WEIGHTS_SUFFIX else _of_checkpoint)(path, device, baseline)


_NO_BASELINE = "it holds no vanilla GAN: expected the checkpoint of a run with --baseline"


def _of_checkpoint(path: Path, device: torch.device | str, baseline: bool) -> TrainedNets:
    state = load_checkpoint(path)
    with _naming(path):
        config = _saved_config(state)
        if baseline and state["vanilla"] is None:
            raise UserError(_NO_BASELINE)
        trained, average = (state["vanilla"], None) if baseline else (state["infogan"], state["generator_ema"])
        weights = {**trained, "generator": trained["generator"] if average is None else average}
        generator, discriminator = _nets_that_fit(config, state["image_shape"], weights)
        channels, height, width_px = state["image_shape"]
        seconds = state.get("log", {}).get("seconds")
        if seconds is not None and not 0 <= seconds < math.inf:
            raise ValueError(f"expected seconds of 0 or more, got {shown(seconds)}")
    for net, part in ((generator, "generator"), (discriminator, "discriminator")):
        net.load_state_dict(weights[part], assign=True)
        net.to(device)
    return TrainedNets(
        name=state["name"],
        generator=generator.eval(),
        averaged_generator=average is not None,
        discriminator=discriminator.eval(),
        spec=config.spec,
        config=config,
        step=state["step"],
        seconds=seconds,
        image_shape=(channels, height, width_px),
        checkpoint=path,
        images_sha256=state.get("images_sha256"),
    )


def _of_weights(path: Path, device: torch.device | str, baseline: bool) -> TrainedNets:
    if baseline:
        raise UserError(f"{path}: {_NO_BASELINE}")
    description = read_description(path)
    try:
        config = TrainConfig.from_dict({**description["train_config"], "name": description["name"]})
        channels, height, width_px = description["image_shape"]
        nets = make_folded_nets(config, (channels, height, width_px))
        expected = {name: weight.shape for name, weight in nets.state_dict().items()}
        tensors = read_weights(path, expected, description["sha256"], device)
        nets.load_state_dict({name: tensors[name] for name in expected}, assign=True)
        return TrainedNets(
            name=description["name"],
            generator=nets["generator"],  # pyright: ignore[reportArgumentType]
            averaged_generator=description["averaged_generator"],
            discriminator=nets["discriminator"],  # pyright: ignore[reportArgumentType]
            spec=config.spec,
            config=config,
            step=description["step"],
            seconds=description["seconds"],
            image_shape=(channels, height, width_px),
            checkpoint=path,
            encoder_weights={
                name.removeprefix(ENCODER): weight for name, weight in tensors.items() if name.startswith(ENCODER)
            },
        )
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (LookupError, RuntimeError, TypeError, ValueError, ArithmeticError) as error:
        raise UserError(f"{path} has no description that fits: {one_line(error)}") from error


def describe_nets(nets: TrainedNets, name: str) -> dict[str, Any]:
    """Returns what exported weights say of themselves, ready for JSON; `load_nets` needs it, and their digest besides.

    Args:
        nets: The nets.
        name: What the exported model is called.
    """
    return {
        "format": WEIGHTS_FORMAT,
        "name": name,
        "step": nets.step,
        "seconds": nets.seconds,
        "averaged_generator": nets.averaged_generator,
        "image_shape": [*nets.image_shape],
        # The vanilla GAN is left behind.
        "train_config": dataclasses.replace(nets.config, name=name, baseline=False).portable(),
    }


def load_resumable(path: Path, config: TrainConfig) -> dict[str, Any]:
    """Returns what a checkpoint holds, once it is seen to be of a run with this configuration.

    All weights are compared with what the configuration asks for before any net is built.

    Raises:
        UserError: As `load_checkpoint`; or it is of another run, and every difference is listed.
    """
    state = load_checkpoint(path)
    with _naming(path):
        saved = _saved_config(state)
        if had_fixed_slopes(state["config"]):
            raise UserError(
                "its codes follow slant and width by fixed slopes, as an earlier version had them: it can be used, "
                "but not trained further"
            )
        if state["config"].get(STRATIFIED):
            raise UserError(
                "its codes are stratified, as an earlier version had them: it can be used, but not trained further"
            )
        if "extensions" not in state and extensions_of_nets(saved):
            raise UserError("an earlier version trained it, with other terms: it can be used, but not trained further")
        if different := differences_between(saved, config):
            raise UserError(f"the checkpoint is of another run, got {'; '.join(different)}")
        for model in ("infogan", "vanilla") if saved.baseline else ("infogan",):
            generator, _ = _nets_that_fit(saved, state["image_shape"], state[model])
            if saved.ema_decay and model == "infogan":
                _check_weights("generator_ema", state["generator_ema"], generator)
    return state


def _saved_config(state: dict[str, Any]) -> TrainConfig:
    # The name becomes a folder's: it is checked like one that a user gives.
    config = TrainConfig.from_dict({**state["config"], "name": state["name"]})
    if config.name is None:
        raise ValueError("expected a name, got none")
    return config


def _nets_that_fit(config: TrainConfig, image_shape: Any, weights: Any) -> tuple[Generator, Discriminator]:
    """Returns nets that take no memory yet, on torch's meta device, which the weights are seen to fit."""
    channels, height, width_px = image_shape
    if not all(map(is_count, image_shape)):
        raise ValueError(f"expected an image shape of whole numbers, got {shown(image_shape)}")
    with torch.device("meta"):
        nets = make_nets(config, (channels, height, width_px), extensions_of_nets(config), "meta")
    for part, net in zip(("generator", "discriminator"), nets, strict=True):
        _check_weights(part, weights[part], net)
    return nets


def _check_weights(part: str, weights: Any, net: nn.Module) -> None:
    """Checks that a net can take its weights and buffers: all of them, of its shapes and types, and finite.

    Raises:
        ValueError: One is not so; the message names it.
    """
    expected = net.state_dict()
    if weights.keys() != expected.keys():
        raise ValueError(f"{part}: missing or unknown {', '.join(sorted(weights.keys() ^ expected.keys()))}")
    for name, tensor in expected.items():
        found = weights[name]
        if (found.dtype, found.shape) != (tensor.dtype, tensor.shape):
            raise ValueError(
                f"{part}.{name}: expected {tensor.dtype} of shape {tuple(tensor.shape)}, "
                f"got {found.dtype} of shape {tuple(found.shape)}"
            )
        if not found.isfinite().all():
            raise ValueError(f"{part}.{name}: expected finite numbers, got NaN or infinity")
