"""Teachers of private diffusion: they do not vote, they answer with vectors (see `platform.diffusion.teacher`).

Each answer depends on its own shard and on the questions so far. A discriminator takes a step of training on every batch of
gradients, so a teacher's state moves; it is in memory only, and a host that is started again goes on with the discriminators as they
were when the teachers were trained. Nothing of what was released or charged depends on that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..data.images import ImageData
from ..diffusion.teacher import DiffusionTeacher, State
from ..errors import BadInput
from ..training.progress import Silent
from .teachers import VECTORS, Shape, check_group


@dataclass(frozen=True)
class DiffusionKind(DiffusionTeacher):
    """A denoiser and a discriminator for each shard; settings as in `platform.diffusion.teacher`."""

    name: ClassVar[str] = "diffusion"
    answers: ClassVar[tuple[str, ...]] = (VECTORS,)

    def fit(
        self,
        shards: Sequence[ImageData],
        seeds: Sequence[int],
        *,
        device: str = "cpu",
        progress: Callable[[int], None] = lambda ready: None,
    ) -> DiffusionTeachers:
        """Train one teacher on each shard, one after the other."""
        check_group(shards, seeds)
        states = []
        for shard, seed in zip(shards, seeds, strict=True):
            states.append(self.train(shard, seed, device, Silent()))
            progress(len(states))
        return DiffusionTeachers(self, states)

    def load(self, states: Sequence[State], *, shape: Shape, classes: int, device: str = "cpu") -> DiffusionTeachers:
        """Make teachers of what was learnt before."""
        if any(state["shape"].tolist() != [*shape, classes] for state in states):
            raise BadInput(
                "a kept teacher was trained on images of another shape", mend="remove it; it is trained again"
            )
        return DiffusionTeachers(self, [{n: value.to(device) for n, value in state.items()} for state in states])

    def to_json(self) -> dict[str, Any]:
        """The settings with the kind's name."""
        return {"name": self.name, **super().to_json()}


class DiffusionTeachers:
    """Trained teachers of one kind."""

    def __init__(self, kind: DiffusionTeacher, states: Sequence[State]) -> None:
        self._kind, self._states = kind, list(states)

    def vote(self, images: np.ndarray) -> np.ndarray:
        """They cannot."""
        raise BadInput("diffusion teachers do not vote", mend="ask them for vectors, or use another kind of teacher")

    def vectors(self, index: int, task: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Teacher `index`'s vectors, float32 (rows, d)."""
        answer, self._states[index] = self._kind.answer(self._states[index], task, inputs)
        return answer

    def state(self, index: int) -> State:
        """What teacher `index` has learnt, also from the questions."""
        return self._states[index]
