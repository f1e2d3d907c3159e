"""`export_run`: writes a run's nets in a format, reads them again, and keeps them if they answer as trained."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from infogan.config.export_formats import Dtype, check_export
from infogan.evaluation.files import read_evaluation
from infogan.export.formats import FORMATS, Answers
from infogan.export.model import Model, model_of
from infogan.system.errors import UserError
from infogan.system.runtime import resolve_device
from infogan.training.checkpoint import find_checkpoint

# Of the largest value. Trained nets differ by 1e-6 of it in float32; nets of a few steps, whose images hardly vary, by
# 1e-3, since BatchNorm magnifies rounding where the variance is small. Anything wrong differs by about 1.
TOLERANCES: dict[Dtype, float] = {"float32": 2e-3, "float16": 0.03}


@dataclass(frozen=True)
class Difference:
    """How far an output of the exported nets is from that of the trained nets, over a few images.

    Attributes:
        output: Graph and output, as in `generator image`.
        largest: Absolute difference.
        scale: Largest absolute value.
    """

    output: str
    largest: float
    scale: float


@dataclass(frozen=True)
class Exported:
    """What an export wrote: the path, its size, and how far each output is from that of the trained nets."""

    path: Path
    n_bytes: int
    differences: list[Difference]


def export_run(
    run: str | Path | None = None,
    format: str = "safetensors",
    output: str | Path | None = None,
    *,
    dtype: Dtype = "float32",
    name: str | None = None,
    seeds: Sequence[str | Path] = (),
    train_encoder: bool = False,
    device: str = "auto",
    out_dir: str | Path = ".",
) -> Exported:
    """Writes the nets of a run for other programs and returns what was written; see docs/export.md.

    Nothing is written unless what was written agrees with the trained nets when it is read again.

    Args:
        run: As `load_nets` takes it; by default the newest run under `out_dir`.
        format: `safetensors`, `huggingface`, `onnx` or `torchscript`.
        output: A file or folder that is not there yet; by default it is in `exports`, named after the model.
        dtype: What weights are stored in.
        name: What the exported model is called; by default as the run.
        seeds: Evaluated runs with the same configuration, whose scores the model card shows.
        train_encoder: Whether to train the run's encoder first, if it has none: about a minute.
        device: Where the trained nets answer.
        out_dir: The folder of `runs/`, for the newest.

    Raises:
        UserError: A format that cannot be written here, an output that is there, a run that cannot be read, or
            exported nets that answer otherwise.
    """
    known = check_export(format, dtype)
    checkpoint = find_checkpoint(run, out_dir, "run")
    evaluations = [read_evaluation(seed, "--seeds") for seed in seeds]
    model = model_of(checkpoint, name, resolve_device(device), dtype, evaluations, train_encoder)
    path = Path("exports", model.name + known.ending) if output is None else Path(output)
    if known.ending.startswith(".") and path.suffix != known.ending:
        raise UserError(f"--output: expected a file that ends in {known.ending}, got {str(path)!r}")
    if path.exists():
        raise UserError(f"--output: expected a path where nothing is yet, got {str(path)!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        written = Path(folder, path.name)
        FORMATS[format].write(model, written)
        differences = compare(model, FORMATS[format].open(written))
        for difference in differences:
            if not difference.largest <= TOLERANCES[dtype] * max(1.0, difference.scale):  # or it is no number
                raise UserError(
                    f"--format {format}: the exported {difference.output} differs by {difference.largest:.2g} from the "
                    f"trained nets', of which the largest is {difference.scale:.2g}; nothing was written"
                )
        shutil.move(written, path)
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return Exported(path, sum(file.stat().st_size for file in files), differences)


def compare(model: Model, answers: Answers) -> list[Difference]:
    """Returns how far exported nets are from the trained ones; of a batch, and again of one image alone."""
    found = []
    for graph in model.trained_graphs():
        single = replace(graph, examples=tuple(example[:1] for example in graph.examples))
        pairs = [[*zip(each.answers(), answers(each), strict=True)] for each in (graph, single)]
        for i, output in enumerate(graph.outputs):
            # Not Python's max, which can lose a NaN.
            largest = torch.stack([(theirs - ours).abs().max() for ours, theirs in (batch[i] for batch in pairs)]).max()
            found.append(Difference(f"{graph.name} {output}", largest.item(), pairs[0][i][0].abs().max().item()))
    return found
