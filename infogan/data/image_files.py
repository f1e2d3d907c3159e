"""Images of one's own, from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from infogan.data.datasets import ImageDataset
from infogan.system.errors import UserError, one_line


def load_image_file(path: Path) -> ImageDataset:
    """Returns the images of a .npy file: uint8, of shape (n, channels, height, width) or (n, height, width).

    Raises:
        UserError: It cannot be read, or holds something else.
    """
    try:
        with path.open("rb") as file:
            images = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"--dataset: cannot read {path}: {one_line(error)}") from error
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise UserError(
            f"--dataset: expected uint8 in [0, 255] of shape (n, channels, height, width) or (n, height, width), "
            f"got {images.dtype} of shape {images.shape} in {path}"
        )
    tensor = torch.from_numpy(images if images.ndim == 4 else images[:, None])
    return ImageDataset.without_labels(str(path.absolute()), tensor)
