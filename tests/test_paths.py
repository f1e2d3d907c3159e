"""Paths as users give them, and files in the order of their numbers."""

from pathlib import Path

import numpy as np
import pytest

from infogan import TrainConfig, UserError, load_dataset, load_nets, resume
from infogan.config.datasets import is_own_images, without_place
from infogan.evaluation.files import read_evaluation
from infogan.system.paths import given_folder, given_path, numbered_files
from infogan.training.checkpoint import find_checkpoint
from infogan.training.run import Run


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("x" * 256, "names of at most 255 bytes"),
        ("none/" + "数" * 86, "names of at most 255 bytes"),
        ("a/" * 3000, "cannot use 'a/a/a"),
        ("a\nb", r"without control characters, got 'a\nb'"),
        ("a\0b", r"without control characters, got 'a\x00b'"),
        ("\udcff", "without control characters"),
        ("", "without control characters, got ''"),
        (3, "without control characters, got 3"),
        (b"a", "without control characters, got b'a'"),
        (None, "without control characters, got None"),
        ("/dev/null/below", "cannot use '/dev/null/below': Not a directory"),
    ],
)
def test_a_path_at_which_no_file_can_be_is_refused_in_one_line(path, reason):
    for check in (given_path, given_folder):
        with pytest.raises(UserError) as error:
            check(path, "--flag")
        assert str(error.value).startswith("--flag: ") and reason in str(error.value)
        assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("name", ["写真\u3000集", "می\u200cخواهم", "👩\u200d🎨", "a\xa0b"])
def test_characters_that_are_merely_invisible_are_part_of_names(name, tmp_path):
    assert given_folder(tmp_path / name, "--flag") == tmp_path / name
    assert TrainConfig(data_dir=str(tmp_path / name)).data_dir == str(tmp_path / name)


def test_a_path_of_windows_is_one_anywhere():
    # A run's configuration may have been saved there.
    for dataset, name in ((r"C:\me\photos", "photos/"), (r"C:\me\photos.npz", "photos.npz"), ("/me/photos", "photos/")):
        assert is_own_images(dataset) and is_own_images(name)
        assert without_place(dataset) == without_place(name) == name
    assert without_place("mnist") == "mnist" and not is_own_images("none")


def test_a_link_that_leads_round_is_refused_and_one_to_nothing_is_not(tmp_path):
    (tmp_path / "round").symlink_to(tmp_path / "round")
    (tmp_path / "nothing").symlink_to(tmp_path / "none")
    with pytest.raises(UserError, match=r"--flag: cannot use '.*round': "):
        given_path(tmp_path / "round", "--flag")
    assert given_path(tmp_path / "nothing", "--flag") == tmp_path / "nothing"


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    assert given_path(tmp_path / "file", "--flag") == tmp_path / "file"
    with pytest.raises(UserError, match=r"--flag: expected a folder, got '.*file'"):
        given_folder(tmp_path / "file", "--flag")


def test_every_call_takes_the_home_folder_and_names_what_it_cannot_use(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    run = Run.create(TrainConfig(dataset="mnist5k", name="mine"), "~/out")
    assert run.folder == tmp_path / "out" / "runs" / "mine"
    assert Run.open("~/out/runs/mine", "--resume").folder == run.folder
    run.save_checkpoint({"step": 1})
    assert find_checkpoint("~/out/runs/mine") == find_checkpoint(None, "~/out") == run.latest_checkpoint()
    np.save(tmp_path / "mine.npy", np.arange(256, dtype=np.uint8).reshape(4, 8, 8))
    assert len(load_dataset("~/mine.npy", "~/data").images) == 4
    for call, argument in (
        (lambda path: load_nets(path), "path"),
        (lambda path: resume(path), "--resume"),
        (lambda path: read_evaluation(path, "--report"), "--report"),
        (lambda path: Run.create(TrainConfig(), path), "--out-dir"),
        (lambda path: find_checkpoint(None, path), "--out-dir"),
        (lambda path: load_dataset("mnist5k", path), "--data-dir"),
        (lambda path: load_dataset(f"{path}.npy", "data"), "--dataset"),
    ):
        with pytest.raises(UserError, match=f"^{argument}: expected names of at most 255 bytes, got 'xxx"):
            call("x" * 300)


def test_files_come_in_the_order_of_their_ascii_numbers(tmp_path):
    for name in ("10", "9", "²", "٣", "-1", "1.5", "", "9" * 100, "last", "07"):
        (tmp_path / f"step_{name}.pt").touch()
    found = numbered_files(tmp_path, "step_", ".pt")
    assert [path.name for path in found] == ["step_07.pt", "step_9.pt", "step_10.pt"]
    run = Run.create(TrainConfig(dataset="mnist5k"), tmp_path)
    (run.checkpoints / "step_².pt").touch()
    path = run.save_checkpoint({"step": 3})
    assert run.latest_checkpoint() == path and isinstance(path, Path)
