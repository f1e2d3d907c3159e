"""Where pictures lie: a folder, or a .zip file, which is read where it lies."""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from infogan.data.pictures import SUFFIXES, UnreadablePictureError
from infogan.system.errors import UserError, one_line
from infogan.system.readers import check_filled, open_regular

MAX_MEMBER_BYTES = 2**28  # of one picture in a .zip file


@dataclass(frozen=True)
class Listing:
    """The pictures in a folder or .zip file, as it lies there now.

    Attributes:
        pictures: Their paths in it, sorted.
        stamps: What would change with each picture: its size, and its time or checksum.
        folders: All folders in it.
    """

    pictures: list[PurePosixPath]
    stamps: list[tuple[int, int]]
    folders: list[PurePosixPath]

    def digest(self) -> str:
        """Returns the SHA-256 of names and stamps."""
        entries = [[str(path), *stamp] for path, stamp in zip(self.pictures, self.stamps, strict=True)]
        return hashlib.sha256(json.dumps([entries, sorted(map(str, self.folders))]).encode()).hexdigest()


class Folder:
    """Pictures in a folder and all folders below it, links followed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def listing(self) -> Listing:
        """Returns what lies in it, less hidden files and folders.

        Raises:
            UserError: A folder cannot be read.
        """
        found, folders = [], []
        for folder, files in self._walk(self.path, {self.path.resolve()}):
            inner = PurePosixPath(folder.relative_to(self.path).as_posix())
            folders.append(inner)
            found += [(inner / file.name, (file.stat().st_size, file.stat().st_mtime_ns)) for file in files]
        found.sort()
        return Listing([path for path, _ in found], [stamp for _, stamp in found], folders)

    def _walk(self, folder: Path, seen: set[Path]) -> Iterator[tuple[Path, list[Path]]]:
        try:
            inside = sorted(path for path in folder.iterdir() if not _is_hidden(path.name))
        except OSError as error:
            raise UserError(f"--dataset: cannot read {folder}: {error.strerror}") from error
        yield folder, [path for path in inside if path.suffix.lower() in SUFFIXES and path.is_file()]
        for path in inside:
            # A link to a folder above would never end.
            if path.is_dir() and (real := path.resolve()) not in seen:
                yield from self._walk(path, seen | {real})

    def open(self, picture: PurePosixPath) -> Path:
        """Returns the file of a picture."""
        return self.path / picture


class Zip:
    """Pictures in a .zip file, which is read where it lies."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path, self.archive = path, archive
        self._members: dict[PurePosixPath, zipfile.ZipInfo] = {}

    def listing(self) -> Listing:
        """Returns what lies in it, less hidden files and folders.

        Raises:
            UserError: It has a name that leads out of it, as `../a.png`.
        """
        folders: set[PurePosixPath] = set()
        for member in self.archive.infolist():
            name = PurePosixPath(_true_name(member).replace("\\", "/"))
            if name.is_absolute() or ".." in name.parts:
                raise UserError(f"--dataset: expected names within the archive, got {str(name)!r} in {self.path}")
            if any(map(_is_hidden, name.parts)):
                continue
            if member.is_dir():
                folders.add(name)
            elif name.suffix.lower() in SUFFIXES:
                self._members[name] = member
                folders.update(name.parents)
        pictures = sorted(self._members)
        stamps = [(self._members[name].file_size, self._members[name].CRC) for name in pictures]
        return Listing(pictures, stamps, sorted(folders))

    def open(self, picture: PurePosixPath) -> bytes:
        """Returns the bytes of a picture.

        Raises:
            UnreadablePictureError: It is damaged, encrypted, or larger than any picture.
        """
        member = self._members[picture]
        if member.file_size > MAX_MEMBER_BYTES:
            raise UnreadablePictureError(f"it has {member.file_size:,} bytes")
        try:
            return self.archive.read(member)
        except (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
            raise UnreadablePictureError(one_line(error)) from error


Source = Folder | Zip


@contextlib.contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Yields the source at a path, open.

    Raises:
        UserError: It is neither a folder nor a .zip file that can be read.
    """
    if path.is_dir():
        yield Folder(path)
        return
    with open_regular(path, "--dataset") as file:
        if path.suffix.lower() != ".zip":
            raise UserError(f"--dataset: expected a folder, .zip, .npy or .npz file of images, got {path}")
        try:
            check_filled(file)
            archive = zipfile.ZipFile(file)
        # What a damaged list of members raises.
        except (OSError, zipfile.BadZipFile, ValueError, LookupError, NotImplementedError, struct.error) as error:
            raise UserError(f"--dataset: cannot read {path}: {one_line(error)}") from error
        with archive:
            yield Zip(path, archive)


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))


def _true_name(member: zipfile.ZipInfo) -> str:
    """Returns a member's name, which some archivers store in UTF-8 and do not say so."""
    if not member.flag_bits & 0x800:  # then Python has taken it for code page 437
        with contextlib.suppress(UnicodeError):
            return member.filename.encode("cp437").decode("utf-8")
    return member.filename
