"""A batch that is answered with vectors, and what becomes of it.

A question is a task that the teachers know, inputs with one row for each vector wanted, the vectors' width and the centre that they are
clipped about. All of it is public or was released before. The batch is asked, charged and answered whole: where one silo is drawn, its
rows share the draw, so part of them would be another release at another price.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import BadInput
from ..ledger.answers import answer_key
from ..privacy.events import Event
from ..privacy.validate import positive_int
from ..privacy.vector_mean import VectorMean
from .batches import ANSWERED, BatchState

DTYPES = ("float32", "int16", "int32", "int64", "uint8")
MOST_INPUTS = 8
MOST_DIMENSIONS = 6
LONGEST_NAME = 40


@dataclass(frozen=True, eq=False)
class VectorQuestion:
    """What is asked.

    Args:
        task: the name of what teachers compute.
        inputs: arrays by name, each with the same number of rows (rows, ...), of one of `DTYPES`, all finite.
        width: numbers in a vector, d.
        centre: (d,) or (rows, d); None stands for zero.
    """

    task: str
    inputs: Mapping[str, np.ndarray]
    width: int
    centre: np.ndarray | None = None

    def __post_init__(self) -> None:
        positive_int(width=self.width)
        _word(self.task, "task")
        if not 1 <= len(self.inputs) <= MOST_INPUTS:
            raise BadInput(f"a question has 1 to {MOST_INPUTS} inputs, not {len(self.inputs)}")
        kept = {}
        for name in sorted(self.inputs):
            _word(name, "input")
            kept[name] = _array(self.inputs[name], f"input {name}")
        if len({len(values) for values in kept.values()}) != 1:
            raise BadInput("the inputs of a question differ in their number of rows")
        object.__setattr__(self, "inputs", kept)
        if not self.rows:
            raise BadInput("a question without rows", mend="ask for at least one vector")
        if self.centre is not None:
            centre = np.ascontiguousarray(self.centre, dtype="<f4")
            if centre.shape not in ((self.width,), (self.rows, self.width)) or not np.isfinite(centre).all():
                raise BadInput(
                    f"the centre must be finite and of shape {(self.width,)} or {(self.rows, self.width)}",
                    mend="give one centre for all rows, or one for each",
                )
            object.__setattr__(self, "centre", centre)

    @property
    def rows(self) -> int:
        """How many vectors are asked for."""
        return len(next(iter(self.inputs.values())))

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays in a fixed order; the centre, if there is one, under an empty name."""
        return dict(self.inputs) | ({} if self.centre is None else {"": self.centre})

    @cached_property
    def content(self) -> str:
        """The hash of the whole question."""
        found = hashlib.sha256()
        head = ["stillhouse vectors 1", self.task, int(self.width)]
        found.update(json.dumps([*head, described(self.arrays)]).encode())
        for values in self.arrays.values():
            found.update(values.data)
        return found.hexdigest()


def described(arrays: Mapping[str, np.ndarray]) -> list[list[Any]]:
    """Names, types and shapes as JSON."""
    return [[name, str(values.dtype), list(values.shape)] for name, values in arrays.items()]


def undescribed(words: list[list[Any]], data: bytes) -> dict[str, np.ndarray]:
    """The arrays of which `described` gave the words, from their bytes one after another."""
    arrays, start = {}, 0
    for name, dtype, shape in words:
        count = int(np.prod(shape))
        arrays[name] = np.frombuffer(data, np.dtype(dtype), count, start).reshape(shape)
        start += arrays[name].nbytes
    return arrays


@dataclass(frozen=True, eq=False)
class VectorBatch:
    """A question put to an ensemble by an analyst; the same id with the same content is the same batch.

    Args:
        deadline: unix time after which a quorum of silos is enough.
    """

    id: str
    dataset: str
    ensemble: str
    mechanism: VectorMean
    question: VectorQuestion
    deadline: float

    def __post_init__(self) -> None:
        if not 1 <= len(self.id) <= 200 or not self.id.isprintable():
            raise BadInput("a batch's id is 1 to 200 printable characters")

    @cached_property
    def hash(self) -> str:
        """Identity of what is asked: the name of its answer, of its charge, and what silos answer under.

        It is not the request's: two analysts who ask the same get one answer, which is paid for once.
        """
        return answer_key(self.dataset, self.ensemble, self.question.content, self.mechanism.fingerprint())

    @property
    def queries(self) -> int:
        """Rows."""
        return self.question.rows

    @property
    def rehearsed_as(self) -> str:
        """What its noise tables depend on."""
        return f"{self.mechanism.fingerprint()} {self.question.width}"

    def event(self, teachers: int) -> Event:
        """What it costs."""
        return self.mechanism.event(rows=self.question.rows, width=self.question.width, teachers=teachers)


@dataclass(frozen=True, eq=False)
class VectorResult:
    """Where a batch stands.

    Args:
        queries: how many rows it has.
        noisy: (rows, width) int64 on the mechanism's grid; None unless DONE.
        paid_before: whether it was answered by what had been paid for before.
        cost_nano_rho: what was charged for it, in billionths of rho; 0 where its cost is a Renyi curve only.
        reason: why it was refused or failed.
        voted: how many silos answered; 0 where none was needed, or a crash has made it forgotten.
    """

    state: BatchState
    queries: int
    noisy: np.ndarray | None = None
    paid_before: bool = False
    cost_nano_rho: int = 0
    reason: str = ""
    voted: int = 0

    @property
    def statuses(self) -> tuple[str, ...]:
        """One word for each row, as label batches have them: all are answered, or none."""
        return (ANSWERED,) * self.queries if self.state is BatchState.DONE else ()

    @property
    def from_store(self) -> np.ndarray:
        """`paid_before`, for each row."""
        return np.full(self.queries, self.paid_before)

    def to_json(self) -> dict[str, Any]:
        """A JSON form without the vectors, which are in the answers' store."""
        return {
            "state": self.state.value,
            "queries": self.queries,
            "paid_before": self.paid_before,
            "cost_nano_rho": self.cost_nano_rho,
            "reason": self.reason,
            "voted": self.voted,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], noisy: np.ndarray | None) -> VectorResult:
        """Read `to_json`'s form."""
        found = cls(**{**data, "state": BatchState(data["state"])})
        return replace(found, noisy=noisy)


def _word(name: str, what: str) -> None:
    if not (name.isidentifier() and name.isascii() and len(name) <= LONGEST_NAME):
        raise BadInput(f"the name of a {what} is 1 to {LONGEST_NAME} letters, digits and underscores")


def _array(values: np.ndarray, what: str) -> np.ndarray:
    """The array as little-endian C order."""
    if not isinstance(values, np.ndarray) or values.dtype.name not in DTYPES:
        found = values.dtype.name if isinstance(values, np.ndarray) else type(values).__name__
        raise BadInput(f"{what} is of type {found}", mend=f"give an array of {', '.join(DTYPES)}")
    if not 1 <= values.ndim <= MOST_DIMENSIONS:
        raise BadInput(f"{what} has {values.ndim} dimensions, not 1 to {MOST_DIMENSIONS}")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise BadInput(f"{what} holds values that are not finite")
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
