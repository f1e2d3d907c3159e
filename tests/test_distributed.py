"""Several ranks under torchrun: they follow one, write one run, and survive the loss of one of them."""

import copy
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from torch import nn

from infogan import TrainConfig, Trainer
from infogan.system import distributed
from infogan.system.errors import UserError
from infogan.training.checkpoint import load_checkpoint

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="needs torch.distributed")

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone")
SMALL = (
    "--dataset",
    "mnist5k",
    "--width",
    8,
    "--batch-size",
    64,
    "--device",
    "cpu",
    "--precision",
    "float32",
    "--log-every",
    1,
    "--lr-decay",
    0,
    "--augment-contrast",
    0.4,
    "--augment-thickness",
    "--overcluster-entropy",
    0.5,
    # A quarter of the usual rates: Adam's first steps turn the last digits of small gradients into whole steps.
    "--lr-g",
    2.5e-4,
    "--lr-d",
    1e-4,
    "--lr-heads",
    5e-4,
)
# Threads of one process would only wait for those of the other.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def torchrun(n_ranks: int, *command: object, restarts: int = 0) -> list[str]:
    return [*TORCHRUN, f"--nproc-per-node={n_ranks}", f"--max-restarts={restarts}", *map(str, command)]


def finished(command: list[str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done


def train(n_ranks: int, *flags: object) -> subprocess.CompletedProcess[str]:
    return finished(torchrun(n_ranks, "scripts/train.py", *SMALL, *flags))


def state_of(out_dir: Path, step: int) -> dict:
    (path,) = out_dir.glob(f"runs/*/checkpoints/step_*{step}.pt")
    return load_checkpoint(path)


def steps_of(trainer: Trainer, n: int) -> list[dict]:
    return [{name: value.item() for name, value in trainer.train_step().items()} for _ in range(n)]


def metrics(out_dir: Path) -> list[dict]:
    (path,) = out_dir.glob("runs/*/metrics.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def relative_difference(a: dict, b: dict) -> float:
    """The distance between the weights of two checkpoints of InfoGAN, relative to their length."""
    pairs = [
        (a["infogan"][net][name].double(), b["infogan"][net][name].double())
        for net in ("generator", "discriminator")
        for name in a["infogan"][net]
        if not name.endswith("num_batches_tracked")  # else the counters would be most of the length
    ]
    return (sum((x - y).square().sum() for x, y in pairs) / sum(x.square().sum() for x, _ in pairs)).sqrt().item()


def assert_same_losses(rows: list[dict], expected: list[dict], tolerance: float) -> None:
    for row, other in zip(rows, expected, strict=True):
        for name in ("loss_d", "loss_g", "mi_c1", "mi_c2", "mi_c3", "consistency_c1"):
            assert row[name] == pytest.approx(other[name], abs=tolerance), name


@pytest.fixture
def one_rank(digits, monkeypatch):
    """A trainer on one rank, of the configuration that `train` gives to torchrun."""
    monkeypatch.setattr("infogan.extensions.equivariance.N_VIEWS", 5000)  # as there: slopes decide each later step
    config = TrainConfig(
        dataset="mnist5k",
        width=8,
        batch_size=64,
        device="cpu",
        precision="float32",
        log_every=1,
        augment_contrast=0.4,
        augment_thickness=True,
        overcluster_entropy=0.5,
        lr_g=2.5e-4,
        lr_d=1e-4,
        lr_heads=5e-4,
        lr_decay=0.0,
    )
    return lambda: Trainer(config, digits.images)


def test_two_ranks_follow_one_and_write_one_run_that_one_rank_can_finish(tmp_path, one_rank):
    done = train(2, "--steps", 4, "--out-dir", tmp_path)
    assert done.stdout.count("trained to step 4") == 1
    at_once, in_two_parts = one_rank(), one_rank()
    start = copy.deepcopy(at_once.state_dict())  # its weights are those in use
    expected = steps_of(at_once, 8)
    assert_same_losses(metrics(tmp_path), expected[:4], 1e-4)
    in_two_parts.load_state_dict(state_of(tmp_path, 4))
    # Rounding grows from step to step: one rank with two threads differs from one with one by some 1e-4.
    assert_same_losses(steps_of(in_two_parts, 4), expected[4:], 5e-3)
    end = at_once.state_dict()
    assert relative_difference(end, in_two_parts.state_dict()) < 0.005 < relative_difference(end, start)
    assert torch.equal(end["latents_rng"], in_two_parts.state_dict()["latents_rng"])
    assert end["batches"]["position"] == in_two_parts.batches.state_dict()["position"] == 8


@pytest.mark.slow
def test_without_synchronised_statistics_two_ranks_go_their_own_way(tmp_path, one_rank):
    train(2, "--steps", 4, "--no-sync-batchnorm", "--out-dir", tmp_path)
    pairs = zip(metrics(tmp_path), steps_of(one_rank(), 4), strict=True)
    assert max(abs(a["loss_d"] - b["loss_d"]) for a, b in pairs) > 1e-3


GLOBAL_BATCH_NORM = """
import copy
import torch
from torch import distributed as dist, nn
from infogan.system.distributed import joined, leave, share, use_global_batch_norm

torch.manual_seed(0)
with joined(torch.device("cpu")):
    for shape, whole in (((12, 5), nn.BatchNorm1d(5)), ((6, 3, 4, 4), nn.BatchNorm2d(3))):
        nn.init.normal_(whole.weight), nn.init.normal_(whole.bias)
        net = nn.Sequential(copy.deepcopy(whole))
        use_global_batch_norm(net)
        x, gradient = 3 * torch.randn(shape) + 2, torch.randn(shape)
        x_whole, x_part = x.clone().requires_grad_(), share(x).clone().requires_grad_()
        y = whole(x_whole)
        y.backward(gradient)
        y_part = net(x_part)
        y_part.backward(share(gradient))
        torch.testing.assert_close(y_part, share(y))
        torch.testing.assert_close(x_part.grad, share(x_whole.grad))
        for parameter, expected in zip(net.parameters(), whole.parameters()):
            dist.all_reduce(parameter.grad)
            torch.testing.assert_close(parameter.grad, expected.grad)
        for name, buffer in whole.named_buffers():
            torch.testing.assert_close(net[0].get_buffer(name), buffer)
        rounded = x.bfloat16()
        torch.testing.assert_close(net(share(rounded)), share(whole(rounded)))
        torch.testing.assert_close(net[0].running_var, whole.running_var)
        torch.testing.assert_close(net.eval()(share(x)), share(whole.eval()(x)))
    print("checked")
leave()
"""


def test_global_batch_norm_is_batch_norm_of_the_whole_batch_with_its_gradients(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(GLOBAL_BATCH_NORM)
    done = finished([*TORCHRUN, "--nproc-per-node=2", str(program)])
    assert done.stdout.count("checked") == 2


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the rank in /proc")
def test_after_a_killed_rank_torchrun_goes_on_from_the_last_checkpoint(tmp_path):
    flags = [*SMALL, "--steps", 60, "--checkpoint-every", 20, "--out-dir", tmp_path]
    process = subprocess.Popen(
        torchrun(2, "scripts/train.py", *flags, restarts=1),
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not list(tmp_path.glob("runs/*/checkpoints/step_*20.pt")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    os.kill(process_of_rank(1, process.pid), signal.SIGKILL)
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 0, output
    assert ": step 20 of 60 on 2 x cpu" in output or ": step 40 of 60 on 2 x cpu" in output
    assert [row["step"] for row in metrics(tmp_path)] == list(range(1, 61))  # one run, each step once


def process_of_rank(rank: int, parent: int) -> int:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent_of = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            variables = (folder / "environ").read_text().split("\0")
        except OSError:
            continue
        if parent_of == parent and f"RANK={rank}" in variables:
            return int(folder.name)
    raise LookupError(f"torchrun has no rank {rank}")


@pytest.mark.parametrize(("n_ranks", "batch_size"), [(2, 63), (4, 4), (3, 64)])
def test_a_batch_that_ranks_cannot_share_is_refused(monkeypatch, small, digits, n_ranks, batch_size):
    monkeypatch.setattr(distributed, "n_ranks", lambda: n_ranks)
    expected = f"--batch-size: expected a multiple of the {n_ranks} ranks, at least {2 * n_ranks}, got {batch_size}"
    with pytest.raises(UserError, match=expected):
        Trainer(small(batch_size=batch_size), digits.images)


def test_one_process_is_the_first_of_one_rank(small, digits):
    assert (distributed.n_ranks(), distributed.is_first()) == (1, True)
    assert (distributed.any_rank(False), distributed.any_rank(True)) == (False, True)
    batch = torch.arange(4.0)
    distributed.average([batch, None])
    assert distributed.share(batch).tolist() == [0.0, 1.0, 2.0, 3.0]
    assert distributed.from_first(lambda: "made") == "made"
    with pytest.raises(UserError, match="refused"):
        distributed.from_first(lambda: (_ for _ in ()).throw(UserError("refused")))
    nets = Trainer(small(), digits.images).discriminator.modules()
    assert not any(isinstance(module, distributed.GlobalBatchNorm) for module in nets)


def test_global_batch_norm_refuses_what_it_cannot_average():
    net = nn.Sequential(nn.BatchNorm1d(3))
    distributed.use_global_batch_norm(net)
    with pytest.raises(ValueError, match="expected"):
        net(torch.zeros(2, 3, 4))
