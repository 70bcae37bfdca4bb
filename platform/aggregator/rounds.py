"""The votes of open batches. They are in memory only: after a restart silos are asked again, and vote as before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import BadInput
from .batches import Batch


@dataclass
class Round:
    """One open batch: who voted what, and who cannot vote."""

    batch: Batch
    roster: Sequence[str]
    quorum: int
    deadline: float
    votes: dict[str, np.ndarray] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    ending: bool = False

    def awaits(self, silos: frozenset[str]) -> bool:
        """Whether one of these silos has neither voted nor failed."""
        return any(s not in self.votes and s not in self.failed for s in silos)

    def add(self, silos: Sequence[str], votes: np.ndarray) -> None:
        """Take votes (S, Q) in: one vote per silo. The same again changes nothing, another one is refused."""
        if len(set(silos)) != len(silos):
            raise BadInput("a silo is named twice in one call", why="each silo has one vote")
        for silo, row in zip(silos, votes, strict=True):
            known = self.votes.get(silo)
            if known is not None and not np.array_equal(known, row):
                raise BadInput("a silo voted already", why="the first vote on a batch stands")
        for silo, row in zip(silos, votes, strict=True):
            self.votes[silo] = row

    @property
    def complete(self) -> bool:
        """Whether nobody is left to wait for."""
        return all(s in self.votes or s in self.failed for s in self.roster)

    def due(self, now: float) -> bool:
        """Whether the batch is to be decided now, one way or the other."""
        return self.complete or now >= self.deadline

    @property
    def has_quorum(self) -> bool:
        """Whether enough silos voted."""
        return len(self.votes) >= self.quorum

    def table(self) -> np.ndarray:
        """The votes that came, (V, Q)."""
        return np.stack([self.votes[s] for s in self.roster if s in self.votes])
