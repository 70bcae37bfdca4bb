"""How a recogniser is trained: batches, rates, schedule; the optimiser that steps on a student and on the terms' own weights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ...platform.errors import BadInput
from ...platform.privacy.validate import non_negative, positive, positive_int
from .augmentation import Augmentation

SCHEDULES = ("milestones", "cosine")


@dataclass(frozen=True)
class Recipe:
    """Settings of a training.

    Args:
        epochs: passes over the training pictures.
        batch_size: pictures in a batch; those of an epoch are shared out evenly, so that none is left over for a tiny last batch.
        people_per_batch: people in a batch, with `pictures_per_person` each, instead of a random batch; 0: random.
        learning_rate, momentum, weight_decay: of SGD on the network and its head.
        own_rate: of Adam on the terms' own weights, without decay: they start random and have to learn quickly.
        schedule: milestones (times `decay` at each of `milestones`) or cosine (to 0), of both rates.
        milestones: shares of the training. CRRCD: epochs 21, 28, 32 of 35.
        warm_up: share of the training over which rates rise from 0.
        clip_norm: of the gradient of network and head; None: not clipped. The terms' own weights are not part of it.
        augmentation: what is done to pictures before they are degraded.
    """

    epochs: int = 30
    batch_size: int = 96
    people_per_batch: int = 0
    pictures_per_person: int = 3
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    own_rate: float = 1e-3
    schedule: str = "milestones"
    milestones: tuple[float, ...] = (0.6, 0.8, 0.92)
    decay: float = 0.1
    warm_up: float = 0.0
    clip_norm: float | None = 20.0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))
        positive_int(
            epochs=self.epochs, batch_size=self.batch_size, pictures_per_person=self.pictures_per_person
        )  # fmt: skip
        if self.batch_size < 2:
            raise BadInput("batch_size is 1", why="batch norms and relations need two pictures")
        people = self.people_per_batch
        if isinstance(people, bool) or not isinstance(people, int) or people < 0:
            raise BadInput(f"people_per_batch is {people!r}", why="it is a whole number from 0 up")
        if people == 1 and self.pictures_per_person == 1:
            raise BadInput("batches of one picture", mend="raise people_per_batch or pictures_per_person")
        positive(learning_rate=self.learning_rate, own_rate=self.own_rate, decay=self.decay)
        non_negative(weight_decay=self.weight_decay, momentum=self.momentum, warm_up=self.warm_up)
        if self.clip_norm is not None:
            positive(clip_norm=self.clip_norm)
        if self.schedule not in SCHEDULES:
            raise BadInput(f"schedule is {self.schedule!r}", mend=f"use one of {', '.join(SCHEDULES)}")
        if self.momentum >= 1 or self.warm_up >= 1 or not all(0 < share < 1 for share in self.milestones):
            raise BadInput("momentum, warm_up and milestones are shares", why="they lie below 1, milestones above 0")

    def factor(self, progress: float) -> float:
        """What the rates are multiplied with when this share of the steps is done."""
        rise = min(1.0, progress / self.warm_up) if self.warm_up else 1.0
        if self.schedule == "cosine":
            return rise * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        return rise * self.decay ** sum(progress >= share for share in self.milestones)

    def scheduler(self, optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
        """To be stepped after each of so many steps. A training that begins at a rate of 0 would waste its first step."""
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.factor((step + 0.5) / steps))


class TwoSteps(torch.optim.Optimizer):
    """SGD on a network and its head, Adam on the terms' own weights: one optimiser for a loop that knows of one.

    The gradient of the network and its head is clipped by itself; a large one of the terms would otherwise hold them back.
    """

    def __init__(self, network: Iterable[nn.Parameter], own: Iterable[nn.Parameter], recipe: Recipe) -> None:
        self._network, own = list(network), list(own)
        self._clip = recipe.clip_norm
        parts: list[torch.optim.Optimizer] = [
            torch.optim.SGD(
                self._network, recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
            )
        ]
        if own:
            parts.append(torch.optim.Adam(own, recipe.own_rate))
        self._parts = parts
        super().__init__([{"params": [*self._network, *own]}], {})
        self._collect()

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Clip and step."""
        if self._clip is not None:
            torch.nn.utils.clip_grad_norm_(self._network, self._clip)
        for part in self._parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Both states."""
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take both over."""
        for part, state in zip(self._parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._collect()

    def _collect(self) -> None:
        # The groups of the parts themselves, so that a schedule moves their rates. (Loading a state makes new groups.)
        self.param_groups = [group for part in self._parts for group in part.param_groups]
