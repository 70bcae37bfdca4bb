"""Teachers that take their time, for tests in which a node goes away meanwhile: importable by the actors, so pickled by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.silo.scatter_ridge import ScatterRidge
from stillhouse.platform.silo.teachers import Teachers

LATE = "late"


@dataclass(frozen=True)
class SlowVotes:
    """Votes of other teachers, some seconds later."""

    inner: Teachers
    seconds: list[float]

    def vote(self, images: np.ndarray) -> np.ndarray:
        time.sleep(max(self.seconds))
        return self.inner.vote(images)

    def state(self, index: int) -> dict[str, torch.Tensor]:
        return {**self.inner.state(index), LATE: torch.tensor(self.seconds[index])}


@dataclass(frozen=True)
class SlowTeacher:
    """A ridge whose training and voting take so many seconds; the silo whose shard has the hash `late` takes `late_seconds` to vote."""

    train_seconds: float = 0.0
    vote_seconds: float = 0.0
    late: str = ""
    late_seconds: float = 0.0

    name: ClassVar[str] = "slow"

    def fit(
        self,
        shards: Sequence[ImageData],
        seeds: Sequence[int],
        *,
        device: str = "cpu",
        progress: Callable[[int], None] = lambda ready: None,
    ) -> SlowVotes:
        time.sleep(self.train_seconds)
        seconds = [self.late_seconds if s.content_hash() == self.late else self.vote_seconds for s in shards]
        return SlowVotes(ScatterRidge().fit(shards, seeds, device=device, progress=progress), seconds)

    def load(
        self,
        states: Sequence[dict[str, torch.Tensor]],
        *,
        shape: tuple[int, int, int],
        classes: int,
        device: str = "cpu",
    ) -> SlowVotes:
        own = [{k: v for k, v in state.items() if k != LATE} for state in states]
        inner = ScatterRidge().load(own, shape=shape, classes=classes, device=device)
        return SlowVotes(inner, [float(state[LATE]) for state in states])

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, **asdict(self)}
