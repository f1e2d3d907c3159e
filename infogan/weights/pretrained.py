"""The trained weights that the package ships, each in a folder of its name."""

from __future__ import annotations

from pathlib import Path

from infogan.weights.files import WEIGHTS_FILE

FOLDER = Path(__file__).resolve().parents[1] / "pretrained"


def pretrained_names() -> list[str]:
    """Returns the names by which `load_nets` knows shipped weights."""
    return sorted(file.parent.name for file in FOLDER.glob(f"*/{WEIGHTS_FILE}"))


def pretrained_file(name: str) -> Path | None:
    """Returns the file of the shipped weights of this name, or None if there are none."""
    return FOLDER / name / WEIGHTS_FILE if name in pretrained_names() else None


def is_pretrained(file: Path) -> bool:
    """Returns whether a file is one of the package's, so that nothing belongs beside it."""
    return FOLDER in file.resolve().parents
