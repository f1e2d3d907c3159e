"""Opens an explorer of trained models in the browser: python scripts/explore.py --help"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout works without being installed

from infogan.config.command_line import check_new_file, make_parser
from infogan.system.errors import UserError, run_script


def parse_flags() -> argparse.Namespace:
    parser = make_parser(
        "Make an explorer of trained models, one HTML page, and open it in the browser: set the codes by hand, go from "
        "one image to another, draw or drop an image of your own. It needs no network, and works wherever it is copied."
    )
    parser.add_argument(
        "--checkpoint",
        nargs="+",
        metavar="RUN",
        help="runs, as in runs/<name>, .pt files, exported or pretrained weights (default: the pretrained ones)",
    )
    parser.add_argument(
        "--output", type=Path, help="the page (default: runs/<name>/explorer.html, or explorer.html for several models)"
    )
    parser.add_argument("--no-open", action="store_true", help="write the page, and do not open it")
    flags = parser.parse_args()
    if flags.output is not None and flags.output.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--output: expected a file that ends in .html, got {str(flags.output)!r}")
    check_new_file(flags.output, "--output")
    return flags


def main() -> None:
    flags = parse_flags()
    # Not before the flags are right: torch takes seconds.
    import webbrowser

    from infogan.explorer.page import Explored, write_page
    from infogan.training.run import Run
    from infogan.weights.pretrained import pretrained_names

    models = [Explored.load(given) for given in flags.checkpoint or pretrained_names()]
    default = Path("explorer.html")
    if flags.checkpoint and len(models) == 1:
        default = Run.file_of(models[0].nets.checkpoint, default.name)
    page, *beside = write_page(models, flags.output or default)
    print(f"explorer: {page}")
    if beside:
        print(f"with it belongs: {beside[0].parent}")
    if not flags.no_open and not webbrowser.open(page.absolute().as_uri()):
        print("no browser was found; open the page in one", file=sys.stderr)


if __name__ == "__main__":
    run_script(main)
