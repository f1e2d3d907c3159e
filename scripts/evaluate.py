"""Says in numbers what a run learned, or what many seeds did: python scripts/evaluate.py --help"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout works without being installed

from infogan.config.command_line import CHECKPOINT_HELP, FOLDER, check_new_file, check_range, make_parser
from infogan.config.options import MAX_SEED
from infogan.system.errors import UserError, as_warning, run_script

LEAST_SAMPLES, MOST_SAMPLES = 100, 1_000_000


def parse_flags() -> argparse.Namespace:
    parser = make_parser(
        "Measure what a run learned, on images and labels that it never saw: L_I of each code, clustering, what each "
        "code controls, image quality. Or, with --report, put the evaluations of many runs into one table."
    )
    parser.add_argument("run", type=Path, nargs="?", help=CHECKPOINT_HELP)
    parser.add_argument(
        "--data-dir", type=FOLDER, help="folder of the IDX files (default: where the run had them, else data)"
    )
    parser.add_argument("--dataset", help="where images of your own lie now (default: where the run had them)")
    parser.add_argument(
        "--out-dir", type=FOLDER, help="folder of runs/ and samples/ (default: ., and for pictures where the run is)"
    )
    parser.add_argument("--json", type=Path, help="file of the measures (default: runs/<name>/evaluation.json)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all that is drawn (default: 0)")
    parser.add_argument("--n-samples", type=int, default=10_000, help="fresh samples to measure (default: 10000)")
    parser.add_argument(
        "--inception",
        type=Path,
        metavar="FILE",
        help="TorchScript file of the Inception network: also measure Inception FID and KID (minutes on a CPU)",
    )
    parser.add_argument(
        "--features",
        action="store_true",
        help="also measure digits by the Fréchet feature distance, as all other images are",
    )
    parser.add_argument("--report", type=Path, nargs="+", metavar="RUN", help="evaluated runs to put into one table")
    parser.add_argument("--bar", type=float, default=0.95, help="accuracy that a run should reach (default: 0.95)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="with --report: also write it as Markdown")
    flags = parser.parse_args()
    check_range(flags, seed=(0, MAX_SEED), n_samples=(LEAST_SAMPLES, MOST_SAMPLES))
    if not 0 <= flags.bar <= 1:
        raise UserError(f"--bar: expected a number in [0, 1], got {flags.bar}")
    if flags.inception is not None and not flags.inception.is_file():
        raise UserError(f"--inception: expected a file, got {str(flags.inception)!r}")
    if flags.report is None and flags.markdown is not None:
        raise UserError(f"--markdown: expected with --report, got {str(flags.markdown)!r} alone")
    to_evaluate = {"a run": flags.run, "--json": flags.json, "--inception": flags.inception}
    given = [f"{name} as well: {str(value)!r}" for name, value in to_evaluate.items() if value is not None]
    given += ["--features as well"] if flags.features else []
    if flags.report is not None and given:
        raise UserError(f"--report: expected evaluated runs alone, got {given[0]}")
    check_new_file(flags.json, "--json")
    check_new_file(flags.markdown, "--markdown")
    return flags


def evaluate(flags: argparse.Namespace) -> None:
    from infogan.evaluation.figures import draw_evaluation
    from infogan.evaluation.files import evaluation_path, save_evaluation
    from infogan.evaluation.scoring import evaluate
    from infogan.evaluation.tables import describe_evaluation
    from infogan.system.runtime import make_deterministic
    from infogan.training.checkpoint import find_checkpoint
    from infogan.training.run import Run
    from infogan.weights.pretrained import is_pretrained

    checkpoint = find_checkpoint(flags.run, flags.out_dir or ".", "run")
    path = flags.json or evaluation_path(checkpoint)
    if flags.json is None and is_pretrained(checkpoint):
        raise UserError("--json: expected a file, since pretrained weights keep the measures they came with, got none")
    check_new_file(path, "--json")
    make_deterministic()
    evaluation = evaluate(
        checkpoint,
        flags.data_dir,
        flags.device,
        flags.seed,
        flags.n_samples,
        inception=flags.inception,
        features=flags.features,
        dataset=flags.dataset,
    )
    save_evaluation(evaluation, path)  # first: nothing that follows can lose it
    print(describe_evaluation(evaluation), end="\n\n")
    with as_warning("confusion.png or factors.png"):
        pictures = Run.for_pictures(checkpoint, evaluation["run"], flags.out_dir).make_samples_folder()
        for picture in draw_evaluation(evaluation, pictures):
            print(picture)
    print(path)


def report(flags: argparse.Namespace) -> None:
    from infogan.evaluation.files import read_evaluation
    from infogan.evaluation.report import report_notes, report_tables
    from infogan.system.files import write_atomically

    evaluations = [read_evaluation(run, "--report") for run in flags.report]
    tables, notes = report_tables(evaluations, flags.bar), report_notes(evaluations)
    if flags.markdown is not None:
        content = "\n\n".join([*(table.markdown() for table in tables), *notes]) + "\n"
        write_atomically(flags.markdown, lambda file: file.write(content.encode()), "--markdown")
    print("\n\n".join([*(table.plain() for table in tables), *notes]))


def main() -> None:
    flags = parse_flags()
    # Neither imports torch before the flags are right: it takes seconds.
    (evaluate if flags.report is None else report)(flags)


if __name__ == "__main__":
    run_script(main)
