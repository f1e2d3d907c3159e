"""Evaluations, metrics and environments as files: what is read is whole, or refused or left out by name."""

import copy
import json

import pytest
from conftest import ROOT

from infogan import TrainConfig, UserError
from infogan.evaluation import report  # noqa: F401  registers the metrics
from infogan.evaluation.files import read_evaluation
from infogan.training.environment import read_sessions
from infogan.training.run import Run

RESULTS = sorted((ROOT / "docs" / "results").glob("*.json"))


@pytest.fixture(scope="module")
def evaluation():
    """That of a run whose results the documentation shows."""
    return json.loads((ROOT / "docs" / "results" / "mnist-fast-seed0.json").read_text())


def refusal(tmp_path, value):
    path = tmp_path / "evaluation.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    with pytest.raises(UserError) as error:
        read_evaluation(path, "--report")
    message = str(error.value)
    assert message.startswith("--report: ") and str(path) in message and "\n" not in message
    return message


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_every_published_evaluation_is_whole(path):
    assert read_evaluation(path, "--report") == json.loads(path.read_text())


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (("infogan",), None, "expected a model's scores, got None"),
        (("infogan",), [1], "expected a model's scores, got [1]"),
        (("vanilla",), None, "expected a model's scores, got None"),
        (("run",), 3, "run is 3"),
        (("step",), "3000", "step is '3000'"),
        (("step",), True, "step is True"),
        (("scored",), None, "NoneType"),
        (("scored", "n_samples"), -1, "scored.n_samples is -1"),
        (("config",), [], ""),
        (("config", "seed"), 0.5, "config.seed is 0.5"),
        (("config", "codes"), "cat10,linear", "codes: expected"),
        (("infogan", "clustering"), [], ""),
        (("infogan", "clustering", "c1"), None, ""),
        (("infogan", "clustering", "c9"), {"code_to_digit": []}, "expected one of c1, c2, c3, got 'c9'"),
        (("infogan", "clustering", "c1", "accuracy"), "0.98", "metric accuracy: expected a number, got '0.98'"),
        (("infogan", "clustering", "c1", "accuracy"), 1.5, "metric accuracy: expected a finite number in [0, 1]"),
        (("infogan", "clustering", "c1", "accuracy"), [0.98], "got [0.98]"),
        (("infogan", "clustering", "c1", "confusion"), [[]], "division"),
        (("infogan", "clustering", "c1", "code_to_digit"), [1, 2], "code_to_digit is [1, 2]"),
        (("infogan", "clustering", "c1", "code_to_digit"), ["1"] * 10, "code_to_digit is ['1'"),
        (("infogan", "mutual_information", "c1", "own_q", "nats"), None, None),  # undefined, and allowed
        (("infogan", "mutual_information", "c1", "own_q", "nats"), {"a": 1}, "expected a number"),
        (("infogan", "mutual_information", "c1", "own_q", "interval_95"), ["a", 1], "expected a number, got 'a'"),
        (("infogan", "factors", "samples", "c2"), [0.5], "expected 6 numbers, got [0.5]"),
        (("infogan", "quality", "floor", "precision"), "high", "expected a number, got 'high'"),
    ],
)
def test_what_reports_read_is_checked(evaluation, tmp_path, place, value, reason):
    altered = copy.deepcopy(evaluation)
    holder = altered
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    if reason is None:
        (tmp_path / "evaluation.json").write_text(json.dumps(altered))
        assert read_evaluation(tmp_path / "evaluation.json", "--report") == altered
    else:
        message = refusal(tmp_path, altered)
        assert "evaluation.json is damaged: " in message and reason in message


def test_files_that_are_no_evaluation_are_refused(evaluation, tmp_path):
    assert "is damaged: it has no config, infogan" in refusal(
        tmp_path, {name: value for name, value in evaluation.items() if name not in ("config", "infogan")}
    )
    for value in ("[]", "null", '{"format": "infogan-evaluation-1"}'):
        assert "expected an evaluation of format infogan-evaluation-2" in refusal(tmp_path, value)
    text = json.dumps(evaluation)
    for value in (text[:-5], "[" * 100_000, text.replace("3000", "1" * 400), text.replace("3000", "NaN")):
        assert "cannot read" in refusal(tmp_path, value)


@pytest.mark.parametrize("content", ["null", "3", "[3]", '{"a": 1}', "[{]", "[" * 100_000, '[{"a": NaN}]', "\0"])
def test_a_run_does_without_a_damaged_environment(tmp_path, content):
    (tmp_path / "environment.json").write_text(content)
    assert read_sessions(tmp_path) == []
    (tmp_path / "environment.json").write_text('[{"launcher": "a"}]')
    assert read_sessions(tmp_path) == [{"launcher": "a"}]


@pytest.mark.parametrize(
    "row",
    [
        '{"step": 2, "loss_d": [1]}',
        '{"step": 2, "loss_d": ' + "1" * 400 + "}",
        '{"step": 2, "loss_d": 1e400}',
        '{"step": 2, "loss_d": NaN}',
        '{"step": 2, "loss_d": null}',
        '{"step": 2, "loss_d": "1"}',
        '{"step": -2, "loss_d": 1}',
        '{"step": true}',
        '{"step": 2, "step": 3}',
        '{"step": 2, "loss_d": ' + "[" * 100_000,
    ],
)
def test_a_row_of_metrics_that_cannot_be_is_left_out(tmp_path, row):
    run = Run.create(TrainConfig(dataset="mnist5k"), tmp_path)
    run.append_metrics({"step": 1, "loss_d": 0.5})
    with run.metrics_file.open("a") as file:
        file.write(f"{row}\n")
    run.append_metrics({"step": 3, "loss_d": 0.25})
    assert run.read_metrics() == [{"step": 1, "loss_d": 0.5}, {"step": 3, "loss_d": 0.25}]


@pytest.mark.parametrize("content", ["null", "[]", "{", '{"width": 1}', '{"width": NaN}', '{"colour": 1}', "[" * 10**5])
def test_a_damaged_configuration_is_named(tmp_path, content):
    run = Run.create(TrainConfig(dataset="mnist5k"), tmp_path)
    (run.folder / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json: ") as error:
        run.read_config()
    assert "\n" not in str(error.value)
