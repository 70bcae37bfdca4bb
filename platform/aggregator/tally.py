"""What an aggregator counts about itself: queries, votes, rounds, charges. Whole numbers, none of which follows from a vote.

What is counted and why it may be shown is in docs/observability.md. Nothing here is told what a vote was, or a margin, a histogram, a
label. How long a round took is taken when its voting closes: before a vote is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from .batches import STATUSES, BatchState, Result
from .rounds import Round
from .vector_batches import VectorResult
from .vector_rounds import VectorRound

NO_QUORUM = "no_quorum"
QUERY_ENDS = (*STATUSES, NO_QUORUM)
IN_TIME, MISSING, GIVEN_UP, LATE = "in_time", "missing", "given_up", "late"
ROUND_ENDS = DECIDED, NO_QUORUM, TROUBLE = "decided", NO_QUORUM, "trouble"
ROLES = ("silo", "analyst", "officer")
CHARGES = {"charged_check": "check", "charged_answers": "answers"}
SECONDS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)


class Tally:
    """Counts since the start of this process. Written by the aggregator's own threads, read by any.

    The keys of each counter are fixed, so a reader never meets a dictionary that grows.
    """

    def __init__(self) -> None:
        self.asked = self.from_store = self.open_rounds = 0
        self.queries = dict.fromkeys(QUERY_ENDS, 0)
        self.votes = dict.fromkeys((IN_TIME, MISSING, GIVEN_UP, LATE), 0)
        self.last_round = dict.fromkeys((IN_TIME, MISSING, GIVEN_UP), 0)
        self.rounds = dict.fromkeys(ROUND_ENDS, 0)
        self.round_seconds = [0] * (len(SECONDS) + 1)
        self.round_seconds_sum = 0.0
        self.charges = dict.fromkeys(CHARGES.values(), 0)
        self.calls = dict.fromkeys(ROLES, 0)

    def submitted(self, queries: int) -> None:
        """An analyst handed in so many queries."""
        self.asked += queries

    def ended(self, result: Result | VectorResult) -> None:
        """A batch has come to its end: the statuses that its analyst is told."""
        queries = len(result.from_store)
        if result.state is BatchState.DONE:
            for status, count in Counter(result.statuses).items():
                self.queries[status] += count
            self.from_store += int(result.from_store.sum())
        else:
            self.queries["budget" if result.state is BatchState.REFUSED else NO_QUORUM] += queries

    def closed(self, round_: Round | VectorRound, seconds: float) -> None:
        """The voting on a batch is over, after so many seconds."""
        votes = {IN_TIME: round_.voted, GIVEN_UP: round_.given_up}
        votes[MISSING] = len(round_.roster) - sum(votes.values())
        self.last_round = votes
        for when, count in votes.items():
            self.votes[when] += count
        self.round_seconds[sum(seconds > bound for bound in SECONDS)] += 1
        self.round_seconds_sum += seconds

    def late(self, votes: int) -> None:
        """Votes came for a batch that is not voted on any more."""
        self.votes[LATE] += votes

    def step(self, name: str) -> None:
        """A step of the engine is done; charges are counted."""
        if name in CHARGES:
            self.charges[CHARGES[name]] += 1

    @contextmanager
    def call(self, role: str) -> Iterator[None]:
        """A call is open inside the block."""
        self.calls[role] += 1
        try:
            yield
        finally:
            self.calls[role] -= 1
