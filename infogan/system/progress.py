"""Progress bars: how often one is drawn."""

from __future__ import annotations

import sys


def seconds_between_updates() -> float:
    """Returns the least time between two updates of a bar: short where someone watches, long in a log file."""
    is_watched = sys.stderr.isatty() or "ipykernel" in sys.modules  # a notebook's stderr is no terminal
    return 0.5 if is_watched else 30.0
