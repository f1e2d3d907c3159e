"""What is fastest on this machine, measured on steps of a run's own before it starts, and then saved with the run."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import torch
from torch import Tensor

from infogan.config.train_config import TrainConfig
from infogan.system import distributed
from infogan.system.errors import NonFiniteLossError
from infogan.system.runtime import (
    has_bfloat16,
    resolve_matmul,
    resolve_precision,
    resolve_threads,
)
from infogan.training.trainer import Trainer

MIN_STEPS = 600  # of a run that is measured: up to 3% of them are spent on it
TIMED_SECONDS, TIMED_STEPS = 0.1, 5  # at most, of each candidate, after a step to warm up; but a step at least
MARGIN = 0.97  # of the time of the first candidate: what is not clearly faster than that is no reason to leave it

NAMES = {"onednn": "oneDNN", "default": "torch's own library"}


def tuned(config: TrainConfig, images: Tensor, device: torch.device) -> tuple[dict[str, Any], str]:
    """Returns what `precision`, `matmul` and `threads` of a run are to be, by name, and a line on what was measured.

    What is given stays, and with a given precision nothing is measured: who gives it wants a run repeated. Otherwise
    the fastest is taken, measured on up to six steps each of one trainer, which is thrown away. A run of fewer steps
    than `MIN_STEPS`, or of several ranks, is not worth it and takes what `resolve_precision` and `resolve_matmul` say.
    The line is empty where nothing was measured; its seconds are those of the steps.

    Args:
        config: Of the run.
        images: To train on; only read.
        device: Where.
    """
    config = dataclasses.replace(config, threads=resolve_threads(config.threads))
    candidates = _candidates(config, device)
    is_open = config.precision == "auto" and len(candidates) > 1
    if not is_open or config.steps < MIN_STEPS or distributed.n_ranks() > 1:
        precision, matmul = resolve_precision(config.precision, device), resolve_matmul(config.matmul, device)
        return {"precision": precision, "matmul": matmul, "threads": config.threads}, ""
    trainer = Trainer(candidates[0], images)  # most of its start is torch's own, and is not paid again
    started = time.perf_counter()
    seconds = [_step_seconds(trainer, candidate) for candidate in candidates]
    fastest = min(range(len(candidates)), key=seconds.__getitem__)
    if seconds[fastest] > MARGIN * seconds[0]:
        fastest = 0
    found = ", ".join(
        f"{one.precision} by {NAMES[one.matmul]} {1000 * took:.0f} ms a step"
        for one, took in zip(candidates, seconds, strict=True)
    )
    chosen = candidates[fastest]
    line = (
        f"fastest here: {chosen.precision} by {NAMES[chosen.matmul]} ({found}; threads: {chosen.threads}; "
        f"measured in {time.perf_counter() - started:.1f} s)"
    )
    return {"precision": chosen.precision, "matmul": chosen.matmul, "threads": chosen.threads}, line


def _candidates(config: TrainConfig, device: torch.device) -> list[TrainConfig]:
    """Returns what could be fastest, as far as the configuration leaves it open; what is usual comes first."""
    precisions = ["float32", "bfloat16"] if has_bfloat16(device) else ["float32"]
    matmuls = [resolve_matmul(config.matmul, device)]
    if config.matmul == "auto" and matmuls == ["onednn"]:
        matmuls.append("default")
    # In bfloat16 it is oneDNN that multiplies, whatever is set for float32.
    pairs = [(p, m) for p in precisions for m in matmuls if p == "float32" or m == matmuls[0]]
    return [dataclasses.replace(config, precision=precision, matmul=matmul) for precision, matmul in pairs]


def _step_seconds(trainer: Trainer, config: TrainConfig) -> float:
    """Returns the seconds of a step, the fastest of a few; infinity where training falls apart at once."""
    trainer.calculate_as(config)
    steps: list[float] = []
    try:
        trainer.train_step()
        while not steps or (sum(steps) < TIMED_SECONDS and len(steps) < TIMED_STEPS):
            started = time.perf_counter()
            trainer.train_step()
            steps.append(time.perf_counter() - started)
    except NonFiniteLossError:
        return math.inf  # the run itself will say so
    return min(steps)
