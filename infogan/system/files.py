"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from infogan.system.errors import UserError, one_line


def write_atomically(path: Path, write: Callable[[BinaryIO], object], argument: str = "--out-dir") -> None:
    """Has `write` fill a file beside `path`, syncs it, and renames it to `path`.

    Raises:
        UserError: It could not be written; the message names `argument`, and what was there before stays.
    """
    beside = path.with_name(path.name + ".partial")
    try:
        with beside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as either
        beside.unlink(missing_ok=True)
        raise UserError(
            f"{argument}: cannot write {path}: {one_line(error)}; what was there before is untouched"
        ) from error
    with contextlib.suppress(OSError):  # some file systems sync no folders; the file itself is safe
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened to be synced
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
