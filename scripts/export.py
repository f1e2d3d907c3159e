"""Writes a trained run's nets for other programs: python scripts/export.py --help"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout works without being installed

from infogan.config.command_line import CHECKPOINT_HELP, FOLDER, make_parser
from infogan.config.export_formats import EXPORT_FORMATS, check_export
from infogan.system.errors import UserError, run_script


def parse_flags() -> argparse.Namespace:
    parser = make_parser(
        "Write G, D and Q of a trained run for other programs, with BatchNorm merged into the layers before it, and "
        "compare what was written with the trained nets: as a safetensors file, as a folder for Hugging Face with a "
        "model card, or as ONNX or TorchScript graphs of any batch size."
    )
    parser.add_argument("run", type=Path, nargs="?", help=CHECKPOINT_HELP)
    parser.add_argument("--format", required=True, choices=(*EXPORT_FORMATS,), help="what to write")
    parser.add_argument(
        "--output", type=Path, help="file or folder to make (default: exports/<name> with the format's ending)"
    )
    parser.add_argument("--name", help="what the exported model is called (default: the run's name)")
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16"),
        default="float32",
        help="of the stored weights; float16, half as large, with safetensors or huggingface (default: float32)",
    )
    parser.add_argument(
        "--seeds",
        type=Path,
        nargs="+",
        default=(),
        metavar="RUN",
        help="evaluated runs of the same configuration, whose scores the model card shows (default: none)",
    )
    parser.add_argument(
        "--encoder",
        action="store_true",
        help="train the encoder, from images to noise, first if the run has none: about a minute (default: no)",
    )
    parser.add_argument("--out-dir", type=FOLDER, default=".", help="folder of runs/, for the newest (default: .)")
    parser.add_argument(
        "--device", default="auto", help="of the trained nets that it is compared with: auto, cpu, cuda or cuda:N"
    )
    flags = parser.parse_args()
    check_export(flags.format, flags.dtype)
    if flags.seeds and flags.format != "huggingface":
        raise UserError(f"--seeds: expected with --format huggingface, which has a model card, got {flags.format!r}")
    return flags


def main() -> None:
    flags = parse_flags()
    from infogan.export import export_run  # not before the flags are right: torch takes seconds

    exported = export_run(
        flags.run,
        flags.format,
        flags.output,
        dtype=flags.dtype,
        name=flags.name,
        seeds=flags.seeds,
        train_encoder=flags.encoder,
        device=flags.device,
        out_dir=flags.out_dir,
    )
    for difference in exported.differences:
        print(
            f"{difference.output}: differs from the trained nets by {difference.largest:.1e} at most "
            f"(largest value {difference.scale:.3g})"
        )
    print(f"{exported.path} ({exported.n_bytes / 1e6:.1f} MB)")


if __name__ == "__main__":
    run_script(main)
