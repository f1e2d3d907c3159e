"""Draws what the codes of a trained run do: python scripts/interpolate.py --help"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout works without being installed

from infogan.config.command_line import CHECKPOINT_HELP, FOLDER, check_range, make_parser
from infogan.config.options import MAX_SEED
from infogan.config.spec import LatentSpec
from infogan.system.errors import UserError, run_script


def parse_flags() -> argparse.Namespace:
    parser = make_parser(
        "Draw factor sweeps, a two-code grid, and linear and spherical interpolations of a trained run, "
        "as PNG files and, with --gif, as looping GIFs."
    )
    parser.add_argument("--checkpoint", type=Path, help=CHECKPOINT_HELP)
    parser.add_argument(
        "--out-dir", type=FOLDER, help="folder of runs/ and samples/ (default: ., and for pictures where the run is)"
    )
    parser.add_argument("--factor", default="all", help="the code to sweep: c1, c2, ..., or all (default: all)")
    parser.add_argument(
        "--grid", help="two codes for the two-code grid, rows and columns, as in c2,c3 (default: the last two)"
    )
    parser.add_argument("--columns", type=int, default=11, help="values of a continuous code or of t (default: 11)")
    parser.add_argument("--pairs", type=int, default=8, help="pairs of latents to interpolate between (default: 8)")
    parser.add_argument(
        "--category",
        choices=("switch", "hold"),
        default="switch",
        help="between two latents, a category switches midway or is held at the start's value (default: switch)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the latents that are drawn (default: 0)")
    parser.add_argument("--gif", action="store_true", help="also write each as a looping GIF")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    flags = parser.parse_args()
    check_range(flags, columns=(2, 100), pairs=(1, 100), seed=(0, MAX_SEED))
    return flags


def main() -> None:
    flags = parse_flags()
    # Not before the flags are right: torch takes seconds.
    from tqdm import tqdm

    from infogan import auxiliary
    from infogan.evaluation.files import code_to_digit
    from infogan.system.runtime import resolve_device
    from infogan.training.checkpoint import find_checkpoint, load_nets
    from infogan.training.run import Run

    device = resolve_device(flags.device)
    checkpoint = find_checkpoint(flags.checkpoint, flags.out_dir or ".")
    nets = load_nets(checkpoint, device)
    spec = nets.spec
    options = auxiliary.GalleryOptions(
        factors=None if flags.factor == "all" else [spec.index(flags.factor, "--factor")],
        grid=_grid_positions(flags.grid, spec),
        n_columns=flags.columns,
        n_pairs=flags.pairs,
        category_path=flags.category,
        seed=flags.seed,
    )
    folder = Run.for_pictures(checkpoint, nets.name, flags.out_dir).make_samples_folder()
    digits = code_to_digit(checkpoint, nets.step)

    def draw(latents: auxiliary.Latents, title: str):
        return auxiliary.draw(nets.generator, auxiliary.with_digits(latents, spec, digits), title)

    for picture in auxiliary.gallery(spec, options):
        png = draw(picture.latents, f"{nets.name}, step {nets.step}: {picture.what}")
        print(auxiliary.save_png(png, folder / f"{picture.name}.png"))
        if flags.gif and (frames := picture.frames()):
            bar = tqdm(frames, desc=f"{picture.name}.gif", unit="frame", leave=False)
            drawn = (draw(latents, f"{nets.name}: {picture.what}") for latents in bar)
            print(auxiliary.save_gif(drawn, folder / f"{picture.name}.gif"))


def _grid_positions(grid: str | None, spec: LatentSpec) -> tuple[int, int] | None:
    """Returns the two codes of the grid that was asked for; None if none was."""
    if grid is None:
        return None
    names = grid.split(",")
    if len(names) != 2 or names[0] == names[1]:
        raise UserError(f"--grid: expected two different codes, as in c2,c3, got {grid!r}")
    return spec.index(names[0], "--grid"), spec.index(names[1], "--grid")


if __name__ == "__main__":
    run_script(main)
