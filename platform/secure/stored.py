"""Answers in front of a secure ballot: a query that was answered is served from the store, free and always the same; others are asked.

The order is that of every release: *charge, draw* (the silos do), *store*, and only then give out. Queries are known by their
content, so the same one in another batch is the same one. What did not pass the check is stored as such: that it did not is an
answer, and has been paid for. Of what did, the check's noisy counts are stored before answers are asked for: if those fail or do
not fit, the next try goes on from the check, and pays for it no second time.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..ledger.answers import AnswerStore, answer_key
from ..privacy.mechanisms import ABSTAINED
from .ballot import SecureBallot, canonical
from .checks import Checked

# Behind a query's name: the check that it has passed, its noisy counts and, as their label, how many silos they are a sum over.
_CHECKED = " checked"


@dataclass(frozen=True)
class Served:
    """Labels (Q,) int64, -1 where the check did not pass; which came from the store; what the others cost now; who voted, by step."""

    labels: np.ndarray
    from_store: np.ndarray
    cost_nano_rho: int
    voted: dict[str, int]


class StoredBallot:
    """A ballot whose answers are kept in its ledger's database."""

    def __init__(self, ballot: SecureBallot) -> None:
        self._ballot = ballot
        self._store = AnswerStore(ballot.ledger.engine)
        self._mechanism = hashlib.sha256(canonical(ballot.mechanism.to_json()).encode()).hexdigest()
        self._turn = threading.Lock()

    def unanswered(self, queries: Sequence[str]) -> tuple[int, ...]:
        """The rows that would be asked, and paid for; each content once."""
        with self._turn:
            return self._fresh(self._keys(queries))

    def ask(self, content: str, queries: Sequence[str]) -> Served:
        """Answer a batch: `content` is its hash, by which silos know it, `queries` are those of its queries.

        Raises:
            BudgetExhausted: those that are not stored do not fit into the budget. Nothing was asked in that step.
            RunFailed: too few silos took part. What was charged by then stays charged, and a check that was paid for is kept.
        """
        keys = self._keys(queries)
        with self._turn:
            rows = self._fresh(keys)
            cost, voted = 0, dict[str, int]()
            if rows:
                elected = self._ballot.ask(
                    content,
                    len(keys),
                    rows,
                    kept=self._kept(keys, rows),
                    keep=lambda passed, failed: self._keep(keys, passed, failed),
                )
                self._store.put({keys[row]: int(elected.labels[row]) for row in rows})
                cost, voted = elected.cost_nano_rho, elected.voted
            known = self._store.get(keys)
        labels = np.array([known[key] for key in keys], dtype=np.int64)
        asked = {keys[row] for row in rows}
        return Served(labels, np.array([key not in asked for key in keys], dtype=bool), cost, voted)

    def _keep(self, keys: Sequence[str], passed: Mapping[int, Checked], failed: Sequence[int]) -> None:
        """Store what a check has shown, all at once."""
        names = {row: keys[row] + _CHECKED for row in passed}
        voted = {names[row]: check.voted for row, check in passed.items()}
        counts = {names[row]: check.noisy for row, check in passed.items()}
        self._store.put({keys[row]: ABSTAINED for row in failed} | voted, counts)

    def _kept(self, keys: Sequence[str], rows: Sequence[int]) -> dict[int, Checked]:
        names = {row: keys[row] + _CHECKED for row in rows}
        voted, counts = self._store.get(names.values()), self._store.histograms(names.values())
        return {row: Checked(counts[name], voted[name]) for row, name in names.items() if name in counts}

    def _keys(self, queries: Sequence[str]) -> list[str]:
        return [answer_key(self._ballot.dataset, self._ballot.ensemble, query, self._mechanism) for query in queries]

    def _fresh(self, keys: Sequence[str]) -> tuple[int, ...]:
        known, rows = self._store.get(keys).keys(), dict[str, int]()
        for row, key in enumerate(keys):
            if key not in known:
                rows.setdefault(key, row)
        return tuple(sorted(rows.values()))
