"""A training as TensorBoard shows it: what a recorder keeps, as events beside the run."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from infogan.system.errors import UserError

FOLDER = "tensorboard"  # in the run's


def check_tensorboard() -> None:
    """Checks that TensorBoard's package is there.

    Raises:
        UserError: It is not; the message says how to install it.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise UserError(
            "--tensorboard: expected the package tensorboard, which is not installed; pip install tensorboard"
        )


class EventWriter:
    """Writes rows of metrics as curves, and pictures, to `<run>/tensorboard/`.

    Args:
        run_folder: As in `runs/<name>`.
        first_step: Where the run goes on: what an earlier process wrote of later steps is hidden.
    """

    def __init__(self, run_folder: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # imported only here: it takes seconds

        self._writer = SummaryWriter(str(run_folder / FOLDER), purge_step=first_step + 1)

    def write_metrics(self, row: dict[str, float]) -> None:
        """Adds a row of metrics.jsonl to the curves: a curve for each of its fields but the step."""
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, row["step"])
        self._writer.flush()

    def show(self, name: str, picture: UInt8[np.ndarray, "height width 3"], step: int) -> None:
        """Adds a picture."""
        self._writer.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        """Writes what is left, and closes the file."""
        self._writer.close()
