"""Data sets that are folders or archives of pictures: CelebA, and the faces and chairs of the paper's appendix."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from infogan.config.datasets import ImageForm
from infogan.data.datasets import ImageDataset
from infogan.data.picture_sets import load_pictures
from infogan.system.errors import UserError, shown
from infogan.system.readers import read_bytes

MAX_PARTITION_BYTES = 2**26
PARTS = {"0": "train", "1": "validation", "2": "test"}


def load_celeba(data_dir: Path, form: ImageForm) -> ImageDataset:
    """Returns CelebA, its aligned faces: `img_align_celeba`, a folder or .zip file, in the data folder or `celeba/`.

    If `list_eval_partition.txt` lies beside it, its training images are learned from and its test images kept apart.
    """
    places = [data_dir, data_dir / "celeba", data_dir / "CelebA"]
    list_file = next((path for place in places if (path := place / "list_eval_partition.txt").is_file()), None)
    parts = None if list_file is None else _read_partition(list_file)
    found = load_pictures(_find("celeba", "img_align_celeba", places), data_dir, form, parts)
    return dataclasses.replace(found, name="celeba")


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


def _read_partition(path: Path) -> dict[str, str]:
    """Returns the part that each picture is in, by its name; the file has a line for each."""
    lines = read_bytes(path, "--data-dir", MAX_PARTITION_BYTES).decode(errors="replace").split("\n")
    rows = [line.split() for line in lines if line.strip()]
    for row in rows:
        if len(row) != 2 or row[1] not in PARTS:
            raise UserError(f"--data-dir: expected a name and 0, 1 or 2 in each line of {path}, got {shown(row)}")
    return {name: PARTS[part] for name, part in rows}
