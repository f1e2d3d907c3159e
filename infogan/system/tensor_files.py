"""Files of tensors and plain values, as torch writes them, sealed with their own SHA-256.

Reading one executes nothing. The digest at the end of the file is over all bytes before it, so that a single altered
bit is noticed before anything is made of them; torch compares neither checksums nor all that its zip directory says.
Other programs still see the archive that torch wrote: the digest comes after its end.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from infogan.system.errors import UserError, one_line
from infogan.system.readers import open_regular, size_of

_MARK = b"\nsha256:"
_SEAL_BYTES = len(_MARK) + 64
_ARCHIVE_END_BYTES = 22  # of a zip file without a comment
_CHUNK_BYTES = 2**20


class _HashedWriter:
    """Passes on what is written, and hashes it."""

    def __init__(self, file: BinaryIO | io.BytesIO) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def write(self, content: bytes | memoryview) -> int:
        self.digest.update(content)
        return self._file.write(content)

    def flush(self) -> None:
        self._file.flush()


def write_tensors(state: Any, file: BinaryIO | io.BytesIO) -> None:
    """Writes tensors and plain values, and then the SHA-256 of all that was written."""
    writer = _HashedWriter(file)
    torch.save(state, writer)  # pyright: ignore[reportArgumentType]  it asks for no more than these two methods
    file.write(_MARK + writer.digest.hexdigest().encode())


def read_tensors(path: str | Path, argument: str) -> Any:
    """Returns what `write_tensors` or `torch.save` wrote, with its tensors on the CPU.

    Args:
        path: The file.
        argument: Named by the error.

    Raises:
        UserError: It is no regular file, or cannot be read.
        ValueError: It is truncated, altered, or no such file.
    """
    with open_regular(path, argument) as file:
        try:
            _check_seal(file)
            _check_archive(file)
            file.seek(0)
            state = torch.load(file, map_location="cpu", weights_only=True)
            _check_extent(state)
            return state
        except OSError as error:
            raise UserError(f"{argument}: cannot read {path}: {error.strerror or error}") from error
        # Where bytes make no sense, zipfile, torch and pickle raise whatever they come upon.
        except Exception as error:
            raise ValueError(one_line(error)) from error


def _check_extent(value: Any) -> None:
    """Checks that no tensor claims more numbers than the file holds of it: a copy would take the memory for all.

    Raises:
        ValueError: One does.
    """
    if isinstance(value, torch.Tensor):
        if value.nbytes > value.untyped_storage().nbytes():
            raise ValueError(f"a tensor claims {value.nbytes:,} bytes, and has {value.untyped_storage().nbytes():,}")
    elif isinstance(value, dict | list | tuple):
        for held in value.values() if isinstance(value, dict) else value:
            _check_extent(held)


def _check_seal(file: BinaryIO) -> None:
    """Compares the digest at the end of a file, if there is one, with that of what is before it.

    Raises:
        ValueError: It is another.
    """
    n_bytes = size_of(file) - _SEAL_BYTES
    if n_bytes < 0:
        return
    file.seek(n_bytes)
    seal = file.read()
    if not seal.startswith(_MARK):
        _check_end(seal)
        return
    digest = hashlib.sha256()
    file.seek(0)
    while n_bytes and (chunk := file.read(min(n_bytes, _CHUNK_BYTES))):
        digest.update(chunk)
        n_bytes -= len(chunk)
    if _MARK + digest.hexdigest().encode() != seal:
        raise ValueError("its content does not have the SHA-256 at its end")


def _check_end(end: bytes) -> None:
    """Checks that a file without a digest, as earlier versions and torch alone write it, ends where its archive does.

    Raises:
        ValueError: It does not, as one whose digest was cut short.
    """
    if not end[-_ARCHIVE_END_BYTES:].startswith(b"PK\x05\x06"):
        raise ValueError("it does not end as it should")


def _check_archive(file: BinaryIO) -> None:
    """Checks an archive as far as it can be without a digest: its directory, and the checksum of each record.

    Raises:
        ValueError: It is not as torch writes it.
    """
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        # Not compressed, so that nothing grows when read. A record with attributes may pass for a folder, whose
        # tensor torch would leave as the memory happened to be.
        plain = all(
            (record.compress_type, record.external_attr, record.compress_size) == (0, 0, record.file_size)
            for record in records
        )
        if not plain or len({record.filename for record in records}) < len(records):
            raise ValueError("its directory is not as torch writes it")
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"the checksum of {damaged} is another")
