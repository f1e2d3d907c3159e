"""Options: fields of a configuration that carry their help, their checks and their place on the command line."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import operator
import os
import re
import types
import typing
from collections.abc import Callable, Collection
from typing import Any, Literal

from infogan.system.errors import UserError, shown
from infogan.system.paths import has_control_characters

MAX_SEED = 2**32 - 1  # of NumPy's generators
MAX_STEPS = 1_000_000_000
MAX_EPOCHS = 1_000_000
MAX_WEIGHT = 1_000_000  # of a term of the loss

_SAME_AS_DEFAULT = object()


def option(
    default: Any,
    doc: str,
    group: str,
    *,
    check: Callable[[Any], bool] | None = None,
    allowed: str | Callable[[], str] = "",
    off: Any = _SAME_AS_DEFAULT,
    may_change: bool = False,
    first: bool = False,
    none: str = "",
    path: bool = False,
) -> Any:
    """Returns a field of a configuration.

    Args:
        default: The value if neither a flag nor the preset gives one.
        doc: The help text.
        group: The heading of `--help` that it stands under.
        check: Holds for allowed values.
        allowed: These values in words, for the error.
        off: What the field is for runs that were saved before it existed: as if there were no such field.
        may_change: A resumed run may be given another value.
        first: A newcomer needs it: `--help` shows it before the groups.
        none: The word for None on the command line.
        path: It is, or may be, a path, so that `~` is the home folder.
    """
    off = default if off is _SAME_AS_DEFAULT else off
    about = {"doc": doc, "group": group, "check": check, "allowed": allowed, "off": off}
    about |= {"may_change": may_change, "first": first, "none": none, "path": path}
    return dataclasses.field(default=default, metadata=about)


def between(least: float, most: float) -> dict[str, Any]:
    """Returns the check of a number with a least and a largest value, both allowed."""
    return {"check": lambda value: least <= value <= most, "allowed": f"{least:,} to {most:,}"}


# Larger ones would only overflow: in memory that is not there, or in sums that are not finite.
STEPS = between(1, MAX_STEPS)
STEPS_OR_NONE = between(0, MAX_STEPS)
SEED = between(0, MAX_SEED)
WEIGHT = between(0, MAX_WEIGHT)
RATE = {"check": lambda value: 0 < value < math.inf, "allowed": "a positive number"}  # too large: a loss says so
FRACTION = {"check": lambda value: 0 <= value < 1, "allowed": "a number in [0, 1)"}
FOLDER_NAME = {
    "check": lambda value: re.fullmatch(r"[\w+-][\w+ .-]{0,99}(?<![ .])", value) and len(value.encode()) <= 255,
    "allowed": "a folder's name of at most 100 letters, digits and . _ + -",
}


def is_list_of(text: str, words: Collection[str]) -> bool:
    """Returns whether a text is a comma-separated list of some of these words, each once."""
    parts = text.split(",")
    return len({*parts}) == len(parts) and {*parts} <= {*words}


def plain_value(option_: dataclasses.Field, hint: Any, value: Any) -> Any:
    """Returns a field's value as the field's own plain type, from any that means the same: NumPy's scalars, paths.

    Raises:
        UserError: It is not allowed; the message names the flag, what is allowed and what came.
    """
    kinds, about = members(hint), option_.metadata
    if value is None and type(None) in kinds:
        return None
    words = choices(hint)
    kind = str if words else kinds[0]
    try:
        plain = _plain_path(value) if about["path"] else _PLAIN[kind](value)
    except (TypeError, ValueError, ArithmeticError):
        raise _refused(option_, words, value, _KIND_WORDS[kind]) from None
    try:
        fits = plain in words if words else about["check"] is None or about["check"](plain)
    except ValueError:  # of a path that no file can have
        fits = False
    if not fits:
        raise _refused(option_, words, value)
    return plain


def _refused(option_: dataclasses.Field, words: tuple[str, ...], value: Any, kind: str = "") -> UserError:
    allowed: Any = f"one of {', '.join(words)}" if words else option_.metadata["allowed"]
    allowed = allowed() if callable(allowed) else allowed
    expected = f"{kind}, {allowed}" if kind and allowed else kind or allowed
    return UserError(f"{flag_of(option_.name)}: expected {expected}, got {shown(value)}")


def whole_number(value: Any, argument: str, least: int, most: int) -> int:
    """Returns a number of a call as a plain integer.

    Raises:
        UserError: It is none, or out of its range; the message names `argument`.
    """
    try:
        number = _plain_int(value)
    except TypeError:
        number = None
    if number is None or not least <= number <= most:
        raise UserError(f"{argument}: expected {least:,} to {most:,}, got {shown(value)}")
    return number


def parse_int(text: str) -> int | None:
    """Returns the whole number that a text is, in ASCII digits; None if it is none."""
    with contextlib.suppress(ValueError):
        return int(text) if text.isascii() else None


def parse_float(text: str) -> float | None:
    """Returns the number that a text is, in ASCII digits; None if it is none."""
    with contextlib.suppress(ValueError):
        return float(text) if text.isascii() else None


# The kinds of a field. Those of NumPy and torch are told by what they do: neither is loaded here.


def _plain_bool(value: Any) -> bool:
    if not _is_bool(value):
        raise TypeError
    return bool(value)


def _plain_int(value: Any) -> int:
    if _is_bool(value):  # an int in Python
        raise TypeError
    return operator.index(value)


def _plain_float(value: Any) -> float:
    if _is_bool(value) or isinstance(value, str | bytes) or getattr(value, "ndim", 0):
        raise TypeError
    return float(value)


def _plain_text(value: Any) -> str:
    if not isinstance(value, str) or has_control_characters(value):
        raise TypeError
    return str(value)


def _plain_path(value: Any) -> str:
    return os.path.expanduser(_plain_text(os.fspath(value)))  # noqa: PTH111  it leaves an unknown ~name as it is


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool) or (str(getattr(value, "dtype", "")) == "bool" and not getattr(value, "ndim", 0))


_PLAIN: dict[type, Callable[[Any], Any]] = {bool: _plain_bool, int: _plain_int, float: _plain_float, str: _plain_text}
_KIND_WORDS = {bool: "True or False", int: "a whole number", float: "a number", str: "text without control characters"}


def flag_of(field_name: str) -> str:
    """Returns the flag of a field, as in `--lambda-cat`."""
    return "--" + field_name.replace("_", "-")


def members(hint: Any) -> tuple[type, ...]:
    """Returns the types that a union has, or the one type."""
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def choices(hint: Any) -> tuple[str, ...]:
    """Returns the words that a `Literal` allows; none for another type."""
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
