"""From votes to released answers, in the one order that keeps the promise: charge, draw, store, release.

Each step is durable before the next begins, and what a charge is for is written down before it is charged. After a crash
anywhere an evaluation goes on from what is on disk: a charge that got through is not paid again, noise that was drawn and
lost is drawn anew under the same charge (it never left), and an answer that was stored is the answer.

| step | on disk afterwards |
| --- | --- |
| plan | which queries have to be decided: those without a stored answer, each content once |
| charged_check | the charge for the check of every planned query |
| drew_check, stored_decisions | which of them pass |
| charged_answers | the charge for those that pass and fit the budget, in the batch's order |
| drew_answers, stored_answers | their labels (and noisy counts, if those are released), and -1 for those that do not pass |
| done | the result |

A mechanism without a check has only the last three. Noise for an answer is drawn for every planned query, whether it
passes or not; only what was charged is kept. So neither time nor the amount of randomness tells more than the decisions
do, and those the check has paid for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..errors import BadInput, BudgetExhausted, LedgerDoubt
from ..ledger.answers import AnswerStore
from ..ledger.ledger import Ledger
from ..privacy.budget import BudgetKind, event_cost
from ..privacy.events import Event
from ..privacy.mechanisms import ABSTAINED, Decision, plurality
from ..privacy.noise import Noise
from ..privacy.statement import epsilon_up
from . import batches
from .batches import Batch, BatchState, Progress, Result
from .counting import count
from .store import BatchStore

ATTEMPTS_AT_A_RACE = 5
# Beside the answer of a query that a student answered itself, so that it is told apart from a bought one for ever.
_REINFORCED = " reinforced"


class Engine:
    """One ensemble's answers. Call it from one thread; other processes may work on the same ledger.

    Args:
        teachers: size of the roster. It stays what it is when votes are missing.
        on_step: told the name of each step when it is done.
    """

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
        """Take a batch in, durably. Returns its result if it needs no votes, else None.

        A batch that had been refused, had failed or had run out of budget is taken up again; what it paid for stays paid.

        Raises:
            BadInput: it is for another ensemble, cannot be evaluated, or its id belongs to other content.
        """
        self._check(batch)
        known = self._store.known_hash(batch.id)
        if known is None:
            self._store.add(batch)
        elif known != batch.hash:
            raise BadInput("this key belongs to a batch with other content", mend="use another key")
        else:
            result = self._store.result(batch.id)
            if result.state is BatchState.DONE and batches.BUDGET not in result.statuses:
                return replace(result, from_store=np.ones(len(batch.contents), bool), cost_nano_rho=0)
            if result.state is not BatchState.OPEN:
                self._reopen(batch, result)
        return self._settled(batch)

    def recover(self) -> list[Batch]:
        """Take this ensemble over and return the batches that wait for votes. Those that were only not marked as done are.

        An engine that took it over before cannot write any more: after a fail-over there is one that answers.
        """
        self._store.claim(self.dataset, self.ensemble)
        waiting = self._store.open(self.dataset, self.ensemble)
        return [batch for batch in waiting if self._settled(batch) is None]

    def result(self, batch_id: str) -> Result:
        """Where a batch stands."""
        return self._store.result(batch_id)

    def fail(self, batch_id: str, reason: str) -> Result:
        """End an open batch without answers; nothing is charged for it from here on. What was charged before, it tells."""
        result = self._store.result(batch_id)
        if result.state is not BatchState.OPEN:
            return result
        progress = self._store.progress(batch_id)
        # The check is charged in the first attempt, and told with its answers where there is a second.
        steps = ("check", _answers_of(progress)) if progress.attempt == 1 else (_answers_of(progress),)
        name = self._store.known_hash(batch_id) or ""
        charged = self._ledger.charged([_charge_key(name, step) for step in steps])
        reason, cost = batches.why_failed(reason, charged.values())
        ended = Result.without_answers(BatchState.FAILED, len(result.labels), reason)
        return self._store.finish(batch_id, replace(ended, cost_nano_rho=cost), progress)

    def evaluate(self, batch_id: str, votes: np.ndarray) -> Result:
        """Answer a batch from the votes of V silos, (V, Q) int64; -1 is a silo that abstains on a query.

        A missing vote counts as an abstention: the histogram is what was counted, never scaled up.
        """
        result = self._store.result(batch_id)
        if result.state is not BatchState.OPEN:
            return result
        batch = self._store.batch(batch_id)
        counts = count(votes, queries=len(batch.contents), teachers=self.teachers, classes=self.classes)
        done = self._settled(batch)
        if done is not None:
            return done
        progress = self._plan(batch)
        row_of = {content: row for row, content in enumerate(batch.contents)}
        rows = np.array([row_of[content] for content in progress.plan or ()], dtype=np.int64)
        try:
            progress = self._decide(batch, progress, counts[rows], rows)
        except BudgetExhausted as error:
            # Another process spent what was left since we looked. Nothing was charged, so nothing is planned.
            return self._refuse(batch, error, self._store.keep_progress(batch_id, replace(progress, plan=None)))
        progress, cost = self._pay(batch, progress)
        if not (progress.chosen or progress.cost or self._stored(batch)):
            return self._refuse(batch, self._exhausted("one answer does"), progress)
        self._draw_and_store(batch, progress, counts[rows], rows)
        return self._finish(batch, progress, cost=progress.cost + cost, voted=len(votes))

    def rehearse(self, batch: Batch) -> None:
        """Run the mechanism on no votes at all, so that what it cannot do shows before anything is charged.

        This also makes the noise's tables, which takes a while for a new sigma; it may run beside the one thread.
        """
        nothing = np.zeros((len(batch.contents), self.classes), np.int64)
        if batch.student is not None and batch.student.shape != nothing.shape:
            raise BadInput(f"the student's probabilities must have {self.classes} columns, one row a query")
        batch.mechanism.check(nothing, self._noise, teachers=self.teachers, student=batch.student)
        batch.mechanism.answer(nothing[:1], self._noise)

    def _check(self, batch: Batch) -> None:
        """Refuse what could not be evaluated, before anything is kept or charged."""
        if (batch.dataset, batch.ensemble) != (self.dataset, self.ensemble):
            raise BadInput(
                "this aggregator serves another ensemble",
                why=f"it serves data set '{self.dataset}', ensemble '{self.ensemble}'",
                mend="ask for that one",
            )
        budget = self._ledger.budget(self.dataset)
        if budget.kind is BudgetKind.GAUSSIAN and not self._noise.gdp:
            raise BadInput(
                "a budget of kind 'gaussian' needs rounded Gaussian noise",
                why="its exact conversion does not hold for this source of noise",
                mend="grant a budget of kind 'zcdp' or 'rdp'",
            )
        for event in (batch.mechanism.check_event(), batch.mechanism.answer_event()):
            if event is not None:
                event_cost(budget.kind, event, orders=budget.orders)
        self._histograms(batch)
        self.rehearse(batch)

    def _settled(self, batch: Batch) -> Result | None:
        """The result, if no vote is needed for it: all is stored already, or the budget does not allow more."""
        progress = self._store.progress(batch.id)
        stored = self._stored(batch)
        if set(batch.contents) <= set(stored):
            # With a plan on disk this batch has paid for its answers itself, and was only not marked as done.
            answer = batch.mechanism.answer_event().nano_rho() or 0
            return self._finish(batch, progress, cost=progress.cost + answer * len(progress.chosen or ()))
        # A plan may have been charged already, then the checks need no room; what is left of an earlier attempt does.
        if progress.plan is None or (progress.attempt > 1 and progress.chosen is None):
            error = self._shortfall(batch, progress, stored)
            return None if error is None else self._refuse(batch, error, progress)
        return None

    def _reopen(self, batch: Batch, result: Result) -> None:
        progress = self._store.progress(batch.id)
        if result.state is BatchState.DONE and progress.plan is not None:
            stored = self._stored(batch)
            progress = progress.again(tuple(content for content in progress.plan if content not in stored))
        elif not progress.chosen:
            # Nothing did fit when it was looked, so nothing was charged: look again. Plan and decisions stay, they may be paid.
            progress = replace(progress, chosen=None)
        self._store.reopen(batch, progress)

    def _plan(self, batch: Batch) -> Progress:
        progress = self._store.progress(batch.id)
        if progress.plan is not None:
            return progress
        stored = self._stored(batch)
        plan = tuple(content for content in dict.fromkeys(batch.contents) if content not in stored)
        return self._store.keep_progress(batch.id, replace(progress, plan=plan))

    def _shortfall(self, batch: Batch, progress: Progress, stored: dict[str, int]) -> BudgetExhausted | None:
        """What to say, before anything is drawn, if not even the checks and one answer fit."""
        check, answer = batch.mechanism.check_event(), batch.mechanism.answer_event()
        undecided = set(batch.contents) - set(stored) - set(progress.decisions)
        needed = [answer] if check is None or not undecided else [check.times(len(undecided)), answer]
        if self._ledger.fits(self.dataset, needed):
            return None
        checks = f"the checks of {len(undecided)} queries and one answer do"
        return self._exhausted("one answer does" if len(needed) == 1 else checks)

    def _exhausted(self, what_does: str) -> BudgetExhausted:
        budget = self._ledger.budget(self.dataset)
        return BudgetExhausted(
            f"the budget of data set '{self.dataset}' does not hold these queries",
            why=f"{what_does} not fit; spent epsilon {epsilon_up(budget.spent_epsilon, digits=6, cap=budget.epsilon)} of "
            f"{budget.epsilon:g} at delta {budget.delta:g} ({budget.neighbouring}). Nothing was drawn and nothing was spent",
            mend="ask less, or ask an officer to grant more (`stillhouse ledger grant`)",
        )

    def _decide(self, batch: Batch, progress: Progress, counts: np.ndarray, rows: np.ndarray) -> Progress:
        plan = progress.plan or ()
        if set(plan) <= set(progress.decisions):
            return progress
        check, cost = batch.mechanism.check_event(), 0
        if check is not None:
            cost = self._charge(batch, "check", check.times(len(plan)), f"{batch.mechanism.name}: check queries")
            self._on_step("charged_check")
        student = None if batch.student is None else batch.student[rows]
        drawn = batch.mechanism.check(counts, self._noise, teachers=self.teachers, student=student)
        decisions = {content: int(decision) for content, decision in zip(plan, drawn, strict=True)}
        decided = replace(progress, decisions=decisions, cost=cost)
        if check is None:
            return decided
        self._on_step("drew_check")
        decided = self._store.keep_progress(batch.id, decided)
        self._on_step("stored_decisions")
        return decided

    def _pay(self, batch: Batch, progress: Progress) -> tuple[Progress, int]:
        """Fix which answers fit, in the batch's order, and charge exactly those."""
        answer = batch.mechanism.answer_event()
        for _ in range(ATTEMPTS_AT_A_RACE):
            if progress.chosen is None:
                stored = self._stored(batch)
                passed = [
                    c for c in progress.plan or () if progress.decisions[c] == Decision.ANSWER and c not in stored
                ]
                fitting = self._ledger.would_fit(self.dataset, answer) if passed else 0
                progress = self._store.keep_progress(batch.id, replace(progress, chosen=tuple(passed[:fitting])))
            if not progress.chosen:
                break
            try:
                purpose = f"{batch.mechanism.name}: answer queries"
                cost = self._charge(batch, _answers_of(progress), answer.times(len(progress.chosen)), purpose)
            except BudgetExhausted:
                # Another process spent what was left since we looked. Nothing was charged: choose again.
                progress = replace(progress, chosen=None)
                continue
            self._on_step("charged_answers")
            return progress, cost
        return self._store.keep_progress(batch.id, replace(progress, chosen=())), 0

    def _charge(self, batch: Batch, what: str, event: Event, purpose: str) -> int:
        self._ledger.charge(
            self.dataset,
            key=_charge_key(batch.hash, what),
            event=event,
            purpose=purpose,
            run=f"ensemble {self.ensemble}",
        )
        return event.nano_rho() or 0

    def _draw_and_store(self, batch: Batch, progress: Progress, counts: np.ndarray, rows: np.ndarray) -> None:
        noisy = batch.mechanism.noisy_histograms(counts, self._noise) if batch.mechanism.releases_histograms else None
        labels = batch.mechanism.answer(counts, self._noise) if noisy is None else plurality(noisy)
        own = labels if batch.student is None else np.argmax(batch.student[rows], axis=1)
        self._on_step("drew_answers")
        stored, chosen, keys = self._stored(batch), set(progress.chosen or ()), batch.keys
        fresh: dict[str, int] = {}
        released: dict[str, np.ndarray] = {}
        for row, (content, label, students) in enumerate(zip(progress.plan or (), labels, own, strict=True)):
            decision = progress.decisions[content]
            if content in stored:
                continue
            if content in chosen:
                fresh[keys[content]] = int(label)
                if noisy is not None:
                    released[keys[content]] = noisy[row]
            elif decision == Decision.ABSTAIN:
                fresh[keys[content]] = ABSTAINED
            elif decision == Decision.REINFORCE:
                fresh[keys[content]] = fresh[keys[content] + _REINFORCED] = int(students)
        try:
            self._answers.put(fresh, released)
        except LedgerDoubt:
            # Another process may have answered some of these contents in this moment; then its answers are the answers.
            there = self._stored(batch)
            theirs = {name for content in there for name in (keys[content], keys[content] + _REINFORCED)}
            if theirs.isdisjoint(fresh):
                raise
            ours = fresh.keys() - theirs
            self._answers.put({n: fresh[n] for n in ours}, {n: released[n] for n in ours & released.keys()})
        self._on_step("stored_answers")

    def _finish(self, batch: Batch, progress: Progress, *, cost: int, voted: int = 0) -> Result:
        """Mark as done. Labels and histograms come from the store, whoever put them there."""
        keys, stored = batch.keys, self._stored(batch)
        reinforced = (
            self._answers.get([key + _REINFORCED for key in keys.values()]) if batch.student is not None else {}
        )

        def status(content: str) -> str:
            if content not in stored:
                return batches.BUDGET
            if stored[content] == ABSTAINED:
                return batches.ABSTAINED
            return batches.REINFORCED if keys[content] + _REINFORCED in reinforced else batches.ANSWERED

        paid_now = set(progress.plan or ())
        first = {content: row for row, content in reversed(list(enumerate(batch.contents)))}
        result = Result(
            BatchState.DONE,
            np.array([stored.get(content, ABSTAINED) for content in batch.contents], np.int64),
            tuple(status(content) for content in batch.contents),
            np.array([c in stored and (c not in paid_now or first[c] != i) for i, c in enumerate(batch.contents)]),
            cost,
            histograms=self._histograms(batch),
            voted=voted,
        )
        self._store.finish(batch.id, result, progress)
        self._on_step("done")
        return result

    def _refuse(self, batch: Batch, error: BudgetExhausted, progress: Progress) -> Result:
        """What is stored already is given all the same; a batch with nothing stored is refused whole."""
        if self._stored(batch):
            return self._finish(batch, progress, cost=0)
        refused = Result.without_answers(BatchState.REFUSED, len(batch.contents), str(error))
        return self._store.finish(batch.id, refused, progress)

    def _stored(self, batch: Batch) -> dict[str, int]:
        found = self._answers.get(batch.keys.values())
        return {content: found[key] for content, key in batch.keys.items() if key in found}

    def _histograms(self, batch: Batch) -> np.ndarray | None:
        """The noisy counts (Q, K) that are stored, zeros where there are none; None if the mechanism releases labels."""
        if not batch.mechanism.releases_histograms:
            return None
        found = self._answers.histograms(batch.keys.values())
        if any(len(counts) != self.classes for counts in found.values()):
            raise BadInput(
                "some of these queries were answered with another number of classes",
                why=f"this aggregator serves {self.classes}, and a stored answer never changes",
                mend="serve the classes as they were, or the teachers as another ensemble",
            )
        nothing = np.zeros(self.classes, np.int64)
        return np.stack([found.get(batch.keys[content], nothing) for content in batch.contents])


def _answers_of(progress: Progress) -> str:
    """The step that pays for an attempt's answers."""
    return f"answer:{progress.attempt}"


def _charge_key(batch_hash: str, step: str) -> str:
    return f"{batch_hash}:{step}"
