"""evaluation.json: made from a checkpoint, shown as a table, drawn, and put together over the seeds of a run."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from infogan.auxiliary import category_labels, confusion_figure, factors_figure, save_png
from infogan.data.datasets import CLASS_NAMES, load_scored_dataset
from infogan.evaluation.inception import measure_inception_reference
from infogan.evaluation.morphometrics import ATTRIBUTES
from infogan.evaluation.scoring import DIGIT_DATASETS, FreshQ, evaluate_nets, measure_reference
from infogan.system.errors import UserError
from infogan.training.run import Run, environment, read_sessions, write_atomically
from infogan.training.trainer import load_nets

EVALUATION_FORMAT = "infogan-evaluation-2"
EVALUATION_FILE = "evaluation.json"
MODELS = {"infogan": "InfoGAN", "vanilla": "vanilla GAN"}


def evaluate_checkpoint(
    path: Path,
    data_dir: str | Path | None,
    device: torch.device,
    seed: int = 0,
    n_samples: int = 10_000,
    fresh_q: FreshQ | None = None,
    inception: str | Path | None = None,
) -> dict[str, Any]:
    """Returns what `evaluation.json` holds: the measures of a checkpoint's nets, and how they came about.

    `trained` says on what the run was trained, session by session, and `train_seconds` how long its steps took.
    Under `infogan`, and for a run with `--baseline` under `vanilla`, are the measures of `scoring.evaluate_nets`.
    Everything but `environment` is the same whenever it is repeated on one device.

    Args:
        path: the checkpoint; only read.
        data_dir: folder of the IDX files; by default where the run had them, if it is there, else `data`.
        device: where the nets work.
        seed: of all that is drawn.
        n_samples: fresh samples of each model.
        fresh_q: the budget of the Q trained from scratch.
        inception: file of the Inception network, if its FID and KID are wanted.

    Raises:
        UserError: a checkpoint or data that cannot be read.
    """
    fresh_q = fresh_q or FreshQ()
    nets = load_nets(path, device)
    if data_dir is None:
        data_dir = nets.config.data_dir if Path(nets.config.data_dir).is_dir() else "data"
    dataset = load_scored_dataset(nets.config.dataset, data_dir)
    of_digits = dataset.name in DIGIT_DATASETS
    reference = measure_reference(dataset, n_samples, seed, device) if of_digits else None
    inception_reference = None
    if inception is not None:
        order = torch.randperm(len(dataset.test_images), generator=torch.Generator().manual_seed(seed))
        inception_reference = measure_inception_reference(inception, dataset.test_images[order[:n_samples]], device)
    run = Run.of_checkpoint(path)
    models = {"infogan": nets}
    if nets.config.baseline:
        models["vanilla"] = load_nets(path, device, baseline=True)
    return {
        "format": EVALUATION_FORMAT,
        "run": nets.name,
        "step": nets.step,
        "scored": {
            "dataset": dataset.name,
            "n_test_images": len(dataset.test_images),
            "n_samples": n_samples,
            "seed": seed,
        },
        "skipped": [] if of_digits else [f"factors and image quality: they are of digits, and {dataset.name} is not"],
        "classifier_sha256": None if reference is None else reference.classifier.sha256,
        "fresh_q": asdict(fresh_q),
        # Where one machine keeps its data says nothing of the run, and would differ in every report.
        "config": {name: value for name, value in nets.config.to_dict().items() if name != "data_dir"},
        "trained": [_without_command(session) for session in ([] if run is None else read_sessions(run.folder))],
        "train_seconds": nets.seconds,
        "environment": _without_command(environment()),
        **{
            model: {
                "averaged_generator": model_nets.averaged_generator,
                **evaluate_nets(
                    model_nets.generator,
                    model_nets.discriminator,
                    model_nets.spec,
                    dataset,
                    reference,
                    n_samples,
                    seed,
                    fresh_q,
                    inception_reference,
                ),
            }
            for model, model_nets in models.items()
        },
    }


def _without_command(session: dict[str, Any]) -> dict[str, Any]:
    """Returns what a process ran on, without its command, which names folders of one machine."""
    return {name: value for name, value in session.items() if name != "command"}


def evaluation_path(checkpoint: Path) -> Path:
    """Returns where a checkpoint's evaluation belongs: beside its run, or beside the file if it is of no run here."""
    run = Run.of_checkpoint(checkpoint)
    return checkpoint.with_suffix(f".{EVALUATION_FILE}") if run is None else run.folder / EVALUATION_FILE


def save_evaluation(evaluation: dict[str, Any], path: Path) -> None:
    """Writes an evaluation whole or not at all, over an earlier one.

    Raises:
        UserError: it cannot be written.
    """
    content = (json.dumps(evaluation, indent=2, allow_nan=False) + "\n").encode()
    write_atomically(path, lambda file: file.write(content), "--json")


def read_evaluation(run_or_file: str | Path, argument: str) -> dict[str, Any]:
    """Returns the evaluation of a run, or that in a file; an error names `argument`.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    given = Path(run_or_file)
    path = given / EVALUATION_FILE if given.is_dir() else given
    if given.is_dir() and not path.is_file():
        raise UserError(
            f"{argument}: expected runs with an {EVALUATION_FILE}, got {given}; "
            f"python scripts/evaluate.py {given} makes it"
        )
    try:
        evaluation = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{argument}: expected runs or their {EVALUATION_FILE}, got {given}: {error}") from error
    if not isinstance(evaluation, dict) or evaluation.get("format") != EVALUATION_FORMAT:
        raise UserError(f"{argument}: expected an evaluation of format {EVALUATION_FORMAT}, got {path}")
    if missing := {"run", "step", "scored", "config", "infogan"} - evaluation.keys():
        raise UserError(f"{argument}: {path} is damaged: it has no {', '.join(sorted(missing))}")
    return evaluation


def code_to_digit(checkpoint: Path, step: int) -> dict[str, list[int | None]]:
    """Returns which digit, or class, each category of each code is matched to, by the code's name.

    Empty if the run has not been evaluated at this step: at another, its categories may mean something else.

    Raises:
        UserError: the evaluation cannot be read.
    """
    path = evaluation_path(checkpoint)
    if not path.is_file():
        return {}
    evaluation = read_evaluation(path, EVALUATION_FILE)
    if evaluation["step"] != step:
        return {}
    return {name: scores["code_to_digit"] for name, scores in evaluation["infogan"]["clustering"].items()}


def draw_evaluation(evaluation: dict[str, Any], folder: Path) -> list[Path]:
    """Writes `confusion.png` and `factors.png`, and those of the vanilla GAN, and returns their paths."""
    paths = []
    for model, label in MODELS.items():
        if model not in evaluation:
            continue
        scores, suffix = evaluation[model], "" if model == "infogan" else f"_{model}"
        title = f"{evaluation['run']}, step {evaluation['step']}, {label}"
        if scores["clustering"]:
            names = CLASS_NAMES.get(evaluation["scored"]["dataset"], ())
            picture = confusion_figure(scores["clustering"], title, names)
            paths.append(save_png(picture, folder / f"confusion{suffix}.png"))
        if "factors" in scores:
            panels = {"test images": scores["factors"]["test_images"], "samples": scores["factors"]["samples"]}
            picture = factors_figure(panels, scores["factors"]["attributes"], title)
            paths.append(save_png(picture, folder / f"factors{suffix}.png"))
    return paths


# Tables


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


def _cell(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def describe_evaluation(evaluation: dict[str, Any]) -> str:
    """Returns one evaluation as tables for a terminal."""
    scored = evaluation["scored"]
    models = {label: evaluation[model] for model, label in MODELS.items() if model in evaluation}
    head = (
        f"{evaluation['run']}, step {evaluation['step']}: {scored['n_test_images']:,} test images of "
        f"{scored['dataset']}, {scored['n_samples']:,} samples, seed {scored['seed']}"
    )
    averaged = [label for label, scores in models.items() if scores["averaged_generator"]]
    notes = [f"samples of {label}: by the average of G's weights" for label in averaged]
    if scored["dataset"] == "mnist5k":
        notes.append(
            "no MNIST in --data-dir: these test images are few, and the classifier (not the run) learned from them"
        )
    notes += [f"skipped: {reason}" for reason in evaluation["skipped"]]
    tables = [_information_table(models), _clustering_table(models)]
    if evaluation["classifier_sha256"] is not None:
        tables += [*_factor_tables(models), _quality_table(models)]
    tables.append(_inception_table(models))
    maps = [
        f"{label}, {name}: " + ", ".join(category_labels(clustering["code_to_digit"]))
        for label, scores in models.items()
        for name, clustering in scores["clustering"].items()
    ]
    if maps:
        maps.insert(0, "Code to class, as matched for the accuracy")
    shown = [table.plain() for table in tables if table.rows]
    return "\n\n".join(["\n".join([head, *notes]), *shown, *(["\n  ".join(maps)] if maps else [])])


def _information_table(models: dict[str, Any]) -> Table:
    def bound(entry: dict[str, Any]) -> str:
        low, high = entry["interval_95"]
        return f"{entry['nats']:.3f} [{low:.3f}, {high:.3f}]"

    rows = [
        [f"{label}, {name} ({entry['code']})", _cell(entry["entropy_nats"])]
        + [bound(entry[kind]) for kind in ("own_q", "own_q_calibrated", "fresh_q")]
        for label, scores in models.items()
        for name, entry in scores["mutual_information"].items()
    ]
    header = ["", "H(c)", "own Q", "own Q, calibrated", "fresh Q"]
    return Table("L_I on samples, in nats, with 95% intervals", header, rows)


def _clustering_table(models: dict[str, Any]) -> Table:
    rows = [
        [f"{label}, {name}", *(_cell(clustering[key]) for key in ("accuracy", "nmi", "ari"))]
        for label, scores in models.items()
        for name, clustering in scores["clustering"].items()
    ]
    return Table("Clustering of the test images", ["", "accuracy", "NMI", "ARI"], rows)


def _factor_tables(models: dict[str, Any]) -> list[Table]:
    correlations, sweeps, directions = [], [], []
    for label, scores in models.items():
        factors = scores.get("factors", {"test_images": {}, "samples": {}, "sweeps": {}})
        for where, key in (("test images", "test_images"), ("samples", "samples")):
            correlations += [
                [f"{label}, {name}, {where}", *(_cell(value, 2) for value in row)] for name, row in factors[key].items()
            ]
        sweeps += [
            [f"{label}, {name}", *(_cell(value, 2) for value in sweep["range_covered"]), _cell(sweep["digit_kept"], 2)]
            for name, sweep in factors["sweeps"].items()
        ]
        directions += [
            [f"{label}, {name}", *(_cell(value, 1) for value in sweep["shared_direction"])]
            for name, sweep in factors["sweeps"].items()
        ]
    return [
        Table("Partial correlation of continuous codes with attributes", ["", *ATTRIBUTES], correlations),
        Table(
            "Sweeps: share covered of the 5-95% range of real digits, and of images that keep their digit",
            ["", *ATTRIBUTES, "digit kept"],
            sweeps,
        ),
        Table("Sweeps: share of categories that change the same way", ["", *ATTRIBUTES], directions),
    ]


def _quality_table(models: dict[str, Any]) -> Table:
    keys = ("frechet_digit_distance", "precision", "recall", "density", "coverage")
    rows = []
    for label, scores in models.items():
        quality = scores["quality"]
        agreement = ", ".join(f"{name} {value:.3f}" for name, value in quality["agreement"].items()) or "-"
        n_covered, kl_nats = quality["digits"]["n_covered"], quality["digits"]["kl_nats"]
        rows.append([label, *(_cell(quality[key]) for key in keys), f"{n_covered}", _cell(kl_nats), agreement])
    quality = next(iter(models.values()))["quality"]
    floor = [quality["frechet_digit_distance_floor"], *(quality["floor"][key] for key in keys[1:])]
    rows.append(["real training images", *(_cell(value) for value in floor), "", "", ""])
    header = ["", "Fréchet digit distance", *keys[1:], "digits of 10", "KL of their shares", "digit agrees with code"]
    return Table("Image quality, in the eyes of the digit classifier", header, rows)


def _inception_table(models: dict[str, Any]) -> Table:
    found = {label: scores["inception"] for label, scores in models.items() if "inception" in scores}
    rows = [
        [label, _cell(scores["fid"], 2), f"{_cell(scores['kid'], 4)} ± {_cell(scores['kid_deviation'], 4)}"]
        for label, scores in found.items()
    ]
    n = next((scores["n"] for scores in found.values()), 0)
    return Table(f"Inception FID and KID, {n:,} samples against {n:,} test images", ["", "FID", "KID"], rows)


# Many runs


@dataclass(frozen=True)
class _Measure:
    """A column of the report: where its value is, and which end of it is bad."""

    header: str
    value: Callable[[dict[str, Any]], float | None]
    worst: Callable[[Sequence[float]], float] = min


def report_tables(evaluations: Sequence[dict[str, Any]], bar: float) -> list[Table]:
    """Returns tables of runs: every run a row, then median, mean ± deviation (n - 1), worst and n.

    For each model one on clustering, whose title says how many runs reached the bar, one on L_I, one on what the
    continuous codes control (see `main_factors`) and one on image quality, as far as the runs have these.

    Args:
        evaluations: one or more.
        bar: accuracy of the first categorical code to reach, in [0, 1].
    """
    tables = []
    for model, label in MODELS.items():
        having = [evaluation for evaluation in evaluations if model in evaluation]
        for what, measures in _measures([evaluation[model] for evaluation in having]).items():
            if measures:
                title = f"{label}, {what}"
                if what == "clustering":
                    reached = [(measures[0].value(evaluation[model]) or 0) >= bar for evaluation in having]
                    title += f": {sum(reached)} of {len(reached)} runs reached {measures[0].header} {bar:g}"
                tables.append(_report_table(having, model, title, measures))
    return tables


def _report_table(evaluations: Sequence[dict[str, Any]], model: str, title: str, measures: Sequence[_Measure]) -> Table:
    columns = [[measure.value(evaluation[model]) for evaluation in evaluations] for measure in measures]
    rows = [
        [evaluation["run"], f"{evaluation['config']['seed']}", f"{evaluation['step']}"]
        + [_cell(column[i]) for column in columns]
        for i, evaluation in enumerate(evaluations)
    ]
    known = [[value for value in column if value is not None] for column in columns]
    summaries: list[tuple[str, Callable[[_Measure, list[float]], str]]] = [
        ("median", lambda _, values: _cell(statistics.median(values))),
        ("mean ± deviation", lambda _, values: _mean_and_deviation(values)),
        ("worst", lambda measure, values: _cell(measure.worst(values))),
        ("n", lambda _, values: f"{len(values)}"),
    ]
    for name, summary in summaries:
        cells = [summary(measure, values) if values else "-" for measure, values in zip(measures, known, strict=True)]
        rows.append([name, "", "", *cells])
    return Table(title, ["run", "seed", "step", *(measure.header for measure in measures)], rows)


def _mean_and_deviation(values: Sequence[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return f"{_cell(statistics.fmean(values))} ± {_cell(deviation)}"


def _measures(models: Sequence[dict[str, Any]]) -> dict[str, list[_Measure]]:
    """Returns the columns of each table for these models: those of the codes that any has, accuracy first."""
    clustered = _names(model["clustering"] for model in models)
    codes = _names(model["mutual_information"] for model in models)
    factors = []
    if any("factors" in model for model in models):
        columns = dict.fromkeys(name for model in models for name in main_factors(model))
        factors = [_Measure(name, lambda model, name=name: main_factors(model).get(name)) for name in columns]
    quality = []
    if any("quality" in model for model in models):
        quality = [_Measure("Fréchet digit distance", _at("quality", "frechet_digit_distance"), worst=max)]
        quality += [_Measure(name, _at("quality", name)) for name in ("precision", "recall", "density", "coverage")]
        quality += [_Measure(f"digit agrees with {name}", _at("quality", "agreement", name)) for name in clustered]
    return {
        "clustering": [
            _Measure(f"{name} {header}", _at("clustering", name, key))
            for name in clustered
            for header, key in (("accuracy", "accuracy"), ("NMI", "nmi"), ("ARI", "ari"))
        ],
        "L_I in nats": [
            _Measure(f"{name}, {header}", _at("mutual_information", name, key, "nats"))
            for name in codes
            for header, key in (("own Q", "own_q"), ("fresh Q", "fresh_q"))
        ],
        "continuous codes": factors,
        "image quality": quality,
    }


def main_factors(scores: dict[str, Any]) -> dict[str, float | None]:
    """Returns how well continuous codes hold slant, and thickness or width; empty without such codes, or digits.

    - `slant |r|`: the largest absolute partial correlation that a code has with the slant of test images.
    - `thickness or width |r|`: likewise, of another code.
    - `..., shared`: the share of categories in which a sweep of that code changes that attribute the same way.
    - `digit kept`: the share of images that keep their digit along a sweep, of the worse code.

    Args:
        scores: of one model, as `scoring.evaluate_nets` returns them.
    """
    if "factors" not in scores:
        return {}
    factors, found = scores["factors"], {}
    left = list(factors["test_images"])
    for what, attributes in (("slant", ["slant"]), ("thickness or width", ["thickness", "width"])):
        candidates = [
            (abs(factors["test_images"][name][column] or 0), name, column)
            for name in left
            for column in map(factors["attributes"].index, attributes)
        ]
        if candidates:
            correlation, name, column = max(candidates)
            left.remove(name)
            found[f"{what} |r|"] = correlation
            found[f"{what}, shared"] = factors["sweeps"][name]["shared_direction"][column]
    found["digit kept"] = min(sweep["digit_kept"] for sweep in factors["sweeps"].values())
    return found


def _names(groups: Any) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group))


def _at(*keys: str) -> Callable[[dict[str, Any]], float | None]:
    def value(scores: dict[str, Any]) -> float | None:
        found: Any = scores
        for key in keys:
            found = found.get(key, {})
        return None if found == {} else found

    return value


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
    return notes


def _difference(field: str, values: Sequence[Any]) -> list[str]:
    distinct = list(dict.fromkeys(map(str, values)))
    return [f"the runs differ in {field}: {', '.join(distinct)}"] if len(distinct) > 1 else []
