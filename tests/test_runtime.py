"""The machine's settings: faster, and never at the cost of precision."""

import platform
import subprocess
import sys

import pytest
import torch

from infogan.system import runtime


@pytest.fixture
def precision_restored():
    runtime.tune_for(torch.device("cuda"))  # as it was before any trainer in this process
    before = torch.get_float32_matmul_precision()
    yield
    runtime.tune_for(torch.device("cuda"))
    torch.set_float32_matmul_precision(before)


def relative_error(a: torch.Tensor, b: torch.Tensor) -> float:
    exact = a.double() @ b.double()
    return ((a @ b - exact).norm() / exact.norm()).item()


@pytest.mark.parametrize("shape", [(128, 1024, 6272), (128, 74, 1024), (1024, 128, 6272), (128, 1024, 1)])
def test_products_keep_the_precision_of_float32(precision_restored, shape):
    runtime.tune_for(torch.device("cpu"))
    rows, inner, columns = shape
    rng = torch.Generator().manual_seed(0)
    a = torch.randn(rows, inner, generator=rng)
    b = torch.randn(inner, columns, generator=rng)
    assert relative_error(a, b) < 5e-6
    assert relative_error(a, b.t().contiguous().t()) < 5e-6


def test_products_on_cuda_are_not_rounded_after_training_on_the_cpu(precision_restored):
    torch.set_float32_matmul_precision("highest")
    runtime.tune_for(torch.device("cpu"))
    runtime.tune_for(torch.device("cpu"))
    runtime.tune_for(torch.device("cuda"))
    assert torch.get_float32_matmul_precision() == "highest"


def test_convolutions_on_cuda_are_not_rounded_either(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    runtime.make_deterministic()
    assert not torch.backends.cudnn.allow_tf32
    torch.use_deterministic_algorithms(False)


def test_what_is_seeded_for_a_while_leaves_randomness_alone():
    before = torch.get_rng_state()
    drawn = []
    for _ in range(2):
        with runtime.seeded(3):
            drawn.append(torch.rand(5))
    assert torch.equal(*drawn)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_processor_that_would_round_products_to_bfloat16_keeps_the_default(precision_restored, monkeypatch):
    torch.set_float32_matmul_precision("highest")
    product = torch.Tensor.__matmul__

    def rounding(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if a.dtype == torch.float32 and torch.get_float32_matmul_precision() == "medium":
            a, b = a.bfloat16().float(), b.bfloat16().float()
        return product(a, b)

    monkeypatch.setattr(torch.Tensor, "__matmul__", rounding)
    runtime.tune_for(torch.device("cpu"))
    assert torch.get_float32_matmul_precision() == "highest"


def test_auto_is_bfloat16_unmeasured_only_where_a_cpu_has_matrix_units_for_it(monkeypatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    for known, on_cpu in (
        ({"avx512_bf16": True, "amx_bf16": False}, "float32"),
        ({"amx_bf16": True, "avx512_bf16": False}, "bfloat16"),
        ({"avx512_bf16": False, "amx_bf16": False}, "float32"),
        ({}, "float32"),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=known: known, raising=False)
        assert runtime.resolve_precision("auto", cpu) == on_cpu
        assert runtime.resolve_precision("auto", cuda) == "float32"
        assert runtime.has_bfloat16(cpu) == any(known.values()) and not runtime.has_bfloat16(cuda), known
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # as in older releases
    assert runtime.resolve_precision("auto", cpu) == "float32"
    for name in ("float32", "bfloat16"):
        assert {runtime.resolve_precision(name, device) for device in (cpu, cuda)} == {name}


# The fewest of ten steps: a busy system may take pages from a process and so add faults to some step, but not to all.
PAGE_FAULTS_OF_A_REPEATED_STEP = """
import resource
import torch
from infogan.system.runtime import tune_for

def step():
    gradients = [torch.ones(10_000, 1024) for _ in range(4)]  # above the 32 MiB that glibc comes to keep by itself

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

{tune}
step(), step()
counts = [faults()]
for _ in range(10):
    step()
    counts.append(faults())
print(min(after - before for before, after in zip(counts, counts[1:])))
"""


def glibc_version() -> tuple[int, ...]:
    name, version = platform.libc_ver()
    return tuple(int(part) for part in version.split(".")) if name == "glibc" else ()


@pytest.mark.skipif(glibc_version() < (2, 35), reason="needs a glibc that keeps blocks of more than 32 MiB")
def test_the_memory_of_one_step_serves_the_next_without_a_page_fault():
    def page_faults(tune: str) -> int:
        code = PAGE_FAULTS_OF_A_REPEATED_STEP.format(tune=tune)
        return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)

    assert page_faults("tune_for(torch.device('cpu'))") < 20 < page_faults("")


@pytest.mark.parametrize(
    ("files", "granted"),
    [
        ({"cpu.max": "250000 100000"}, 3),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({}, 8),
    ],
)
def test_threads_are_no_more_than_the_processors_that_a_container_grants(tmp_path, monkeypatch, files, granted):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{content}\n")
    monkeypatch.setattr(runtime, "_CGROUPS", tmp_path)
    monkeypatch.setattr(runtime.os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    assert runtime.resolve_threads(None) == min(granted, 6)
    assert runtime.resolve_threads(12) == 12


def test_a_private_number_of_threads_is_given_back():
    before = torch.get_num_threads()
    with runtime.kept_global_state():
        runtime.tune_for(torch.device("cpu"), threads=before + 1)
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_the_default_library_multiplies_where_it_is_asked_for(precision_restored):
    torch.set_float32_matmul_precision("highest")
    runtime.tune_for(torch.device("cpu"))
    runtime.tune_for(torch.device("cpu"), matmul="default")
    assert torch.get_float32_matmul_precision() == "highest"
