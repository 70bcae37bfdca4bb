"""How long a step takes: the mean between two reports, which the training loop logs beside its losses.

>>> ticks = iter([0.0, 4.0, 10.0, 11.0])
>>> timer = StepTime(workers=2, clock=lambda: next(ticks))
>>> timer.count((torch.zeros(16, 1, 8, 8), torch.zeros(16))); timer.count((torch.zeros(8, 1, 8, 8), torch.zeros(8)))
>>> timer.lap()
{'seconds_per_step': 2.0, 'examples_per_second': 12.0}
>>> timer.restart(); timer.count(torch.zeros(4, 2)); timer.lap()
{'seconds_per_step': 1.0, 'examples_per_second': 8.0}
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch


class StepTime:
    """Counts steps and examples since the last report.

    The clock is read where the losses were just read, so a GPU has finished what it was given. `workers`: processes that
    train together, each with a part of the batch.
    """

    def __init__(self, *, workers: int = 1, clock: Callable[[], float] = time.perf_counter) -> None:
        self._workers, self._clock = workers, clock
        self.restart()

    def restart(self) -> None:
        """Leave out what was not a step: an evaluation, a checkpoint."""
        self._steps = self._examples = 0
        self._since = self._clock()

    def count(self, batch: Any) -> None:
        """One more step."""
        self._steps += 1
        self._examples += _examples(batch)

    def lap(self) -> dict[str, float]:
        """The means since the last report, and a new beginning; nothing if there was no step."""
        steps, examples, began = self._steps, self._examples, self._since
        self._steps = self._examples = 0
        self._since = self._clock()
        seconds = self._since - began
        if not steps or seconds <= 0:
            return {}
        return {"seconds_per_step": seconds / steps, "examples_per_second": examples * self._workers / seconds}


def _examples(batch: Any) -> int:
    """Rows of the batch's first tensor."""
    while not isinstance(batch, torch.Tensor):
        if isinstance(batch, Mapping):
            batch = tuple(batch.values())
        if not isinstance(batch, (list, tuple)) or not batch:
            return 0
        batch = batch[0]
    return len(batch) if batch.ndim else 0
