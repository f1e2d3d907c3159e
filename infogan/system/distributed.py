"""Several processes (ranks) that train one model together, as torchrun starts them, on one machine or many.

Every rank draws the random numbers of the whole batch and keeps its own share of them, gradients are averaged, and
BatchNorm may take its statistics over the whole batch. So N ranks follow the run of one, and a checkpoint fits
any number of ranks. Without torchrun there is one rank, and nothing here does anything.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from infogan.system.errors import UserError

T = TypeVar("T")


def n_ranks() -> int:
    """Returns how many ranks train together."""
    return dist.get_world_size() if _is_joined() else 1


def is_first() -> bool:
    """Returns whether this is rank 0, the one that writes and prints."""
    return not _is_joined() or dist.get_rank() == 0


def is_first_here() -> bool:
    """Returns whether this is the first rank of its machine."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def wait_for_all() -> None:
    """Returns once every rank has called it."""
    any_rank(False)


def _is_joined() -> bool:
    return dist.is_available() and dist.is_initialized()


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Joins the other ranks, if torchrun started this process as one of several, until the end of the block.

    Args:
        device: This rank's; NCCL connects CUDA devices, gloo the CPU.
    """
    if launcher() is None or int(os.environ["WORLD_SIZE"]) == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # torchrun's store outlives the ranks: after a restart they must not find the addresses of those before them.
    store, rank, size = next(iter(dist.rendezvous("env://")))  # pyright: ignore[reportPrivateImportUsage]
    store = dist.PrefixStore(f"restart-{_n_restarts()}", store)  # pyright: ignore[reportPrivateImportUsage]
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        yield
    finally:
        dist.destroy_process_group()


def leave() -> None:
    """Ends a rank that torchrun started, at once and with code 0, after all of its work; else does nothing.

    While Python takes such a process apart, torch's threads abort it now and then ("terminate called without an active
    exception", one in ten on a CPU with torch 2.15), which torchrun takes for a failure.
    """
    if launcher() is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def launcher() -> str | None:
    """Returns what names the torchrun that started this rank, the same after it restarted its ranks; else None."""
    run_id = os.environ.get("TORCHELASTIC_RUN_ID")
    return None if run_id is None else f"{run_id}@{socket.gethostname()}:{os.getppid()}"


def is_restart() -> bool:
    """Returns whether torchrun has started its ranks anew, after one of them failed."""
    return _n_restarts() > 0


def _n_restarts() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def from_first(make: Callable[[], T]) -> T:
    """Returns what `make` returns on rank 0, on every rank; it must survive pickling.

    Raises:
        UserError: On rank 0, if `make` raised it there; the other ranks then exit without a word, with code 2.
    """
    if n_ranks() == 1:
        return make()
    answer: list[T | None] = [None]
    error = None
    if is_first():
        try:
            answer = [make()]
        except UserError as raised:
            error = raised
    failed = any_rank(error is not None)
    if error is not None:
        raise error
    if failed:
        sys.exit(2)
    dist.broadcast_object_list(answer)
    return answer[0]  # pyright: ignore[reportReturnType]  the broadcast has filled it


def check_batch_size(batch_size: int) -> None:
    """Checks that a batch can be shared evenly, with enough for BatchNorm.

    Raises:
        UserError: It cannot.
    """
    n = n_ranks()
    if batch_size % n or batch_size < 2 * n:
        raise UserError(f"--batch-size: expected a multiple of the {n} ranks, at least {2 * n}, got {batch_size}")


def share(batch: Float[Tensor, "n ..."]) -> Float[Tensor, "m ..."]:
    """Returns this rank's part of what is the same whole batch on every rank; the parts do not overlap."""
    return batch.chunk(n_ranks())[dist.get_rank()] if n_ranks() > 1 else batch


def average(tensors: Iterable[Tensor | None]) -> None:
    """Replaces each tensor by its mean over the ranks."""
    if n_ranks() == 1:
        return
    present = [tensor for tensor in tensors if tensor is not None]
    for work in [dist.all_reduce(tensor, async_op=True) for tensor in present]:
        assert work is not None
        work.wait()
    for tensor in present:
        tensor /= n_ranks()


def any_rank(flag: bool) -> bool:
    """Returns whether the flag is true on some rank."""
    if n_ranks() == 1:
        return flag
    flags = torch.tensor(int(flag))
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return bool(flags)


class _SumOverRanks(torch.autograd.Function):
    """The sum of a tensor over the ranks. Every rank's loss depends on every part: so its gradients are summed too.

    Of torch's own two, one is deprecated and the other private.
    """

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _SumOverRanks.apply(gradient)


def mean_over_ranks(part: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Returns the mean of a tensor over the ranks; unlike `average` it can be differentiated."""
    return part if n_ranks() == 1 else _SumOverRanks.apply(part) / n_ranks()


class GlobalBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm over the batch of all ranks; on one rank, and in evaluation mode, the ordinary one.

    torch's SyncBatchNorm does the same on CUDA alone.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim not in (2, 4):
            raise ValueError(f"expected (n, channels) or NCHW, got {tuple(input.shape)}")

    def forward(self, input: Float[Tensor, "n c *hw"]) -> Float[Tensor, "n c *hw"]:
        if not self.training or n_ranks() == 1:
            return super().forward(input)
        self._check_input_dim(input)
        dtype, input = input.dtype, input.float()  # statistics are float32 in the ordinary one, too
        axes = [axis for axis in range(input.ndim) if axis != 1]
        shape = [1, -1] + [1] * (input.ndim - 2)
        n = input.numel() // input.shape[1] * n_ranks()
        mean = _SumOverRanks.apply(input.sum(axes)) / n
        centred = input - mean.view(shape)
        variance = _SumOverRanks.apply(centred.square().sum(axes)) / n
        self._track(mean.detach(), variance.detach() * n / (n - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(shape) + self.bias.view(shape)).to(dtype)

    @torch.no_grad()
    def _track(self, mean: Float[Tensor, " c"], unbiased_variance: Float[Tensor, " c"]) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(unbiased_variance, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1


def use_global_batch_norm(net: nn.Module) -> None:
    """Replaces every BatchNorm within a net by a `GlobalBatchNorm` of the same weights and statistics."""
    for name, child in net.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            twin = GlobalBatchNorm(child.num_features, child.eps, child.momentum).to(child.weight.device)
            twin.load_state_dict(child.state_dict())
            setattr(net, name, twin)
        else:
            use_global_batch_norm(child)
