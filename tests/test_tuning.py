"""What is fastest is measured before a run, saved with it, and changes nothing else."""

import pytest
import torch
from states import assert_same_state, final_state

from infogan.models import Trunk
from infogan.system import runtime
from infogan.training import tuning
from infogan.training.loop import resume

CPU = torch.device("cpu")
AUTO = {"precision": "auto", "matmul": "auto"}


@pytest.fixture
def measurable(monkeypatch):
    """Has the processor know bfloat16, and runs of any length be measured."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    monkeypatch.setattr(runtime, "onednn_is_precise", lambda: True)
    monkeypatch.setattr(tuning, "MIN_STEPS", 1)


def measure_as(monkeypatch, **seconds):
    """Has each candidate take given seconds; to measure one that is not named fails."""
    monkeypatch.setattr(
        tuning,
        "_step_seconds",
        lambda trainer, config: seconds["bfloat16" if config.precision == "bfloat16" else config.matmul],
    )


def choose(config, digits) -> tuple[tuple[str, str], str]:
    chosen, line = tuning.tuned(config, digits.images, CPU)
    assert chosen["threads"] == torch.get_num_threads()
    return (chosen["precision"], chosen["matmul"]), line


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({"onednn": 1.0, "default": 0.9, "bfloat16": 0.95}, ("float32", "default")),
        ({"onednn": 1.0, "default": 1.2, "bfloat16": 0.7}, ("bfloat16", "onednn")),
        ({"onednn": 1.0, "default": 0.98, "bfloat16": 1.3}, ("float32", "onednn")),  # no clear difference
    ],
)
def test_the_fastest_is_taken_and_said(small, digits, measurable, monkeypatch, seconds, chosen):
    measure_as(monkeypatch, **seconds)
    found, line = choose(small(**AUTO), digits)
    assert found == chosen
    assert line.startswith(f"fastest here: {chosen[0]} by {tuning.NAMES[chosen[1]]} (")


def test_each_candidate_is_measured_in_its_precision_and_by_its_library(small, digits, measurable, monkeypatch):
    seen = []
    each = Trunk.each

    def note(trunk, *batches):
        features = each(trunk, *batches)
        seen.append((features[0].dtype, torch.get_float32_matmul_precision()))
        return features

    monkeypatch.setattr(Trunk, "each", note)
    monkeypatch.setattr(tuning, "TIMED_STEPS", 1)
    choose(small(**AUTO, baseline=True), digits)
    measured = [(torch.float32, "medium"), (torch.float32, "highest"), (torch.bfloat16, "medium")]
    assert list(dict.fromkeys(seen)) == measured
    # Two steps each, of InfoGAN and of the vanilla GAN, with an update of D and one of G.
    assert [seen.count(one) for one in measured] == [8, 8, 8]


def test_with_a_given_precision_nothing_is_measured(small, digits, measurable, monkeypatch):
    measure_as(monkeypatch)
    assert choose(small(precision="float32", matmul="auto"), digits) == (("float32", "onednn"), "")
    assert choose(small(precision="bfloat16", matmul="default"), digits) == (("bfloat16", "default"), "")


def test_a_given_library_stays(small, digits, measurable, monkeypatch):
    measure_as(monkeypatch, onednn=0.1, default=1.0, bfloat16=2.0)
    assert choose(small(precision="auto", matmul="default"), digits)[0] == ("float32", "default")


def test_a_short_run_is_not_measured(small, digits, measurable, monkeypatch):
    measure_as(monkeypatch)
    monkeypatch.setattr(tuning, "MIN_STEPS", 2)
    assert choose(small(**AUTO, steps=1), digits) == (("float32", "onednn"), "")


def test_measuring_changes_nothing_that_is_learned_and_a_resumed_run_repeats_the_choice(
    train_small, measurable, monkeypatch, capsys
):
    measured = train_small(**AUTO, steps=1)
    assert "fastest here: " in capsys.readouterr().err
    config = measured.read_config()
    assert "auto" not in (config.precision, config.matmul)
    measure_as(monkeypatch)
    assert resume(measured.folder, steps=2).read_config().precision == config.precision
    given = train_small(precision=config.precision, matmul=config.matmul, threads=config.threads, steps=2)
    assert_same_state(final_state(measured), final_state(given))


def test_a_run_that_falls_apart_says_so_itself(small, digits, measurable):
    assert choose(small(lr_g=1e30, lr_d=1e30, **AUTO), digits)[0] == ("float32", "onednn")
