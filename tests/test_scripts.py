"""The commands as a user runs them, each in a process of its own."""

import importlib.util
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from conftest import ROOT, small_config

from infogan import TrainConfig, Trainer
from infogan.data import idx
from infogan.system.runtime import onednn_is_precise
from infogan.training.run import Run

SMALL = ("--dataset", "mnist5k", "--width", 4, "--batch-size", 50, "--device", "cpu")


def only_line(finished, code=2):
    """The one line that a refused command prints, to stderr."""
    assert finished.returncode == code, finished.stderr
    assert finished.stdout == ""
    lines = finished.stderr.strip().splitlines()
    assert len(lines) == 1, finished.stderr
    return lines[0]


@pytest.fixture
def refusal(script_here):
    """Runs a script in this process, which is quicker, and returns the one line with which it refuses to."""

    def run(*command):
        return only_line(subprocess.CompletedProcess(command, *script_here(*command)))

    return run


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("train.py", ["--steps", "0"], "error: --steps: expected 1 to 1,000,000,000, got 0"),
        (
            "train.py",
            ["--dataset", "cifar"],
            "error: --dataset: expected auto, mnist, mnist5k, fashion",
        ),
        ("train.py", ["--dry-run", "--dataset", "nowhere/x"], "error: --dataset: cannot read nowhere/x: No such file"),
        ("interpolate.py", ["--columns", "1"], "error: --columns: expected 2 to 100, got 1"),
        ("interpolate.py", ["--category", "mix"], "error: argument --category: invalid choice: 'mix'"),
        ("benchmark.py", ["--rounds", "0"], "error: --rounds: expected 1 to 1,000, got 0"),
        ("growth.py", ["--sides", "28", "4"], "error: --sides: expected 8 to 1,024, got 4"),
        ("evaluate.py", ["--n-samples", "99"], "error: --n-samples: expected 100 to 1,000,000, got 99"),
        ("evaluate.py", ["--seed", "-1"], "error: --seed: expected 0 to 4,294,967,295, got -1"),
        ("evaluate.py", ["--report", "runs/a", "--bar", "95"], "error: --bar: expected a number in [0, 1], got 95.0"),
        (
            "evaluate.py",
            ["--markdown", "report.md"],
            "error: --markdown: expected with --report, got 'report.md' alone",
        ),
        (
            "evaluate.py",
            ["runs/a", "--report", "runs/b"],
            "error: --report: expected evaluated runs alone, got a run as well",
        ),
        (
            "evaluate.py",
            ["--features", "--report", "runs/b"],
            "error: --report: expected evaluated runs alone, got --features as well",
        ),
        ("evaluate.py", ["--json", "nowhere/x.json"], "error: --json: expected a file in a folder that can be written"),
        ("evaluate.py", ["--seed", str(10**20)], "error: --seed: expected 0 to 4,294,967,295, got 1000"),
        ("train_classifier.py", ["--seed", str(2**32)], "error: --seed: expected 0 to 4,294,967,295, got 4294967296"),
        ("train_feature_net.py", ["--fonts", ".", "--steps", "0"], "error: --steps: expected 1 to "),
        ("train_feature_net.py", [], "error: the following arguments are required: --fonts"),
    ],
)
def test_a_wrong_flag_is_one_line_and_code_2_without_torch(script, tmp_path, name, flags, message):
    # A torch that cannot be imported proves that the answer does not wait for it.
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    finished = script(name, *flags, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert only_line(finished).startswith(message)


def test_help_and_dry_run_need_no_torch(script, tmp_path):
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    assert script("train.py", "--help", env=env).returncode == 0
    assert script("interpolate.py", "--help", env=env).returncode == 0
    assert script("evaluate.py", "--help", env=env).returncode == 0
    finished = script("train.py", "--dry-run", "--preset", "paper", "--seed", 7, cwd=tmp_path, env=env)
    assert finished.returncode == 0
    assert "seed = 7" in finished.stdout.splitlines()
    assert [path.name for path in tmp_path.iterdir()] == ["torch.py"]


def test_an_out_dir_that_cannot_be_written_is_noticed_before_training(refusal, tmp_path):
    (tmp_path / "file").write_text("")
    line = refusal("train.py", *SMALL, "--out-dir", tmp_path / "file")
    assert line.startswith("error: argument --out-dir: expected a folder, got")


def test_a_checkpoint_that_is_none_is_refused(refusal, tmp_path):
    assert "--checkpoint: expected a run or file" in refusal("interpolate.py", "--out-dir", tmp_path)
    (tmp_path / "broken.pt").write_bytes(b"PK\x03\x04 not much")
    line = refusal("interpolate.py", "--checkpoint", tmp_path / "broken.pt", "--out-dir", tmp_path)
    assert "broken.pt is not a checkpoint of this package" in line


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    """A run on disk whose newest checkpoint is that of untrained nets: enough to be drawn."""
    config = small_config(name="drawn")
    run = Run.create(config, tmp_path_factory.mktemp("trained"))
    run.save_checkpoint({"name": run.name, **Trainer(config, digits.images).state_dict()})
    return run


def test_interpolate_draws_everything_as_png_and_gif(script, trained):
    finished = script("interpolate.py", "--out-dir", trained.out_dir, "--gif")
    assert finished.returncode == 0, finished.stderr
    stems = {"sweep_c1", "sweep_c2", "sweep_c3", "grid_c2_c3", "interpolation_linear", "interpolation_spherical"}
    names = {path.name for path in trained.samples.iterdir()}
    assert names == {f"{stem}{suffix}" for stem in stems for suffix in (".png", ".gif")}
    assert set(finished.stdout.split()) == {str(trained.samples / name) for name in names}
    frames = iio.imread(trained.samples / "sweep_c2.gif")
    assert len(frames) > 20
    steps = np.abs(np.diff(np.concatenate([frames, frames[:1]]).astype(int), axis=0)).mean(axis=(1, 2, 3))
    assert steps.max() < 8 * np.median(steps) + 1  # no jump, at the seam neither


def test_interpolate_draws_what_is_asked_for(script, trained):
    for path in trained.samples.iterdir():
        path.unlink()
    flags = ("--checkpoint", trained.folder, "--category", "hold", "--seed", 3)
    finished = script("interpolate.py", *flags, "--factor", "c3", "--grid", "c1,c2", "--columns", 4, "--pairs", 2)
    assert finished.returncode == 0, finished.stderr
    assert {path.name for path in trained.samples.iterdir()} == {
        "sweep_c3.png",
        "grid_c1_c2.png",
        "interpolation_linear_hold.png",
        "interpolation_spherical_hold.png",
    }


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--factor", "c4"], "error: --factor: expected one of c1, c2, c3, got 'c4'"),
        (["--grid", "c1"], "error: --grid: expected two different codes, as in c2,c3, got 'c1'"),
        (["--grid", "c1,c9"], "error: --grid: expected one of c1, c2, c3, got 'c9'"),
    ],
)
def test_a_code_that_the_run_does_not_have_is_refused(refusal, trained, flags, message):
    assert refusal("interpolate.py", "--out-dir", trained.out_dir, *flags) == message


def test_a_damaged_data_file_is_one_line(refusal, tmp_path):
    for name in idx._IDX_FILES["mnist"][1]:
        (tmp_path / name).write_bytes(b"not MNIST")
    line = refusal("train.py", "--data-dir", tmp_path, "--out-dir", tmp_path)
    assert "-images-idx3-ubyte is truncated, altered or of another data set" in line


def test_a_damaged_checkpoint_is_not_resumed_from(refusal, trained, tmp_path):
    shutil.copytree(trained.folder, tmp_path / "runs" / "drawn")
    run = Run(tmp_path, "drawn")
    path = run.latest_checkpoint()
    path.write_bytes(path.read_bytes()[:-1000])
    line = refusal("train.py", "--resume", run.folder)
    assert f"{path} is not a checkpoint of this package, or it is truncated or altered" in line
    torch.save({"weights": torch.ones(3)}, path)
    assert f"{path} is not a checkpoint of this package" in refusal("train.py", "--resume", run.folder)


@pytest.mark.skipif(sys.platform == "win32", reason="limits on files are a matter of Unix")
def test_a_disk_that_cannot_hold_a_checkpoint_is_noticed_before_training(script, tmp_path):
    import resource

    limit = (100_000, resource.RLIM_INFINITY)
    finished = script(
        "train.py", *SMALL, "--out-dir", tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    )
    assert "error: --out-dir: cannot write" in only_line(finished)
    assert not list(tmp_path.rglob("*.pt*"))


def test_training_that_falls_apart_ends_in_a_line_and_code_1(script, tmp_path):
    finished = script("train.py", *SMALL, "--out-dir", tmp_path, "--lr-g", 1e39, "--checkpoint-every", 1)
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    last = finished.stderr.strip().splitlines()[-1]
    assert last.startswith("error: step 1: weights are not finite; the last good state is ")
    assert last.endswith("step_0.pt")


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM cannot be handled there")
def test_sigterm_saves_draws_and_resumes(script_here, refusal, tmp_path):
    """Stopped from outside in the middle, then resumed: the run ends as if nothing had happened."""
    command = [sys.executable, str(ROOT / "scripts/train.py"), *map(str, SMALL)]
    command += ["--out-dir", str(tmp_path), "--name", "stopped", "--steps", "100000", "--log-every", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    run = Run(tmp_path, "stopped")
    deadline = time.monotonic() + 120
    while (not run.metrics_file.exists() or run.metrics_file.read_text().count("\n") < 3) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert "stopped by SIGTERM at step" in stdout
    assert f"--resume {run.folder}" in stdout
    step = torch.load(run.latest_checkpoint(), weights_only=True)["step"]
    assert step == run.read_metrics()[-1]["step"] >= 3
    for name in ("Epoch_1.png", "sweep_c3.png", "training.gif"):
        assert (run.samples / name).is_file()
    assert (run.track_loss / "L1_Loss.png").is_file()

    code, _, error = script_here("train.py", "--resume", run.folder, "--steps", step + 2)
    assert code == 0, error
    assert [row["step"] for row in run.read_metrics()] == list(range(1, step + 3))
    assert len(json.loads((run.folder / "environment.json").read_text())) == 2

    line = refusal("train.py", "--resume", run.folder, "--codes", "cat3", "--width", 8)
    assert "--codes cat3 (the run has cat10,slant,thickness)" in line and "--width 8 (the run has 4)" in line


def module_of(script):
    """The module of a script that is not a package's."""
    spec = importlib.util.spec_from_file_location(script, ROOT / "scripts" / f"{script}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[script] = importlib.util.module_from_spec(spec)  # dataclasses look it up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def benchmark():
    return module_of("benchmark")


@pytest.fixture(scope="module")
def growth():
    return module_of("growth")


def flop_of_paper_nets():
    """Multiplications and additions per image, by hand: a pass forward of G and of D, in FLOP."""
    latents, fc, seed, width = 74, 1024, 7 * 7 * 128, 64
    generator = 2 * (latents * fc + fc * seed + 7 * 7 * 128 * width * 16 + 14 * 14 * width * 16)
    first_conv = 2 * 14 * 14 * width * 16
    heads = {"d": 2 * fc, "q": 2 * (fc * 128 + 128 * 12)}  # a fixed deviation leaves Q 10 + 1 + 1 outputs
    trunk = first_conv + 2 * (7 * 7 * width * 128 * 16 + seed * fc)
    return generator, 2 * latents * fc, trunk, first_conv, heads


def test_the_benchmark_counts_the_flop_of_an_update_as_one_does_by_hand(benchmark, digits):
    config = TrainConfig.from_preset("paper", dataset="mnist5k", device="cpu", batch_size=8)
    generator, first_layer, trunk, first_conv, heads = flop_of_paper_nets()
    real = 3 * (trunk + heads["d"]) - first_conv  # forward, and gradients of weights and, but for images, inputs
    fake = 3 * (trunk + heads["d"] + heads["q"]) - first_conv
    through_d = 2 * (trunk + heads["d"] + heads["q"])  # forward, and the gradients of inputs alone
    update = 3 * generator - first_layer + real + fake + through_d
    assert benchmark._flop_per_image("ours", config, digits.images) == pytest.approx(update)
    # The public loop: D's own update, then a pass through it that computes the gradients of its weights in vain.
    d_update = 2 * (3 * (trunk + heads["d"]) - first_conv)
    usual = d_update + 3 * generator - first_layer + 3 * (trunk + heads["d"] + heads["q"])
    assert benchmark._flop_per_image(benchmark.REFERENCE, config, digits.images) == pytest.approx(usual)


def test_the_reference_loop_updates_every_net_and_reads_its_losses(benchmark, small, digits):
    loop = benchmark.ReferenceLoop(small(), digits.images)
    before = [p.clone() for net in (loop.generator, loop.discriminator) for p in net.parameters()]
    losses = loop.train_step()
    after = [p for net in (loop.generator, loop.discriminator) for p in net.parameters()]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert losses["loss_d"] == pytest.approx(2 * math.log(2), abs=0.1)  # at chance
    assert losses["loss_g"] == pytest.approx(math.log(2) + 2 * 0.392, abs=0.1)  # less L_I of c1, 0, and of c2 and c3


def test_the_benchmark_multiplies_matrices_as_a_loop_does(benchmark, small, monkeypatch):
    seen = []
    monkeypatch.setattr(benchmark, "MATRIX_SIDES", {"cpu": (8,)})
    monkeypatch.setattr(torch, "mm", lambda a, b: seen.append((torch.get_float32_matmul_precision(), a.dtype)))
    for changes in ({"matmul": "onednn"}, {"matmul": "default"}, {"precision": "bfloat16", "matmul": "default"}):
        benchmark._matrix_rate(torch.device("cpu"), small(**changes))
    expected = [("medium" if onednn_is_precise() else "highest", torch.float32), ("highest", torch.float32)]
    assert list(dict.fromkeys(seen)) == [*expected, ("highest", torch.bfloat16)]
    assert torch.get_float32_matmul_precision() == "highest"


def test_the_reference_loop_has_the_nets_of_ours(benchmark, small, digits):
    config = small(nets="content", class_conditional_d=False)
    loop, ours = benchmark.ReferenceLoop(config, digits.images), Trainer(config, digits.images)
    assert {*loop.generator.state_dict()} == {*ours.generator.state_dict()}


def test_the_time_to_a_quality_never_reached_is_none(benchmark, small):
    (result,) = benchmark.measure_time_to_quality(small(steps=3), 1, 2)
    assert result["steps"] == 3
    bars = ["mi_nats >= 2.25", *(f"accuracy >= {bar}" for bar in (0.9, 0.95, 0.98))]
    assert result["reached_s"] == dict.fromkeys([*bars, *(f"frechet_digit_distance <= {bar}" for bar in (0.3, 0.25))])


def test_bars_of_quality_are_met_from_their_own_side(benchmark):
    met = benchmark.bars_met({"mi_nats": 2.26, "accuracy": 0.96, "frechet_digit_distance": 0.28})
    assert [bar for bar, is_met in met.items() if not is_met] == ["accuracy >= 0.98", "frechet_digit_distance <= 0.25"]
    assert [*benchmark.bars_met({"mi_nats": 2.0}).values()] == [False]  # of images without labels
    assert benchmark._median([3.0, None, 5.0]) == 5.0
    assert benchmark._median([3.0, None, None]) is None


@pytest.mark.slow
def test_the_benchmark_prints_its_table_and_writes_its_measures(script, tmp_path):
    file, markdown = tmp_path / "benchmark.json", tmp_path / "benchmark.md"
    flags = ("--preset", "digits", "--dataset", "mnist5k", "--device", "cpu", "--rounds", 1, "--steps", 1)
    done = script("benchmark.py", *flags, "--json", file, "--markdown", markdown)
    assert done.returncode == 0, done.stderr
    speed = json.loads(file.read_text())["speed"]
    ours, rounded, reference = (speed["loops"][name] for name in ("ours, float32", "ours, bfloat16", "reference"))
    assert len(ours["images_per_s"]) == len(rounded["images_per_s"]) == len(reference["images_per_s"]) == 1
    assert [len(rates) for rates in speed["matrix_rates_flop_per_s"].values()] == [1, 1]
    assert ours["flop_per_image"] == rounded["flop_per_image"] < reference["flop_per_image"]
    assert "ratio" in done.stdout and "train.py to its first step" in done.stdout
    assert markdown.read_text().count("| --- |") == 2


def test_the_exponents_of_known_growth_are_found(growth):
    def rows(unit, seconds_at, sizes=(28, 32, 64, 128)):
        costs = [growth.Cost(0.5 * seconds_at(size), seconds_at(size), 300 + size) for size in sizes]
        return [growth.Row(f"of {unit}", unit, size, cost) for size, cost in zip(sizes, costs, strict=True)]

    def of_seconds(rows):
        return growth.exponent(rows, growth.MEASURES["CPU seconds"])

    linear, squared, constant = (
        rows("px", lambda n: 3e-5 * n**2),
        rows("images", lambda n: n**2),
        rows("images", lambda n: 7),
    )
    assert [of_seconds(group) for group in (linear, squared, constant)] == pytest.approx([1, 2, 0])
    # A constant hides a growth with the square at small sizes, and at large ones no longer.
    hidden = rows("images", lambda n: 1000 + n**2, sizes=(1, 10, 1000, 10_000))
    assert of_seconds(hidden) < 1.3 and of_seconds(hidden[-2:]) > 1.99


def test_growth_shows_every_row_and_the_exponents_of_what_has_several(growth, tmp_path):
    def row(what, unit, size, seconds):
        return growth.Row(what, unit, size, growth.Cost(seconds, 2 * seconds, 100 * size))

    rows = [row("a", "px", 10, 1), row("a", "px", 100, 100), row("b", "images", 4, 5), row("a", "ranks", 1, 3)]
    costs, exponents = growth.describe(rows[::-1], "title")
    assert [*costs.rows[0]] == ["a", "1 rank", "3.000", "6.000", "100"]
    assert len(costs.rows) == len(rows)
    assert [[*row] for row in exponents.rows] == [["a, in pixels", "1.00 (1.00)", "0.50 (0.50)"]]
    growth.save_plot(rows, tmp_path / "growth.png")
    assert iio.imread(tmp_path / "growth.png").shape[1] > 1000  # a panel for each unit


@pytest.mark.slow
def test_growth_measures_sides_images_and_ranks(script, tmp_path):
    files = {kind: tmp_path / f"growth.{kind}" for kind in ("json", "markdown", "plot")}
    flags = [text for kind, path in files.items() for text in (f"--{kind}", path)]
    done = script("growth.py", "--sides", 16, "--counts", 200, "--ranks", 2, "--data-dir", tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    rows = json.loads(files["json"].read_text())["rows"]
    costs = {(row["what"], row["unit"], row["size"]): row["cost"] for row in rows}
    assert len(costs) == len(rows) == 3 + 2 + 1
    assert all(0 < value < 1e5 for cost in costs.values() for value in cost.values())
    step = "a training step"
    assert costs[step, "px", 16]["cpu_seconds"] < costs[step, "images", 200]["cpu_seconds"]  # of 28 px
    assert costs[step, "ranks", 2]["peak_mib"] > 1.5 * costs[step, "images", 200]["peak_mib"]  # of both ranks
    assert "2 ranks" in done.stdout and files["markdown"].read_text().count("| --- |") == 2
    assert files["plot"].stat().st_size > 1000
