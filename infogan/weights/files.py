"""Weights in safetensors files: written with what is needed to use them, and read only if they are whole and fit.

What a file's nets are is told by a description, a dictionary ready for JSON (see `describe_nets` in
`infogan.training.checkpoint`). It is in the file's own metadata, or in config.json beside the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from infogan.system.errors import UserError, one_line
from infogan.system.readers import MAX_JSON_BYTES, is_count, open_regular, parse_json, read_bytes

WEIGHTS_FORMAT = "infogan-weights-1"
WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"  # of a folder, as Hugging Face's tools name them
WEIGHTS_SUFFIX = Path(WEIGHTS_FILE).suffix
METADATA_KEY = "infogan"
ENCODER = "encoder."  # begins the names of an encoder's weights: they come with the nets' where there is one
DTYPES = {"F32": torch.float32, "F16": torch.float16}
_ENTRIES = {
    "name": str,
    "seconds": (int, float, type(None)),
    "averaged_generator": bool,
    "image_shape": list,
    "train_config": dict,
    "sha256": str,
}


def write_weights(file: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any] | None = None) -> None:
    """Writes tensors, with their description in the file's metadata unless it is to be in config.json."""
    metadata = {"format": "pt"}  # as other readers expect it
    if description is not None:
        metadata[METADATA_KEY] = json.dumps({**description})
    file.write_bytes(save({**tensors}, metadata))


def write_json(file: Path, values: Mapping[str, Any]) -> None:
    """Writes a description, or anything else that is ready for JSON, as a person can read it."""
    file.write_text(json.dumps({**values}, indent=2) + "\n", encoding="utf-8")


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Returns the SHA-256 of names and values, as hexadecimal digits; in float16 and float32 it is the same."""
    sha256 = hashlib.sha256()
    for name in sorted(tensors):
        sha256.update(name.encode())
        sha256.update(tensors[name].float().cpu().contiguous().numpy().tobytes())
    return sha256.hexdigest()


def read_description(file: Path) -> dict[str, Any]:
    """Returns the description of the nets in a file.

    Raises:
        UserError: The file cannot be read, is truncated, or is not one of this package's.
    """
    beside = file.with_name(CONFIG_FILE)
    open_regular(file, "weights").close()  # safetensors would wait for the writer of a pipe
    try:
        with safe_open(file, framework="pt") as opened:
            text = (opened.metadata() or {}).get(METADATA_KEY)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is no safetensors file, or it is truncated: {one_line(error)}") from error
    if text is None and not beside.is_file():
        raise UserError(f"{file} holds no weights of this package: its metadata say nothing of them")
    source = beside if text is None else file
    content = read_bytes(beside, "weights", MAX_JSON_BYTES) if text is None else text
    try:
        description = parse_json(content)
    except ValueError as error:
        raise UserError(f"{source} is no JSON: {one_line(error)}") from None
    if not isinstance(description, dict) or description.get("format") != WEIGHTS_FORMAT:
        raise UserError(f"{source}: expected the description of weights of format {WEIGHTS_FORMAT}, which this is not")
    wrong = [name for name, kind in _ENTRIES.items() if not isinstance(description.get(name, ...), kind)]
    if not is_count(description.get("step")):
        wrong.append("step")
    if wrong:
        raise UserError(f"{source}: the description is damaged: see {', '.join(wrong)}")
    return description


def read_weights(
    file: Path, expected: Mapping[str, torch.Size], sha256: str, device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """Returns the tensors of a file, float32, after names and shapes were compared with what is expected.

    No memory is taken before. Errors leave it to the caller to name the file.

    Args:
        file: Whole, as far as `read_description` can tell.
        expected: Shape of each tensor by its name; those of an encoder come besides.
        sha256: What `digest` returned when they were written.
        device: Where to put them.

    Raises:
        UserError: Other tensors than expected, or other values than were written.
    """
    with safe_open(file, framework="pt") as opened:
        names = opened.keys()
        for name in sorted(expected.keys() | {name for name in names if not name.startswith(ENCODER)}):
            if name not in names or name not in expected:
                only = "the description" if name in expected else "the file"
                raise UserError(f"the weights do not fit their description: {name} is in {only} alone")
            entry = opened.get_slice(name)
            if (shape := [*entry.get_shape()]) != [*expected[name]]:
                sizes = f"expected {name} of shape {[*expected[name]]}, got {shape}"
                raise UserError(f"the weights do not fit their description: {sizes}")
            if entry.get_dtype() not in DTYPES:
                raise UserError(f"expected weights in {' or '.join(DTYPES)}, got {name} in {entry.get_dtype()}")
        tensors = {name: opened.get_tensor(name).float() for name in names}
    if digest(tensors) != sha256:
        raise UserError("the weights were altered: they are not those that were written")
    return {name: tensor.to(device) for name, tensor in tensors.items()}
