"""Every file that is read, from its bytes to plain values: checked first, and refused in one line that names it.

A file may be truncated, altered, another one than was meant, or made to do harm. So it has to be a regular file, what
its header claims is compared with its size before memory is taken, and whatever a parser raises becomes a `UserError`.
What the values have to be is for the caller to check.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import stat
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from infogan.system.errors import UserError, one_line

MAX_JSON_BYTES = 2**28
MAX_JSON_INTEGER = 2**63 - 1


def open_regular(path: str | Path, argument: str) -> BinaryIO:
    """Returns a regular file opened for reading; a pipe, a device or a folder is refused without being opened.

    Args:
        path: The file.
        argument: Named by the error.

    Raises:
        UserError: It is no regular file, or it cannot be read.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116  opening a pipe would wait for its writer
            raise UserError(f"{argument}: expected a regular file, got {str(path)!r}")
        return open(path, "rb")  # noqa: PTH123  the caller closes it
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        if isinstance(error, UserError):
            raise
        raise _unreadable(argument, path, error) from error


def read_bytes(path: str | Path, argument: str, max_bytes: int) -> bytes:
    """Returns the content of a regular file.

    Args:
        path: The file.
        argument: Named by the error.
        max_bytes: The most that it may hold.

    Raises:
        UserError: It is no regular file, cannot be read, or is larger.
    """
    with open_regular(path, argument) as file:
        n_bytes = size_of(file)
        if n_bytes > max_bytes:
            raise UserError(f"{argument}: expected a file of at most {max_bytes:,} bytes, got {path} with {n_bytes:,}")
        try:
            return file.read(n_bytes)
        except OSError as error:
            raise _unreadable(argument, path, error) from error


def check_filled(file: BinaryIO) -> None:
    """Raises ValueError for an empty file, of which a parser says something that nobody understands."""
    if size_of(file) == 0:
        raise ValueError("it is empty")


def size_of(file: BinaryIO) -> int:
    """Returns the bytes that an open file holds."""
    return os.fstat(file.fileno()).st_size


def unpack_gzip(content: bytes, path: str | Path, argument: str, max_bytes: int) -> bytes:
    """Returns the content of a .gz file unpacked, and never makes more of it than is allowed.

    Args:
        content: Packed.
        path: Where it is from, for the error.
        argument: Named by the error.
        max_bytes: The most that it may hold unpacked.

    Raises:
        UserError: It is damaged, no .gz file, or holds more.
    """
    try:
        unpacked = gzip.GzipFile(fileobj=io.BytesIO(content)).read(max_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(argument, path, error) from error
    if len(unpacked) > max_bytes:
        raise UserError(f"{argument}: expected at most {max_bytes:,} bytes unpacked, got more in {path}")
    return unpacked


def read_json(path: str | Path, argument: str, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Returns the value in a JSON file; see `parse_json`.

    Args:
        path: The file.
        argument: Named by the error.
        max_bytes: The most that it may hold.

    Raises:
        UserError: It is no regular file, cannot be read, is larger, or holds no such value.
    """
    try:
        return parse_json(read_bytes(path, argument, max_bytes))
    except UserError:
        raise
    except ValueError as error:
        raise _unreadable(argument, path, error) from error


def parse_json(content: bytes | str) -> Any:
    """Returns a JSON value that is safe to compute with and to print.

    Numbers are finite, integers have 64 bits at most, no key is there twice, and text is valid Unicode.

    Raises:
        ValueError: It is none.
    """
    try:
        value = json.loads(content, object_pairs_hook=_without_repeats)
        _check_plain(value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value


def is_count(value: Any) -> bool:
    """Returns whether a value that was read is a whole number from 0."""
    return type(value) is int and 0 <= value <= MAX_JSON_INTEGER  # True is no number


def is_number(value: Any) -> bool:
    """Returns whether a value that was read is a finite number."""
    return type(value) in (int, float) and math.isfinite(value)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError(f"expected each key once, got {len(pairs)} entries with {len(values)} keys")
    return values


def _check_plain(value: Any) -> None:
    if isinstance(value, dict):
        for key, held in value.items():
            _check_plain(key)
            _check_plain(held)
    elif isinstance(value, list):
        for held in value:
            _check_plain(held)
    elif isinstance(value, str):
        value.encode()  # half of a surrogate pair raises; it could not be printed
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"expected finite numbers, got {value}")
    elif isinstance(value, int) and abs(value) > MAX_JSON_INTEGER:
        raise ValueError(f"expected integers of at most 64 bits, got one of {value.bit_length()}")


def read_array(path: str | Path, argument: str, check_size: Callable[[int], None] = lambda n_bytes: None) -> np.ndarray:
    """Returns the array in a .npy file of numbers, which can be written to.

    Memory is taken only once the file is seen to hold just what its header claims.

    Args:
        path: The file.
        argument: Named by the error.
        check_size: Raises a UserError for an array of too many bytes.

    Raises:
        UserError: It is no regular file, cannot be read, is truncated or altered, or holds Python objects.
    """
    with open_regular(path, argument) as file:
        try:
            check_filled(file)
            shape, in_fortran_order, dtype = _read_array_header(file)
            expected, held = math.prod(shape) * dtype.itemsize, size_of(file) - file.tell()
            if expected != held:
                raise ValueError(f"its header claims {expected:,} bytes, after it are {held:,}")
            check_size(expected)
            content = bytearray(expected)
            if file.readinto(content) != expected:  # pyright: ignore[reportAttributeAccessIssue]
                raise ValueError("it was cut short while being read")
        except UserError:
            raise
        except (OSError, ValueError, MemoryError) as error:
            raise _unreadable(argument, path, error) from error
    return np.frombuffer(content, dtype).reshape(shape, order="F" if in_fortran_order else "C")


def _read_array_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    # Version 3 is for records whose fields have names outside of Latin-1.
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"expected version 1.0 or 2.0 of the format, got {'.'.join(map(str, version))}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a header that is merely odd
            shape, in_fortran_order, dtype = readers[version](file)
    # NumPy evaluates the header as Python, and raises whatever that raises: SyntaxError, TokenError, KeyError, ...
    except Exception as error:
        raise ValueError("its header makes no sense") from error
    if dtype.hasobject:
        raise ValueError("expected numbers, got Python objects, which may execute code")
    if dtype.itemsize == 0 or not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError(f"expected an array of numbers, got {dtype} of shape {shape}")
    return shape, in_fortran_order, dtype


def _unreadable(argument: str, path: str | Path, error: Exception) -> UserError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
    return UserError(f"{argument}: cannot read {path}: {reason}")
