"""Pictures of one's own: a folder or a .zip file of them as one data set, decoded once and kept.

What is a class, and what is kept apart to score by, is read off the folders that the pictures lie in. Both are for
scoring alone.

Axes: n images, ch h w image.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from tqdm import tqdm

from infogan.config.datasets import ImageForm
from infogan.data.arrays import MAX_NAMED, check_memory, check_values, classes_in_words, form_in_words
from infogan.data.cache import cached
from infogan.data.datasets import ImageDataset
from infogan.data.picture_sources import Listing, Source, open_source
from infogan.data.pictures import (
    SUFFIXES,
    UnreadablePictureError,
    decode,
    fit,
    no_warnings,
    picture_size,
    to_array,
)
from infogan.system.errors import UserError, printable

CACHE_FORMAT = 1  # a new number has all pictures decoded anew
MAX_OWN_SIDE_PX = 64  # pictures that agree in a larger size are made this large too, unless --size says otherwise
MOST_UNREADABLE = 0.01  # of the pictures; more than a few strays, and it is the wrong folder or a damaged copy
MAX_CHROMA = 4  # of 255, between the channels of a grey picture in a lossy format


def load_pictures(path: Path, data_dir: Path, form: ImageForm, parts: Mapping[str, str] | None = None) -> ImageDataset:
    """Returns the pictures in a folder or .zip file, and all folders in it, as one data set.

    What was decoded is kept in `data_dir/cache`, and taken from there as long as the pictures are the same.

    Args:
        path: Of the folder or file.
        data_dir: Where the cache is.
        form: What the pictures are made to be.
        parts: `train`, `test` or another part for the name of each picture; None: what their folders say.

    Raises:
        UserError: There are no pictures, or one in a hundred or more cannot be read; `parts` lacks one.
    """
    with open_source(path) as source:
        listing = source.listing()
        if not listing.pictures:
            raise UserError(f"--dataset: expected pictures ({', '.join(sorted(SUFFIXES))}) in {path}, got none")
        name = str(path.absolute())
        if parts is not None and (unlisted := [path for path in listing.pictures if path.name not in parts]):
            raise UserError(
                f"--dataset: expected each picture of {path} in the list of its parts, got {len(unlisted):,} that are "
                f"not there, as {str(unlisted[0])!r}"
            )
        listed = [] if parts is None else [sorted(parts.items())]
        key = json.dumps([CACHE_FORMAT, dataclasses.astuple(form), listing.digest(), *listed])
        stem = re.sub(r"[^\w+-]+", "-", path.absolute().stem)[:60]
        which = hashlib.sha256(json.dumps([name, dataclasses.astuple(form)]).encode()).hexdigest()[:12]
        file = data_dir / "cache" / f"{stem}-{which}.npz"
        return cached(file, key, lambda: _decoded(source, listing, name, form, parts))


# Which picture is in which class, and to score by


@dataclass(frozen=True)
class Arrangement:
    """What the folders of pictures say of them.

    Attributes:
        train: Pictures to learn from.
        test: Pictures to score by; none without a folder of them.
        class_names: Of the classes, sorted; none if not all pictures lie in a folder of a class.
        class_of: The folder of the class of each picture, by its path; empty without classes.
        empty: Class folders without a picture.
    """

    train: list[PurePosixPath]
    test: list[PurePosixPath]
    class_names: tuple[str, ...]
    class_of: dict[PurePosixPath, str]
    empty: list[str]

    def labels(self, pictures: Iterable[PurePosixPath]) -> Int[Tensor, " n"]:
        """Returns the label of each picture; of no picture without classes."""
        index = {name: k for k, name in enumerate(self.class_names)}
        return torch.tensor([index[self.class_of[path]] for path in pictures if path in self.class_of]).long()


def arrange(pictures: Sequence[PurePosixPath], folders: Iterable[PurePosixPath] = ()) -> Arrangement:
    """Returns what the folders of pictures say of them.

    Folders that all pictures lie in say nothing. Of the rest, `train` and `test` divide the pictures, and pictures
    elsewhere are left out; the folder below, or the first one without these two, is the class.
    """
    common = PurePosixPath(os.path.commonpath([path.parent for path in pictures]))
    depth = len(common.parts)
    split_of = {path: path.parts[depth].casefold() for path in pictures}
    train, test = ([path for path in pictures if split_of[path] == split] for split in ("train", "test"))
    if train and test:
        depth += 1
    else:
        train, test = list(pictures), []
    used = train + test
    class_of = {path: path.parts[depth] for path in used if len(path.parts) > depth + 1}
    names = sorted(set(class_of.values()))
    if len(class_of) < len(used) or len(names) < 2:
        return Arrangement(train, test, (), {}, [])
    of_classes = {path.parts[depth] for path in folders if len(path.parts) == depth + 1 and path.is_relative_to(common)}
    return Arrangement(train, test, tuple(names), class_of, sorted(of_classes - {*names}))


def by_list(pictures: Sequence[PurePosixPath], parts: Mapping[str, str]) -> Arrangement:
    """Returns what a list says of pictures, the part that each name is in; there are no classes."""
    train, test = ([path for path in pictures if parts[path.name] == part] for part in ("train", "test"))
    return Arrangement(train, test, (), {}, [])


# Decoding


def _decoded(
    source: Source, listing: Listing, name: str, form: ImageForm, parts: Mapping[str, str] | None
) -> ImageDataset:
    arranged = arrange(listing.pictures, listing.folders) if parts is None else by_list(listing.pictures, parts)
    used = arranged.train + arranged.test
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool, no_warnings():
        sizes = dict(zip(used, pool.map(lambda path: _size_or_reason(source, path), used), strict=True))
        unreadable = {path: found for path, found in sizes.items() if isinstance(found, str)}
        _check_unreadable(unreadable, len(used), name)
        size, found_sizes = None, _sizes_without(sizes, unreadable)
        while size != _common_size(found_sizes, form):
            size = _common_size(found_sizes, form)
            check_memory(3 * len(used) * size[0] * size[1], f"{name} at {_px(size)}; a smaller --size takes less")
            todo = [path for path in used if path not in unreadable]
            pixels, damaged = _pixels(source, todo, size, form, pool)
            unreadable |= damaged
            _check_unreadable(unreadable, len(used), name)
            # What turned out to be damaged may have been the only one of its size: then the size is another one.
            found_sizes = _sizes_without(sizes, unreadable)
    images = torch.from_numpy(_with_channels(pixels, form))
    check_values(images.numpy(), name)
    train, test = ([path for path in part if path not in unreadable] for part in (arranged.train, arranged.test))
    return ImageDataset(
        name,
        images[: len(train)],
        arranged.labels(train),
        images[len(train) :],
        arranged.labels(test),
        tuple(map(_printable, arranged.class_names)),
        notes=tuple(_notes(name, arranged, found_sizes, images, unreadable, len(listing.pictures) - len(used))),
    )


def _pixels(
    source: Source, pictures: Sequence[PurePosixPath], size: tuple[int, int], form: ImageForm, pool: ThreadPoolExecutor
) -> tuple[UInt8[np.ndarray, "n 3 h w"], dict[PurePosixPath, str]]:
    """Returns the pixels of pictures of one size, less those that are damaged, and why these are."""
    pixels = np.empty((len(pictures), 3, *size), np.uint8)

    def decode_into(i: int) -> str | None:
        try:
            picture = decode(source.open(pictures[i]), size, form.background)
        except UnreadablePictureError as error:
            return str(error)
        pixels[i] = to_array(picture if picture.size == size[::-1] else fit(picture, size), 3)
        return None

    damaged = {}
    indices = range(len(pictures))
    with tqdm(total=len(pictures), desc="decoding", unit="picture", leave=False, disable=None) as bar:
        for path, reason in zip(pictures, pool.map(decode_into, indices), strict=True):
            bar.update()
            if reason is not None:
                damaged[path] = reason
    return (pixels[[path not in damaged for path in pictures]] if damaged else pixels), damaged


def _sizes_without(
    sizes: dict[PurePosixPath, tuple[int, int] | str], unreadable: dict[PurePosixPath, str]
) -> set[tuple[int, int]]:
    return {found for path, found in sizes.items() if path not in unreadable and not isinstance(found, str)}


def _size_or_reason(source: Source, path: PurePosixPath) -> tuple[int, int] | str:
    try:
        return picture_size(source.open(path))
    except UnreadablePictureError as error:
        return str(error)


def _check_unreadable(unreadable: dict[PurePosixPath, str], n: int, name: str) -> None:
    if len(unreadable) >= max(1, MOST_UNREADABLE * n) and unreadable:
        path, reason = next(iter(unreadable.items()))
        raise UserError(
            f"--dataset: expected fewer than one unreadable picture in a hundred, got {len(unreadable)} of {n} "
            f"in {name}, as {str(path)!r}: {reason}"
        )


def _common_size(sizes: set[tuple[int, int]], form: ImageForm) -> tuple[int, int]:
    """Returns height and width of the images: as asked for, or their own if they agree and are small."""
    if form.size is not None:
        return form.size, form.size
    if len(sizes) == 1 and max(own := next(iter(sizes))) <= MAX_OWN_SIDE_PX:
        return own
    return MAX_OWN_SIDE_PX, MAX_OWN_SIDE_PX


def _with_channels(rgb: UInt8[np.ndarray, "n 3 h w"], form: ImageForm) -> UInt8[np.ndarray, "n ch h w"]:
    """Returns images as RGB, or grey where that is asked for, or `auto` finds that no pixel has a colour."""
    if form.channels == "rgb" or (form.channels == "auto" and any(np.ptp(i, axis=0).max() > MAX_CHROMA for i in rgb)):
        return rgb
    luma = np.array([19595, 38470, 7471], np.uint32)  # of 65536: ITU-R 601, as Pillow rounds it
    return np.stack([((np.tensordot(luma, image, 1) + 32768) >> 16).astype(np.uint8)[None] for image in rgb])


# What the user is told


def _notes(
    name: str,
    arranged: Arrangement,
    sizes: set[tuple[int, int]],
    images: Tensor,
    unreadable: dict[PurePosixPath, str],
    n_elsewhere: int,
) -> Iterator[str]:
    """Yields in words what was found and what was made of it."""
    n_test = sum(path not in unreadable for path in arranged.test)
    parts = f": {len(images) - n_test:,} to learn from, {n_test:,} in test" if n_test else ""
    yield f"{name}: {len(images):,} pictures{parts}"
    least, most = min(sizes), max(sizes)
    yield "found: " + (f"{_px(least)}" if least == most else f"{len(sizes):,} sizes, from {_px(least)} to {_px(most)}")
    yield f"made of them: {form_in_words(images)}"
    yield from classes_in_words(tuple(map(_printable, arranged.class_names)))
    for path, reason in list(unreadable.items())[:MAX_NAMED]:
        yield f"warning: left out {str(path)!r}: {reason}"
    if len(unreadable) > MAX_NAMED:
        yield f"warning: left out {len(unreadable) - MAX_NAMED} more that cannot be read"
    if arranged.empty:
        yield f"warning: no pictures in {', '.join(map(repr, arranged.empty[:MAX_NAMED]))}"
    if n_elsewhere:
        yield f"warning: left out {n_elsewhere:,} pictures that are neither in train nor in test"


def _printable(name: str) -> str:
    """Returns a folder's name as text of one line: what is no Unicode could be written to no file."""
    return printable(name.encode(errors="replace").decode())


def _px(size: Sequence[int]) -> str:
    return f"{size[1]} x {size[0]} px"
