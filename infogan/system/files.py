"""Files that are written whole or not at all, and the lock of a folder that one process writes."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from infogan.system.errors import UserError, one_line

PARTIAL = ".partial"  # ends the name of what is being written
LOCK_FILE, OWNER_FILE = ".lock", ".owner"
_STALE_SECONDS = 3600.0
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}


def write_atomically(path: Path, write: Callable[[BinaryIO], object], argument: str = "--out-dir") -> None:
    """Has `write` fill a file beside `path`, syncs it, and renames it to `path`.

    A link stays a link, and what it leads to is written; a device or a pipe is written to as it is. The file beside has
    a name of its own, so that of several processes that write one path, each writes a whole file.

    Raises:
        UserError: It could not be written; the message names `argument`, and what was there before stays.
    """
    try:
        if _is_stream(path):
            with path.open("ab") as file:
                write(file)
            return
        target = path.resolve()
        beside = partial_beside(target)
        try:
            with beside.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(target)
        finally:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as either
        raise UserError(
            f"{argument}: cannot write {path}: {_reason(error)}; what was there before is untouched"
        ) from error
    with contextlib.suppress(OSError):  # some file systems sync no folders; the file itself is safe
        _sync_folder(target.parent)


def partial_beside(target: Path) -> Path:
    """Returns a path beside `target` that nothing else uses, hidden, whatever the length of the name."""
    return target.with_name(f".{secrets.token_hex(8)}{PARTIAL}")


def _is_stream(path: Path) -> bool:
    """Returns whether a path is a device, a pipe, or an open file by its number, as /dev/stdout is."""
    folder = path.absolute().parent.resolve()
    is_number = folder == Path("/dev") or folder.is_relative_to("/proc")
    return path.exists() and (is_number or not (path.is_file() or path.is_dir()))


def _reason(error: BaseException) -> str:
    """Returns why a write failed: torch raises an error of its own over the system's, which does not say it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return cause.strerror or one_line(cause)
        cause = cause.__cause__ or cause.__context__
    return one_line(error)


def append_whole(path: Path, content: bytes) -> None:
    """Adds to the end of a file, made if it is missing: all of the content, or nothing.

    Raises:
        OSError: It cannot be written.
    """
    with path.open("ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        try:
            while content:  # a disk that is nearly full takes a part, and only then refuses
                content = content[file.write(content) :]
        except OSError:
            file.truncate(end)
            raise


def sync_file(path: Path) -> None:
    """Has the system bring a file to the disk, if there is one."""
    with contextlib.suppress(OSError), path.open("rb+") as file:
        os.fsync(file.fileno())


def remove_partial(folder: Path, older_than_seconds: float = _STALE_SECONDS) -> None:
    """Removes what killed processes left half written in a folder.

    Args:
        folder: Only files directly in it are removed.
        older_than_seconds: Younger files may be those of a process that is writing now.
    """
    for left in folder.glob(f".*{PARTIAL}"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime >= older_than_seconds:
                left.unlink()


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened to be synced
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(folder: Path, refusal: str | None = None, argument: str = "--out-dir") -> Iterator[None]:
    """Holds the lock of a folder; the system releases it when the process ends, however it ends.

    A file system without locks is not locked.

    Args:
        folder: There it lies.
        refusal: What is wrong if another process holds it; the process is named after it. None waits for it.
        argument: Named if the folder cannot be written.

    Raises:
        UserError: Another process holds it, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout  # imported only here: it takes a tenth of a second

    lock, owner = FileLock(folder / LOCK_FILE), folder / OWNER_FILE
    try:
        lock.acquire(timeout=-1 if refusal is None else 0)
    except Timeout:
        with contextlib.suppress(OSError):
            refusal = f"{refusal} by {owner.read_text()}"
        raise UserError(str(refusal)) from None
    except NotImplementedError:
        pass
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise UserError(f"{argument}: cannot lock {folder}: {one_line(error)}") from error
    try:
        with contextlib.suppress(OSError):  # a full disk: it is only told to others
            owner.write_text(f"pid {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        with contextlib.suppress(OSError):
            owner.unlink(missing_ok=True)
        lock.release()
