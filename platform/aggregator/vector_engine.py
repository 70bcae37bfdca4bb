"""From silos' vectors to a released sum, in the one order that keeps the promise: charge, draw, store, release.

| step | on disk afterwards |
| --- | --- |
| begin_charge | that the batch is about to be charged |
| charged_answers | the charge for the whole batch |
| drew_answers, stored_answers | the noisy sum |
| done | the result |

The charge and the answer go by what is asked, not by who asks: the same question again, in another batch or by another analyst, is
answered from the store at no cost, and a charge whose answer was lost in a crash is not paid again, for nothing of it ever left. Which
silo is drawn, where one is, is decided after the charge, by the operating system's randomness, and kept nowhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..errors import BadInput, BudgetExhausted, LedgerDoubt
from ..ledger.answers import AnswerStore
from ..ledger.ledger import Ledger
from ..privacy.budget import BudgetKind
from ..privacy.noise import Noise
from ..privacy.statement import epsilon_up
from ..privacy.trials import draw_candidate
from ..privacy.vector_mean import ONE
from ..privacy.wide_noise import wide_gaussian
from .batches import BatchState, why_failed
from .vector_batches import VectorBatch, VectorResult
from .vector_rounds import Vectors
from .vector_store import VectorStore

MOST_KEPT_BYTES = 2**30


class VectorEngine:
    """One ensemble's vectors. Call it from the thread that the label engine is called from.

    Args:
        teachers: size of the roster. It stays what it is when silos are missing.
        pick: a uniform number below the one given; tests replace it, no configuration can.
        on_step: told the name of each step when it is done.
    """

    def __init__(
        self,
        ledger: Ledger,
        answers: AnswerStore,
        store: VectorStore,
        noise: Noise,
        *,
        dataset: str,
        ensemble: str,
        teachers: int,
        pick: Callable[[int], int] = draw_candidate,
        on_step: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._ledger, self._answers, self._store, self._noise = ledger, answers, store, noise
        self.dataset, self.ensemble, self.teachers = dataset, ensemble, teachers
        self._pick, self._on_step = pick, on_step

    def submit(self, batch: VectorBatch) -> VectorResult | None:
        """Take a batch in, durably. Returns its result if no silo need be asked, else None.

        A batch that had been refused or had failed is taken up again; what it paid for stays paid.

        Raises:
            BadInput: it is for another ensemble, cannot be evaluated or paid from this budget, or its id belongs to other content.
        """
        self._check(batch)
        known = self._store.known_hash(batch.id)
        if known is None:
            self._store.add(batch)
        elif known != batch.hash:
            raise BadInput("this key belongs to a batch with other content", mend="use another key")
        else:
            result = self.result(batch.id)
            if result.state is BatchState.DONE:
                return replace(result, paid_before=True, cost_nano_rho=0)
            if result.state is not BatchState.OPEN:
                self._store.reopen(batch)
        return self._settled(batch)

    def recover(self) -> list[VectorBatch]:
        """The batches that wait for silos; those that were only not marked as done are. Call it after the ensemble was claimed."""
        waiting = self._store.open(self.dataset, self.ensemble)
        return [batch for batch in waiting if self._settled(batch) is None]

    def result(self, batch_id: str) -> VectorResult:
        """Where a batch stands."""
        told, key, shape = self._store.ended(batch_id)
        if told is None:
            return VectorResult(BatchState.OPEN, shape[0])
        done = told["state"] == BatchState.DONE.value
        return VectorResult.from_json(told, self._stored(key, shape) if done else None)

    def fail(self, batch_id: str, reason: str) -> VectorResult:
        """End an open batch without an answer; nothing is charged for it from here on. What was charged before, it tells."""
        result = self.result(batch_id)
        if result.state is not BatchState.OPEN:
            return result
        _, question, _ = self._store.ended(batch_id)
        charged = self._ledger.charged([_charge_key(question)] if self._store.charging(batch_id) else [])
        reason, cost = why_failed(reason, charged.values())
        return self._end(batch_id, replace(result, state=BatchState.FAILED, reason=reason, cost_nano_rho=cost))

    def evaluate(self, batch_id: str, vectors: Vectors) -> VectorResult:
        """Answer a batch by what the silos sent; a silo that is missing counts as the centre."""
        if self.result(batch_id).state is not BatchState.OPEN:
            return self.result(batch_id)
        batch = self._store.batch(batch_id)
        if (vectors.rows, vectors.width) != (batch.question.rows, batch.question.width):
            raise BadInput("these vectors are of another batch's shape")
        done = self._settled(batch)
        if done is not None:
            return done
        event = batch.event(self.teachers)
        self._store.begin_charge(batch.id)
        self._on_step("begin_charge")
        try:
            self._ledger.charge(
                self.dataset, key=_charge_key(batch.hash), event=event, run=f"ensemble {self.ensemble}",
                purpose=f"{batch.mechanism.name}: {batch.question.task}",
            )  # fmt: skip
        except BudgetExhausted as error:
            # Another process spent what was left since we looked. Nothing was charged, so nothing is drawn.
            self._store.end_charge(batch.id)
            return self._end(
                batch.id, VectorResult(BatchState.REFUSED, batch.queries, reason=str(error), voted=vectors.voted)
            )
        self._on_step("charged_answers")
        total = vectors.of(self._pick(self.teachers)) if batch.mechanism.draw == ONE else vectors.total()
        noisy = batch.mechanism.noisy(total, self._noise)
        self._on_step("drew_answers")
        try:
            self._answers.put({batch.hash: 0}, {batch.hash: noisy.reshape(-1)})
        except LedgerDoubt:
            # Another process may have answered this question in this moment; then its answer is the answer.
            if batch.hash not in self._answers.get([batch.hash]):
                raise
        self._on_step("stored_answers")
        return self._finish(batch, cost=event.nano_rho() or 0, voted=vectors.voted)

    def rehearse(self, batch: VectorBatch) -> None:
        """Make the noise's tables, so that what cannot be drawn shows before anything is charged; it may run beside the one thread."""
        wide_gaussian(self._noise, batch.mechanism.sigma(batch.question.width), 1)

    def _check(self, batch: VectorBatch) -> None:
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
        question, mechanism = batch.question, batch.mechanism
        each = question.rows * question.width * mechanism.grid(question.width).dtype.itemsize
        if mechanism.draw == ONE and self.teachers * each > MOST_KEPT_BYTES:
            raise BadInput(
                f"the vectors of {self.teachers} silos are too many to be kept until one is drawn",
                why=f"they would take {self.teachers * each} bytes, more than {MOST_KEPT_BYTES}",
                mend=f"ask for at most {MOST_KEPT_BYTES * question.rows // (self.teachers * each)} rows at a time",
            )
        # Prices the event under this budget: one that it cannot hold at all is a mistake, not a want of budget.
        self._ledger.would_fit(self.dataset, batch.event(self.teachers))
        self.rehearse(batch)

    def _settled(self, batch: VectorBatch) -> VectorResult | None:
        """Its result, where it takes no silo: the answer is known, or the budget does not hold it."""
        if batch.hash in self._answers.get([batch.hash]):
            return self._finish(batch, paid_before=not self._store.charging(batch.id))
        event = batch.event(self.teachers)
        if self._store.charging(batch.id) or self._ledger.would_fit(self.dataset, event) >= 1:
            return None
        budget = self._ledger.budget(self.dataset)
        error = BudgetExhausted(
            f"the budget of data set '{self.dataset}' does not hold these {batch.queries} vectors",
            why=f"they do not fit together; spent epsilon {epsilon_up(budget.spent_epsilon, digits=6, cap=budget.epsilon)} of "
            f"{budget.epsilon:g} at delta {budget.delta:g} ({budget.neighbouring}). Nothing was drawn and nothing was spent",
            mend="ask less, or ask an officer to grant more (`stillhouse ledger grant`)",
        )
        return self._end(batch.id, VectorResult(BatchState.REFUSED, batch.queries, reason=str(error)))

    def _finish(self, batch: VectorBatch, *, cost: int = 0, voted: int = 0, paid_before: bool = False) -> VectorResult:
        """Mark as done. The vectors come from the store, whoever put them there."""
        if not (cost or paid_before):  # Found after a crash, under a charge of its own.
            cost = batch.event(self.teachers).nano_rho() or 0
        result = VectorResult(
            BatchState.DONE, batch.queries, paid_before=paid_before, cost_nano_rho=cost, voted=voted,
            noisy=self._stored(batch.hash, (batch.question.rows, batch.question.width)),
        )  # fmt: skip
        self._end(batch.id, result)
        self._on_step("done")
        return result

    def _end(self, batch_id: str, result: VectorResult) -> VectorResult:
        self._store.finish(batch_id, result)
        return result

    def _stored(self, key: str, shape: tuple[int, int]) -> np.ndarray:
        return self._answers.histograms([key])[key].reshape(shape)


def _charge_key(question: str) -> str:
    return f"{question}:vectors"
