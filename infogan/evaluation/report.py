"""Many evaluations in one table: every run a row, then median, mean ± deviation, worst and n of each metric."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from infogan.evaluation import registry
from infogan.evaluation.registry import Metric, Scores
from infogan.evaluation.tables import MODELS, Table, cell

BAR_METRIC = "accuracy"


@dataclass(frozen=True)
class _Column:
    """A metric, of the whole model or of one of its codes."""

    metric: Metric
    code: str

    @property
    def label(self) -> str:
        return f"{self.code} {self.metric.label}".strip()

    @property
    def header(self) -> str:
        return f"{self.code} {self.metric.header}".strip()

    def value(self, scores: Scores) -> float | None:
        return self.metric.read(scores).get(self.code)

    def chance(self, models: Sequence[Scores]) -> float | None:
        """Returns the value at chance of the first run that has the metric: with the same codes it is that of all."""
        having = next(scores for scores in models if self.code in self.metric.read(scores))
        return self.metric.chance(having, self.code)

    def cell(self, value: float | None) -> str:
        return cell(value, max(self.metric.digits, 3))  # seeds differ by little


def report_tables(evaluations: Sequence[dict[str, Any]], bar: float) -> list[Table]:
    """Returns tables of runs: every run a row, then median, mean ± deviation (n - 1), worst, n, value at chance.

    For each model, a table for each group of registered metrics that any of the runs has. The title of that on
    clustering says how many runs reached the bar.

    Args:
        evaluations: One or more.
        bar: Accuracy of the first categorical code to reach, in [0, 1].
    """
    tables = []
    for model, label in MODELS.items():
        having = [evaluation for evaluation in evaluations if model in evaluation]
        models = [evaluation[model] for evaluation in having]
        for title, metrics in registry.tables():
            columns = _columns(metrics, models)
            if not columns:
                continue
            title = f"{label}, {title}"
            compared = next((column for column in columns if column.metric.name == BAR_METRIC), None)
            if compared is not None:
                reached = sum((compared.value(scores) or 0) >= bar for scores in models)
                title += f": {reached} of {len(models)} runs reached {compared.label} {bar:g}"
            tables.append(_report_table(having, model, title, columns))
    return tables


def _columns(metrics: Sequence[Metric], models: Sequence[Scores]) -> list[_Column]:
    """Returns the columns of a table: code by code, those that any of the models has."""
    columns = [
        _Column(metric, code)
        for metric in metrics
        if metric.is_reported
        for code in _names(metric.read(scores) for scores in models)
    ]
    codes = _names([column.code] for column in columns)
    return sorted(columns, key=lambda column: codes.index(column.code))


def _report_table(evaluations: Sequence[dict[str, Any]], model: str, title: str, columns: Sequence[_Column]) -> Table:
    values = [[column.value(evaluation[model]) for evaluation in evaluations] for column in columns]
    rows = [
        [evaluation["run"], f"{evaluation['config']['seed']}", f"{evaluation['step']}"]
        + [column.cell(of_column[i]) for column, of_column in zip(columns, values, strict=True)]
        for i, evaluation in enumerate(evaluations)
    ]
    known = [[value for value in of_column if value is not None] for of_column in values]
    summaries: list[tuple[str, Callable[[_Column, list[float]], str]]] = [
        ("median", lambda column, values: column.cell(statistics.median(values))),
        ("mean ± deviation", _mean_and_deviation),
        ("worst", lambda column, values: column.cell(column.metric.worst(values))),
        ("n", lambda _, values: f"{len(values)}"),
    ]
    for name, summary in summaries:
        cells = [summary(column, values) if values else "-" for column, values in zip(columns, known, strict=True)]
        rows.append([name, "", "", *cells])
    ceilings = [column.cell(column.metric.read_ceiling(evaluations[0][model])) for column in columns]
    if any(ceiling != "-" for ceiling in ceilings):
        rows.append(["ceiling", "", "", *ceilings])
    chances = [column.cell(column.chance([evaluation[model] for evaluation in evaluations])) for column in columns]
    if any(chance != "-" for chance in chances):
        rows.append(["at chance", "", "", *chances])
    return Table(title, ["run", "seed", "step", *(column.header for column in columns)], rows)


def _mean_and_deviation(column: _Column, values: Sequence[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return f"{column.cell(statistics.fmean(values))} ± {column.cell(deviation)}"


def _names(groups: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group))


def report_notes(evaluations: Sequence[dict[str, Any]]) -> list[str]:
    """Returns a line for each way in which the runs differ, other than in seed and name."""
    notes = []
    configs = [evaluation["config"] for evaluation in evaluations]
    for field in _names(configs):
        if field not in ("seed", "name"):
            notes += _difference(field, [config.get(field) for config in configs])
    for field in ("dataset", "n_test_images", "n_samples"):
        notes += _difference(f"scored {field}", [evaluation["scored"][field] for evaluation in evaluations])
    notes += _difference("step", [evaluation["step"] for evaluation in evaluations])
    # Distances in the features of different nets have nothing to do with each other.
    for field in ("classifier_sha256", "feature_net_sha256"):
        notes += _difference(field, [evaluation[field] for evaluation in evaluations if evaluation.get(field)])
    return notes


def _difference(field: str, values: Sequence[Any]) -> list[str]:
    distinct = list(dict.fromkeys(map(str, values)))
    return [f"the runs differ in {field}: {', '.join(distinct)}"] if len(distinct) > 1 else []
