"""Paths as their user gives them, checked before any work is done."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

from infogan.system.errors import UserError, shown

MAX_NAME_BYTES = 255  # of a file or folder; of nearly all file systems


def usable_path(path: object) -> Path:
    """Returns a path with `~` as the home folder.

    Nothing need be there.

    Raises:
        ValueError: No file can be there: the path is no text, has a name that is too long, control characters, or a
            file where a folder should be, or leads through a folder that is closed.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str) or not text or has_control_characters(text):
        raise ValueError(f"expected a path without control characters, got {shown(text or path)}")
    text = os.path.expanduser(text)  # noqa: PTH111  it leaves an unknown ~name as it is
    if any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in Path(text).parts):
        raise ValueError(f"expected names of at most {MAX_NAME_BYTES} bytes, got {shown(text)}")
    try:
        Path(text).stat()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ValueError(f"cannot use {shown(text)}: {error.strerror or error}") from error
    return Path(text)


def has_control_characters(text: str) -> bool:
    """Returns whether a text has characters that no name should have, as line breaks, or bytes that are no text.

    Those that are merely invisible are allowed: names in Japanese, Persian and of emoji have such.
    """
    return any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text)


def usable_folder(path: object) -> Path:
    """Returns a path as `usable_path` does, at which there is a folder or nothing.

    Raises:
        ValueError: It is not usable, or something else is there.
    """
    folder = usable_path(path)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"expected a folder, got {str(folder)!r}")
    return folder


def given_path(path: object, argument: str) -> Path:
    """Returns a path as `usable_path` does; an error names `argument`.

    Raises:
        UserError: It is not usable.
    """
    try:
        return usable_path(path)
    except ValueError as error:
        raise UserError(f"{argument}: {error}") from None


def check_is_there(path: Path, argument: str) -> None:
    """Raises UserError, which names `argument`, unless there is a file or a folder."""
    try:
        path.stat()
    except OSError as error:
        raise UserError(f"{argument}: cannot read {path}: {error.strerror}") from error


def given_folder(path: object, argument: str) -> Path:
    """Returns a path as `usable_folder` does; an error names `argument`.

    Raises:
        UserError: It is not usable, or no folder.
    """
    try:
        return usable_folder(path)
    except ValueError as error:
        raise UserError(f"{argument}: {error}") from None


def numbered_files(folder: Path, prefix: str, suffix: str) -> list[Path]:
    """Returns the files called `<prefix><n><suffix>` in a folder, in the order of their numbers: 2 before 10."""
    form = re.compile(f"{re.escape(prefix)}([0-9]{{1,18}}){re.escape(suffix)}")
    numbered = [(int(match[1]), path) for path in folder.glob(f"{prefix}*") if (match := form.fullmatch(path.name))]
    return [path for _, path in sorted(numbered)]
