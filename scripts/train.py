"""Trains InfoGAN and draws what its codes learned: python scripts/train.py --help"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout works without being installed

from infogan.config.train_config import describe, parse_train_flags
from infogan.system.errors import run_script


def main() -> None:
    config, given = parse_train_flags(sys.argv[1:], "Train InfoGAN, and draw what its codes learned.")
    if config.dry_run and config.resume is None:
        print(describe(config))
        return
    from infogan.system import distributed as ranks  # neither before the flags are right: torch takes seconds
    from infogan.training.trainer import resumed, train

    if config.dry_run:
        print(describe(resumed(config, given)[1]))
        return
    train(config, given)
    ranks.leave()


if __name__ == "__main__":
    run_script(main)
