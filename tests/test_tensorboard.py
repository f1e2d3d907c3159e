"""What --tensorboard writes, read back by TensorBoard's own reader."""

import errno
import sys

import pytest

import infogan
from infogan import UserError


@pytest.fixture
def events():
    """Reads the events of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(run):
        return EventAccumulator(str(run.folder / "tensorboard"), {"scalars": 0, "images": 0}).Reload()

    return read


def test_curves_and_grids_are_those_of_the_run(small, tmp_path, one_picture, events):
    run = infogan.train(small(steps=4), tmp_path, tensorboard=True)
    rows = run.read_metrics()
    read = events(run)
    assert [(event.step, pytest.approx(event.value)) for event in read.Scalars("loss_g")] == [
        (row["step"], row["loss_g"]) for row in rows
    ]
    assert {*read.Tags()["scalars"]} == {*rows[0]} - {"step"}
    assert {"samples", "sweep of c2 (slant)"} <= {*read.Tags()["images"]}

    infogan.resume(run.folder, steps=6, tensorboard=True)
    assert [event.step for event in events(run).Scalars("loss_g")] == [2, 4, 6]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # TensorBoard's own
def test_events_that_cannot_be_written_cost_neither_a_step_nor_a_checkpoint(
    small, tmp_path, one_picture, monkeypatch, capsys
):
    from tensorboard.summary.writer.record_writer import RecordWriter

    write, sizes = RecordWriter.write, []

    def full_after_a_while(self, data):
        sizes.append(len(data))
        if len(sizes) > 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, data)

    monkeypatch.setattr(RecordWriter, "write", full_after_a_while)
    run = infogan.train(small(steps=6), tmp_path, tensorboard=True)
    assert [row["step"] for row in run.read_metrics()] == [2, 4, 6]
    assert infogan.load_nets(run.folder).step == 6
    assert capsys.readouterr().err.count("tensorboard/ takes no more: ") == 1


def test_without_the_flag_nothing_is_written(small, tmp_path, one_picture):
    assert not (infogan.train(small(steps=2), tmp_path).folder / "tensorboard").exists()


def test_a_missing_package_is_named_before_training_starts(small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UserError, match=r"--tensorboard: expected the package tensorboard, .* pip install tensorboard"):
        infogan.train(small(), tmp_path, tensorboard=True)
    assert not any(tmp_path.iterdir())
