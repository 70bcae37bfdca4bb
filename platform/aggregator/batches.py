"""A batch of queries and what becomes of it.

What a query is, is decided by its content: shape and pixels (always bytes, so that one image has one spelling), and the
student's prediction where the mechanism looks at it. Predictions are kept in units of 2^-24, so that the same prediction
is the same query whether it came as 32-bit or 64-bit floats. An image that differs in one pixel is another query.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np

from ..data.images import check_images
from ..errors import BadInput
from ..ledger.answers import answer_key
from ..privacy.events import Event
from ..privacy.mechanisms import Mechanism

STATUSES = ANSWERED, ABSTAINED, REINFORCED, BUDGET = "answered", "abstained", "reinforced", "budget"
STUDENT_UNITS = 2**24


class BatchState(StrEnum):
    """OPEN waits for votes; DONE has answers; REFUSED did not fit the budget; FAILED lacked votes."""

    OPEN = "open"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, eq=False)
class Batch:
    """Public images put to an ensemble by an analyst.

    Args:
        id: names the request; the same id with the same content is the same batch.
        images: uint8 (Q, c, h, w).
        student: probabilities (Q, K), for mechanisms that compare votes with a student.
        deadline: unix time after which a quorum of votes is enough.
    """

    id: str
    dataset: str
    ensemble: str
    mechanism: Mechanism
    images: np.ndarray
    deadline: float
    student: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.id) <= 200 or not self.id.isprintable():
            raise BadInput("a batch's id is 1 to 200 printable characters")
        check_images(self.images, "queries")
        if not len(self.images):
            raise BadInput("a batch without queries", mend="ask at least one")
        if not self.mechanism.needs_student:
            object.__setattr__(self, "student", None)
        elif self.student is None or len(self.student) != len(self.images):
            raise BadInput(f"{self.mechanism.name} needs the student's probabilities, one row a query")
        else:
            object.__setattr__(self, "student", in_units(self.student) / STUDENT_UNITS)

    @cached_property
    def contents(self) -> tuple[str, ...]:
        """The hash of each query."""
        return contents_of(self.images, self.student)

    @cached_property
    def keys(self) -> dict[str, str]:
        """The name under which each content's answer is stored."""
        fingerprint = self.mechanism.fingerprint()
        return {content: answer_key(self.dataset, self.ensemble, content, fingerprint) for content in self.contents}

    @property
    def queries(self) -> int:
        """How many there are."""
        return len(self.images)

    @property
    def rehearsed_as(self) -> str:
        """What its noise tables depend on."""
        return self.mechanism.fingerprint()

    @cached_property
    def hash(self) -> str:
        """Identity of the whole batch; silos vote under it."""
        body = [self.id, self.dataset, self.ensemble, self.mechanism.fingerprint(), self.contents]
        return hashlib.sha256(json.dumps(body).encode()).hexdigest()


def why_failed(reason: str, charged: Collection[Event]) -> tuple[str, int]:
    """Why a batch has failed, with whether anything was charged for it, and how much in billionths of rho.

    A charge may have no rho (a Renyi curve), so its words count, not a cost of 0.
    """
    if not charged:
        return f"{reason}; nothing was charged for it", 0
    cost = sum(event.nano_rho() or 0 for event in charged)
    return f"{reason}; it was charged before and stays charged: asking again uses that charge", cost


def contents_of(images: np.ndarray, student: np.ndarray | None = None) -> tuple[str, ...]:
    """The hash of each query: an image (c, h, w) uint8, and the student's prediction where the mechanism looks at it."""
    head = json.dumps(["stillhouse query 1", list(images.shape[1:]), "uint8"]).encode()
    rows = [hashlib.sha256(head + image.tobytes()) for image in np.ascontiguousarray(images)]
    if student is not None:
        for row, prediction in zip(rows, in_units(student), strict=True):
            row.update(prediction.tobytes())
    return tuple(row.hexdigest() for row in rows)


def in_units(student: np.ndarray) -> np.ndarray:
    """Probabilities (Q, K) as whole numbers of 2^-24, 32-bit little-endian.

    >>> in_units(np.array([[1 / 3, 2 / 3]])).tolist() == in_units(np.array([[1 / 3, 2 / 3]], np.float32)).tolist()
    True
    """
    # By way of 32-bit floats: a 64-bit and a 32-bit copy of one prediction may lie on two sides of a boundary.
    values = np.asarray(student, dtype=np.float32).astype(np.float64)
    if values.ndim != 2 or not np.all((values >= 0) & (values <= 1)):
        raise BadInput("the student's probabilities must be (queries, classes), each between 0 and 1")
    return np.rint(values * STUDENT_UNITS).astype("<u4")


@dataclass(frozen=True)
class Progress:
    """How far an evaluation is. Written before each charge, so that a crash cannot make it charge or draw for anything else.

    Args:
        attempt: counts the times that a batch was taken up again after the budget had ended it.
        plan: contents to be decided and answered, in the batch's order; None before the first evaluation.
        decisions: of each planned content, once its check was drawn.
        chosen: contents whose answers this attempt pays for; None until fixed.
        cost: nano-rho that this attempt has paid for checks.
        version: counts the writes; whoever writes on top of an older one than is on disk is refused.
    """

    attempt: int = 1
    plan: tuple[str, ...] | None = None
    decisions: dict[str, int] = field(default_factory=dict)
    chosen: tuple[str, ...] | None = None
    cost: int = 0
    version: int = 0

    def again(self, unanswered: tuple[str, ...]) -> Progress:
        """The start of the next attempt, for what this one left without an answer; decisions stay, they are paid."""
        decisions = {content: self.decisions[content] for content in unanswered if content in self.decisions}
        return replace(self, attempt=self.attempt + 1, plan=unanswered, decisions=decisions, chosen=None, cost=0)

    def to_text(self) -> str:
        """A JSON text."""
        return json.dumps(vars(self))

    @classmethod
    def from_text(cls, text: str) -> Progress:
        """Read `to_text`'s form."""
        data = json.loads(text)
        lists = {name: None if data[name] is None else tuple(data[name]) for name in ("plan", "chosen")}
        return cls(**{**data, **lists})


@dataclass(frozen=True, eq=False)
class Result:
    """Where a batch stands.

    Args:
        labels: (Q,) int64, -1 where there is no label.
        statuses: one of answered, abstained, reinforced, budget for each query; empty unless DONE.
        from_store: (Q,) true where the answer had been paid for before this batch, or earlier in it.
        cost_nano_rho: what was charged for this batch, in billionths of rho, also where it FAILED after a charge.
        reason: why it was refused or failed.
        histograms: noisy counts (Q, K) int64 where the mechanism releases them, rows of zeros where `labels` is -1; None for
            mechanisms that release labels, and unless DONE.
        voted: how many silos voted, so how many were missing; 0 where no vote was needed, or a crash has made it forgotten.
    """

    state: BatchState
    labels: np.ndarray
    statuses: tuple[str, ...]
    from_store: np.ndarray
    cost_nano_rho: int = 0
    reason: str = ""
    histograms: np.ndarray | None = None
    voted: int = 0

    @classmethod
    def without_answers(cls, state: BatchState, queries: int, reason: str = "") -> Result:
        """A result that holds nothing but its state."""
        return cls(state, np.full(queries, -1, np.int64), (), np.zeros(queries, bool), 0, reason)

    def to_json(self) -> dict[str, Any]:
        """A JSON form."""
        return {
            "state": self.state.value,
            "labels": self.labels.tolist(),
            "statuses": list(self.statuses),
            "from_store": self.from_store.tolist(),
            "cost_nano_rho": self.cost_nano_rho,
            "reason": self.reason,
            "histograms": None if self.histograms is None else self.histograms.tolist(),
            "voted": self.voted,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Result:
        """Read `to_json`'s form, also that of the time before there were histograms, or before it was kept how many voted."""
        histograms = data.get("histograms")
        return cls(
            BatchState(data["state"]),
            np.asarray(data["labels"], np.int64),
            tuple(data["statuses"]),
            np.asarray(data["from_store"], bool),
            int(data["cost_nano_rho"]),
            str(data["reason"]),
            None if histograms is None else np.asarray(histograms, np.int64),
            int(data.get("voted", 0)),
        )
