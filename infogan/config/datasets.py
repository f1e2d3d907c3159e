"""The names of the data sets and where each is loaded; needs no torch, so that a wrong name is answered at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any, Literal

from infogan.system.errors import UserError, shown

# A loader takes the data folder and returns an `ImageDataset`; as text, `module:function`, it is loaded when used.
DATASETS: dict[str, str | Callable[[Any], Any]] = {
    "auto": "infogan.data.idx:load_mnist_or_mnist5k",
    "mnist": "infogan.data.idx:load_mnist",
    "mnist5k": "infogan.data.mnist5k:load_mnist5k",
    "fashion": "infogan.data.idx:load_fashion",
    "kmnist": "infogan.data.idx:load_kmnist",
    "emnist-letters": "infogan.data.idx:load_emnist_letters",
    "emnist-balanced": "infogan.data.idx:load_emnist_balanced",
    "usps": "infogan.data.torchvision_sets:load_usps",
    "svhn": "infogan.data.torchvision_sets:load_svhn",
    "cifar10": "infogan.data.torchvision_sets:load_cifar10",
    "celeba": "infogan.data.named_pictures:load_celeba",
    "faces": "infogan.data.named_pictures:load_faces",
    "chairs": "infogan.data.named_pictures:load_chairs",
    "stacked-mnist": "infogan.data.stacked_mnist:load_stacked_mnist",
    "dsprites": "infogan.data.dsprites:load_dsprites",
    "glyphs": "infogan.data.glyphs:load_glyphs",
    "capitals": "infogan.data.glyphs:load_capitals",
}
WHAT_AUTO_MAY_BE = ("mnist", "mnist5k")
# Those that the frozen digit classifier can read.
DIGIT_SETS = frozenset({"auto", *WHAT_AUTO_MAY_BE})
PICTURE_SETS = frozenset({"celeba", "faces", "chairs"})  # their loaders take the images' form too: they decode
OWN_FILES = frozenset({".npy", ".npz", ".zip"})

Channels = Literal["auto", "rgb", "grey"]


@dataclass(frozen=True)
class ImageForm:
    """What images are made to be as they are loaded.

    Attributes:
        size: Side in pixels; None leaves them as they are, or if they are pictures that differ, or have one size above
            64 pixels, makes it 64.
        channels: `rgb`, `grey`, or as the images are.
        background: What shows through transparent pixels: `white`, `black` or #rrggbb.
    """

    size: int | None = None
    channels: Channels = "auto"
    background: str = "white"


AS_THEY_ARE = ImageForm()


def is_own_images(dataset: str) -> bool:
    """Returns whether a data set is a path of one's own images: a folder or a file, which need not be there now."""
    if dataset in DATASETS:
        return False
    # A run may have been on Windows, where `/` parts a path too.
    is_path = dataset.endswith("/") or len(PureWindowsPath(dataset).parts) > 1
    return is_path or Path(dataset).suffix.lower() in OWN_FILES or Path(dataset).exists()


def without_place(dataset: str) -> str:
    """Returns a data set's name; of images of one's own without where they lie, as `pictures/` or `pictures.zip`."""
    if not is_own_images(dataset):
        return dataset
    name = PureWindowsPath(dataset).name or "images"  # of the folder that a run was started in, as `.`
    return name if Path(name).suffix.lower() in OWN_FILES else f"{name}/"


def check_dataset(dataset: str) -> None:
    """Raises UserError unless a data set is known here or a path; that of a saved run may be known elsewhere alone."""
    if dataset not in DATASETS and not is_own_images(dataset):
        raise UserError(f"--dataset: expected {dataset_forms()}, got {shown(dataset)}")


def dataset_forms() -> str:
    """Returns in words what `--dataset` may be."""
    return f"{', '.join(DATASETS)}, or a folder, .zip, .npy or .npz file of images"
