"""Files on disk: names, atomic checkpoints, and files that are not what they seem."""

import json
import os
import pickle
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
import torch

from infogan import TrainConfig, UserError
from infogan.training import environment as environment_module
from infogan.training.checkpoint import find_checkpoint, load_checkpoint
from infogan.training.run import N_CHECKPOINTS_KEPT, Run


@pytest.fixture
def run(tmp_path):
    return Run.create(TrainConfig(dataset="mnist5k"), tmp_path)


def test_a_second_run_never_overwrites_a_first(tmp_path):
    names = [Run.create(TrainConfig(dataset="mnist", seed=3), tmp_path).name for _ in range(3)]
    assert names == ["mnist-digits-seed3", "mnist-digits-seed3-2", "mnist-digits-seed3-3"]
    assert Run.create(TrainConfig.from_preset("fashion"), tmp_path).name == "fashion-seed0"
    Run.create(TrainConfig(dataset="mnist", name="mine"), tmp_path)
    with pytest.raises(UserError, match="--name: expected a name no run has yet, got 'mine'"):
        Run.create(TrainConfig(dataset="mnist", name="mine"), tmp_path)


def test_of_two_runs_started_at_once_each_has_its_own_folder(tmp_path):
    first, second = Run(tmp_path, "same"), Run(tmp_path, "same")
    assert [run._claim(TrainConfig()) for run in (first, second)] == [True, False]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["same"]


@pytest.mark.parametrize("folder", ["samples", "track_loss"])
def test_pictures_of_an_earlier_run_are_not_overwritten_either(tmp_path, folder):
    (tmp_path / folder / "mine").mkdir(parents=True)
    with pytest.raises(UserError, match="--name: expected a name no run has yet"):
        Run.create(TrainConfig(dataset="mnist", name="mine"), tmp_path)


def test_a_run_records_its_configuration_and_environment(run):
    config = json.loads((run.folder / "config.json").read_text())
    assert config["dataset"] == "mnist5k"
    assert config["name"] == run.name == "mnist5k-digits-seed0"
    assert TrainConfig.from_dict(config).steps == TrainConfig().steps
    (environment,) = json.loads((run.folder / "environment.json").read_text())
    assert environment["torch"] == torch.__version__
    assert {"python", "numpy", "commit", "threads", "command"} <= set(environment)


def test_an_out_dir_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--out-dir: cannot use '.*file/below': Not a directory"):
        Run.create(TrainConfig(), tmp_path / "file" / "below")


def test_the_newest_checkpoints_are_kept_in_the_order_of_their_steps(run):
    for step in (9, 10, 100, 1000):
        run.save_checkpoint({"step": step})
    kept = sorted(path.name for path in run.checkpoints.iterdir())
    assert kept == ["step_100.pt", "step_1000.pt"]
    assert len(kept) == N_CHECKPOINTS_KEPT
    assert load_checkpoint(run.latest_checkpoint())["step"] == 1000


resource = pytest.importorskip("resource", reason="limits on files are a matter of Unix")


class _DiskFull:
    """A limit on the size of any file this process writes: the system's own error, as on a full disk."""

    def __init__(self, n_bytes):
        self.n_bytes = n_bytes

    def __enter__(self):
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.n_bytes, self.before[1]))

    def __exit__(self, *_):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)


def test_a_full_disk_leaves_the_previous_checkpoint_intact(run):
    run.save_checkpoint({"step": 1, "weights": torch.ones(10)})
    with (
        _DiskFull(20_000),
        pytest.raises(UserError, match=r"--out-dir: cannot write .*step_2\.pt: .*untouched") as error,
    ):
        run.save_checkpoint({"step": 2, "weights": torch.ones(100_000)})
    assert "\n" not in str(error.value)
    assert [path.name for path in run.checkpoints.iterdir()] == ["step_1.pt"]
    assert torch.equal(load_checkpoint(run.latest_checkpoint())["weights"], torch.ones(10))


@pytest.mark.parametrize("kept", [0, 1, 100, 2000])
def test_a_truncated_checkpoint_is_refused(run, kept):
    path = run.save_checkpoint({"step": 1, "weights": torch.ones(1000)})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"step_1\.pt is not a checkpoint of this package, or it is truncated"):
        load_checkpoint(path)


def test_a_single_altered_bit_of_a_weight_is_noticed(run):
    path = run.save_checkpoint({"step": 1, "weights": torch.ones(1000)})
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    content = bytearray(path.read_bytes())
    content[largest.header_offset + 1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="truncated or altered; a run keeps the newest 2"):
        load_checkpoint(path)


class _Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path, zipped):
    target, path = tmp_path / "made by the attacker", tmp_path / "evil.pt"
    state = {"format": "infogan-checkpoint-1", "step": _Malicious(str(target))}
    if zipped:
        torch.save(state, path)
    else:
        path.write_bytes(pickle.dumps(state))
    with pytest.raises(UserError, match=r"evil\.pt is not a checkpoint of this package"):
        load_checkpoint(path)
    assert not target.exists()


def test_files_of_others_and_missing_files_are_refused(tmp_path):
    torch.save({"state_dict": {"weight": torch.ones(2)}}, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"other\.pt is not a checkpoint of this package"):
        load_checkpoint(tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"checkpoint: cannot read .*none\.pt: No such file"):
        load_checkpoint(tmp_path / "none.pt")
    with pytest.raises(UserError, match=r"--checkpoint: expected a run's folder, .* or a \.pt file, got '.*none\.pt'"):
        find_checkpoint(tmp_path / "none.pt")


def test_the_newest_run_is_found(tmp_path):
    with pytest.raises(UserError, match=r"--checkpoint: .* got none"):
        find_checkpoint(None, tmp_path)
    for age, name in ((100, "old"), (0, "new"), (50, "middle")):
        run = Run.create(TrainConfig(dataset="mnist", name=name), tmp_path)
        path = run.save_checkpoint({"step": 5})
        stamp = path.stat().st_mtime - age
        os.utime(path, (stamp, stamp))
    assert find_checkpoint(None, tmp_path).parent.parent.name == "new"
    assert find_checkpoint(tmp_path / "runs/old").parent.parent.name == "old"
    file = tmp_path / "runs/old/checkpoints/step_5.pt"
    assert find_checkpoint(file) == file
    with pytest.raises(UserError, match="--checkpoint: expected a run's folder"):
        find_checkpoint(tmp_path)


def test_metrics_later_than_the_checkpoint_and_torn_rows_are_cut(run):
    for step in (10, 20, 30):
        run.append_metrics({"step": step, "loss_d": step / 10})
    whole = run.metrics_file.read_bytes()
    for torn in (b'{"step": 40, "lo', b'[1]\n{"loss_d": 1}\n\xff\n', b'{"step": 15, "loss_d": 1.5}\n{"step": "4"}'):
        run.metrics_file.write_bytes(whole.replace(b"\n", b"\n" + torn.strip(b"\n") + b"\n", 1) + torn)
        rows = [row for row in run.read_metrics() if row["step"] != 15]
        assert rows == [{"step": step, "loss_d": step / 10} for step in (10, 20, 30)]
        run.restore_metrics(20, [])
        rows = [row for row in run.read_metrics() if row["step"] != 15]
        assert rows == [{"step": 10, "loss_d": 1.0}, {"step": 20, "loss_d": 2.0}]


def test_a_run_is_found_from_within_another_and_pictures_go_to_it(tmp_path, monkeypatch):
    for name in ("one", "two"):
        Run.create(TrainConfig(dataset="mnist5k", name=name), tmp_path)
    monkeypatch.chdir(tmp_path / "runs" / "one")
    assert Run.open("../two", "--resume").samples == tmp_path / "samples" / "two"
    checkpoint = Path("../two/checkpoints/step_3.pt")
    assert Run.for_pictures(checkpoint, "two", None).samples == tmp_path / "samples" / "two"
    assert Run.for_pictures(checkpoint, "two", "here").samples == Path("here/samples/two")
    # A file of no run has them beside it, not in a run of this name here.
    assert Run.for_pictures(Path("/model.pt"), "two", None).samples == Path("/samples/two")
    assert Run.of_checkpoint(Path("/model.pt")) is None


def test_a_copy_in_another_repository_s_folder_has_no_commit(tmp_path, monkeypatch):
    module = Path(environment_module.__file__)
    assert environment_module._commit() or not (module.parents[1] / ".git").exists()
    (tmp_path / "infogan").mkdir()
    copy = shutil.copy(module, tmp_path / "infogan")
    for command in (["init", "-q"], ["-c", "user.name=a", "-c", "user.email=b", "commit", "-qm", "x", "--allow-empty"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    monkeypatch.setattr(environment_module, "__file__", str(copy))
    assert environment_module._commit() is None
