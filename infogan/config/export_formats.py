"""The formats of an export; needs no torch, so that a wrong name or a missing package is answered at once."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Literal

from infogan.system.errors import UserError

Dtype = Literal["float32", "float16"]


@dataclass(frozen=True)
class ExportFormat:
    """What is known of a format beforehand; `infogan.export.formats` writes and reads it.

    Attributes:
        ending: Of the default output's name: of a file with a dot, of a folder with a hyphen.
        packages: What has to be installed besides.
        dtypes: What its weights may be stored in.
    """

    ending: str
    packages: tuple[str, ...] = ()
    dtypes: tuple[Dtype, ...] = ("float32",)


EXPORT_FORMATS = {
    "safetensors": ExportFormat(".safetensors", dtypes=("float32", "float16")),
    "huggingface": ExportFormat("-huggingface", ("huggingface_hub",), ("float32", "float16")),
    "onnx": ExportFormat("-onnx", ("onnx", "onnxscript", "onnxruntime")),
    "torchscript": ExportFormat("-torchscript"),
}


def check_export(format: str, dtype: str) -> ExportFormat:
    """Returns what is known of a format, if this installation can write it.

    Raises:
        UserError: There is no such format, it has no such dtype, or a package that it needs is missing.
    """
    if format not in EXPORT_FORMATS:
        raise UserError(f"--format: expected one of {', '.join(EXPORT_FORMATS)}, got {format!r}")
    known = EXPORT_FORMATS[format]
    if dtype not in known.dtypes:
        raise UserError(f"--dtype: expected {' or '.join(known.dtypes)} with --format {format}, got {dtype!r}")
    if missing := [name for name in known.packages if importlib.util.find_spec(name) is None]:
        raise UserError(
            f"--format {format}: needs packages that are not installed: pip install {' '.join(missing)}, "
            "or all that exports need with the extra infogan[export]"
        )
    return known
