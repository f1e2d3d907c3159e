"""The explorer's page: one HTML file that holds everything, or has the models' weights in files beside it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from torch import nn

from infogan.config.datasets import DIGIT_SETS, without_place
from infogan.config.spec import Categorical, LatentSpec
from infogan.evaluation.files import evaluation_path, read_evaluation
from infogan.evaluation.tables import class_names, matched_classes
from infogan.explorer.layers import Packer
from infogan.export import folded, generator_layers, recognition_layers
from infogan.inversion.encoder import Encoder
from infogan.inversion.encoder_training import kept_encoder
from infogan.system.errors import UserError
from infogan.system.files import write_atomically
from infogan.training.checkpoint import TrainedNets, find_checkpoint, load_nets

MAX_PAGE_BYTES = 10_000_000  # a larger page has its weights in files beside it
LEAST_CORRELATION = 0.5  # of a code with an attribute that it is called by
ASSETS = files("infogan.explorer") / "assets"


@dataclass(frozen=True)
class Explored:
    """A model of a page.

    Attributes:
        nets: Of its checkpoint.
        encoder: Reads the noise from an image, as `inversion.Encoder`; None for a page that shows no nearest image.
        evaluation: What `evaluate.py` wrote of this checkpoint; None if it did not.
    """

    nets: TrainedNets
    encoder: Encoder | None = None
    evaluation: dict[str, Any] | None = None

    @classmethod
    def load(cls, given: str | Path, argument: str = "--checkpoint") -> Explored:
        """Returns a trained model with what is kept beside it; its encoder is trained if there is none yet.

        Args:
            given: As `load_nets` takes it.
            argument: Named by an error.

        Raises:
            UserError: There is no such model, or it cannot be read.
        """
        checkpoint = find_checkpoint(given, argument=argument)
        nets = load_nets(checkpoint)
        path = evaluation_path(checkpoint)
        evaluation = read_evaluation(path, "evaluation") if path.is_file() else None
        if evaluation is not None and evaluation["step"] != nets.step:
            evaluation = None  # of another checkpoint, whose categories may mean something else
        return cls(nets, kept_encoder(nets), evaluation)


def write_page(models: Sequence[Explored], path: Path) -> list[Path]:
    """Writes the explorer of some models, and returns its files: the page first.

    The page needs no server, no network and no package. Beyond 10 MB, the weights of each model are in a file of
    their own, in a folder beside the page.

    Args:
        models: The first one is shown first; each has a name of its own.
        path: Of the page; ends in .html.

    Raises:
        UserError: A file cannot be written, two models have one name, or a net cannot be run by a page.
    """
    names = [model.nets.name for model in models]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(f"--checkpoint: expected runs of different names, got {', '.join(sorted(twice))} twice")
    described = [_describe(model) for model in models]
    whole = _fill_in("".join(_script(f"addModel({_json(values)})") for values in described))
    if len(whole.encode()) <= MAX_PAGE_BYTES:
        _write(path, whole)
        return [path]
    beside = path.with_name(f"{path.stem}_files")
    beside.mkdir(parents=True, exist_ok=True)
    scripts, written = [], [path]
    for values in described:
        file = beside / f"{values['name']}.js"
        _write(file, f"addModel({_json(values)});\n")
        written.append(file)
        known = {**values, "weights": None, "file": f"{beside.name}/{file.name}"}
        scripts.append(_script(f"addModel({_json(known)})"))
    _write(path, _fill_in("".join(scripts)))
    return written


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(text.encode()), "--output")


def _script(call: str) -> str:
    return f"<script>\n{call};\n</script>\n"


def _json(values: Any) -> str:
    """Returns values as JSON that no browser takes for the end of a script."""
    return json.dumps(values, allow_nan=False, ensure_ascii=False).replace("<", "\\u003c")


def _fill_in(models: str) -> str:
    """Returns the page, with each {{file}} of its template in place."""
    page = (ASSETS / "page.html").read_text(encoding="utf-8")
    assets = {asset.name: asset.read_bytes() for asset in ASSETS.iterdir() if asset.name != "page.html"}
    texts = {name: content.decode() for name, content in assets.items() if name.endswith((".css", ".js"))}
    texts |= {"matmul.wasm": base64.b64encode(assets["matmul.wasm"]).decode(), "models": models}
    return re.sub(r"\{\{([\w.]+)\}\}", lambda match: texts[match.group(1)], page)


def _describe(model: Explored) -> dict[str, Any]:
    """Returns what the page knows of a model; `page.html`'s scripts say what each entry is for."""
    nets, evaluation = model.nets, model.evaluation
    spec, packer = nets.spec, Packer()
    image_shape = nets.image_shape
    packed: dict[str, Any] = {
        "g": packer.pack(generator_layers(nets.generator)),
        "q": packer.pack(recognition_layers(nets.discriminator), image_shape),
        "encoder": model.encoder and packer.pack(nn.Sequential(*folded(model.encoder).layers), image_shape),
    }
    channels, height, width = image_shape
    return {
        "name": nets.name,
        "step": nets.step,
        "image": {"channels": channels, "height": height, "width": width},
        "is_digits": nets.config.dataset in DIGIT_SETS,
        "noise_dim": spec.noise_dim,
        "noise": spec.noise,
        "c_dim": spec.c_dim,
        "codes": _codes(spec, evaluation),
        "nets": packed,
        "about": [*_training(nets, evaluation), *(_measures(spec, evaluation) if evaluation else [])],
        "weights": base64.b64encode(packer.halves.astype("<f2").tobytes()).decode(),
    }


def _codes(spec: LatentSpec, evaluation: dict[str, Any] | None) -> list[dict[str, Any]]:
    codes = []
    for name, code, c, q in zip(spec.names, spec.codes, spec.c_slices, spec.q_slices, strict=True):
        kind = "cat" if isinstance(code, Categorical) else code.prior
        values: dict[str, Any] = {"name": name, "kind": kind, "at": c.start, "size": code.dim, "q_at": q.start}
        meaning = None if isinstance(code, Categorical) else code.transformation
        if kind == "cat":
            labels = evaluation and _labels(name, evaluation)
            values["labels"], meaning = labels, "class" if labels else "category"
        elif meaning is None and evaluation is not None:
            meaning = _meaning(name, evaluation)
        codes.append({**values, "title": f"{name} · {meaning}" if meaning else name})
    return codes


def _labels(name: str, evaluation: dict[str, Any]) -> list[str] | None:
    """Returns the class that each category is matched to, or None where there are no labels."""
    matched = matched_classes(evaluation).get(name)
    if matched is None:
        return None
    classes = class_names(evaluation)
    return [f"({k})" if i is None else classes[i] if classes else str(i) for k, i in enumerate(matched)]


def _correlations(name: str, evaluation: dict[str, Any]) -> list[tuple[str, float]]:
    """Returns the attributes and their partial correlations with a code, the strongest first."""
    scores = evaluation["infogan"]
    factors = scores.get("factors") or scores.get("image_factors") or {}
    values = zip(factors.get("attributes", []), factors.get("test_images", {}).get(name, []), strict=False)
    return sorted(((attribute, r) for attribute, r in values if r is not None), key=lambda pair: -abs(pair[1]))


def _meaning(name: str, evaluation: dict[str, Any]) -> str | None:
    """Returns the attribute that a code goes with, if it does with one."""
    strongest = _correlations(name, evaluation)[:1]
    return next((attribute for attribute, r in strongest if abs(r) >= LEAST_CORRELATION), None)


def _training(nets: TrainedNets, evaluation: dict[str, Any] | None) -> list[tuple[str, str]]:
    config = nets.config
    rows = [
        ("data", without_place(config.dataset)),
        ("training", f"preset {config.preset}, seed {config.seed}, {nets.step:,} steps of {config.batch_size} images"),
        ("images seen", f"{nets.step * config.batch_size:,}"),
    ]
    if evaluation is not None and (commit := evaluation["trained"][-1]["commit"]):
        rows.append(("commit", commit))
    return rows


def _measures(spec: LatentSpec, evaluation: dict[str, Any]) -> list[tuple[str, str]]:
    scores = evaluation["infogan"]
    rows = []
    for name, title, entropy in zip(spec.names, spec.titles, spec.entropies_nats, strict=True):
        said = []
        if (bound := scores.get("mutual_information", {}).get(name)) is not None:
            said.append(f"L_I {bound['own_q']['nats']:.3f} nats, H(c) {entropy:.3f}")
        if (clustering := scores.get("clustering", {}).get(name)) is not None:
            said.append(
                f"accuracy {clustering['accuracy']:.3f} on {evaluation['scored']['n_test_images']:,} test images"
            )
        said += [
            f"partial correlation with {attribute} {r:.2f}" for attribute, r in _correlations(name, evaluation)[:2]
        ]
        rows.append((title, "; ".join(said)))
    return rows
