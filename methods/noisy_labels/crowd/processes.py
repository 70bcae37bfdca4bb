"""The processes that share each batch, as the crowd's learners see them. Alone, everything is what one process has.

Gradients that an optimiser takes are averaged by the run (`Run.prepare`). What is in here is for those that are taken on the way: CCC
forms a gradient, moves weights by it and looks at the result before there is a loss to go back from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ....platform.training.run import Run


class Processes(Protocol):
    """Who else works on the same batch. Every process must call the same, in the same order."""

    rank: int
    size: int

    def mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Each tensor's average over the processes."""

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, in order of rank."""


class Alone:
    """One process."""

    rank, size = 0, 1

    def mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """There is nobody to average with: the tensors themselves."""
        return list(tensors)

    def gather(self, value: Any) -> list[Any]:
        """There is nobody to gather from."""
        return [value]


class OfRun:
    """Those of a run, by torch.distributed."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.rank, self.size = run.world.rank, run.world.size

    def mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """One message for all of them, in the precision of the first."""
        if self.size == 1:
            return list(tensors)
        flat = torch.cat([tensor.detach().reshape(-1).to(tensors[0]) for tensor in tensors])
        torch.distributed.all_reduce(flat)
        flat /= self.size
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [part.view_as(tensor).to(tensor) for part, tensor in zip(parts, tensors, strict=True)]

    def gather(self, value: Any) -> list[Any]:
        """By the run."""
        return self._run.gather(value)
