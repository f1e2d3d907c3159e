"""What is printed: a console that is gone, or that cannot show a character, costs nobody their work."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any


class ForgivingStream:
    """A text stream that never raises: a character that it cannot take is replaced, and what is left is lost.

    Args:
        stream: Written to; whatever is in `sys.stderr`'s place, and None where a process has no console.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # its reader is gone; closed; there is none
            try:
                self._stream.write(text)
            except UnicodeEncodeError as error:
                shown = text.encode(error.encoding, "replace").decode(error.encoding)
                self._stream.write(shown)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._stream.flush()

    def isatty(self) -> bool:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            return self._stream.isatty()
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def forgiving_console() -> Iterator[None]:
    """Within it, printing never raises."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (s if isinstance(s, ForgivingStream) else ForgivingStream(s) for s in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def leave_quietly(code: int | None) -> None:
    """Exits with a code, also where what was printed can no longer be written."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            # Python would flush it once more on its way out, and complain.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)
