"""Draws what the codes of a trained run do: python scripts/interpolate.py --help"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout works without being installed

from infogan.config.spec import LatentSpec
from infogan.config.train_config import MAX_SEED, check_range, make_parser
from infogan.system.errors import UserError, run_script


def parse_flags() -> argparse.Namespace:
    parser = make_parser(
        "Draw factor sweeps, a two-code grid, and linear and spherical interpolations of a trained run, "
        "as PNG files and, with --gif, as looping GIFs."
    )
    parser.add_argument("--checkpoint", help="a run, as in runs/<name>, or a .pt file (default: the newest run)")
    parser.add_argument(
        "--out-dir", help="folder of runs/ and samples/ (default: ., and for pictures where the run is)"
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
    import torch  # not before the flags are right: torch takes seconds
    from tqdm import tqdm

    from infogan import auxiliary
    from infogan.evaluation.report import code_to_digit
    from infogan.latents import sample_prior
    from infogan.system.runtime import resolve_device
    from infogan.training.run import Run, find_checkpoint
    from infogan.training.trainer import load_nets

    device = resolve_device(flags.device)
    checkpoint = find_checkpoint(flags.checkpoint, flags.out_dir or ".")
    nets = load_nets(checkpoint, device)
    spec, generator = nets.spec, nets.generator
    positions = range(len(spec.codes)) if flags.factor == "all" else [spec.index(flags.factor, "--factor")]
    grid = _grid_positions(flags.grid, spec)
    folder = Run.for_pictures(checkpoint, nets.name, flags.out_dir).make_samples_folder()

    digits = code_to_digit(checkpoint, nets.step)

    def draw(latents: auxiliary.Latents, title: str):
        return auxiliary.draw(generator, auxiliary.with_digits(latents, spec, digits), title)

    def save(latents: auxiliary.Latents, what: str, file_name: str) -> None:
        picture = draw(latents, f"{nets.name}, step {nets.step}: {what}")
        print(auxiliary.save_png(picture, folder / f"{file_name}.png"))

    def save_gif(frames: list[auxiliary.Latents], what: str, file_name: str) -> None:
        if flags.gif:
            drawn = [
                draw(latents, f"{nets.name}: {what}")
                for latents in tqdm(frames, desc=f"{file_name}.gif", unit="frame", leave=False)
            ]
            print(auxiliary.save_gif(drawn, folder / f"{file_name}.gif"))

    for i in positions:
        name = spec.names[i]
        save(auxiliary.sweep_latents(spec, i, flags.columns, flags.seed), f"sweep of {name}", f"sweep_{name}")
        frames = [auxiliary.moving_latents(spec, {i: u}, seed=flags.seed) for u in auxiliary.there_and_back()]
        save_gif(frames, f"sweep of {name}", f"sweep_{name}")

    if grid is not None:
        down, along = grid
        what = f"{spec.names[down]} and {spec.names[along]}"
        file_name = f"grid_{spec.names[down]}_{spec.names[along]}"
        save(auxiliary.two_code_latents(spec, down, along, flags.columns, flags.seed), what, file_name)
        circle = zip(auxiliary.there_and_back(), auxiliary.there_and_back(phase=0.25), strict=True)
        frames = [auxiliary.moving_latents(spec, {down: u, along: v}, seed=flags.seed) for u, v in circle]
        save_gif(frames, f"{what} in a circle", file_name)

    rng = torch.Generator().manual_seed(flags.seed)
    ends = sample_prior(spec, flags.pairs, rng), sample_prior(spec, flags.pairs, rng)

    def frame(u: float, path: Literal["linear", "spherical"]) -> auxiliary.Latents:
        """All pairs at one place on their way, side by side."""
        latents = auxiliary.interpolate_latents(spec, *ends, torch.tensor([u]), path, flags.category)
        return dataclasses.replace(latents, rows=[f"t = {u:.2f}"], columns=latents.rows)

    held = "_held" if flags.category == "hold" else ""
    for path in ("linear", "spherical"):
        t = torch.linspace(0, 1, flags.columns)
        what, file_name = f"{path} interpolation", f"interpolation_{path}{held}"
        save(auxiliary.interpolate_latents(spec, *ends, t, path, flags.category), what, file_name)
        save_gif([frame(u, path) for u in auxiliary.there_and_back()], what, file_name)


def _grid_positions(grid: str | None, spec: LatentSpec) -> tuple[int, int] | None:
    """Returns the two codes of the grid; None if there is but one code and none was asked for."""
    if grid is None:
        return (len(spec.codes) - 2, len(spec.codes) - 1) if len(spec.codes) > 1 else None
    names = grid.split(",")
    if len(names) != 2 or names[0] == names[1]:
        raise UserError(f"--grid: expected two different codes, as in c2,c3, got {grid!r}")
    return spec.index(names[0], "--grid"), spec.index(names[1], "--grid")


if __name__ == "__main__":
    run_script(main)
