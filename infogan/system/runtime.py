"""The machine: device, seeds, and the state of every random number generator."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import os
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from infogan.system.errors import UserError


def resolve_device(name: str) -> torch.device:
    """Returns the device that `name` means: `auto` is CUDA where there is one, else the CPU.

    Of several ranks on one machine, each gets a CUDA device of its own, whichever number `name` has.

    Raises:
        UserError: No such device, or not on this machine.
    """
    n_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if n_cuda else "cpu"
    # torch itself takes "cuda:256" for "cuda:0".
    if re.fullmatch(r"cpu|cuda(:[0-9]{1,2})?", name) is None:
        raise UserError(f"--device: expected auto, cpu, cuda or cuda:N, got {name!r}")
    device = torch.device(name)
    if device.type == "cuda" and (local_rank := os.environ.get("LOCAL_RANK")) is not None:
        device = torch.device("cuda", int(local_rank))
    if device.type == "cuda" and (device.index or 0) >= n_cuda:
        raise UserError(f"--device: expected one of this machine's {n_cuda} CUDA devices, or cpu, got {str(device)!r}")
    return device


def resolve_precision(name: Literal["auto", "float32", "bfloat16"], device: torch.device) -> str:
    """Returns the precision that `name` means on a device where nothing is measured; see `training.tuning`.

    `auto` is bfloat16 on a CPU with matrix units for it (AMX): elsewhere it may be slower than float32. On CUDA it is
    float32: there, nobody has measured yet what bfloat16 does to training.
    """
    if name != "auto":
        return name
    return "bfloat16" if _cpu_has(device, "amx_bf16") else "float32"


def autocast_for(
    name: Literal["auto", "float32", "bfloat16"], device: torch.device
) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    """Returns what makes the context in which nets calculate in a precision; see `resolve_precision`."""
    in_bfloat16 = resolve_precision(name, device) == "bfloat16"
    return functools.partial(torch.autocast, device.type, torch.bfloat16, in_bfloat16)


def has_bfloat16(device: torch.device) -> bool:
    """Returns whether a device is a CPU with instructions for bfloat16: others are slower with it than with float32."""
    return _cpu_has(device, "avx512_bf16") or _cpu_has(device, "amx_bf16")


def _cpu_has(device: torch.device, instructions: str) -> bool:
    # Older releases of torch cannot tell.
    known = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
    return bool(known.get(instructions))


def resolve_matmul(name: Literal["auto", "onednn", "default"], device: torch.device) -> str:
    """Returns the library that `name` means where nothing is measured: `auto` is oneDNN where that is precise."""
    if name != "auto":
        return name
    return "onednn" if device.type == "cpu" and onednn_is_precise() else "default"


def resolve_threads(n: int | None) -> int:
    """Returns how many threads a process is to have: n, or torch's own number, as far as it is granted processors.

    A container may see all processors of its machine and be granted the time of a few: threads for all of them would
    wait for each other.
    """
    return n or min(torch.get_num_threads(), _granted_processors())


def _granted_processors() -> int:
    """Returns how many processors the process may use at a time, by its affinity and its control group's quota."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for quota_us, period_us in _cpu_quotas():
        if quota_us > 0 and period_us > 0:
            n = min(n, math.ceil(quota_us / period_us))
    return max(n, 1)


def _cpu_quotas() -> Iterator[tuple[int, int]]:
    """Returns the quotas of processor time within a period that hold in a container: of cgroup 2, or of cgroup 1."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        with contextlib.suppress(OSError, ValueError):  # not there, or `max`
            quota, period = " ".join((_CGROUPS / name).read_text() for name in files).split()
            yield int(quota), int(period)


_CGROUPS = Path("/sys/fs/cgroup")

# cuBLAS reads this once, when it starts; without it, it may give other bits the next time.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def on_device(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Makes a device the current one: the work on any other CUDA device could not be captured in a graph."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def is_capturing(device: torch.device) -> bool:
    """Returns whether the work on a device is being captured in a CUDA graph, and not done."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def make_deterministic() -> None:
    """Has every later operation give the same bits again, on CUDA too, and float32 be float32 there."""
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False  # convolutions alone are rounded to 10 bits otherwise
    # `use_deterministic_algorithms` is the same, but loads torch's compiler, which takes seconds.
    torch.set_deterministic_debug_mode("error")
    # Nothing here reads memory that was never written; filling it would only cost time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]


def tune_for(
    device: torch.device, matmul: Literal["auto", "onednn", "default"] = "auto", threads: int | None = None
) -> None:
    """Sets the process up for training on a device; float32 stays float32 (`scripts/benchmark.py` measures it).

    Args:
        device: Where.
        matmul: The library of float32 matrix multiplications on a CPU.
        threads: As many; None leaves their number as it is.
    """
    if threads is not None and threads != torch.get_num_threads():
        torch.set_num_threads(threads)
    if device.type == "cpu":
        keep_freed_memory()
    if resolve_matmul(matmul, device) == "onednn" and device.type == "cpu" and onednn_is_precise():
        _multiply_with_onednn()
    else:
        _multiply_by_default()


def keep_freed_memory() -> None:
    """Has glibc hand out freed memory again rather than give it back to the system.

    A step allocates the same large gradients as the one before it. Pages fresh from the system fault one by
    one, which on a virtual machine takes longer than the matrix multiplications that fill them.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # no glibc: macOS, Windows, musl
        mallopt = ctypes.CDLL(None).mallopt
        # An older glibc takes 32 MiB at most; with neither, the other setting would only do harm.
        if mallopt(_M_MMAP_THRESHOLD, 2**30) or mallopt(_M_MMAP_THRESHOLD, 2**25):
            mallopt(_M_TRIM_THRESHOLD, 2**30)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h

_default_precision: str | None = None  # of torch, while `_multiply_with_onednn` has set another


def _multiply_with_onednn() -> None:
    """Has oneDNN do matrix multiplications, rather than torch's default library; see `onednn_is_precise`.

    The default one is slower on processors that its maker did not make. torch uses oneDNN for them at "medium"
    precision.
    """
    global _default_precision
    if _default_precision is None:
        _default_precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("medium")


def onednn_is_precise() -> bool:
    """Returns whether oneDNN multiplies in float32 here; on processors with matrix units for less (AMX) it may not.

    So it is tried, and whatever was set for matrix multiplications is left as it is.
    """
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        a = torch.linspace(0.5, 1.0, 256 * 256).view(256, 256)
        exact = a.double() @ a.double()
        return bool(((a @ a - exact).abs() / exact).max() < 1e-5)  # bfloat16 would be off by 1e-3
    finally:
        torch.set_float32_matmul_precision(before)


def _multiply_by_default() -> None:
    """Takes `_multiply_with_onednn` back: on CUDA its setting would round them to TF32."""
    global _default_precision
    if _default_precision is not None:
        torch.set_float32_matmul_precision(_default_precision)
        _default_precision = None


def seed_everything(seed: int) -> None:
    """Seeds the global generators of Python, NumPy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


N_NUMPY_KEYS = 624  # of the Mersenne Twister


def rng_state() -> dict[str, Any]:
    """Returns the state of every global generator, as tensors and plain values."""
    version, python_keys, python_gauss = random.getstate()
    kind, numpy_keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "python": [version, list(python_keys), python_gauss],
        "numpy": [kind, torch.from_numpy(np.asarray(numpy_keys, dtype=np.int64)), position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
        # A process that does not use CUDA must not take hold of a device for this.
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Sets every global generator to a state that `rng_state` gave; CUDA's, where as many devices are here.

    Raises:
        ValueError: The state is not whole.
    """
    version, python_keys, python_gauss = state["python"]
    kind, numpy_keys, *rest = state["numpy"]
    # Before they are copied: what is no such state may claim to have any length.
    if not isinstance(python_keys, list) or numpy_keys.shape != (N_NUMPY_KEYS,):
        raise ValueError(f"expected random states of Python and NumPy, the latter of {N_NUMPY_KEYS} words")
    random.setstate((version, tuple(python_keys), python_gauss))
    np.random.set_state((kind, numpy_keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([one.cpu() for one in state["cuda"]])


def set_generator_state(generator: torch.Generator, state: torch.Tensor, other_device_seed: int) -> None:
    """Sets a generator to a saved state; where that is of another kind of device, seeds it anew.

    Raises:
        ValueError: The state is of no kind of device: it was cut short.
    """
    if state.numel() == generator.get_state().numel():
        generator.set_state(state.cpu())
    elif state.numel() in _STATE_BYTES:
        generator.manual_seed(other_device_seed)
    else:
        raise ValueError(f"expected a random state of {' or '.join(map(str, _STATE_BYTES))} bytes, got {state.numel()}")


_STATE_BYTES = (5056, 16)  # of torch's generators: on a CPU, on CUDA


class GlobalState:
    """The global state of the process as one of its users has it, while the caller's own is left alone.

    What is global: the generators of Python, NumPy and torch, deterministic algorithms, the precision of matrix
    multiplications, the number of threads. Within `entered` all of it is this object's, as it last was there; after
    it, it is the caller's again. An entry within another one changes nothing: the state is private already.
    """

    def __init__(self) -> None:
        self._own: dict[str, Any] | None = None

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        global _is_entered
        if _is_entered:
            yield
            return
        before, _is_entered = _global_state(), True
        try:
            if self._own is not None:
                _set_global_state(self._own)
            yield
        finally:
            self._own, _is_entered = _global_state(), False
            _set_global_state(before)


_is_entered = False


@contextlib.contextmanager
def kept_global_state() -> Iterator[None]:
    """Leaves all global state of the process, after it, as it was before; see `GlobalState`. Also a decorator."""
    with GlobalState().entered():
        yield


def _global_state() -> dict[str, Any]:
    return {
        # As they are: to make plain values of them takes a thousandth of a second, at every step.
        "rng": (random.getstate(), np.random.get_state(), torch.get_rng_state()),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None,
        "seed": torch.initial_seed(),
        "deterministic": torch.get_deterministic_debug_mode(),
        "fill": torch.utils.deterministic.fill_uninitialized_memory,  # pyright: ignore[reportAttributeAccessIssue]
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32),
        "precision": (torch.get_float32_matmul_precision(), _default_precision),
        "threads": torch.get_num_threads(),
    }


def _set_global_state(state: dict[str, Any]) -> None:
    global _default_precision
    for restore, rng in zip((random.setstate, np.random.set_state, torch.set_rng_state), state["rng"], strict=True):
        restore(rng)
    if state["cuda"] is not None:
        torch.cuda.set_rng_state_all(state["cuda"])
    elif torch.cuda.is_initialized():  # only since then; it would have had the seed that torch had
        torch.cuda.manual_seed_all(state["seed"])
    torch.set_deterministic_debug_mode(state["deterministic"])
    torch.utils.deterministic.fill_uninitialized_memory = state["fill"]  # pyright: ignore[reportAttributeAccessIssue]
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = state["cudnn"]
    precision, _default_precision = state["precision"]
    torch.set_float32_matmul_precision(precision)
    if state["threads"] != torch.get_num_threads():
        torch.set_num_threads(state["threads"])


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds torch's global generators within it; after it they are as they were."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def evaluating(*nets: nn.Module) -> Iterator[None]:
    """Puts nets in evaluation mode without gradients, and then each module back in the mode it was in.

    BatchNorm then uses its running statistics and leaves them alone, so that a picture changes nothing.
    """
    modes = [(module, module.training) for net in nets for module in net.modules()]
    try:
        for net in nets:
            net.eval()
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
