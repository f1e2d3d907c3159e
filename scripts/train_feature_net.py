"""Trains the net that images of any kind are measured by: python scripts/train_feature_net.py --help"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a checkout works without being installed

from infogan.config.command_line import FOLDER, check_new_file, check_range, make_parser
from infogan.config.options import MAX_SEED, MAX_STEPS
from infogan.system.errors import run_script

DEFAULT_OUT = ROOT / "infogan" / "assets" / "feature_net.pt"
SHOW_EVERY = 100


def parse_flags() -> argparse.Namespace:
    parser = make_parser(
        "Train the feature net on characters of fonts and on the photographs of CIFAR-10, and write its frozen "
        "weights. About 26 minutes on one thread. The last step is kept; test images are only scored, at the end."
    )
    parser.add_argument(
        "--fonts", type=FOLDER, required=True, help="folder of fonts, searched below: TrueType, OpenType, WOFF"
    )
    parser.add_argument(
        "--dataset", default="cifar10", help="photographs in ten classes, as --dataset of train.py (default: cifar10)"
    )
    parser.add_argument("--data-dir", type=FOLDER, default="data", help="folder of data sets (default: data)")
    parser.add_argument("--steps", type=int, default=3000, help="of 192 characters and 64 photographs (default: 3000)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and views (default: 0)")
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, help="weight file, replaced if there (default: the package's own)"
    )
    flags = parser.parse_args()
    check_range(flags, steps=(1, MAX_STEPS), seed=(0, MAX_SEED))
    check_new_file(flags.out, "--out")
    return flags


def main() -> None:
    flags = parse_flags()
    import torch  # not before the flags are right: torch takes seconds

    from infogan.data.datasets import load_dataset
    from infogan.evaluation.classifier import classifier_accuracy
    from infogan.evaluation.feature_net import N_PHOTOGRAPH_CLASSES, SIDE_PX, FeatureNet
    from infogan.evaluation.feature_net_training import Progress, draw_characters, find_fonts, train_feature_net
    from infogan.evaluation.shipped_nets import save_shipped
    from infogan.system.errors import UserError

    fonts = find_fonts(flags.fonts)
    characters = draw_characters(fonts)
    photographs = load_dataset(flags.dataset, flags.data_dir)
    shape, n_classes = tuple(photographs.images.shape[1:]), len(photographs.labels.unique())
    n_test = len(photographs.test_labels)
    if shape != (3, SIDE_PX, SIDE_PX) or n_classes != N_PHOTOGRAPH_CLASSES or not n_test:
        raise UserError(
            f"--dataset: expected 3 x {SIDE_PX} x {SIDE_PX} in {N_PHOTOGRAPH_CLASSES} classes, some kept apart as test "
            f"images, got {' x '.join(map(str, shape))} in {n_classes} classes, and {n_test:,} test images"
        )
    print(
        f"fonts: {len(fonts)}; characters: {len(characters[0]):,}; photographs: {len(photographs.images):,}", flush=True
    )
    started = time.perf_counter()

    def show(progress: Progress) -> None:
        if progress.step % SHOW_EVERY == 0:
            print(
                f"step {progress.step}/{flags.steps}  characters {progress.characters_nats:.3f} nats  "
                f"photographs {progress.photographs_nats:.3f} nats  {time.perf_counter() - started:.0f} s",
                flush=True,
            )

    torch.manual_seed(flags.seed)
    net = FeatureNet().to(memory_format=torch.channels_last)
    train_feature_net(
        net,
        characters,
        (photographs.images, photographs.labels),
        steps=flags.steps,
        seed=flags.seed,
        on_step=show,
    )
    digest = save_shipped(net, flags.out)
    accuracy = classifier_accuracy(lambda x: net.logits(net(x))[1], photographs.test_images, photographs.test_labels)
    print(f"accuracy of {n_test:,} test photographs {accuracy:.4f}  {flags.out}  sha256 {digest}")


if __name__ == "__main__":
    run_script(main)
