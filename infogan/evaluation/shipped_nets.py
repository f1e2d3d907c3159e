"""Nets that come with the package, trained once by a script: read, checked and written in one way."""

from __future__ import annotations

import hashlib
import io
from importlib import resources
from pathlib import Path

from torch import nn

from infogan.system.errors import UserError, one_line
from infogan.system.files import write_atomically
from infogan.system.readers import read_bytes
from infogan.system.tensor_files import read_tensors, write_tensors

MAX_FILE_BYTES = 2**24  # the largest of them has a million


def load_shipped(net: nn.Module, name: str, script: str, path: Path | None = None) -> str:
    """Gives a net the weights that are shipped for it, freezes it, and returns the SHA-256 of their file.

    Args:
        net: Changed in place: evaluation mode, no gradients.
        name: What the net is, in words; the shipped file is called so.
        script: Which of `scripts/` writes the file.
        path: A weight file written by `save_shipped`; None reads the one shipped with the package.

    Raises:
        UserError: If the file cannot be read, or was altered; the message names the command that writes it.
    """
    source = path or Path(str(resources.files("infogan") / "assets" / f"{name.replace(' ', '_')}.pt"))
    hint = f"python scripts/{script} writes the weights"
    try:
        content = read_bytes(source, name, MAX_FILE_BYTES)
        net.load_state_dict(read_tensors(source, name))
    except UserError as error:
        raise UserError(f"{error}; {hint}") from None
    except (ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise UserError(
            f"{name}: {source} is truncated, altered or of another net: {one_line(error)}; {hint}"
        ) from error
    net.requires_grad_(False).eval()
    return hashlib.sha256(content).hexdigest()


def save_shipped(net: nn.Module, path: Path) -> str:
    """Writes the weights of a net whole or not at all, and returns the SHA-256 of the file.

    The same weights written by the same PyTorch give the same bytes, whatever the file is called.

    Raises:
        UserError: If it cannot be written.
    """
    buffer = io.BytesIO()
    write_tensors({name: value.cpu().contiguous() for name, value in net.state_dict().items()}, buffer)
    content = buffer.getvalue()
    write_atomically(path, lambda file: file.write(content), "--out")
    return hashlib.sha256(content).hexdigest()
