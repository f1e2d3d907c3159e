"""Trains the digit classifier that samples are read with: python scripts/train_classifier.py --help"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a checkout works without being installed

from infogan.config.command_line import FOLDER, check_new_file, check_range, make_parser
from infogan.config.options import MAX_EPOCHS, MAX_SEED
from infogan.system.errors import run_script

DEFAULT_OUT = ROOT / "infogan" / "assets" / "digit_classifier.pt"


def parse_flags() -> argparse.Namespace:
    parser = make_parser(
        "Train the digit classifier on the 60,000 MNIST digits, and write its frozen weights. About 4 minutes on "
        "2 CPU cores. The last epoch is kept; the test digits are only scored, at the end."
    )
    parser.add_argument("--data-dir", type=FOLDER, default="data", help="folder of the IDX files (default: data)")
    parser.add_argument("--epochs", type=int, default=12, help="passes over the training digits (default: 12)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation (default: 0)")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, help="weight file, replaced if there (default: the package's own)"
    )
    flags = parser.parse_args()
    check_range(flags, epochs=(1, MAX_EPOCHS), seed=(0, MAX_SEED))
    check_new_file(flags.out, "--out")
    return flags


def main() -> None:
    flags = parse_flags()
    import torch  # not before the flags are right: torch takes seconds

    from infogan.data.datasets import load_dataset
    from infogan.evaluation.classifier import (
        DigitClassifier,
        EpochReport,
        classifier_accuracy,
        train_digit_classifier,
    )
    from infogan.evaluation.shipped_nets import save_shipped
    from infogan.system.runtime import resolve_device

    device = resolve_device(flags.device)
    digits = load_dataset("mnist", flags.data_dir)
    started = time.perf_counter()

    def show(report: EpochReport) -> None:
        print(
            f"epoch {report.epoch}/{flags.epochs}  loss {report.loss_nats:.4f} nats  "
            f"lr {report.learning_rate:.2e}  {time.perf_counter() - started:.0f} s",
            flush=True,
        )

    torch.manual_seed(flags.seed)
    classifier = DigitClassifier().to(memory_format=torch.channels_last).to(device)
    train_digit_classifier(
        classifier, digits.images, digits.labels, epochs=flags.epochs, seed=flags.seed, on_epoch=show
    )
    accuracy = classifier_accuracy(classifier.logits, digits.test_images, digits.test_labels, device)
    digest = save_shipped(classifier, flags.out)
    print(f"test accuracy {accuracy:.4f} ({len(digits.test_images):,} digits)  {flags.out}  sha256 {digest}")


if __name__ == "__main__":
    run_script(main)
