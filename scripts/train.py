"""Trains InfoGAN and draws what its codes learned: python scripts/train.py --help"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout works without being installed

from infogan.config.command_line import ResumeRun, StartRun, parse_train_flags
from infogan.config.datasets import is_own_images
from infogan.system.errors import run_script
from infogan.system.paths import check_is_there, given_path


def main() -> None:
    asked = parse_train_flags(sys.argv[1:], "Train InfoGAN, and draw what its codes learned.")
    if asked.dry_run:
        dry_run(asked)
        return
    # Not before the flags are right: torch takes seconds.
    from infogan import api
    from infogan.system import distributed

    if isinstance(asked, ResumeRun):
        api.resume(asked.run, asked.out_dir, asked.epochs, asked.tensorboard, **asked.changes)
    else:
        api.train(asked.config, asked.out_dir, asked.epochs, asked.tensorboard)
    distributed.leave()


def dry_run(asked: StartRun | ResumeRun) -> None:
    """Prints the configuration that would be trained."""
    if isinstance(asked, StartRun):
        config = asked.config
    else:
        from infogan.training.loop import resumed

        _, config = resumed(asked.run, asked.changes, asked.out_dir)
    if is_own_images(config.dataset):
        check_is_there(given_path(config.dataset, "--dataset"), "--dataset")
    print(config.describe())
    if asked.epochs is not None:
        print(f"epochs = {asked.epochs}  # instead of steps, once the images are counted")
    if config.spec.named or config.nets == "content":
        # What codes are told and pose depends on the images, which takes torch and a second or two.
        from infogan.training.loop import instructions

        print("", *instructions(config), sep="\n")


if __name__ == "__main__":
    run_script(main)
