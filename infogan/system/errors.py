"""The errors a user sees, each one line, and how a script reports them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from infogan.system.console import forgiving_console, leave_quietly


class UserError(ValueError):
    """Input that cannot be used: a flag, a file or a folder. The message is one line that names it.

    What it quotes may have line breaks or a terminal's control characters in it: they are shown as escapes.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class NonFiniteLossError(ArithmeticError):
    """A loss was NaN or infinite; the update that it would have made was not done."""


# What comes of using content that is not as it should be.
MALFORMED = (LookupError, RuntimeError, TypeError, ValueError, AttributeError, ArithmeticError)


def printable(text: str) -> str:
    """Returns a text with line breaks and a terminal's control characters as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shown(value: object) -> str:
    """Returns a value as an error quotes it: as Python writes it, the middle of a long one left out."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no integers of more than 4,300 digits
        return f"a {type(value).__name__} too long to show"
    return shortened(text)


def shortened(text: str) -> str:
    """Returns a text, the middle of a long one left out."""
    half = _MAX_SHOWN // 2
    return text if len(text) <= _MAX_SHOWN else f"{text[:half]} ... {text[-half:]}"


_MAX_SHOWN = 200  # characters


def one_line(error: BaseException) -> str:
    """Returns an error's message in one line, or what it is called where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def show_warning(text: str) -> None:
    """Shows a warning on stderr."""
    print(f"warning: {text}", file=sys.stderr)


@contextlib.contextmanager
def as_warning(picture: str) -> Iterator[None]:
    """Makes a warning of whatever goes wrong with a picture: it is not worth the work that it shows."""
    try:
        yield
    except Exception as error:  # matplotlib, fonts, the user's settings and the disk can all fail
        show_warning(f"{picture} is not drawn: {one_line(error)}")


def run_script(main: Callable[[], int | None]) -> None:
    """Runs a script's `main` and exits with what it returns.

    Bad input, and a file or folder that the system refuses, ends in one line on stderr and exit code 2; training
    that fell apart likewise, with 1.
    """
    with forgiving_console():
        try:
            code = main()
        except (UserError, NonFiniteLossError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            code = 1 if isinstance(error, NonFiniteLossError) else 2
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            code = 130
    leave_quietly(code)
