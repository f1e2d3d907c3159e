"""Steps as CUDA graphs: the kernels of a step are recorded once and then launched all at once.

A step is several hundred kernels of a few microseconds each, and the processor takes longer to launch one than the GPU
to run it. A graph repeats the same kernels on the same memory. So a captured step reads all that changes from step to
step where it was when it was captured, and may not look at what it computes. The results are the same to the bit.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Hashable, Iterator, Sequence

import torch
from torch import Tensor

WARM_UP_STEPS = 3  # of each phase, taken as usual: libraries and optimizers make at first what they then keep


class Captured:
    """A function of no arguments, whose work on the GPU is captured and replayed.

    Args:
        work: Returns tensors by name; it may only read and write tensors that stay where they are.
        generators: What it draws from, besides torch's own.
    """

    def __init__(self, work: Callable[[], dict[str, Tensor]], generators: Sequence[torch.Generator]) -> None:
        self._work, self._generators = work, generators
        self.forget()

    def forget(self) -> None:
        """Starts anew: what the work reads and writes is elsewhere now."""
        self._phase: Hashable = None
        self._n_warm_up_steps = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, phase: Hashable) -> dict[str, Tensor]:
        """Does the work and returns what it does.

        Args:
            phase: All that its operations depend on; of another phase, the work is captured anew.
        """
        if phase != self._phase:
            self.forget()
            self._phase = phase
        if self._n_warm_up_steps < WARM_UP_STEPS:
            self._n_warm_up_steps += 1
            return self._work()
        if self._graph is None:
            self._graph, self._returned = self._captured()
        self._graph.replay()
        return {name: value.clone() for name, value in self._returned.items()}

    def _captured(self) -> tuple[torch.cuda.CUDAGraph, dict[str, Tensor]]:
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        with _nothing_collected(), torch.cuda.graph(graph):
            returned = self._work()
        return graph, returned


@contextlib.contextmanager
def _nothing_collected() -> Iterator[None]:
    """Keeps Python's garbage collector from freeing an earlier trainer's graph, which would end a capture."""
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
