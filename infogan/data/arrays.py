"""Images in arrays: `.npy` and `.npz` files, which are checked, and images in another size or other channels.

Axes: n images, ch h w image.
"""

from __future__ import annotations

import dataclasses
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from infogan.config.datasets import ImageForm
from infogan.data.datasets import ImageDataset
from infogan.data.pictures import fit, to_array
from infogan.system.errors import UserError, one_line
from infogan.system.readers import check_filled, open_regular, read_array

MAX_NAMED = 10  # files, or classes, in what is printed
SHAPES = "(n, channels, height, width) or (n, height, width)"
CHANNELS_FIRST = ".transpose(0, 3, 1, 2)"


def load_npy(path: Path) -> ImageDataset:
    """Returns the images of a .npy file: uint8, of shape (n, channels, height, width) or (n, height, width).

    Raises:
        UserError: It cannot be read, or holds something else; the message says how to make images of it.
    """
    array = read_array(path, "--dataset", lambda n_bytes: check_memory(n_bytes, str(path)))
    images = checked_images(array, str(path))
    return ImageDataset.without_labels(str(path.absolute()), torch.from_numpy(images))


def described(found: ImageDataset, made: ImageDataset) -> ImageDataset:
    """Returns the images of a .npy or .npz file with notes on them.

    Args:
        found: As they are in the file.
        made: As they are to be.
    """
    notes = (
        f"{made.name}: {len(made.images):,} images",
        f"found: {form_in_words(found.images)}",
        f"made of them: {form_in_words(made.images)}",
        *classes_in_words(made.class_names),
    )
    return dataclasses.replace(made, notes=notes)


def form_in_words(images: UInt8[torch.Tensor, "n ch h w"]) -> str:
    """Returns how large images are, and their channels."""
    channels = {1: "grey", 3: "RGB"}.get(images.shape[1], f"{images.shape[1]} channels")
    return f"{images.shape[3]} x {images.shape[2]} px, {channels}"


def classes_in_words(class_names: tuple[str, ...]) -> list[str]:
    """Returns a line on the classes, if there are any."""
    shown = ", ".join(class_names[:MAX_NAMED]) + (", ..." if len(class_names) > MAX_NAMED else "")
    return [f"classes, for scoring alone: {len(class_names):,} ({shown})"] if class_names else []


def load_npz(path: Path) -> ImageDataset:
    """Returns the images of a .npz file: its array `images`, as in a .npy file, and `labels` if it is there.

    Labels are integers, one for each image; the classes are named by them. There are no test images.

    Raises:
        UserError: It cannot be read, has no such arrays, or they hold something else.
    """
    arrays = _read_npz(path)
    if "images" not in arrays:
        raise UserError(f"--dataset: expected an array 'images' in {path}, got {', '.join(arrays) or 'none'}")
    images = torch.from_numpy(checked_images(arrays["images"], f"{path}, images"))
    if (labels := arrays.get("labels")) is None:
        return ImageDataset.without_labels(str(path.absolute()), images)
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise UserError(
            f"--dataset: expected {len(images)} integers, one for each image, "
            f"got {labels.dtype} of shape {labels.shape} in {path}, labels"
        )
    values, classes = np.unique(labels, return_inverse=True)
    return ImageDataset(
        str(path.absolute()),
        images,
        torch.from_numpy(classes.astype(np.int64)),
        images[:0],
        torch.empty(0, dtype=torch.int64),
        tuple(map(str, values.tolist())),
    )


def check_memory(n_bytes: int, what: str) -> None:
    """Checks that images fit into memory twice: what training makes of them is as large again.

    Args:
        n_bytes: Of the images.
        what: They are, for the error.

    Raises:
        UserError: They do not; on a system that does not say how much memory it has, never.
    """
    try:
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return
    if 2 * n_bytes > available:
        raise UserError(
            f"--dataset: expected images of at most {available / 2**31:.1f} GiB, half of this machine's memory, "
            f"got {n_bytes / 2**30:.1f} GiB: {what}"
        )


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays `images` and `labels` of a file, or the names of others with nothing in them."""
    try:
        with open_regular(path, "--dataset") as opened:
            check_filled(opened)
            file = np.load(opened, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array, as a .npy file")
            assert file.zip is not None
            if not file.zip.infolist():
                raise ValueError("it has no arrays")
            check_memory(sum(member.file_size for member in file.zip.infolist()), str(path))
            return {name: _numbers(file, name) if name in ("images", "labels") else np.empty(0) for name in file.files}
    except UserError:
        raise
    # What a damaged archive, or an array in it, raises; NumPy takes its header for Python.
    except (OSError, EOFError, ValueError, LookupError, SyntaxError, MemoryError, zipfile.BadZipFile, zlib.error) as e:
        raise UserError(f"--dataset: cannot read {path}: {one_line(e)}") from e


def _numbers(file: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    try:
        return file[name]
    except ValueError as error:
        if "Object arrays" not in str(error):
            raise
        raise ValueError(f"expected numbers in {name}, got Python objects, which may execute code") from error


def checked_images(images: np.ndarray, where: str) -> UInt8[np.ndarray, "n ch h w"]:
    """Returns an array as images, uint8 NCHW in [0, 255] in the order of C.

    Args:
        images: As a user gave them.
        where: Names them in the error.

    Raises:
        UserError: It holds something else; the message says how to make images of it, where that can be guessed.
    """
    what = f"{images.dtype} of shape {images.shape} in {where}"
    if images.dtype != np.uint8:
        raise UserError(f"--dataset: expected uint8 in [0, 255], got {what}{_to_bytes(images)}")
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise UserError(f"--dataset: expected uint8 of shape {SHAPES}, got {what}")
    if images.ndim == 3:
        images = images[:, None]
    if _has_channels_last(images):
        raise UserError(
            f"--dataset: expected channels before height and width, got {what}; images{CHANNELS_FIRST} puts them there"
        )
    if images.shape[1] == 4:
        raise UserError(
            f"--dataset: expected 1 or 3 channels, got 4, as of RGBA: {what}; images[:, :3] drops the opacity"
        )
    check_values(images, what)
    return np.ascontiguousarray(images)


def check_values(images: UInt8[np.ndarray, "n ch h w"], what: str) -> None:
    """Checks that images show something.

    Args:
        images: In [0, 255].
        what: They are, for the error.

    Raises:
        UserError: All pixels are equal, or they are 0 and 1.
    """
    colour = images[:1, :, :1, :1]
    if (images[0] == colour[0]).all() and (images == colour).all():
        shown = ", ".join(map(str, colour.flatten()))
        raise UserError(f"--dataset: expected images that differ, got {shown} in every pixel: {what}")
    if images.max() == 1:
        raise UserError(
            f"--dataset: expected values up to 255, got 0 and 1 alone, which would be black: {what}; "
            "times 255, 1 is white"
        )


def _to_bytes(images: np.ndarray) -> str:
    """Returns the end of the message that refuses numbers of another kind: how to make uint8 of them, or nothing."""
    if images.dtype.kind not in "biuf" or images.size == 0:
        return ""
    least, most = float(images.min()), float(images.max())
    known = [
        (least >= 0 and most <= 1, "(images * 255).round().astype('uint8')"),
        (least >= -1 and most <= 1, "((images + 1) * 127.5).round().astype('uint8')"),
        (least >= 0 and most <= 255, "images.round().astype('uint8')"),
        (least >= 0 and most <= 65535, f"(images * (255 / {_largest_of_its_bits(most)})).round().astype('uint8')"),
    ]
    turned = CHANNELS_FIRST if _has_channels_last(images) else ""
    way = next((f"; {way}{turned} is" for fits, way in known if fits), "")
    return f" with values from {least:g} to {most:g}{way}"


def _has_channels_last(images: np.ndarray) -> bool:
    return images.ndim == 4 and images.shape[-1] <= 4 < min(images.shape[1:3])


def _largest_of_its_bits(value: float) -> int:
    """Returns the largest number that has as many bits: a camera's 12 are stored as 16."""
    return 2 ** int(max(value, 0)).bit_length() - 1


def in_form(images: UInt8[torch.Tensor, "n ch h w"], form: ImageForm) -> UInt8[torch.Tensor, "n ch2 h2 w2"]:
    """Returns images in the size and with the channels of a form: their centre, resized with antialiasing.

    Raises:
        UserError: They have neither 1 nor 3 channels, and would need another number, or size.
    """
    n, channels, height, width = images.shape
    wanted = {"auto": channels, "rgb": 3, "grey": 1}[form.channels]
    size = (form.size or height, form.size or width)
    if (wanted, *size) == (channels, height, width):
        return images
    if channels not in (1, 3):
        raise UserError(f"--size, --channels: expected images of 1 or 3 channels, got {channels}")
    result = torch.empty((n, wanted, *size), dtype=torch.uint8)
    mode = "RGB" if 3 in (channels, wanted) else "L"  # grey ones take a third of the time
    for i, image in enumerate(images.numpy()):
        picture = Image.fromarray(image.transpose(1, 2, 0) if channels == 3 else image[0]).convert(mode)
        result[i] = torch.from_numpy(to_array(fit(picture, size), wanted))
    return result
