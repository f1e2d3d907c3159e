"""Altered files: every reader refuses them in one line, or gives what was written; never slowly, nor with much memory.

Each file is a real one, written by the package from real digits, and altered by Hypothesis: bits and bytes, cuts,
repeats, and for text odd values in the place of others. A few examples with fixed seeds run by default; `-m slow` runs
10,000 new ones.
"""

from __future__ import annotations

import copy
import gzip
import json
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, small_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from states import leaves

from infogan import Trainer, UserError, load_nets
from infogan.evaluation.classifier import load_digit_classifier
from infogan.evaluation.files import read_evaluation
from infogan.evaluation.report import report_notes, report_tables
from infogan.evaluation.shipped_nets import save_shipped
from infogan.system import tensor_files
from infogan.system.errors import MALFORMED
from infogan.system.readers import is_number, read_array, read_bytes, unpack_gzip
from infogan.training.checkpoint import load_checkpoint, load_resumable
from infogan.training.environment import environment, read_sessions
from infogan.training.run import Run

MAX_MEMORY = 2**30
DEADLINE = timedelta(seconds=20)  # of one file; most take milliseconds, but a machine may be busy
KINDS = ("checkpoint", "checkpoint of before", "classifier", "classifier of before", "evaluation")
KINDS += ("metrics", "config", "environment", "array", "gz")
AMOUNTS = [pytest.param(30, id="few"), pytest.param(1000, id="many", marks=pytest.mark.slow)]  # of each of ten kinds


@dataclass(frozen=True)
class Reader:
    """A file as it was written, and what reads it.

    Attributes:
        content: The file.
        load: Reads a file, and returns what the package would go on with.
        check: Asserts that what was read of an altered content may be.
    """

    content: bytes
    load: Callable[[Path], Any]
    check: Callable[[Any, bytes], None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("altered")


@pytest.fixture(scope="module")
def trainer(digits):
    """After a step, so that Adam has its averages too."""
    trainer = Trainer(small_config(codes="cat3,gaussian", overclusters=5, baseline=True), digits.images[:64])
    trainer.train_step()
    return trainer


@pytest.fixture(scope="module")
def run(trainer, folder):
    """A run on disk, evaluated and with metrics."""
    run = Run.create(small_config(name="run", codes="cat3,gaussian", overclusters=5, baseline=True), folder)
    run.save_checkpoint({"name": "run", **trainer.state_dict(), "log": {"sums": {}, "n": 0, "seconds": 0.5}})
    for step in range(1, 40):
        run.append_metrics({"step": step, "epoch": 1, "loss_d": 1 / step, "loss_g": -0.5, "mi_c1": 1e-7 * step})
    return run


@pytest.fixture(scope="module")
def readers(run, folder, digits_5k):
    checkpoint = run.latest_checkpoint().read_bytes()
    saved = load_checkpoint(run.latest_checkpoint())
    shipped = (ROOT / "infogan" / "assets" / "digit_classifier.pt").read_bytes()
    classifier = load_digit_classifier()
    save_shipped(classifier, folder / "classifier.pt")
    images = digits_5k[0][:40]
    np.save(folder / "digits.npy", images)

    def load_all(path):
        return load_nets(path), load_nets(path, baseline=True), load_checkpoint(path)

    def same_state(loaded, _):
        assert_equal(loaded[2], saved)

    def same_classifier(loaded, _):
        assert_equal(loaded.state_dict(), classifier.state_dict())

    def can_be_reported(evaluation, content):
        assert evaluation == json.loads(content)
        assert report_tables([evaluation], 0.95) and report_notes([evaluation]) == []

    def read_metrics(path):
        of_file = copy.copy(run)
        of_file.metrics_file = path
        return of_file.read_metrics()

    def rows_are_whole(rows, content):
        assert all(is_number(value) for row in rows for value in row.values())
        untouched = set(content.split(b"\n")) & set(run.metrics_file.read_bytes().split(b"\n"))
        assert all(json.loads(line) in rows for line in untouched if line)

    def read_config(path):
        of_file = copy.copy(run)
        of_file.folder = path.parent
        path.replace(path.parent / "config.json")
        return of_file.read_config()

    def read_environment(path):
        path.replace(path.parent / "environment.json")
        return read_sessions(path.parent)

    def is_all_there(array, content):
        assert content.endswith(array.tobytes(order="A")) and array.nbytes + 10 < len(content)

    def unpack(path):
        return unpack_gzip(read_bytes(path, "--data-dir", 2**24), path, "--data-dir", 2**20)

    return {
        "checkpoint": Reader(checkpoint, load_all, same_state),
        "checkpoint of before": Reader(checkpoint[: -tensor_files._SEAL_BYTES], load_all, same_state),
        "classifier": Reader((folder / "classifier.pt").read_bytes(), load_digit_classifier, same_classifier),
        "classifier of before": Reader(shipped, load_digit_classifier, same_classifier),
        "evaluation": Reader(
            (ROOT / "docs" / "results" / "mnist-paper-seed0.json").read_bytes(),
            lambda path: read_evaluation(path, "--report"),
            can_be_reported,
        ),
        "metrics": Reader(run.metrics_file.read_bytes(), read_metrics, rows_are_whole),
        "config": Reader(
            (run.folder / "config.json").read_bytes(), read_config, lambda config, _: config.spec and config.describe()
        ),
        "environment": Reader(
            json.dumps([environment(), environment()], indent=2).encode(),
            read_environment,
            lambda sessions, _: all(session.get("launcher") for session in sessions),
        ),
        "array": Reader((folder / "digits.npy").read_bytes(), lambda path: read_array(path, "--dataset"), is_all_there),
        "gz": Reader(gzip.compress(images.tobytes()), unpack, lambda found, _: len(found) <= 2**20),
    }


def assert_equal(found, expected):
    found, expected = leaves(found), leaves(expected)
    assert found.keys() == expected.keys()
    for path, value in expected.items():
        same = torch.equal(found[path], value) if isinstance(value, torch.Tensor) else found[path] == value
        assert same, path


def alterations(content):
    """Strategies of what can happen to a file, as pairs of a position and what to make of the bytes from there on."""
    n_bytes = len(content)
    # Headers and directories are at the ends.
    anywhere = st.integers(0, n_bytes - 1)
    position = anywhere | st.integers(0, min(n_bytes, 500) - 1) | st.integers(max(n_bytes - 20_000, 0), n_bytes - 1)
    few, many = st.binary(min_size=1, max_size=8), st.integers(1, 3000)
    return position, st.one_of(
        st.integers(0, 7).map(lambda bit: lambda rest: bytes([rest[0] ^ 1 << bit]) + rest[1:]),
        few.map(lambda new: lambda rest: new + rest[len(new) :]),
        few.map(lambda new: lambda rest: new + rest),
        many.map(lambda n: lambda rest: rest[n:]),
        many.map(lambda n: lambda rest: rest[:n] + rest),
        st.just(lambda rest: b""),
    )


ODD_VALUES = ("null", "true", "-1", "0", "1e400", "NaN", "-Infinity", "1" * 400, "1" * 5000, '""', '"x"', r'"\ud800"')
ODD_VALUES += ("[]", "{}", "[1]", '{"a": 1}', "[" * 100_000, '{"a":' * 100_000, "0.5", "-0.0", "1e-320", r'"\u0000\n"')
_VALUE = re.compile(rb'"[^"]*"|-?[0-9][0-9.e+-]*|true|false|null|[\[{][^\[{\]}]*[\]}]')


def altered(content, data):
    if content[:1] in b"[{" and data.draw(st.booleans()):
        values = list(_VALUE.finditer(content))
        match, new = data.draw(st.sampled_from(values)), data.draw(st.sampled_from(ODD_VALUES))
        return content[: match.start()] + new.encode() + content[match.end() :]
    for _ in range(data.draw(st.integers(1, 3))):
        if content:
            position, change = map(data.draw, alterations(content))
            content = content[:position] + change(content[position:])
    return content


def memory(which):
    """Resident memory in bytes, where the system tells it: now (VmRSS), or at its most (VmHWM)."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("no /proc")
    return int(re.search(rf"{which}:\s+(\d+)", status.read_text())[1]) * 1024


@pytest.fixture
def memory_grown():
    """Returns by how many bytes the process was at most larger than at the start of the test."""
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is taken from here on
    return lambda: memory("VmHWM") - before


def each(n):
    """Settings of a test that looks at n examples: the same ones each time if they are few."""
    health = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
    return settings(max_examples=n, derandomize=n < 100, database=None, deadline=DEADLINE, suppress_health_check=health)


def load_or_refuse(counts, load, *arguments):
    """What was loaded, or None if it was refused, which it has to be in one line; counts them."""
    try:
        loaded = load(*arguments)
    except UserError as error:
        assert str(error) and "\n" not in str(error) and len(str(error)) < 2000
        counts["refused"] += 1
        return None
    counts["loaded"] += 1
    return loaded


@pytest.mark.parametrize("n", AMOUNTS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_altered_file_is_refused_or_is_what_was_written(kind, n, readers, folder, memory_grown):
    reader, path = readers[kind], folder / "altered"
    path.write_bytes(reader.content)
    reader.check(reader.load(path), reader.content)  # as it is, it loads
    counts = Counter()

    @each(n)
    @given(st.data())
    def holds(data):
        content = altered(reader.content, data)
        path.write_bytes(content)
        if (loaded := load_or_refuse(counts, reader.load, path)) is not None:
            reader.check(loaded, content)

    holds()
    grown = memory_grown()
    print(f"{kind}: {dict(counts)}, {grown / 2**20:.0f} MiB more at most")  # pytest -rP shows it
    assert grown < MAX_MEMORY


ODD_PARTS = (None, "x", "a\nb", -1, True, 0, 2**70, 1.5, math.nan, [], {}, b"x", torch.zeros(0), torch.tensor(math.nan))
ODD_PARTS += (torch.zeros(()), torch.zeros(3, 3), torch.zeros(1).expand(10**9), torch.zeros(2, dtype=torch.int8))


def replaced(value, place, new):
    """A copy of a state that holds something else at one place; what is not on the way there is shared."""
    key, *rest = place
    holder = copy.copy(value)
    holder[key] = replaced(holder[key], rest, new) if rest else new(holder[key])
    return holder


def places(value, place=()):
    """All places in a state, those of what holds others too."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, held in entries:
        if not (isinstance(value, list) and len(value) > 100):  # the words of Python's random state
            yield (*place, key)
            yield from places(held, (*place, key))


@pytest.mark.parametrize("n", AMOUNTS)
def test_a_checkpoint_made_by_hand_is_refused_or_its_nets_are_those_in_it(n, run, digits, folder, memory_grown):
    saved, config, path = load_checkpoint(run.latest_checkpoint()), run.read_config(), folder / "made.pt"
    all_places, trainer = list(places(saved)), Trainer(config, digits.images[:64])
    counts = Counter()
    new = st.one_of(
        st.sampled_from(ODD_PARTS).map(lambda part: lambda _: part),
        st.just(lambda held: held[:-1]),
        st.just(lambda held: held + 1),
    )

    def go_on(path):
        """As `resume` does."""
        state = load_resumable(path, config)
        try:
            trainer.load_state_dict(state)
        except MALFORMED as error:
            raise UserError(str(error)[:100]) from error
        return trainer

    @each(n)
    @given(st.data())
    def holds(data):
        place = data.draw(st.sampled_from(all_places))
        try:
            state = replaced(saved, place, data.draw(new))
        except (TypeError, LookupError):  # nothing to cut off or add to
            return
        torch.save(state, path)
        if (nets := load_or_refuse(counts, load_nets, path)) is not None:
            assert_equal(nets.discriminator.state_dict(), state["infogan"]["discriminator"])
            assert_equal(nets.generator.state_dict(), state["generator_ema"])
            assert all(tensor.isfinite().all() for tensor in nets.discriminator.state_dict().values())
            assert type(nets.step) is int and nets.step >= 0
        if load_or_refuse(counts, go_on, path) is not None:
            assert_equal(trainer.generator.state_dict(), state["infogan"]["generator"])
            assert trainer.is_finite()

    holds()
    grown = memory_grown()
    print(f"made by hand: {dict(counts)}, {grown / 2**20:.0f} MiB more at most")
    assert grown < MAX_MEMORY
