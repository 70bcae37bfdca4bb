"""How a question for vectors becomes one batch, and its answer numbers. The batch is named by what it asks, as those of labels are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import BudgetExhausted
from ..privacy.vector_mean import VectorMean
from . import aggregator_pb2 as pb
from .batches import BatchState
from .tensors import read_tensor, write_question
from .vector_batches import VectorBatch, VectorQuestion


@dataclass(frozen=True, eq=False)
class VectorAnswers:
    """What came back for a question, and where the data set's budget stands.

    Args:
        vectors: (rows, width) float32; see `VectorMean.value`.
        from_store: whether it had been paid for earlier.
        cost_nano_rho: what was charged now, in billionths of rho; 0 where the cost is a Renyi curve only.
        spent_epsilon, epsilon_cap, delta, neighbouring: of the data set, all its releases together.
        voted: how many silos answered, of `teachers`; 0 where none was needed.
    """

    vectors: np.ndarray
    from_store: bool
    cost_nano_rho: int
    spent_epsilon: float
    epsilon_cap: float
    delta: float
    neighbouring: str
    voted: int
    teachers: int


@dataclass(frozen=True, eq=False)
class VectorPart:
    """The batch of a question, under its name."""

    key: str
    question: VectorQuestion
    mechanism: VectorMean
    ensemble: str

    @classmethod
    def of(cls, question: VectorQuestion, mechanism: VectorMean, *, ensemble: str, key: str | None) -> VectorPart:
        """Name it by its content, unless a name is given."""
        # The data set is the aggregator's to know.
        asked = VectorBatch("question", "served", ensemble, mechanism, question, 0.0)
        return cls(asked.hash if key is None else key, question, mechanism, ensemble)

    def request(self) -> pb.SubmitVectorsRequest:
        """The message that submits it."""
        asked = write_question(self.question, self.mechanism)
        return pb.SubmitVectorsRequest(key=self.key, ensemble=self.ensemble, question=asked)


def answered(part: VectorPart, status: pb.VectorStatus) -> VectorAnswers:
    """What a status that is not open says.

    Raises:
        BudgetExhausted: the budget does not hold the batch.
    """
    if status.state == BatchState.REFUSED:
        raise BudgetExhausted(status.reason)
    question, budget = part.question, status.budget
    noisy = read_tensor(status.noisy, "the answer")
    return VectorAnswers(
        vectors=part.mechanism.value(noisy, teachers=status.teachers, centre=question.centre),
        from_store=status.from_store,
        cost_nano_rho=status.cost_nano_rho,
        spent_epsilon=budget.spent_epsilon,
        epsilon_cap=budget.epsilon,
        delta=budget.delta,
        neighbouring=budget.neighbouring,
        voted=status.voted,
        teachers=status.teachers,
    )
