"""The verbs of the package: train a run, go on with it. `scripts/train.py` is a thin shell around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from infogan.config.train_config import TrainConfig
from infogan.training import loop
from infogan.training.run import Run


def train(config: TrainConfig, out_dir: str | Path = ".", epochs: int | None = None, tensorboard: bool = False) -> Run:
    """Trains a new run, writes its pictures, and returns it; see `training.loop.train`."""
    return loop.train(config, out_dir, epochs, _monitor, tensorboard)


def resume(
    run: str | Path,
    out_dir: str | Path | None = None,
    epochs: int | None = None,
    tensorboard: bool = False,
    **changes: Any,
) -> Run:
    """Goes on with a run from its last checkpoint, to its end, and returns it; see `training.loop.resume`."""
    return loop.resume(run, out_dir, epochs, _monitor, tensorboard, **changes)


def _monitor(*model: Any) -> dict[str, float]:
    from infogan.evaluation.scoring import quick_scores  # imported only here: it takes seconds

    return quick_scores(*model)
