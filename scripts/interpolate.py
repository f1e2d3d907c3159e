"""Draws what the codes of a trained run do: python scripts/interpolate.py --help"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout works without being installed

from infogan.config.command_line import CHECKPOINT_HELP, FOLDER, check_range, make_parser
from infogan.config.options import MAX_SEED
from infogan.config.spec import LatentSpec
from infogan.system.errors import UserError, run_script

if TYPE_CHECKING:
    from torch import Tensor

    from infogan.auxiliary import Given
    from infogan.training.checkpoint import TrainedNets

MAX_NAME = 60  # characters that the images' names may add to a file's


def parse_flags() -> argparse.Namespace:
    parser = make_parser(
        "Draw factor sweeps, a two-code grid, and linear and spherical interpolations of a trained run, "
        "as PNG files and, with --gif, as looping GIFs. With --image, of images of your own."
    )
    parser.add_argument("--checkpoint", type=Path, help=CHECKPOINT_HELP)
    parser.add_argument(
        "--out-dir", type=FOLDER, help="folder of runs/ and samples/ (default: ., and for pictures where the run is)"
    )
    parser.add_argument(
        "--image",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="pictures of your own to put through the model: their latents are swept, and interpolated between",
    )
    parser.add_argument("--factor", default="all", help="the code to sweep: c1, c2, ..., or all (default: all)")
    parser.add_argument(
        "--grid", help="two codes for the two-code grid, rows and columns, as in c2,c3 (default: the last two)"
    )
    parser.add_argument("--columns", type=int, default=11, help="values of a continuous code or of t (default: 11)")
    parser.add_argument("--pairs", type=int, default=8, help="pairs of latents to interpolate between (default: 8)")
    parser.add_argument(
        "--category",
        choices=("blend", "switch", "hold"),
        default="blend",
        help="between two latents, a category goes linearly from one to the other, which leaves the prior; switches "
        "midway; or is held at the start's value (default: blend)",
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
    from infogan.evaluation.files import evaluation_at
    from infogan.evaluation.interpolations import clear_digit_shares
    from infogan.evaluation.tables import class_names, matched_classes
    from infogan.system.progress import seconds_between_updates
    from infogan.system.runtime import resolve_device
    from infogan.training.checkpoint import find_checkpoint, load_nets
    from infogan.training.run import Run

    device = resolve_device(flags.device)
    checkpoint = find_checkpoint(flags.checkpoint, flags.out_dir or ".")
    nets = load_nets(checkpoint, device)
    spec, evaluation = nets.spec, evaluation_at(checkpoint, nets.step)
    digits, names = matched_classes(evaluation), class_names(evaluation)
    given = own_images(nets, flags.image, digits) if flags.image else None
    options = auxiliary.GalleryOptions(
        factors=None if flags.factor == "all" else [spec.index(flags.factor, "--factor")],
        grid=_grid_positions(flags.grid, spec),
        n_columns=flags.columns,
        n_pairs=flags.pairs,
        category_path=flags.category,
        seed=flags.seed,
        given=given,
    )
    folder = Run.for_pictures(checkpoint, nets.name, flags.out_dir).make_samples_folder()
    prefix = f"{'_'.join(given.names)}_"[:MAX_NAME] if given else ""

    def draw(latents: auxiliary.Latents, title: str):
        return auxiliary.draw(nets.generator, auxiliary.with_digits(latents, spec, digits, names), title)

    for picture in auxiliary.gallery(spec, options):
        png = draw(picture.latents, f"{nets.name}, step {nets.step}: {picture.what}")
        name = prefix + picture.name
        print(auxiliary.save_png(png, folder / f"{name}.png"))
        if flags.gif and (frames := picture.frames()):
            bar = tqdm(frames, f"{name}.gif", unit="frame", leave=False, mininterval=seconds_between_updates())
            drawn = (draw(latents, f"{nets.name}: {picture.what}") for latents in bar)
            print(auxiliary.save_gif(drawn, folder / f"{name}.gif"))
    if shares := clear_digit_shares(nets, options):
        each = ", ".join(f"{path} {share:.3f}" for path, share in shares.items())
        print(f"share of clear digits in the interpolations, by --category: {each}", file=sys.stderr)


def own_images(nets: TrainedNets, files: list[Path], digits: Mapping[str, Sequence[int | None]]) -> Given:
    """Returns pictures and their latents, and says what was made of each."""
    import torch

    from infogan.auxiliary import Given
    from infogan.inversion.invert import invert
    from infogan.inversion.preparation import prepare_pictures

    prepared = prepare_pictures(nets, files)
    found = invert(nets, torch.stack([picture.image for picture in prepared]))
    for i, (file, picture) in enumerate(zip(files, prepared, strict=True)):
        agrees = "the same" if found.q_agrees[i] else "another category"
        read = _codes_in_words(nets.spec, found.c[i], digits)
        psnr = f"PSNR {found.psnr_db[i]:.1f} dB"
        print(f"{file}: {picture.what}; Q reads {read}, and {agrees} in the reconstruction; {psnr}", file=sys.stderr)
    names = [re.sub(r"[^\w+-]+", "-", file.stem)[:20] for file in files]
    return Given(names, found.images, found.reconstruction, found.z, found.c)


def _codes_in_words(spec: LatentSpec, c: Tensor, digits: Mapping[str, Sequence[int | None]]) -> str:
    """Returns the codes of an image in words, a category with its digit, as in `c1 = 3 → 7`."""
    words = []
    for i, (name, title, columns) in enumerate(zip(spec.names, spec.titles, spec.c_slices, strict=True)):
        if i in spec.categorical:
            category = int(c[columns].argmax())
            digit = digits[name][category] if name in digits else None
            words.append(f"{name} = {category}" + (f" → {digit}" if digit is not None else ""))
        else:
            words.append(f"{title} = {c[columns].item():.2f}")
    return ", ".join(words)


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
