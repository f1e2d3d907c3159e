"""The errors a user sees, each one line, and how a script reports them."""

from __future__ import annotations

import sys
from collections.abc import Callable


class UserError(ValueError):
    """Input that cannot be used: a flag, a file or a folder. The message is one line that names it.

    What it quotes may have line breaks or a terminal's control characters in it: they are shown as escapes.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in message))


class NonFiniteLossError(ArithmeticError):
    """A loss was NaN or infinite; the update that it would have made was not done."""


def one_line(error: BaseException) -> str:
    """Returns an error's message in one line, or what it is called where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def run_script(main: Callable[[], int | None]) -> None:
    """Runs a script's `main` and exits with what it returns.

    Bad input, and a file or folder that the system refuses, ends in one line on stderr and exit code 2; training
    that fell apart likewise, with 1.
    """
    try:
        code = main()
    except (UserError, NonFiniteLossError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1 if isinstance(error, NonFiniteLossError) else 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)
