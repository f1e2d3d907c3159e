"""Tables of text, and those of one evaluation: a table for each group of registered metrics.

Rows are models, or the codes of models; columns are metrics. Nothing here knows a metric by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infogan.auxiliary import category_labels
from infogan.config.spec import parse_code
from infogan.evaluation import registry
from infogan.evaluation.registry import Metric, Scores

MODELS = {"infogan": "InfoGAN", "vanilla": "vanilla GAN"}


@dataclass(frozen=True)
class Table:
    """Cells of text under a header; the first column names the row."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def plain(self) -> str:
        """Returns the table for a terminal: the first column to the left, the others to the right."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]
        aligned = [
            "  ".join(
                cell.rjust(width) if i else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        ]
        return "\n".join([self.title, *(f"  {line.rstrip()}" for line in aligned)])

    def markdown(self) -> str:
        """Returns the table as GitHub reads it."""
        lines = [self.header, ["---", *["---:"] * (len(self.header) - 1)], *self.rows]
        escaped = [[cell.replace("|", r"\|") for cell in line] for line in lines]
        return "\n".join([f"**{self.title}**", "", *(f"| {' | '.join(line)} |" for line in escaped)])


def code_title(name: str, scores: Scores) -> str:
    """Returns a code's name with the transformation that it is named for, as in `c2 (slant)`, from a model's scores."""
    prior = scores.get("mutual_information", {}).get(name, {}).get("code")
    transformation = None if prior is None else getattr(parse_code(prior), "transformation", None)
    return f"{name} ({transformation})" if transformation else name


def cell(value: float | None, digits: int = 3) -> str:
    """Returns a number with `digits` decimals, or a dash without one."""
    return "-" if value is None else f"{value:.{digits}f}"


def describe_evaluation(evaluation: dict[str, Any]) -> str:
    """Returns one evaluation as tables for a terminal."""
    scored = evaluation["scored"]
    models = {label: evaluation[model] for model, label in MODELS.items() if model in evaluation}
    codes = next(iter(models.values()))["mutual_information"]
    images = f"{scored['n_test_images']:,} {scored.get('images', 'test images')} of {scored['dataset']}"
    head = (
        f"{evaluation['run']}, step {evaluation['step']}: {images}, {scored['n_samples']:,} samples, "
        f"seed {scored['seed']}"
    )
    notes = ["codes: " + ", ".join(f"{name} {entry['code']}" for name, entry in codes.items())]
    notes.append("in brackets: 95% bootstrap intervals over the samples")
    notes += [f"samples of {label}: by the EMA of G" for label in models if models[label]["averaged_generator"]]
    measurable = scored.get("measurable", ())
    if "digits" in measurable and "unseen digits" not in measurable:
        notes.append("these test images are few, and the classifier (not the run) has learned from them")
    notes += [f"skipped: {reason}" for reason in evaluation["skipped"]]
    maps = [
        f"{label}, {code}: "
        + ", ".join(category_labels(clustering["code_to_digit"], class_names=class_names(evaluation)))
        for label, scores in models.items()
        for code, clustering in scores.get("clustering", {}).items()
    ]
    if maps:
        maps.insert(0, "Category to class, as matched for the accuracy")
    shown = [table.plain() for table in run_tables(models)]
    return "\n\n".join(["\n".join([head, *notes]), *shown, *(["\n  ".join(maps)] if maps else [])])


def class_names(evaluation: Mapping[str, Any] | None) -> list[str]:
    """Returns the names of the classes of an evaluation; empty without one, and of earlier ones: numbers then."""
    return [] if evaluation is None else list(evaluation["scored"].get("class_names", ()))


def matched_classes(evaluation: Mapping[str, Any] | None) -> dict[str, list[int | None]]:
    """Returns the class that each category of each code is matched to in an evaluation; empty without one."""
    clusterings = {} if evaluation is None else evaluation["infogan"].get("clustering", {})
    return {name: scores["code_to_digit"] for name, scores in clusterings.items()}


def run_tables(models: Mapping[str, Scores]) -> list[Table]:
    """Returns the tables of the registered metrics that were measured.

    Args:
        models: Scores of each model by its label.
    """
    tables = []
    for title, metrics in registry.tables():
        numbers = [metric for metric in metrics if not metric.axis]
        # A metric has values of the whole model, or of its codes: such rows do not mix.
        of_model = [metric for metric in numbers if False in _kinds(metric, models)]
        of_codes = [metric for metric in numbers if True in _kinds(metric, models)]
        if of_model:
            tables.append(_numbers_table(title, of_model, models, of_codes=False))
        if of_codes:
            title = f"{title}, by code" if of_model else title
            tables.append(_numbers_table(title, of_codes, models, of_codes=True))
        tables += [_list_table(metric, models) for metric in metrics if metric.axis and _kinds(metric, models)]
    return tables


def _kinds(metric: Metric, models: Mapping[str, Scores]) -> set[bool]:
    """Returns whether a metric has values of the whole model (False), of codes (True), or none."""
    return {code != "" for scores in models.values() for code in metric.read(scores)}


def _numbers_table(title: str, metrics: Sequence[Metric], models: Mapping[str, Scores], of_codes: bool) -> Table:
    rows, chances = [], []
    for label, scores in models.items():
        values = [metric.read(scores) for metric in metrics]
        for code in dict.fromkeys(code for column in values for code in column if (code != "") == of_codes):
            spreads = [metric.read_spread(scores, code) for metric in metrics]
            cells = [
                cell(column.get(code), metric.digits) + _spread(spread, metric.digits)
                for metric, column, spread in zip(metrics, values, spreads, strict=True)
            ]
            rows.append([f"{label}, {code_title(code, scores)}" if code else label, *cells])
            chances.append([cell(metric.chance(scores, code), metric.digits) for metric in metrics])
    floors = [metric.read_floor(next(iter(models.values()))) for metric in metrics]
    if any(floor is not None for floor in floors):
        cells = [cell(floor, metric.digits) for metric, floor in zip(metrics, floors, strict=True)]
        rows.append(["real training images", *cells])
    ceilings = [metric.read_ceiling(next(iter(models.values()))) for metric in metrics]
    if any(ceiling is not None for ceiling in ceilings):
        cells = [cell(ceiling, metric.digits) for metric, ceiling in zip(metrics, ceilings, strict=True)]
        rows.append(["ceiling", *cells])
    # Of all rows, or none: a column may be of codes with different values at chance.
    shared = [column[0] if len(set(column)) == 1 else "-" for column in zip(*chances, strict=True)]
    if any(chance != "-" for chance in shared):
        rows.append(["at chance", *shared])
    return Table(title, ["", *(metric.header for metric in metrics)], rows)


def _list_table(metric: Metric, models: Mapping[str, Scores]) -> Table:
    rows = [
        [f"{label}, {code_title(code, scores)}" if code else label, *(cell(value, metric.digits) for value in values)]
        for label, scores in models.items()
        for code, values in metric.read(scores).items()
    ]
    return Table(metric.label, ["", *metric.axis], rows)


def _spread(spread: float | Sequence[float] | None, digits: int) -> str:
    if spread is None:
        return ""
    if isinstance(spread, Sequence):
        return f" [{', '.join(cell(end, digits) for end in spread)}]"
    return f" ± {cell(spread, digits)}"
