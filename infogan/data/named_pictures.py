"""Data sets that are folders or archives of pictures: CelebA, and the faces and chairs of the paper's appendix."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from infogan.config.datasets import ImageForm
from infogan.data.datasets import ImageDataset
from infogan.data.picture_sets import load_pictures
from infogan.system.errors import UserError
from infogan.system.readers import read_bytes

MAX_PARTITION_BYTES = 2**26
PARTS = {"train": 0, "test": 2}  # 1 is for validation, and left out


def load_celeba(data_dir: Path, form: ImageForm) -> ImageDataset:
    """Returns CelebA, its aligned faces: `img_align_celeba`, a folder or .zip file, in the data folder or `celeba/`.

    If `list_eval_partition.txt` lies beside it, its training images are learned from and its test images kept apart.
    """
    places = [data_dir, data_dir / "celeba", data_dir / "CelebA"]
    found = load_pictures(_find("celeba", "img_align_celeba", places), data_dir, form)
    list_file = next((path for place in places if (path := place / "list_eval_partition.txt").is_file()), None)
    if list_file is None:
        return dataclasses.replace(found, name="celeba")
    part = _read_partition(list_file, len(found.images))
    train, test = (found.images[part == PARTS[name]] for name in ("train", "test"))
    note = f"by {list_file}: {len(train):,} to learn from, {len(test):,} test images"
    return dataclasses.replace(found, name="celeba", images=train, test_images=test, notes=(*found.notes, note))


def load_faces(data_dir: Path, form: ImageForm) -> ImageDataset:
    """Returns the pictures in `faces`, a folder or .zip file in the data folder; the paper's were rendered ones."""
    return dataclasses.replace(load_pictures(_find("faces", "faces", [data_dir]), data_dir, form), name="faces")


def load_chairs(data_dir: Path, form: ImageForm) -> ImageDataset:
    """Returns the pictures in `chairs`, a folder or .zip file in the data folder; the paper's were rendered ones."""
    return dataclasses.replace(load_pictures(_find("chairs", "chairs", [data_dir]), data_dir, form), name="chairs")


def _find(name: str, stem: str, places: list[Path]) -> Path:
    for place in places:
        for path in (place / stem, place / f"{stem}.zip"):
            if path.exists():
                return path
    raise UserError(f"--data-dir: expected {stem} for {name}, a folder or .zip file, in {places[0]}, got neither")


def _read_partition(path: Path, n: int) -> Int[Tensor, " n"]:
    """Returns the part that each picture is in; the file has a line for each, in the order of their names."""
    lines = read_bytes(path, "--data-dir", MAX_PARTITION_BYTES).decode(errors="replace").split("\n")
    rows = [line.split() for line in lines if line.strip()]
    if len(rows) != n or not all(len(row) == 2 and row[1] in ("0", "1", "2") for row in rows):
        raise UserError(f"--data-dir: expected a name and 0, 1 or 2 in each of {n:,} lines of {path}, got others")
    return torch.tensor([int(part) for _, part in sorted(rows)])
