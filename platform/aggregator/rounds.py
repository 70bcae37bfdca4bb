"""The votes of open batches: who voted, who is waited for, when is it enough.

Votes are in memory only. After a restart silos are asked again, and vote as before.

>>> round_ = Round(roster=("a", "b", "c"), quorum=2, queries=1, classes=10)
>>> round_.add(["a"], np.array([[7]])); round_.add(["b"], np.array([[7]]))
>>> round_.has_quorum, round_.complete, round_.awaits({"a", "c"})
(True, False, True)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import BadInput


@dataclass
class Round:
    """The vote on one batch.

    Args:
        roster: all silos, in a fixed order.
        quorum: votes that are enough once the deadline has passed.
        queries, classes: votes are `queries` whole numbers 0 .. classes - 1 for each silo.
    """

    roster: Sequence[str]
    quorum: int
    queries: int
    classes: int
    closed: bool = False
    _votes: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    _failed: set[str] = field(default_factory=set, repr=False)

    def awaits(self, silos: Iterable[str]) -> bool:
        """Whether one of these silos has neither voted nor said that it cannot."""
        return not self.closed and any(s not in self._votes and s not in self._failed for s in silos)

    def add(self, silos: Sequence[str], votes: np.ndarray) -> None:
        """Take votes (S, Q) in, all or none: one vote a silo. The same again changes nothing, another is refused.

        Raises:
            BadInput: a vote is not what a vote must be, a silo voted otherwise before, or the batch is decided.
        """
        self._check(silos, votes)
        known = [silo for silo in silos if silo in self._votes]
        rows = dict(zip(silos, votes, strict=True))
        if any(not np.array_equal(self._votes[silo], rows[silo]) for silo in known):
            raise BadInput("a silo voted otherwise on this batch before", why="the first vote stands")
        if self.closed and len(known) < len(silos):
            raise BadInput("these votes came too late", why="the batch is decided", mend="go on with the next batch")
        self._votes.update({silo: row.astype(np.int32) for silo, row in rows.items() if silo not in self._votes})
        self._failed.difference_update(silos)

    def give_up(self, silos: Iterable[str]) -> None:
        """Note that these silos cannot vote on this batch; they are not waited for, but may still send a vote."""
        self._failed.update(set(silos) - set(self._votes))

    @property
    def voted(self) -> int:
        """How many silos voted."""
        return len(self._votes)

    @property
    def given_up(self) -> int:
        """How many silos said that they cannot vote."""
        return len(self._failed)

    def lacks(self, silos: Iterable[str]) -> int:
        """How many of these silos have no vote here."""
        return sum(silo not in self._votes for silo in silos)

    @property
    def complete(self) -> bool:
        """Whether nobody is left to wait for."""
        return not self.awaits(self.roster)

    @property
    def has_quorum(self) -> bool:
        """Whether enough silos voted."""
        return self.voted >= self.quorum

    def table(self) -> np.ndarray:
        """The votes that came, (V, Q) int64, in the roster's order. A missing vote is an abstention: it has no row."""
        rows = [self._votes[silo] for silo in self.roster if silo in self._votes]
        return np.array(rows, dtype=np.int64).reshape(len(rows), self.queries)

    def _check(self, silos: Sequence[str], votes: np.ndarray) -> None:
        if len(set(silos)) != len(silos) or not silos:
            raise BadInput("each vote names one silo, and each silo has one vote")
        if not set(silos) <= set(self.roster):
            raise BadInput("a silo that votes is not in the roster")
        if votes.shape != (len(silos), self.queries):
            raise BadInput(f"votes must have the shape {(len(silos), self.queries)}, silos times queries")
        if votes.dtype.kind not in "iu" or (votes.size and (votes.min() < 0 or votes.max() >= self.classes)):
            raise BadInput(f"a vote is not a class number, 0 to {self.classes - 1}")
