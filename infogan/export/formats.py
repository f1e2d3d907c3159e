"""The formats: each is written by one function, and opened by another to be compared with what it was made from.

What opens a format returns its nets as `Answers`.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from infogan.export.card import save_card
from infogan.export.model import Graph, Model
from infogan.inversion.encoder_training import present_encoder
from infogan.training.checkpoint import load_nets
from infogan.weights.files import CONFIG_FILE, write_json, write_weights

Answers = Callable[[Graph], Sequence[Tensor]]  # the outputs of the graph of this name for these examples


class Format(NamedTuple):
    """How a format is written to a path, and opened again."""

    write: Callable[[Model, Path], None]
    open: Callable[[Path], Answers]


def write_safetensors(model: Model, path: Path) -> None:
    """Writes all weights into one file, with what `load_nets` needs to know of them."""
    write_weights(path, model.tensors(), model.description())


def open_safetensors(path: Path) -> Answers:
    """Opens such a file as `load_nets` does."""
    nets = load_nets(path)
    modules: dict[str, nn.Module] = {"generator": nets.generator, "discriminator": nets.discriminator}
    if (encoder := present_encoder(nets)) is not None:
        modules["encoder"] = encoder
    return _of_modules(modules)


def write_huggingface(model: Model, path: Path) -> None:
    """Writes a folder as `save_pretrained` makes it, with a model card; `load_nets` reads it too."""
    from infogan.export.huggingface import InfoGAN  # an optional package

    path.mkdir()
    save_card(model, path)
    InfoGAN.of(model).save_pretrained(path)  # leaves a README.md that is there


def open_huggingface(path: Path) -> Answers:
    """Opens such a folder as `from_pretrained` does."""
    from infogan.export.huggingface import InfoGAN

    with contextlib.redirect_stdout(io.StringIO()):  # it says that it loads
        return _of_modules(dict(InfoGAN.from_pretrained(path).named_children()))


def write_onnx(model: Model, path: Path) -> None:
    """Writes a folder with a graph for each net, whose batch has any size."""
    _make_folder(model, path)
    batch = {0: torch.export.Dim("batch")}
    for graph in model.plain_graphs():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on how torch goes about it
            program = torch.onnx.export(
                graph.net.eval(),
                graph.examples,
                dynamo=True,
                input_names=graph.inputs,
                output_names=graph.outputs,
                dynamic_shapes=tuple(batch for _ in graph.inputs),
                verbose=False,
            )
        assert program is not None
        program.save(path / f"{graph.name}.onnx")


def open_onnx(path: Path) -> Answers:
    """Opens such a folder with onnxruntime."""
    import onnxruntime  # an optional package

    sessions = {file.stem: onnxruntime.InferenceSession(file) for file in path.glob("*.onnx")}

    def answers(graph: Graph) -> list[Tensor]:
        inputs = {name: example.numpy() for name, example in zip(graph.inputs, graph.examples, strict=True)}
        return [torch.from_numpy(output) for output in sessions[graph.name].run([*graph.outputs], inputs)]

    return answers


def write_torchscript(model: Model, path: Path) -> None:
    """Writes a folder with a file for each net, which torch runs from C++ or Python without this package."""
    _make_folder(model, path)
    for graph in model.plain_graphs():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch means to replace TorchScript by torch.export
            torch.jit.save(torch.jit.trace(graph.net.eval(), graph.examples), path / f"{graph.name}.pt")


def open_torchscript(path: Path) -> Answers:
    """Opens such a folder with torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # as above
        return _of_modules({file.stem: torch.jit.load(file) for file in path.glob("*.pt")})


FORMATS = {
    "safetensors": Format(write_safetensors, open_safetensors),
    "huggingface": Format(write_huggingface, open_huggingface),
    "onnx": Format(write_onnx, open_onnx),
    "torchscript": Format(write_torchscript, open_torchscript),
}


def _make_folder(model: Model, path: Path) -> None:
    path.mkdir()
    write_json(path / CONFIG_FILE, model.description())


def _of_modules(nets: Mapping[str, nn.Module]) -> Answers:
    return lambda graph: replace(graph, net=nets[graph.name]).answers()
