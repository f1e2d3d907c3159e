"""Losses and L_I of short runs, one thread, float32: what they were when they were last meant to change.

python tests/golden.py        prints the series as they are now, for tests/golden.json
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from infogan import TrainConfig, Trainer, load_dataset
from infogan.extensions import equivariance, overclusters, schedule

FILE = Path(__file__).with_name("golden.json")
N_STEPS = 12
N_VIEWS = 500  # that slopes are measured on, as all tests have it
PHASES = {"MI_DELAY_STEPS": 2, "MI_RAMP_STEPS": 4}  # after a merge at step 3: all phases pass


# After a few steps over-clusters hardly differ, and rounding would choose the groups, and the head whose are kept.
FIXED_CHOICES = {
    "merge_clusters": lambda joint, n_groups: torch.arange(len(joint)) % n_groups,
    "information": lambda joints: torch.zeros(len(joints)),
}


_COMMON = {"dataset": "mnist5k", "device": "cpu", "precision": "float32", "width": 8, "batch_size": 32, "seed": 3}
# A quarter of the usual rates: Adam's first steps turn the last digits of small gradients into whole steps.
_COMMON |= {"lr_g": 2.5e-4, "lr_d": 1e-4, "steps": N_STEPS}
_DIGITS = {**_COMMON, "lr_heads": 5e-4, "merge_step": 3}
CASES = {
    "paper": TrainConfig.from_preset("paper", **_COMMON),
    "default": TrainConfig(**_DIGITS),
    "baseline": TrainConfig(**_DIGITS, baseline=True),
}


def series(config: TrainConfig) -> list[dict[str, float]]:
    """Returns what each step of a run returns."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        trainer = Trainer(config, load_dataset(config.dataset, "unused").images)
        return [{name: value.item() for name, value in trainer.train_step().items()} for _ in range(N_STEPS)]
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    for name, value in PHASES.items():
        setattr(schedule, name, value)
    for name, value in FIXED_CHOICES.items():
        setattr(overclusters, name, value)
    equivariance.N_VIEWS = N_VIEWS
    print(json.dumps({name: series(config) for name, config in CASES.items()}, indent=1))
