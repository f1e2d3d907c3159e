"""Checkpoints and exported weights: found, read without executing anything, and made into nets."""

from __future__ import annotations

import dataclasses
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from infogan.config.spec import LatentSpec
from infogan.config.train_config import TrainConfig
from infogan.models import Discriminator, Generator, ImageShape
from infogan.system.errors import UserError, one_line
from infogan.training.run import CHECKPOINT_FORMAT, N_CHECKPOINTS_KEPT, Run
from infogan.training.trainer import make_extensions, make_folded_nets, make_nets
from infogan.weights.files import (
    ENCODER,
    WEIGHTS_FILE,
    WEIGHTS_FORMAT,
    WEIGHTS_SUFFIX,
    read_description,
    read_tensors,
)
from infogan.weights.pretrained import pretrained_file, pretrained_names


def load_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Returns what a checkpoint holds, with its tensors on `device`, wherever they were saved.

    Nothing in the file is executed: only tensors and plain values are read.

    Raises:
        UserError: The file cannot be read, is truncated, or is not a checkpoint of this package.
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
    return _renamed(state)


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
        given = Path(run_or_file)
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
    files = list((Path(out_dir) / "runs").glob("*/checkpoints/step_*.pt"))
    if not files:
        raise UserError(
            f"{argument}: expected a run or file, or a run under {str(Path(out_dir) / 'runs')!r}, got none; "
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
        seconds: That these steps took; None in a checkpoint that `fit` did not write.
        image_shape: Channels, height and width in pixels.
        checkpoint: The file they are from.
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
    state = load_checkpoint(path, device)
    try:
        # The name becomes a folder's: it is checked like one that a user gives.
        config = TrainConfig.from_dict({**state["config"], "name": state["name"]})
        trained, average = (state["vanilla"], None) if baseline else (state["infogan"], state["generator_ema"])
        if trained is None:
            raise UserError(_NO_BASELINE)
        channels, height, width_px = state["image_shape"]
        extensions = make_extensions(config)
        generator, discriminator = make_nets(config, (channels, height, width_px), extensions, device)
        generator.load_state_dict(trained["generator"] if average is None else average)
        discriminator.load_state_dict(trained["discriminator"])
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a whole checkpoint: {one_line(error)}") from error
    return TrainedNets(
        name=state["name"],
        generator=generator.eval(),
        averaged_generator=average is not None,
        discriminator=discriminator.eval(),
        spec=config.spec,
        config=config,
        step=state["step"],
        seconds=state.get("log", {}).get("seconds"),
        image_shape=(channels, height, width_px),
        checkpoint=path,
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
        tensors = read_tensors(path, expected, description["sha256"], device)
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
    # The vanilla GAN is left behind, and where one machine keeps its data says nothing of the nets.
    config = dataclasses.replace(nets.config, name=name, baseline=False).to_dict()
    return {
        "format": WEIGHTS_FORMAT,
        "name": name,
        "step": nets.step,
        "seconds": nets.seconds,
        "averaged_generator": nets.averaged_generator,
        "image_shape": [*nets.image_shape],
        "train_config": {name: value for name, value in config.items() if name != "data_dir"},
    }
