"""How a question becomes batches and batches become answers: splitting, naming, waiting, joining.

A part is named by what it asks: content, mechanism, ensemble. So a question that is put again, after a lost connection, say, or
by another program, is the same batch, and nothing random is in its name. A batch that ended without its answers (refused for
want of budget, failed for want of votes) keeps its name; the aggregator takes it up again when it is submitted again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from ..errors import BadInput, BudgetExhausted, TimedOut, Unreachable
from ..privacy.mechanisms import Mechanism
from . import aggregator_pb2 as pb
from .batches import BUDGET, Batch, BatchState
from .wire import MOST_BYTES, MOST_QUERIES, read_counts, write_images, write_student

LONG_POLL_SECONDS = 20.0
RECONNECT_SECONDS = 15.0
RECONNECT_PAUSE = 0.2

Request_co = TypeVar("Request_co", covariant=True)
Request = TypeVar("Request")
Status = TypeVar("Status", pb.BatchStatus, pb.VectorStatus)


@dataclass(frozen=True, eq=False)
class Answers:
    """What came back for Q queries, and where the data set's budget stands.

    Args:
        labels: (Q,) int64, -1 where there is none.
        statuses: answered, abstained, reinforced or budget (it did not fit any more), for each query.
        from_store: (Q,) true where the answer had been paid for earlier.
        cost_nano_rho: what was charged for these queries now, in billionths of rho.
        spent_epsilon, epsilon_cap, delta, neighbouring: of the data set, all its releases together.
        histograms: noisy counts (Q, K) int64, whose largest give the labels, and rows of zeros where there is no answer; None
            for mechanisms that release labels. What is zero by noise and what by want of an answer, `statuses` tells.
        voted: how many silos voted, for each query; 0 where no vote was needed.
    """

    labels: np.ndarray
    statuses: tuple[str, ...]
    from_store: np.ndarray
    cost_nano_rho: int
    spent_epsilon: float
    epsilon_cap: float
    delta: float
    neighbouring: str
    histograms: np.ndarray | None = None
    voted: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Part:
    """As much of a question as goes into one batch."""

    key: str
    batch: Batch

    def request(self) -> pb.SubmitRequest:
        """The message that submits it."""
        return pb.SubmitRequest(
            key=self.key,
            ensemble=self.batch.ensemble,
            mechanism_json=json.dumps(self.batch.mechanism.to_json()),
            images=write_images(self.batch.images),
            student=write_student(self.batch.student),
        )


def split(
    queries: np.ndarray, mechanism: Mechanism, *, ensemble: str, student: np.ndarray | None, key: str | None
) -> Iterator[Part]:
    """Cut a question into batches that fit into a message."""
    if not len(queries):
        raise BadInput("a question without queries", mend="ask at least one image")
    if student is not None and len(student) != len(queries):
        raise BadInput("the student's probabilities must have one row a query")
    each = min(MOST_QUERIES, max(1, MOST_BYTES // max(1, queries[0].nbytes)))
    for number, start in enumerate(range(0, len(queries), each)):
        rows = slice(start, start + each)
        # The hash covers content, mechanism and ensemble; the data set is the aggregator's to know.
        batch = Batch(
            id="question",
            dataset="served",
            ensemble=ensemble,
            mechanism=mechanism,
            images=queries[rows],
            deadline=0.0,
            student=None if student is None else np.asarray(student, dtype=np.float64)[rows],
        )
        yield Part(batch.hash if key is None else f"{key}/{number}" if number else key, batch)


class Submitted(Protocol[Request_co]):
    """A batch under its name."""

    @property
    def key(self) -> str:
        """The name."""

    def request(self) -> Request_co:
        """The message that submits it."""


def ask_part(
    part: Submitted[Request],
    submit: Callable[[Request], Status],
    answers: Callable[[pb.AnswersRequest], Status],
    *,
    wait_seconds: float,
    met_before: bool,
) -> Status:
    """Submit a batch and wait for its end. Once the aggregator was met, it may be away for a restart.

    Raises:
        TimedOut: too few silos voted, or the wait was over.
        Unreachable: it does not answer.
    """
    end = time.monotonic() + wait_seconds
    status: Status | None = None
    lost_at: float | None = None
    while status is None or status.state == BatchState.OPEN:
        left = end - time.monotonic()
        if status is not None and left <= 0:
            raise TimedOut(f"no answers within {wait_seconds:g} s", mend="ask again: the batch goes on meanwhile")
        try:
            if status is None:
                status = submit(part.request())
            else:
                status = answers(pb.AnswersRequest(key=part.key, wait_seconds=min(LONG_POLL_SECONDS, left)))
            met_before, lost_at = True, None
        except Unreachable:
            now = time.monotonic()
            lost_at = lost_at or now
            if not met_before or now - lost_at > RECONNECT_SECONDS:
                raise
            time.sleep(RECONNECT_PAUSE)
    if status.state == BatchState.FAILED:
        raise TimedOut("too few silos voted in time", why=status.reason, mend="ask again when more silos have joined")
    return status


def joined(parts: Sequence[tuple[Part, pb.BatchStatus]]) -> Answers:
    """The answers of all parts. Parts that were refused have the status "budget".

    Raises:
        BudgetExhausted: all of them were refused.
    """
    if all(status.state == BatchState.REFUSED for _, status in parts):
        raise BudgetExhausted(parts[0][1].reason)
    labels, statuses, from_store = [], [], []
    for part, status in parts:
        refused = status.state == BatchState.REFUSED
        count = len(part.batch.images)
        labels.append(np.full(count, -1, np.int64) if refused else np.array(status.labels, np.int64))
        statuses += [BUDGET] * count if refused else list(status.statuses)
        from_store.append(np.zeros(count, bool) if refused else np.array(status.from_store, bool))
    budget = parts[-1][1].budget
    return Answers(
        labels=np.concatenate(labels),
        statuses=tuple(statuses),
        from_store=np.concatenate(from_store),
        cost_nano_rho=sum(status.cost_nano_rho for _, status in parts),
        spent_epsilon=budget.spent_epsilon,
        epsilon_cap=budget.epsilon,
        delta=budget.delta,
        neighbouring=budget.neighbouring,
        histograms=_joined_histograms(parts),
        voted=tuple(status.voted for part, status in parts for _ in part.batch.images),
    )


def _joined_histograms(parts: Sequence[tuple[Part, pb.BatchStatus]]) -> np.ndarray | None:
    if not parts[0][0].batch.mechanism.releases_histograms:
        return None
    read = [
        None if status.state == BatchState.REFUSED else read_counts(status.histograms, len(part.batch.images))
        for part, status in parts
    ]
    classes = next(counts.shape[1] for counts in read if counts is not None)
    rows = [np.zeros((len(part.batch.images), classes), np.int64) for part, _ in parts]
    return np.concatenate([zeros if counts is None else counts for zeros, counts in zip(rows, read, strict=True)])
