"""What is exported: the nets of a run without BatchNorm, and what a reader may want to know of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from infogan.config.export_formats import Dtype
from infogan.config.train_config import MAY_CHANGE, TrainConfig, differences
from infogan.evaluation.files import evaluation_path, read_evaluation
from infogan.export.layers import generator_layers
from infogan.inversion.encoder import Encoder
from infogan.inversion.encoder_training import kept_encoder, present_encoder
from infogan.latents import sample_prior
from infogan.models import Discriminator, Generator
from infogan.system.errors import UserError
from infogan.training.checkpoint import TrainedNets, describe_nets, load_nets
from infogan.training.environment import read_sessions
from infogan.training.run import Run
from infogan.weights.files import digest
from infogan.weights.folding import folded

N_COMPARED = 16


@dataclass(frozen=True)
class Graph:
    """A function of tensors, as formats with graphs store it; the first axis of inputs and outputs is the batch.

    Attributes:
        name: `generator`, `discriminator`, `encoder`.
        net: Computes the outputs from the inputs.
        inputs: Their names, in order.
        outputs: Their names, in order.
        examples: Inputs of a few images.
    """

    name: str
    net: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    examples: tuple[Tensor, ...]

    @torch.no_grad()
    def answers(self) -> list[Tensor]:
        """Returns the outputs for the examples, on the CPU."""
        device = next(self.net.parameters()).device
        found = self.net(*(example.to(device) for example in self.examples))
        return [output.cpu() for output in ([found] if isinstance(found, Tensor) else found)]


@dataclass(frozen=True)
class Model:
    """The nets of a run as they are exported.

    Attributes:
        name: What the exported model is called.
        nets: As trained.
        trained_encoder: From images to noise, as trained; None where there is none.
        dtype: What weights are stored in.
        evaluation: The run's evaluation.json, or None where there is none of these nets.
        sessions: What the run was trained on, as in environment.json.
        seeds: Evaluations of other runs with the same configuration.
    """

    name: str
    nets: TrainedNets
    trained_encoder: Encoder | None
    dtype: Dtype
    evaluation: dict[str, Any] | None
    sessions: Sequence[dict[str, Any]]
    seeds: Sequence[dict[str, Any]]

    @cached_property
    def generator(self) -> Generator:
        """G without BatchNorm, on the CPU."""
        return folded(self.nets.generator).cpu()

    @cached_property
    def discriminator(self) -> Discriminator:
        """D and Q without BatchNorm, on the CPU."""
        return folded(self.nets.discriminator).cpu()

    @cached_property
    def encoder(self) -> Encoder | None:
        """The encoder without BatchNorm, on the CPU, or None."""
        return None if self.trained_encoder is None else folded(self.trained_encoder).cpu()

    def tensors(self) -> dict[str, Tensor]:
        """Returns all weights as they are stored, as in `generator.project.0.weight`."""
        parts = nn.ModuleDict({"generator": self.generator, "discriminator": self.discriminator})
        if self.encoder is not None:
            parts["encoder"] = self.encoder
        dtype = getattr(torch, self.dtype)
        return {name: value.to(dtype).contiguous() for name, value in parts.state_dict().items()}

    def description(self) -> dict[str, Any]:
        """Returns what the stored weights say of themselves."""
        return {**describe_nets(self.nets, self.name), "sha256": digest(self.tensors())}

    @cached_property
    @torch.no_grad()
    def examples(self) -> tuple[Tensor, Tensor, Tensor]:
        """A few draws of z and c from the prior, and their images, on the CPU."""
        z, c = sample_prior(self.nets.spec, N_COMPARED, torch.Generator().manual_seed(0))
        device = next(self.nets.generator.parameters()).device
        return z, c, self.nets.generator(z.to(device), c.to(device)).cpu()

    def trained_graphs(self) -> list[Graph]:
        """Returns the nets as they were trained, on their device: what every format has to agree with."""
        return self._graphs(self.nets.generator, self.nets.discriminator, self.trained_encoder)

    def plain_graphs(self) -> list[Graph]:
        """Returns the nets without BatchNorm, in layers that can be traced for a batch of any size; on the CPU."""
        return self._graphs(_PlainGenerator(self.generator), _PlainDiscriminator(self.discriminator), self.encoder)

    def _graphs(self, generator: nn.Module, discriminator: nn.Module, encoder: nn.Module | None) -> list[Graph]:
        z, c, image = self.examples
        graphs = [
            Graph("generator", generator, ("z", "c"), ("image",), (z, c)),
            Graph("discriminator", discriminator, ("image",), ("d_logits", "q_params"), (image,)),
        ]
        return graphs if encoder is None else [*graphs, Graph("encoder", encoder, ("image",), ("z",), (image,))]


class _PlainGenerator(nn.Module):
    """G without the views that fix the size of a batch while it is traced."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.layers = generator_layers(generator)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        return self.layers(torch.cat([z, c], dim=1))


class _PlainDiscriminator(nn.Module):
    """D and Q without the trunk's handling of several batches, for the same reason."""

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*discriminator.trunk)
        self.d_head, self.q_head = discriminator.d_head, discriminator.q_head

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(image)
        return self.d_head(features), self.q_head(features)


def model_of(
    checkpoint: Path,
    name: str | None,
    device: torch.device,
    dtype: Dtype,
    seeds: Sequence[dict[str, Any]],
    train_encoder: bool,
) -> Model:
    """Returns what is to be exported of a checkpoint.

    Args:
        checkpoint: The file; its run's evaluation and environment are read where they are there.
        name: What the exported model is called; by default as the run.
        device: Where the trained nets work.
        dtype: What weights are stored in.
        seeds: Evaluations of other runs with the same configuration.
        train_encoder: Whether to train the encoder if there is none.

    Raises:
        UserError: The checkpoint or the evaluation cannot be read, or the seeds' configuration is another.
    """
    nets = load_nets(checkpoint, device)
    file, run = evaluation_path(checkpoint), Run.of_checkpoint(checkpoint)
    evaluation = read_evaluation(file, "run") if file.is_file() else None
    if evaluation is not None and evaluation["step"] != nets.step:
        evaluation = None  # of other weights
    sessions = evaluation["trained"] if evaluation is not None else []
    if not sessions and run is not None:
        sessions = read_sessions(run.folder)
    for of_seed in seeds:
        _check_same_run(nets.config, of_seed)
    encoder = (kept_encoder if train_encoder else present_encoder)(nets)
    return Model(name or nets.name, nets, encoder, dtype, evaluation, sessions, seeds)


def _check_same_run(config: TrainConfig, evaluation: dict[str, Any]) -> None:
    """Checks that a run was trained as this one, up to seed and precision."""
    saved, other = (values.portable() for values in (config, TrainConfig.from_dict(evaluation["config"])))
    decisive = saved.keys() - (MAY_CHANGE - {"steps"}) - {"name", "seed", "baseline", "log_every"}
    if different := differences(saved, {name: other[name] for name in saved if name in decisive}):
        raise UserError(
            f"--seeds: expected runs that differ from this one in their seed alone, got {evaluation['run']} with "
            f"{'; '.join(different)}"
        )
