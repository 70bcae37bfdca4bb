"""The vectors of an open batch: which silos have answered, who is waited for, when it is enough.

What a silo sends is checked against the mechanism's bound when it comes: a silo that breaks it is refused, not trusted. Where all
silos are summed, only the running sum is kept (whole numbers: the order does not matter); where one will be drawn, all are kept until
then. As votes, they are in memory only.

>>> round_ = VectorRound(("a", "b"), 1, rows=1, grid=Grid.of(clip=1.0, width=2), keep=False)
>>> round_.add("a", np.array([[3, -4]], np.int16)); round_.add("b", np.array([[90, 0]], np.int16))
>>> round_.complete, round_.table().total().tolist()
(True, [[93, -4]])
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import BadInput
from ..privacy.vector_mean import Grid


@dataclass(frozen=True, eq=False)
class Vectors:
    """What came in: of how many silos, their sum (rows, width) int64, or each one's by its place in the roster."""

    voted: int
    rows: int
    width: int
    summed: np.ndarray | None
    each: Mapping[int, np.ndarray]

    def total(self) -> np.ndarray:
        """The sum over all silos; a missing one adds nothing."""
        if self.summed is None:
            raise BadInput("these vectors were kept one by one", mend="take `of` one of them")
        return self.summed

    def of(self, place: int) -> np.ndarray:
        """The vectors of the silo at this place of the roster; a missing one's are zero."""
        found = self.each.get(place)
        return np.zeros((self.rows, self.width), np.int64) if found is None else found.astype(np.int64)


@dataclass
class VectorRound:
    """The answers to one batch.

    Args:
        roster: all silos, in a fixed order.
        quorum: silos that are enough once the deadline has passed.
        rows: vectors that each silo sends.
        grid: what the vectors lie on.
        keep: whether each silo's vectors are kept, for one to be drawn; otherwise they are only added up.
    """

    roster: Sequence[str]
    quorum: int
    rows: int
    grid: Grid
    keep: bool
    closed: bool = False
    _sum: np.ndarray = field(init=False, repr=False)
    _digests: dict[str, bytes] = field(default_factory=dict, repr=False)
    _each: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    _failed: set[str] = field(default_factory=set, repr=False)

    def __post_init__(self) -> None:
        self._sum = np.zeros((0 if self.keep else self.rows, self.grid.width), np.int64)

    def awaits(self, silos: Iterable[str]) -> bool:
        """Whether one of these silos has neither answered nor said that it cannot."""
        return not self.closed and any(s not in self._digests and s not in self._failed for s in silos)

    def lacking(self, silos: Iterable[str]) -> list[str]:
        """Those of these silos that are waited for."""
        return [silo for silo in silos if self.awaits([silo])]

    def add(self, silo: str, vectors: np.ndarray) -> None:
        """Take one silo's vectors (rows, width) in. The same again changes nothing, another is refused.

        Raises:
            BadInput: they are not what vectors must be, they differ from the silo's first ones, or the batch is decided.
        """
        if silo not in self.roster:
            raise BadInput("a silo that answers is not in the roster")
        self.grid.check(vectors, self.rows)
        units = np.ascontiguousarray(vectors, self.grid.dtype)
        digest = hashlib.sha256(units.data).digest()
        known = self._digests.get(silo)
        if known is not None:
            if known != digest:
                raise BadInput("a silo answered this batch otherwise before", why="the first answer stands")
            return
        if self.closed:
            raise BadInput("these vectors came too late", why="the batch is decided", mend="go on with the next batch")
        if self.keep:
            self._each[silo] = units.copy()
        else:
            self._sum += units
        self._digests[silo] = digest
        self._failed.discard(silo)

    def give_up(self, silos: Iterable[str]) -> None:
        """Note that these silos cannot answer this batch; they are not waited for, but may still answer."""
        self._failed.update(set(silos) - set(self._digests))

    @property
    def voted(self) -> int:
        """How many silos answered."""
        return len(self._digests)

    @property
    def given_up(self) -> int:
        """How many silos said that they cannot."""
        return len(self._failed)

    def lacks(self, silos: Iterable[str]) -> int:
        """How many of these silos have no answer here."""
        return sum(silo not in self._digests for silo in silos)

    @property
    def complete(self) -> bool:
        """Whether nobody is left to wait for."""
        return not self.awaits(self.roster)

    @property
    def has_quorum(self) -> bool:
        """Whether enough silos answered."""
        return self.voted >= self.quorum

    def table(self) -> Vectors:
        """What came."""
        each = {self.roster.index(silo): units for silo, units in self._each.items()}
        return Vectors(self.voted, self.rows, self.grid.width, None if self.keep else self._sum.copy(), each)
