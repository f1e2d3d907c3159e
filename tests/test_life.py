"""The life and death of a run: locks, full disks, signals, consoles, moves. What was done is kept."""

import dataclasses
import json
import os
import random
import shutil
import signal
import sys
import threading

import imageio.v3 as iio
import matplotlib
import numpy as np
import pytest
import torch
from conftest import small_config
from states import assert_same_state, final_state, metrics

from infogan import Trainer, UserError, auxiliary, load_dataset, load_nets, resume, train
from infogan.data.batches import ShuffledBatches
from infogan.evaluation.fresh_q import FreshQ
from infogan.evaluation.scoring import evaluate
from infogan.system import files
from infogan.system.console import ForgivingStream, forgiving_console
from infogan.system.files import append_whole, locked, write_atomically
from infogan.training import loop
from infogan.training.recorder import RunRecorder
from infogan.training.run import Run

LIFE = {"batch_size": 8, "steps": 4, "checkpoint_every": 2, "log_every": 1, "lambda_consistency": 0.0}
UNIX = pytest.mark.skipif(sys.platform == "win32", reason="a matter of Unix")


@pytest.fixture(autouse=True)
def few_digits(digits, monkeypatch, one_picture):
    few = dataclasses.replace(digits, images=digits.images[:60], labels=digits.labels[:60])
    monkeypatch.setattr(
        loop, "load_dataset", lambda name, *rest: few if name == "mnist5k" else load_dataset(name, *rest)
    )
    return few


@pytest.fixture
def no_curves(monkeypatch):
    """For tests that are about something else: curves take a second."""
    monkeypatch.setattr("infogan.training.recorder.loss_figures", lambda *_: {})


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory):
    """A run that nothing happened to."""
    few = dataclasses.replace(digits, images=digits.images[:60], labels=digits.labels[:60])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "load_dataset", lambda *given: few)
        patch.setattr("infogan.training.recorder.loss_figures", lambda *_: {})
        patch.setattr(auxiliary, "GALLERY", {})
        return train(small_config(name="whole", **LIFE), tmp_path_factory.mktemp("whole"))


@pytest.fixture
def copied(whole, tmp_path):
    """A copy of that run, as if it had only come to step 2."""
    shutil.copytree(whole.out_dir, tmp_path / "out")
    run = Run(tmp_path / "out", "whole")
    (run.checkpoints / "step_4.pt").unlink()
    return run


def assert_equal(run, whole):
    assert metrics(run) == metrics(whole)
    assert_same_state(final_state(run), final_state(whole))


# Two processes


def test_a_run_that_is_being_trained_is_not_resumed_and_one_whose_owner_died_is(copied, whole, no_curves):
    with copied.locked(), pytest.raises(UserError, match=rf"{copied.folder} is being trained by pid {os.getpid()} on "):
        resume(copied.folder)
    (copied.folder / files.OWNER_FILE).write_text("pid 1 on a machine that has lost power")
    assert_equal(resume(copied.folder), whole)


@UNIX
def test_a_killed_owner_s_lock_is_free(tmp_path):
    reading, writing = os.pipe()
    if not (pid := os.fork()):
        with locked(tmp_path, "it is taken"):
            os.write(writing, b"x")
            signal.pause()
    os.read(reading, 1)
    with pytest.raises(UserError, match=f"it is taken by pid {pid} on "), locked(tmp_path, "it is taken"):
        pass
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with locked(tmp_path, "it is taken"):
        pass


def test_a_file_that_several_write_at_once_is_always_whole(tmp_path):
    path, contents = tmp_path / ("n" * 255), [bytes([i]) * 100_000 for i in range(4)]
    threads = [
        threading.Thread(target=lambda content=content: [write_atomically(path, lambda f: f.write(content))] * 10)
        for content in contents
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert not path.exists() or path.read_bytes() in contents
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


# Killed early


def test_a_run_that_was_stopped_before_its_first_checkpoint_is_resumed(small, tmp_path, monkeypatch, whole, no_curves):
    with monkeypatch.context() as patch, pytest.raises(UserError, match="full"):

        def full(*_):
            raise UserError("full")

        patch.setattr(Run, "save_checkpoint", full)
        train(small(name="early", **LIFE), tmp_path)
    run = Run(tmp_path, "early")
    with pytest.raises(UserError, match=f"--name: .* to go on with that run, --resume {run.folder}"):
        train(small(name="early", **LIFE), tmp_path)
    with pytest.raises(UserError, match=f"got none; python scripts/train.py --resume {run.folder} begins the run anew"):
        load_nets(run.folder)
    shutil.rmtree(run.checkpoints)
    assert_equal(resume(run.folder), whole)


def test_a_run_without_its_checkpoints_is_not_silently_begun_anew(copied):
    shutil.rmtree(copied.checkpoints)
    with pytest.raises(UserError, match="expected a checkpoint in"):
        resume(copied.folder)
    assert len(copied.read_metrics()) == 4


def test_a_run_is_there_with_its_configuration_or_not_at_all(small, tmp_path, monkeypatch):
    def full(self, config):
        raise UserError("--out-dir: cannot write config.json: No space left on device")

    monkeypatch.setattr(Run, "save_config", full)
    with pytest.raises(UserError, match="No space left on device"):
        Run.create(small(name="none"), tmp_path)
    assert not list((tmp_path / "runs").iterdir())


# Pictures and console


def test_the_user_s_settings_of_matplotlib_change_no_picture(whole):
    nets = load_nets(whole.folder)
    latents = auxiliary.sample_latents(nets.spec)
    before = auxiliary.draw(nets.generator, latents, "as always")
    with matplotlib.rc_context({"text.usetex": True, "font.size": 30, "figure.facecolor": "black"}):
        assert np.array_equal(auxiliary.draw(nets.generator, latents, "as always"), before)
        assert matplotlib.rcParams["text.usetex"]


def test_a_registered_picture_that_fails_costs_no_training(small, tmp_path, monkeypatch, capsys, whole, no_curves):
    def broken(spec, options):
        raise ZeroDivisionError("a mistake")

    monkeypatch.setitem(auxiliary.GALLERY, "broken", broken)
    assert_equal(train(small(name="drawn", **LIFE), tmp_path), whole)
    assert "warning: gallery is not drawn: a mistake" in capsys.readouterr().err


class Gone:
    """A stream of which the reader is gone."""

    encoding = "cp1252"

    def write(self, *_):
        raise BrokenPipeError

    flush = isatty = write


@pytest.mark.parametrize("stream", [Gone(), None])
def test_a_console_that_is_gone_costs_no_training(small, tmp_path, monkeypatch, whole, no_curves, stream):
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    run = train(small(name="silent", **LIFE), tmp_path)
    assert sys.stdout is sys.stderr is stream
    assert_equal(run, whole)


def test_a_character_that_the_console_cannot_show_is_replaced(tmp_path, monkeypatch):
    with (tmp_path / "out").open("w", encoding="cp1252") as file:
        monkeypatch.setattr(sys, "stdout", file)
        with forgiving_console():
            print("0 → 7")
        stream = ForgivingStream(file)
        assert (stream.encoding, stream.isatty()) == ("cp1252", False)
    assert (tmp_path / "out").read_text(encoding="cp1252") == "0 ? 7\n"


@UNIX
def test_commands_work_in_the_environments_that_users_have(script, whole, tmp_path):
    """A notebook's backend, TeX in matplotlibrc, a console of Windows, no stderr, and nobody who reads stdout."""
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\n")
    settings = {"MPLBACKEND": "module://nowhere", "MATPLOTLIBRC": str(tmp_path), "PYTHONIOENCODING": "cp1252"}
    reading, writing = os.pipe()
    os.close(reading)
    import subprocess

    command = [sys.executable, "scripts/interpolate.py", "--checkpoint", str(whole.folder), "--out-dir"]
    done = subprocess.run(
        [*command, str(tmp_path / "数字")],
        stdout=writing,
        env=os.environ | settings,
        preexec_fn=lambda: os.close(2),
        timeout=240,
    )
    assert done.returncode == 0
    assert (tmp_path / "数字/samples/whole/sweep_c1.png").is_file()


# Signals and errors


@UNIX
@pytest.mark.parametrize("ignored", [False, True])
def test_a_closed_terminal_ends_a_run_in_order_unless_that_is_ignored(
    small, tmp_path, monkeypatch, whole, no_curves, ignored
):
    take, before = ShuffledBatches.next, signal.getsignal(signal.SIGHUP)

    def next_and_hang_up(self):
        if self._position == 2:
            signal.raise_signal(signal.SIGHUP)
        return take(self)

    monkeypatch.setattr(ShuffledBatches, "next", next_and_hang_up)
    signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)  # under nohup it is ignored already
    try:
        run = train(small(name="hung-up", **LIFE), tmp_path)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert final_state(run)["step"] == (4 if ignored else 3)
    monkeypatch.setattr(ShuffledBatches, "next", take)
    assert_equal(resume(run.folder), whole)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, ZeroDivisionError])
def test_any_error_between_steps_leaves_a_checkpoint(small, tmp_path, monkeypatch, whole, no_curves, error):
    def fail(self, means):
        write(self, means)
        if self.trainer.step == 3:
            raise error

    write = RunRecorder.write_metrics
    with monkeypatch.context() as patch, pytest.raises(error):
        patch.setattr(RunRecorder, "write_metrics", fail)
        train(small(name="failed", **LIFE), tmp_path)
    run = Run(tmp_path, "failed")
    assert final_state(run)["step"] == 3
    assert_equal(resume(run.folder), whole)


def test_an_error_within_a_step_leaves_the_checkpoint_before_it(small, tmp_path, monkeypatch, whole, no_curves):
    def fail(self):
        if self._position == 3:
            raise MemoryError
        return take(self)

    take = ShuffledBatches.next
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(ShuffledBatches, "next", fail)
        train(small(name="failed", **LIFE), tmp_path)
    run = Run(tmp_path, "failed")
    assert final_state(run)["step"] == 2
    assert_equal(resume(run.folder), whole)


def test_an_evaluation_that_failed_is_made_up_for(small, tmp_path, monkeypatch, no_curves):
    def monitor(*_):
        return {"eval_mi_c1": 1.0}

    def broken(*_):
        raise ZeroDivisionError

    config = small(name="evaluated", eval_every=2, **LIFE)
    with pytest.raises(ZeroDivisionError):
        loop.train(config, tmp_path, monitor=broken)
    run = loop.resume(tmp_path / "runs/evaluated", monitor=monitor)
    assert [(row["step"], "eval_mi_c1" in row) for row in run.read_metrics()] == [
        *((1, False), (2, False), (2, True)),
        *((3, False), (4, False), (4, True)),
    ]


# Disks


def test_the_checkpoint_just_written_is_not_the_one_deleted(copied, whole, no_curves):
    strays = [copied.checkpoints / name for name in ("step_900.pt", "step_².pt", "step_x.pt")]
    state = final_state(copied)
    for stray in strays:
        stray.touch()
    path = copied.save_checkpoint({**state, "step": 3})
    assert {*copied.checkpoints.iterdir()} == {path, path.with_name("step_2.pt"), *strays}


@pytest.fixture
def flaky_metrics(monkeypatch):
    """Has rows of metrics refused while the list is not empty; an element goes with each try."""
    refusals = []

    def append(path, content):
        if refusals:
            refusals.pop()
            raise OSError(28, "No space left on device")
        append_whole(path, content)

    monkeypatch.setattr("infogan.training.run.append_whole", append)
    return refusals


def test_a_row_that_cannot_be_written_for_a_moment_is_not_lost(
    small, tmp_path, whole, capsys, no_curves, flaky_metrics
):
    flaky_metrics += [1]
    assert_equal(train(small(name="row", **LIFE), tmp_path), whole)
    assert "warning: --out-dir: cannot write" in capsys.readouterr().err


def test_rows_that_could_never_be_written_are_in_the_checkpoint(small, tmp_path, whole, no_curves, flaky_metrics):
    flaky_metrics += [1] * 100
    with pytest.raises(UserError, match=r"cannot write .*metrics.jsonl: .*No space left on device"):
        train(small(name="rows", **LIFE), tmp_path)
    flaky_metrics.clear()
    run = Run(tmp_path, "rows")
    assert run.read_metrics() == []
    assert_same_state({**final_state(run), "unwritten_rows": []}, final_state(whole))
    for _ in range(2):  # the second finds the rows both in the file and in the checkpoint
        assert metrics(resume(run.folder)) == metrics(whole)


@UNIX
def test_a_full_disk_says_so_and_leaves_no_half_of_a_file(tmp_path):
    import resource

    from infogan.system.tensor_files import write_tensors

    path, before = tmp_path / "rows", resource.getrlimit(resource.RLIMIT_FSIZE)
    path.write_bytes(b"whole\n")
    picture = np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            append_whole(path, b"x" * 30_000)
        with pytest.raises(
            UserError, match=r"cannot write .*a\.pt: File too large; what was there before is untouched"
        ):
            write_atomically(tmp_path / "a.pt", lambda file: write_tensors({"x": torch.ones(100_000)}, file))
        with pytest.raises(UserError, match=r"cannot write .*a\.png: File too large"):
            auxiliary.save_png(picture, tmp_path / "a.png")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"whole\n"
    assert list(tmp_path.iterdir()) == [path]


@UNIX
def test_outputs_go_through_links_and_into_pipes(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "file")
    for content in (b"first", b"second"):
        write_atomically(tmp_path / "link", lambda file, content=content: file.write(content), "--json")
        assert (tmp_path / "folder" / "file").read_bytes() == content
    assert (tmp_path / "link").is_symlink()

    reading, writing = os.pipe()
    write_atomically(files.Path(f"/dev/fd/{writing}"), lambda file: file.write(b"piped"), "--json")
    assert os.read(reading, 100) == b"piped"
    with (tmp_path / "log").open("wb", buffering=0) as log:
        log.write(b"before, ")
        write_atomically(files.Path(f"/dev/fd/{log.fileno()}"), lambda file: file.write(b"after"), "--json")
    assert (tmp_path / "log").read_bytes() == b"before, after"
    write_atomically(files.Path(os.devnull), lambda file: file.write(b"nothing"), "--json")
    assert not files.Path(os.devnull).is_file()


# A run that is moved


@pytest.fixture
def on_images_of_one_s_own(small, few_digits, tmp_path, no_curves):
    """A run on a file, stopped at step 2, and the file."""
    np.save(tmp_path / "mine.npy", few_digits.images.numpy())
    return train(small(dataset=str(tmp_path / "mine.npy"), **{**LIFE, "steps": 2}), tmp_path), tmp_path / "mine.npy"


def test_a_run_goes_on_with_the_same_images_elsewhere_and_with_no_others(on_images_of_one_s_own, tmp_path, monkeypatch):
    run, file = on_images_of_one_s_own
    (tmp_path / "new").mkdir()
    file.rename(tmp_path / "new" / "yours.npy")
    with pytest.raises(UserError, match=r"mine\.npy"):
        resume(run.folder, steps=3)
    monkeypatch.chdir(tmp_path)
    resume(run.folder, steps=3, dataset="new/yours.npy")
    assert run.read_config().dataset == str(tmp_path / "new" / "yours.npy")
    assert final_state(resume(run.folder, steps=4))["step"] == 4
    images = np.load("new/yours.npy")
    images[0, 0, 0, 0] += 1
    np.save("other.npy", images)
    np.save("fewer.npy", images[:50])
    message = r"^--dataset: expected the images that the run was trained on, 60 of SHA-256 .*, got {} of SHA-256 .*{}"
    for name, n in (("other.npy", 60), ("fewer.npy", 50)):
        with pytest.raises(UserError, match=message.format(n, name)):
            resume(run.folder, steps=5, dataset=name)
    assert run.read_config().dataset == str(tmp_path / "new" / "yours.npy")


def test_a_run_is_evaluated_on_its_images_wherever_they_are_and_on_no_others(on_images_of_one_s_own, tmp_path):
    run, file = on_images_of_one_s_own
    few = {"n_samples": 50, "fresh_q": FreshQ(n_images=64, epochs=1, batch_size=32)}
    expected = evaluate(run.folder, **few)
    file.rename(tmp_path / "yours.npy")
    with pytest.raises(UserError, match=r"cannot read .*mine\.npy"):
        evaluate(run.folder, **few)
    found = evaluate(run.folder, dataset=tmp_path / "yours.npy", **few)
    assert found["infogan"] == expected["infogan"]
    with pytest.raises(UserError, match=r"^--dataset: expected images of one's own, which may have moved, got 'mnist'"):
        evaluate(run.folder, dataset="mnist", **few)
    images = np.load(tmp_path / "yours.npy")
    images[0, 0, 0, 0] += 1
    np.save(file, images)
    with pytest.raises(UserError, match=r"^--dataset: expected the images that the run was trained on, .* got 60 of"):
        evaluate(run.folder, **few)


def test_images_that_are_too_few_or_too_small_are_named(small, tmp_path, digits):
    np.save(tmp_path / "mine.npy", digits.images[:9].numpy())
    np.save(tmp_path / "one.npy", digits.images[:1].numpy())
    np.save(tmp_path / "tiny.npy", digits.images[:60, :, 10:15, 9:18].numpy())
    with pytest.raises(UserError, match=r"^--batch-size: expected at most 9, .* got 32: .*mine.npy"):
        train(small(dataset=str(tmp_path / "mine.npy")), tmp_path)
    with pytest.raises(UserError, match=r"^--dataset: expected at least 2 training images, got 1: .*one.npy"):
        train(small(dataset=str(tmp_path / "one.npy")), tmp_path)
    with pytest.raises(UserError, match=r"^--size: expected images of at least 8 x 8 px, got 9 x 5 px: .*tiny.npy"):
        train(small(dataset=str(tmp_path / "tiny.npy")), tmp_path)
    assert not (tmp_path / "runs").exists()


def test_a_checkpoint_from_before_images_had_a_digest_is_resumed(copied, whole, no_curves):
    state = final_state(copied)
    del state["images_sha256"], state["unwritten_rows"]
    copied.save_checkpoint(state)
    assert_equal(resume(copied.folder), whole)


def test_a_run_takes_the_flags_of_its_first_call(copied, whole, no_curves):
    assert_equal(resume(copied.folder, dataset="auto", name="whole", preset="digits", device="cpu", seed=0), whole)
    with pytest.raises(UserError, match=r"--dataset fashion \(the run has mnist5k\)"):
        resume(copied.folder, dataset="fashion")


def test_a_folder_called_none_is_not_asked_for(copied, whole, tmp_path, no_curves, monkeypatch):
    (tmp_path / "None").mkdir()
    monkeypatch.chdir(tmp_path)
    assert_equal(resume(copied.folder), whole)


def test_a_run_s_folder_may_be_anywhere(copied, whole, tmp_path, no_curves):
    folder = (tmp_path / "backup (2)").absolute()
    shutil.copytree(copied.folder, folder)
    run = resume(folder)
    assert_equal(run, whole)
    assert (run.folder, run.samples) == (folder, folder / "samples" / folder.name)
    assert (run.samples / "sweep_c2.png").is_file()
    assert load_nets(folder).step == 4


# Training frames


def test_frames_of_unequal_width_are_all_in_the_gif(tmp_path):
    rng, paths = np.random.default_rng(0), []
    for i, width in enumerate((60, 60, 68)):
        picture = np.full((40, width, 3), 255, dtype=np.uint8)
        picture[10:30, width // 2 - 10 : width // 2 + 10] = rng.integers(0, 255, (20, 20, 3))
        paths.append(auxiliary.save_png(picture, tmp_path / f"Epoch_{i}.png"))
    frames = iio.imread(auxiliary.training_gif(paths, tmp_path / "training.gif"))
    assert frames.shape[:3] == (3, 40, 68)
    for frame in frames:
        assert (frame[:10] > 240).all() and (frame[10:30, 24:44] < 240).any(axis=2).mean() > 0.9


# What a caller's process keeps


def global_state():
    return (
        *(random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist(), torch.initial_seed()),
        *(torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision()),
        *(torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.get_num_threads()),
        torch.utils.deterministic.fill_uninitialized_memory,
        *(signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)),
        *(sys.stdout, sys.stderr, os.getcwd(), dict(os.environ), dict(matplotlib.rcParams)),  # noqa: PTH109
    )


def test_public_calls_leave_global_state_alone(small, few_digits, copied, tmp_path, no_curves):
    torch.manual_seed(5)
    np.random.seed(5)
    # beartype, which checks signatures here, draws from Python's generator.
    before = global_state()[1:]

    def assert_kept():
        for mine, theirs in zip(global_state()[1:], before, strict=True):
            assert mine == theirs

    train(small(name="kept", **LIFE), tmp_path)
    assert_kept()
    resume(copied.folder)
    assert_kept()
    load_nets(copied.folder)
    assert_kept()
    trainer = Trainer(small(**LIFE), few_digits.images)
    assert_kept()
    trainer.train_step()
    trainer.load_state_dict(trainer.state_dict())
    assert_kept()
    with pytest.raises(UserError):
        train(small(name="kept", **LIFE), tmp_path)
    assert_kept()


def test_what_a_caller_draws_changes_no_step(small, few_digits):
    first, second = (Trainer(small(**LIFE), few_digits.images) for _ in range(2))
    for _ in range(2):
        first.train_step()
        second.train_step()
        torch.rand(3), random.random(), np.random.rand()
    assert_same_state(first.state_dict(), second.state_dict())


def test_metrics_are_restored_once(copied):
    rows = copied.read_metrics()
    copied.restore_metrics(2, [rows[1], {**rows[1], "step": 2, "eval_mi_c1": 1.0}])
    assert [row["step"] for row in copied.read_metrics()] == [1, 2, 2]
    assert json.loads(copied.metrics_file.read_text().splitlines()[-1])["eval_mi_c1"] == 1.0
