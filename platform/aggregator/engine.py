"""From votes to released answers, in the one order that keeps the promise: charge, draw, store, release.

Each step is durable before the next begins, and what a charge is for is written down before it is charged. After a crash anywhere an
evaluation goes on from what is on disk: a charge that got through is not paid again, noise that was drawn and lost is drawn anew under the same charge
(it never left), and an answer that was stored is the answer.

| step | on disk afterwards |
| --- | --- |
| plan | which queries have to be decided (those without a stored answer, each content once) |
| charged_check | the check of every planned query |
| drew_check, stored_decisions | which of them pass |
| charged_answers | the answers of those that pass and fit the budget |
| drew_answers, stored_answers | the labels, and -1 for those that do not pass |
| done | the result |

Noise is always drawn for every planned query, whether it passes or not, so that neither time nor the amount of randomness tells more than
the decisions do, which the check has paid for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from ..errors import BadInput, BudgetExhausted, LedgerDoubt
from ..ledger.answers import AnswerStore, answer_key
from ..ledger.ledger import Ledger
from ..privacy.budget import event_cost
from ..privacy.events import Event
from ..privacy.mechanisms import ABSTAINED, Decision
from ..privacy.noise import Noise
from . import batches
from .batches import Batch, BatchState, Result
from .store import BatchStore, Progress

ATTEMPTS_AT_A_RACE = 5


class Engine:
    """One data set's answers. Call it from one thread; other processes may work on the same ledger."""

    def __init__(
        self,
        ledger: Ledger,
        answers: AnswerStore,
        store: BatchStore,
        noise: Noise,
        *,
        dataset: str,
        ensemble: str,
        teachers: int,
        classes: int,
        on_step: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._ledger, self._answers, self._store, self._noise = ledger, answers, store, noise
        self.dataset, self.ensemble, self.teachers, self.classes = dataset, ensemble, teachers, classes
        self._on_step = on_step

    def submit(self, batch: Batch) -> Result | None:
        """Take a batch in. Returns its result if it needs no votes, else None.

        A batch that had been refused, had failed or had run out of budget is taken up again; what it paid for stays paid.

        Raises:
            BadInput: it is for another data set or ensemble, or its id belongs to other content.
        """
        self._check(batch)
        known = self._store.known_hash(batch.id)
        if known is None:
            self._store.add(batch)
        elif known != batch.hash:
            raise BadInput("this id belongs to a batch with other content", mend="use another id")
        else:
            result = self._store.result(batch.id)
            if result.state is not BatchState.OPEN:
                if result.state is BatchState.DONE and batches.BUDGET not in result.statuses:
                    return replace(result, from_store=np.ones(len(batch.contents), bool), cost_nano_rho=0)
                self._store.reopen(batch.id, deadline=batch.deadline)
        stored = self._stored(batch)
        if all(content in stored for content in batch.contents):
            return self._finish(batch, stored, before=set(stored), decisions={}, cost=0)
        try:
            self._must_fit(batch, self._planned(batch, self._store.progress(batch.id), stored))
        except BudgetExhausted as error:
            decisions = self._store.progress(batch.id).decisions
            if decisions:  # taken up again, and still no budget: what it has stays what it is
                return self._finish(batch, stored, before=set(stored), decisions=decisions, cost=0)
            return self._refuse(batch, error)
        return None

    def open(self) -> list[Batch]:
        """The batches that wait for votes."""
        return self._store.open()

    def batch(self, batch_id: str) -> Batch:
        """A batch as it was asked."""
        return self._store.batch(batch_id)

    def result(self, batch_id: str) -> Result:
        """Where a batch stands."""
        return self._store.result(batch_id)

    def fail(self, batch_id: str, reason: str) -> Result:
        """End a batch without answers; it has cost nothing."""
        batch = self._store.batch(batch_id)
        return self._store.finish(batch_id, Result.without_answers(BatchState.FAILED, len(batch.contents), reason))

    def evaluate(self, batch_id: str, votes: np.ndarray) -> Result:
        """Answer a batch from the votes of V silos, (V, Q) int64; -1 is a silo that abstains on a query.

        A missing vote counts as an abstention: the histogram is what was counted, never scaled up.
        """
        result = self._store.result(batch_id)
        if result.state is not BatchState.OPEN:
            return result
        batch = self._store.batch(batch_id)
        counts = self._count(batch, votes)
        before = self._stored(batch)
        progress = self._store.progress(batch_id)
        if progress.plan is None:
            progress = self._store.keep_progress(
                batch_id, replace(progress, plan=self._planned(batch, progress, before))
            )
        plan = progress.plan or ()
        row_of = {content: row for row, content in enumerate(batch.contents)}
        rows = np.array([row_of[content] for content in plan], dtype=np.int64)
        try:
            progress, check_cost = self._decide(batch, progress, counts[rows], rows)
            progress, answer_cost = self._pay(batch, progress)
        except BudgetExhausted as error:
            return self._refuse(batch, error)
        self._draw_and_store(batch, progress, counts[rows], rows)
        return self._finish(
            batch, self._stored(batch), before=set(before), decisions=progress.decisions, cost=check_cost + answer_cost
        )

    def _check(self, batch: Batch) -> None:
        if (batch.dataset, batch.ensemble) != (self.dataset, self.ensemble):
            raise BadInput(
                "this aggregator serves another data set or ensemble",
                why=f"it serves '{self.dataset}', ensemble '{self.ensemble}'",
                mend="ask for that one",
            )
        if batch.student is not None and batch.student.shape != (len(batch.contents), self.classes):
            raise BadInput(f"the student's probabilities must have {self.classes} columns, one row a query")

    def _keys(self, batch: Batch) -> dict[str, str]:
        fingerprint = batch.mechanism.fingerprint()
        return {c: answer_key(self.dataset, self.ensemble, c, fingerprint) for c in batch.contents}

    def _stored(self, batch: Batch) -> dict[str, int]:
        keys = self._keys(batch)
        found = self._answers.get(keys.values())
        return {content: found[key] for content, key in keys.items() if key in found}

    def _planned(self, batch: Batch, progress: Progress, stored: dict[str, int]) -> tuple[str, ...]:
        if progress.plan is not None:
            return progress.plan
        return tuple(content for content in dict.fromkeys(batch.contents) if content not in stored)

    def _must_fit(self, batch: Batch, plan: tuple[str, ...]) -> None:
        """Refuse before anything is drawn if not even the checks and one answer fit.

        Raises:
            BudgetExhausted: with the amounts.
        """
        check, answer = batch.mechanism.check_event(), batch.mechanism.answer_event()
        decided = self._store.progress(batch.id).decisions
        undecided = [content for content in plan if content not in decided]
        needed = [answer] if check is None or not undecided else [check.times(len(undecided)), answer]
        budget = self._ledger.budget(self.dataset)
        cost = np.sum([event_cost(budget.kind, e, orders=budget.orders) for e in needed], axis=0, dtype=object)
        if any(price > left for price, left in zip(cost, budget.remaining, strict=True)):
            raise BudgetExhausted(
                f"the budget of data set '{self.dataset}' does not hold these queries",
                why=f"the checks of {len(undecided)} queries and one answer do not fit; spent epsilon "
                f"{budget.spent_epsilon:.6g} of {budget.epsilon:g} at delta {budget.delta:g} ({budget.neighbouring}). "
                "Nothing was drawn and nothing was spent",
                mend="ask less, or ask an officer to grant more (`stillhouse ledger grant`)",
            )

    def _decide(self, batch: Batch, progress: Progress, counts: np.ndarray, rows: np.ndarray) -> tuple[Progress, int]:
        plan = progress.plan or ()
        if set(plan) <= set(progress.decisions):
            return progress, 0
        check = batch.mechanism.check_event()
        self._must_fit(batch, plan)
        cost = (
            0 if check is None else self._charge(batch, "check", check.times(len(plan)), "threshold check of queries")
        )
        self._on_step("charged_check")
        student = None if batch.student is None else batch.student[rows]
        drawn = batch.mechanism.check(counts, self._noise, teachers=self.teachers, student=student)
        self._on_step("drew_check")
        decisions = {content: int(decision) for content, decision in zip(plan, drawn, strict=True)}
        progress = self._store.keep_progress(batch.id, replace(progress, decisions=decisions))
        self._on_step("stored_decisions")
        return progress, cost

    def _pay(self, batch: Batch, progress: Progress) -> tuple[Progress, int]:
        """Fix which answers fit, in the batch's order, and charge exactly those."""
        answer = batch.mechanism.answer_event()
        for _ in range(ATTEMPTS_AT_A_RACE):
            if progress.chosen is None:
                stored = self._stored(batch)
                passed = [
                    c for c in progress.plan or () if progress.decisions[c] == Decision.ANSWER and c not in stored
                ]
                chosen = tuple(passed[: self._ledger.would_fit(self.dataset, answer)] if passed else ())
                progress = self._store.keep_progress(batch.id, replace(progress, chosen=chosen))
            if not progress.chosen:
                return progress, 0
            try:
                event = answer.times(len(progress.chosen))
                cost = self._charge(batch, f"answer:{progress.attempt}", event, "noisy labels of queries")
            except BudgetExhausted:
                # Another process spent what was left since we looked. Nothing was charged: choose again.
                progress = self._store.keep_progress(batch.id, replace(progress, chosen=None))
                continue
            self._on_step("charged_answers")
            return progress, cost
        return self._store.keep_progress(batch.id, replace(progress, chosen=())), 0

    def _charge(self, batch: Batch, what: str, event: Event, purpose: str) -> int:
        key = f"{batch.hash}:{what}"
        self._ledger.charge(self.dataset, key=key, event=event, purpose=purpose, run=self.ensemble)
        return event.nano_rho() or 0

    def _draw_and_store(self, batch: Batch, progress: Progress, counts: np.ndarray, rows: np.ndarray) -> None:
        plan = progress.plan or ()
        labels = batch.mechanism.answer(counts, self._noise) if len(plan) else np.empty(0, np.int64)
        own = np.argmax(batch.student[rows], axis=1) if batch.student is not None else labels
        self._on_step("drew_answers")
        chosen, keys, fresh = set(progress.chosen or ()), self._keys(batch), {}
        stored = self._stored(batch)
        for content, label, reinforced in zip(plan, labels, own, strict=True):
            decision = progress.decisions[content]
            if content in stored:
                continue
            if content in chosen:
                fresh[keys[content]] = int(label)
            elif decision == Decision.ABSTAIN:
                fresh[keys[content]] = ABSTAINED
            elif decision == Decision.REINFORCE:
                fresh[keys[content]] = int(reinforced)
        try:
            self._answers.put(fresh)
        except LedgerDoubt:
            # Another process may have answered the same content in this moment; then its answer is the answer.
            if not set(fresh) <= set(self._answers.get(fresh)):
                raise
        self._on_step("stored_answers")

    def _finish(
        self, batch: Batch, stored: dict[str, int], *, before: set[str], decisions: Mapping[str, int], cost: int
    ) -> Result:

        def status(content: str) -> str:
            if content not in stored:
                return batches.BUDGET
            if stored[content] == ABSTAINED:
                return batches.ABSTAINED
            return batches.REINFORCED if decisions.get(content) == Decision.REINFORCE else batches.ANSWERED

        result = Result(
            BatchState.DONE,
            np.array([stored.get(content, ABSTAINED) for content in batch.contents], np.int64),
            tuple(status(content) for content in batch.contents),
            np.array([content in before for content in batch.contents]),
            cost,
        )
        self._store.finish(batch.id, result)
        self._on_step("done")
        return result

    def _refuse(self, batch: Batch, error: BudgetExhausted) -> Result:
        return self._store.finish(batch.id, Result.without_answers(BatchState.REFUSED, len(batch.contents), str(error)))

    def _count(self, batch: Batch, votes: np.ndarray) -> np.ndarray:
        table = np.asarray(votes)
        if table.ndim != 2 or table.shape[1] != len(batch.contents) or len(table) > self.teachers:
            raise BadInput("votes must have one row for each silo and one column for each query")
        if table.size and (table.min() < -1 or table.max() >= self.classes):
            raise BadInput("a vote lies outside of the classes")
        counts = np.zeros((len(batch.contents), self.classes), np.int64)
        for label in range(self.classes):
            counts[:, label] = (table == label).sum(axis=0)
        return counts


def deadline_after(seconds: float) -> float:
    """The unix time `seconds` from now."""
    return time.time() + seconds
