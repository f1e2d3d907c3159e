"""The registry of metrics: each is a function, registered once with all that tables and reports say of it.

`measure` makes the scores of one model, as evaluation.json holds them; `Metric.read` finds a metric in such scores
again. Tables and reports iterate over the registry and have no columns of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from infogan.system.errors import UserError, shown
from infogan.system.readers import is_number

if TYPE_CHECKING:
    from infogan.evaluation.subject import Subject

CODE = "{code}"  # stands in a place for the name of each code
OTHER_METRICS = "other metrics"
ROUNDING = 1e-6

Function = TypeVar("Function", bound=Callable[..., Any])
Scores = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """What evaluation.json holds without being a number to compare, such as a confusion matrix.

    Attributes:
        name: What it is registered by.
        place: Keys that lead to it in a model's scores.
        needs: What must be at hand to measure it; see `Subject.available`.
        function: Of the subject; returns the value, or one for each code by its name.
    """

    name: str
    place: tuple[str, ...]
    needs: frozenset[str]
    function: Callable[..., Any]

    def store(self, scores: Scores, subject: Subject) -> None:
        """Measures the subject, and puts the value into `scores`."""
        value = self.plain(self.function(subject))
        if CODE not in self.place:
            _put(scores, self.place, value)
            return
        _put(scores, self.place[: self.place.index(CODE)], {})  # there also for a model without such codes
        for code, of_code in value.items():
            _put(scores, _of_code(self.place, code), of_code)

    def plain(self, value: Any) -> Any:
        """Returns a measured value as JSON knows it."""
        return value


@dataclass(frozen=True)
class Metric(Record):
    """A number, or one for each code, that models are compared by: a column of tables and reports.

    Attributes:
        label: Name of the column.
        table: Name of the table it is in.
        range: Least and largest value; `math.inf` where there is no bound.
        at_chance: Value of a model that has learned nothing, or a function of a model's scores and the name of a
            code that returns it; None where there is none.
        higher_is_better: Direction; None for a number that has no better end.
        from_scores: Whether `function` takes the model's scores instead of the subject. Nothing is stored then.
        axis: Names of the entries of a metric that is a list: a table of its own, and not in reports.
        key: Of the number, where the function returns a dictionary that holds more than it.
        spread: Key beside the number, of its interval (two numbers) or its deviation (one).
        floor: Keys that lead to the value of real training images.
        ceiling: Key beside the number, of the best value that can be had.
        digits: Decimals shown.
        in_report: Whether reports show it.
    """

    label: str
    table: str
    range: tuple[float, float]
    at_chance: float | Callable[[Scores, str], float | None] | None
    higher_is_better: bool | None
    from_scores: bool = False
    axis: tuple[str, ...] = ()
    key: str | None = None
    spread: str | None = None
    floor: tuple[str, ...] = ()
    ceiling: str | None = None
    digits: int = 3
    in_report: bool = True

    @property
    def is_reported(self) -> bool:
        """Whether the report over seeds has a column of it."""
        return self.in_report and not self.axis

    @property
    def worst(self) -> Callable[..., float | None]:
        """Picks the worst of several values; of a number that has no better end, None."""
        if self.higher_is_better is None:
            return lambda _: None
        return min if self.higher_is_better else max

    @property
    def header(self) -> str:
        """The label, with an arrow towards the better end."""
        return self.label + {True: " ↑", False: " ↓", None: ""}[self.higher_is_better]

    @property
    def path(self) -> tuple[str, ...]:
        """Keys that lead to the number itself."""
        return self.place if self.key is None else (*self.place, self.key)

    def read(self, scores: Scores) -> dict[str, Any]:
        """Returns the values in a model's scores by the code's name, `""` for one of the whole model.

        Empty where it was not measured; None for a value that is undefined.
        """
        if CODE in self.path:
            split = self.path.index(CODE)
            codes = _get(scores, self.path[:split]) or {}
            return {code: _get(found, self.path[split + 1 :]) for code, found in codes.items()}
        value = self.function(scores) if self.from_scores else _get(scores, self.path)
        if isinstance(value, dict):
            return value
        return {} if value is None else {"": value}

    def read_spread(self, scores: Scores, code: str) -> Any:
        """Returns the interval or deviation of a value, or None."""
        return None if self.spread is None else _get(scores, (*_of_code(self.path, code)[:-1], self.spread))

    def read_floor(self, scores: Scores) -> Any:
        """Returns the value of real training images, or None."""
        return _get(scores, self.floor) if self.floor else None

    def read_ceiling(self, scores: Scores) -> float | None:
        """Returns the best value that can be had, or None."""
        return None if self.ceiling is None else _get(scores, (*self.path[:-1], self.ceiling))

    def chance(self, scores: Scores, code: str) -> float | None:
        """Returns the value at chance, or None where there is none."""
        return self.at_chance(scores, code) if callable(self.at_chance) else self.at_chance

    def check(self, scores: Scores) -> None:
        """Checks the metric in a model's scores that were read from a file.

        Raises:
            ValueError: It is no number, or not in its range.
        """
        for code, value in self.read(scores).items():
            found = [self.chance(scores, code), self.read_floor(scores)]
            spread = self.read_spread(scores, code)
            found += spread if isinstance(spread, list) else [spread]
            if self.axis and len(value) != len(self.axis):
                raise ValueError(f"metric {self.name}: expected {len(self.axis)} numbers, got {shown(value)}")
            for number in [*found, *(value if self.axis else [value])]:
                if number is not None and not is_number(number):
                    raise ValueError(f"metric {self.name}: expected a number, got {shown(number)}")
            self.plain(value if self.key is None else {self.key: value})

    def plain(self, value: Any) -> Any:
        """Returns a measured value as JSON knows it, which has no NaN: None there.

        Raises:
            UserError: The value is no number, or not in the metric's range.
        """
        if self.key is not None and self.key in value:
            return {**value, self.key: self._number(value[self.key])}
        if isinstance(value, dict):
            return {code: self.plain(of_code) for code, of_code in value.items()}
        return [self._number(entry) for entry in value] if self.axis else self._number(value)

    def _number(self, value: Any) -> float | int | None:
        if value is None:
            return None
        try:
            number = value if isinstance(value, int) else float(value)
        except (TypeError, ValueError):
            raise UserError(f"metric {self.name}: expected a number, got {value!r}") from None
        if math.isnan(number):
            return None
        low, high = self.range
        if math.isinf(number) or not low - ROUNDING <= number <= high + ROUNDING:
            raise UserError(f"metric {self.name}: expected a finite number in [{low:g}, {high:g}], got {number:g}")
        return number


_REGISTERED: dict[str, Record] = {}


def register_metric(
    *,
    label: str,
    range: tuple[float, float],
    at_chance: float | Callable[[Scores, str], float | None] | None,
    higher_is_better: bool | None,
    name: str | None = None,
    needs: Collection[str] = (),
    table: str = OTHER_METRICS,
    place: tuple[str, ...] | None = None,
    **details: Any,
) -> Callable[[Function], Function]:
    """Returns a decorator that registers a function of a `Subject` as a metric, and leaves it as it is.

    The function returns a number, or a dictionary of one number for each code by its name; NaN or None where the
    metric is undefined.

    Args:
        label: Name of its column.
        range: Least and largest value; `math.inf` where there is no bound.
        at_chance: Value of a model that has learned nothing; None where there is none.
        higher_is_better: Direction: which end the report calls the worst. None keeps it out of reports.
        name: What it is registered by; by default the function's name.
        needs: What must be at hand, else it is left out: `"categorical"` or `"continuous"` codes, `"labels"` of
            the test images, what the data set says can be measured on it (`"digits"`, `"stacked digits"`),
            `"known factors"` of the test images, `"inception"`, `"features"`.
        table: Name of the table it is in.
        place: Keys that lead to it in the model's scores; by default `"metrics"` and its name.
        **details: Further fields of `Metric`.

    Raises:
        UserError: The name is taken, or the range is empty.
    """
    if range[0] > range[1]:
        raise UserError(f"register_metric: expected a range from least to largest, got {range}")

    def register(function: Function) -> Function:
        own_name = name or function.__name__
        metric = Metric(
            name=own_name,
            place=place or ("metrics", own_name),
            needs=frozenset(needs),
            function=function,
            label=label,
            table=table,
            range=range,
            at_chance=at_chance,
            higher_is_better=higher_is_better,
            **details,
        )
        _register(metric)
        return function

    return register


def register_record(*place: str, needs: Collection[str] = ()) -> Callable[[Function], Function]:
    """Returns a decorator that registers a function of a `Subject` whose dictionary is stored at `place`."""

    def register(function: Function) -> Function:
        _register(Record(f"record at {place}", place, frozenset(needs), function))
        return function

    return register


def _register(record: Record) -> None:
    taken = _REGISTERED.get(record.name)
    # A notebook's cell that is run again defines its metric anew.
    if taken is not None and taken.function.__module__ != record.function.__module__:
        raise UserError(f"register_metric: expected a name that no metric has yet, got {record.name!r}")
    _REGISTERED[record.name] = record


def tables() -> Iterator[tuple[str, list[Metric]]]:
    """Returns the metrics of each table by its name, in the order of their registration."""
    grouped: dict[str, list[Metric]] = {}
    for record in _REGISTERED.values():
        if isinstance(record, Metric):
            grouped.setdefault(record.table, []).append(record)
    yield from grouped.items()


def measure(subject: Subject) -> Scores:
    """Returns the scores of one model: all that is registered, and whose needs are met."""
    scores: Scores = {}
    for record in _REGISTERED.values():
        is_derived = isinstance(record, Metric) and record.from_scores
        if not is_derived and record.needs <= subject.available:
            record.store(scores, subject)
    return scores


def check(scores: Any) -> None:
    """Checks every registered metric in a model's scores that were read from a file.

    Raises:
        ValueError: One is no number, or not in its range; or an entry that it is read from is missing.
    """
    if not isinstance(scores, dict):
        raise ValueError(f"expected a model's scores, got {shown(scores)}")
    for _, metrics in tables():
        for metric in metrics:
            metric.check(scores)


def unmet_needs(available: Collection[str]) -> dict[str, list[str]]:
    """Returns the tables that lack something by what they lack."""
    lacking: dict[str, list[str]] = {}
    for title, metrics in tables():
        for need in sorted(frozenset().union(*(metric.needs for metric in metrics)) - frozenset(available)):
            lacking.setdefault(need, []).append(title)
    return lacking


def _of_code(place: tuple[str, ...], code: str) -> tuple[str, ...]:
    return tuple(code if key == CODE else key for key in place)


def _get(found: Any, place: tuple[str, ...]) -> Any:
    for key in place:
        if not isinstance(found, dict):
            return None
        found = found.get(key)
    return found


def _put(scores: Scores, place: tuple[str, ...], value: Any) -> None:
    for key in place[:-1]:
        scores = scores.setdefault(key, {})
    if isinstance(value, dict):
        scores.setdefault(place[-1], {}).update(value)
    else:
        scores[place[-1]] = value
