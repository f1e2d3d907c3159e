"""A metric from outside the package: one function, found in evaluation.json, in the tables and in the report."""

import json
import math
import subprocess
import sys

import pytest
import torch
from conftest import ROOT

from infogan import Discriminator, Generator, LatentSpec, UserError
from infogan.evaluation import Subject, register_metric, registry, subject
from infogan.evaluation.fresh_q import FreshQ
from infogan.evaluation.report import report_tables
from infogan.evaluation.scoring import evaluate_nets
from infogan.evaluation.tables import run_tables
from infogan.system.runtime import rng_state, set_rng_state

SPEC = LatentSpec.parse("cat3,uniform")
TINY_Q = FreshQ(width=4, n_images=64, epochs=1, batch_size=32)


@pytest.fixture(autouse=True)
def registry_stays(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))
    monkeypatch.setattr(subject, "N_SWEEP_ROWS", 2)
    before = rng_state()
    yield
    set_rng_state(before)


def scores_of(digits, seed: int) -> dict:
    """Scores of an untrained model, as they come back from a file."""
    torch.manual_seed(seed)
    nets = Generator(SPEC, width=4), Discriminator(SPEC, width=4)
    scores = evaluate_nets(*nets, SPEC, digits, None, n_samples=20, seed=seed, fresh_q=TINY_Q)
    return json.loads(json.dumps(scores, allow_nan=False))


def evaluation(name: str, seed: int, scores: dict) -> dict:
    return {"run": name, "step": 1, "config": {"seed": seed}, "infogan": scores}


def test_a_metric_is_one_function(digits):
    before = scores_of(digits, seed=0)

    @register_metric(label="mean brightness", range=(0, 1), at_chance=0.5, higher_is_better=False)
    def brightness(subject: Subject) -> float:
        return subject.samples.images.float().mean() / 255

    @register_metric(label="values seen", range=(0, math.inf), at_chance=None, higher_is_better=True)
    def values_seen(subject: Subject) -> dict[str, float]:
        return {name: 1 + i for i, name in enumerate(subject.spec.names)}

    both = [scores_of(digits, seed) for seed in (0, 1)]
    first, second = (scores["metrics"]["brightness"] for scores in both)
    assert 0 < first != second < 1
    # Nothing else has moved.
    assert {key: value for key, value in both[0].items() if key != "metrics"} == before

    table, by_code = (table for table in run_tables({"InfoGAN": both[0]}) if table.title.startswith("other metrics"))
    assert list(table.header) == ["", "mean brightness ↓"]
    assert table.rows == [["InfoGAN", f"{first:.3f}"], ["at chance", "0.500"]]
    assert list(by_code.header) == ["", "values seen ↑"]
    assert by_code.rows == [["InfoGAN, c1", "1.000"], ["InfoGAN, c2", "2.000"]]

    runs = [evaluation(name, i, scores) for i, (name, scores) in enumerate(zip("ab", both, strict=True))]
    report = next(table for table in report_tables(runs, bar=0.9) if table.title == "InfoGAN, other metrics")
    assert list(report.header[3:]) == ["mean brightness ↓", "c1 values seen ↑", "c2 values seen ↑"]
    cells = {row[0]: row[3:] for row in report.rows}
    assert cells["a"] == [f"{first:.3f}", "1.000", "2.000"]
    assert cells["worst"] == [f"{max(first, second):.3f}", "1.000", "2.000"]
    assert cells["mean ± deviation"][0].startswith(f"{(first + second) / 2:.3f} ± ")
    assert cells["n"] == ["2", "2", "2"]
    assert cells["at chance"] == ["0.500", "-", "-"]
    assert "mean brightness" in report.markdown()


def test_what_is_not_at_hand_is_not_measured(digits):
    @register_metric(label="smile", range=(0, 1), at_chance=0, higher_is_better=True, needs={"faces"})
    def smile(subject: Subject) -> float:
        raise AssertionError("digits have no faces")

    assert "metrics" not in scores_of(digits, seed=0)
    all_others = {"labels", "categorical", "continuous", "digits", "images other than digits", "inception"}
    all_others |= {"known factors", "features", "stacked digits"}
    assert registry.unmet_needs(all_others) == {"faces": ["other metrics"]}


def test_what_is_undefined_is_none(digits):
    @register_metric(label="nothing", range=(0, 1), at_chance=None, higher_is_better=True)
    def nothing(subject: Subject) -> float:
        return math.nan

    scores = scores_of(digits, seed=0)
    assert scores["metrics"] == {"nothing": None}
    assert "other metrics" not in [table.title for table in run_tables({"InfoGAN": scores})]


@pytest.mark.parametrize(("value", "got"), [(1.5, "1.5"), (math.inf, "inf"), ("high", "'high'")])
def test_a_value_that_is_not_in_its_range_is_refused(digits, value, got):
    @register_metric(label="share", range=(0, 1), at_chance=None, higher_is_better=True)
    def share(subject: Subject) -> float:
        return value

    with pytest.raises(UserError, match=f"metric share: expected a .*number.*, got {got}"):
        scores_of(digits, seed=0)


def test_a_name_is_given_once():
    def register(function, **changes):
        described = {"label": "x", "range": (0, 1), "at_chance": None, "higher_is_better": True, **changes}
        return register_metric(**described)(function)

    def accuracy(subject):
        return 0.0

    with pytest.raises(UserError, match="expected a name that no metric has yet, got 'accuracy'"):
        register(accuracy)
    with pytest.raises(UserError, match=r"expected a range from least to largest, got \(1, 0\)"):
        register(accuracy, range=(1, 0))
    # Under another name; and again, as a notebook does.
    assert register(register(accuracy, name="mine"), name="mine") is accuracy


def test_every_metric_of_the_package_says_what_its_values_mean():
    labels = [(title, metric.label) for title, metrics in registry.tables() for metric in metrics]
    assert len(labels) == len(set(labels)) > 20
    for _, metrics in registry.tables():
        for metric in metrics:
            assert metric.range[0] < metric.range[1], metric.name
            assert metric.from_scores or metric.function.__doc__, metric.name


def test_importing_it_loads_nothing_slow():
    code = (
        "import sys, infogan.evaluation.report, infogan.evaluation.scoring\n"
        "slow = {'torchvision', 'matplotlib.figure', 'mlxtend', 'torchmetrics'} & sys.modules.keys()\n"
        "assert not slow, slow"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
