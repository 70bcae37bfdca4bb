"""How one module is trained, and what it is trained on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ....platform.errors import BadInput
from ....platform.privacy.validate import non_negative, positive, positive_int
from ....platform.training.run import Run
from ..batches import EvenBatches

OPTIMIZERS = ("adam", "sgd")


@dataclass(frozen=True)
class Training:
    """One training.

    Args:
        epochs, batch_size, learning_rate, weight_decay: of it; the batch counts all processes together.
        optimizer: adam, or sgd with momentum .9.
        beta, second_beta: Adam's decay rates.
        milestones: fractions of the training after which the learning rate falls to a tenth; empty: it falls by a cosine to zero.
        warm_up: fraction of the training over which the learning rate rises from nearly nothing. Adam's first steps have full length
            in every weight, whatever the gradient's; deep networks without normalisation may never come back from them.
        clip_norm: gradients are clipped to this norm; None: not.
    """

    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    optimizer: str = "adam"
    beta: float = 0.9
    second_beta: float = 0.999
    milestones: tuple[float, ...] = ()
    warm_up: float = 0.0
    clip_norm: float | None = 10.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))
        positive_int(epochs=self.epochs, batch_size=self.batch_size)
        positive(learning_rate=self.learning_rate)
        non_negative(weight_decay=self.weight_decay)
        if self.optimizer not in OPTIMIZERS:
            raise BadInput(f"optimizer is {self.optimizer!r}", mend=f"use one of {', '.join(OPTIMIZERS)}")
        for name in ("beta", "second_beta"):
            if not 0 <= getattr(self, name) < 1:
                raise BadInput(f"{name} is {getattr(self, name)!r}", why="it is a decay rate, from 0 to below 1")
        if any(not 0 < at < 1 for at in self.milestones):
            raise BadInput("a milestone is not between 0 and 1", why="it is a fraction of the training")
        if not 0 <= self.warm_up < 1:
            raise BadInput(f"warm_up is {self.warm_up!r}", why="it is a fraction of the training, from 0 to below 1")
        if self.clip_norm is not None:
            positive(clip_norm=self.clip_norm)

    def start(self, parameters: Iterable[nn.Parameter], steps: int) -> tuple[torch.optim.Optimizer, Any]:
        """The optimizer, and the scheduler that is stepped after each of `steps` steps."""
        if self.optimizer == "adam":
            optimizer: torch.optim.Optimizer = torch.optim.Adam(
                parameters, self.learning_rate, betas=(self.beta, self.second_beta), weight_decay=self.weight_decay
            )
        else:
            optimizer = torch.optim.SGD(parameters, self.learning_rate, momentum=0.9, weight_decay=self.weight_decay)
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self._factor(step, steps))

    def _factor(self, step: int, steps: int) -> float:
        """The learning rate at a step, from 0, as a part of the full one."""
        rising = round(self.warm_up * steps)
        rise = min(1.0, (step + 1) / (rising + 1))
        if not self.milestones:
            return rise * (1 + math.cos(math.pi * max(step - rising, 0) / max(steps - rising, 1))) / 2
        return rise * 0.1 ** len({at for fraction in self.milestones if (at := round(fraction * steps)) <= step})


def row_batches(run: Run, count: int, batch_size: int) -> DataLoader[Any]:
    """Random batches of row numbers 0 .. count - 1, int64 (B,), of nearly equal sizes: none is left with a row or two."""
    batches = EvenBatches(count, min(batch_size, count), generator=run.generator, world=run.world)
    return DataLoader(_Rows(count), batch_sampler=batches, collate_fn=torch.as_tensor)


class _Rows(Dataset[int]):
    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitems__(self, rows: list[int]) -> list[int]:
        return rows
