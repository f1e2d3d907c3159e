"""Options: fields of a configuration that carry their help, their checks and their place on the command line."""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Callable
from typing import Any, Literal

from infogan.system.errors import UserError

MAX_SEED = 2**32 - 1  # of NumPy's generators

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
    """
    off = default if off is _SAME_AS_DEFAULT else off
    about = {"doc": doc, "group": group, "check": check, "allowed": allowed, "off": off}
    return dataclasses.field(
        default=default, metadata={**about, "may_change": may_change, "first": first, "none": none}
    )


def at_least(minimum: int) -> dict[str, Any]:
    """Returns the check of a whole number with a least value."""
    return {"check": lambda value: value >= minimum, "allowed": f"at least {minimum}"}


POSITIVE = {"check": lambda value: 0 < value < math.inf, "allowed": "a positive number"}
NOT_NEGATIVE = {"check": lambda value: 0 <= value < math.inf, "allowed": "0 or a positive number"}
FRACTION = {"check": lambda value: 0 <= value < 1, "allowed": "a number in [0, 1)"}
FINITE = {"check": math.isfinite, "allowed": "a number"}
FOLDER_NAME = {
    "check": lambda value: re.fullmatch(r"[\w+-][\w+ .-]{0,99}(?<![ .])", value) is not None,
    "allowed": "a folder's name of at most 100 letters, digits and . _ + -",
}


def check_option(option_: dataclasses.Field, hint: Any, value: Any) -> None:
    """Checks a field's value against its type and its own check.

    Raises:
        UserError: It is not allowed; the message names the flag, what is allowed and what came.
    """
    flag, kinds = flag_of(option_.name), members(hint)
    if value is None and type(None) in kinds:
        return
    if values := choices(hint):
        if value not in values:
            raise UserError(f"{flag}: expected one of {', '.join(values)}, got {value!r}")
        return
    # bool is an int in Python, and an int is a float in JSON: neither may slip through, or be refused, unseen.
    fits = isinstance(value, bool) is (bool in kinds) and isinstance(value, (*kinds, int) if float in kinds else kinds)
    check, allowed = option_.metadata["check"], option_.metadata["allowed"]
    if not fits or (check is not None and not check(value)):
        words = allowed() if callable(allowed) else allowed or " or ".join(kind.__name__ for kind in kinds)
        raise UserError(f"{flag}: expected {words}, got {value!r}")


def flag_of(field_name: str) -> str:
    """Returns the flag of a field, as in `--lambda-cat`."""
    return "--" + field_name.replace("_", "-")


def members(hint: Any) -> tuple[type, ...]:
    """Returns the types that a union has, or the one type."""
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def choices(hint: Any) -> tuple[str, ...]:
    """Returns the words that a `Literal` allows; none for another type."""
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
