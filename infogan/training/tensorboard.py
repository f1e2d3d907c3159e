"""A training as TensorBoard shows it: what a recorder keeps, as events beside the run."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from infogan.system.errors import UserError, one_line, show_warning

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

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

    What cannot be written is a warning, and then nothing more is: TensorBoard raises a first error at every later call.

    Args:
        run_folder: As in `runs/<name>`.
        first_step: Where the run goes on: what an earlier process wrote of later steps is hidden.
    """

    def __init__(self, run_folder: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # imported only here: it takes seconds

        self._writer: SummaryWriter | None = SummaryWriter(str(run_folder / FOLDER), purge_step=first_step + 1)

    def write_metrics(self, row: dict[str, float]) -> None:
        """Adds a row of metrics.jsonl to the curves: a curve for each of its fields but the step."""

        def write(writer: SummaryWriter) -> None:
            for name, value in row.items():
                if name != "step":
                    writer.add_scalar(name, value, row["step"])
            writer.flush()

        self._write(write)

    def show(self, name: str, picture: UInt8[np.ndarray, "height width 3"], step: int) -> None:
        """Adds a picture."""
        self._write(lambda writer: writer.add_image(name, picture, step, dataformats="HWC"))

    def close(self) -> None:
        """Writes what is left, and closes the file."""
        self._write(lambda writer: writer.close())

    def _write(self, write: Callable[[SummaryWriter], None]) -> None:
        if self._writer is None:
            return
        try:
            write(self._writer)
        except Exception as error:  # of any kind: TensorBoard's own thread may have met it
            show_warning(f"{FOLDER}/ takes no more: {one_line(error)}")
            self._writer = None
