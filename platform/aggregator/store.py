"""Batches on disk: what was asked, how far its evaluation is, how it ended. Votes are never written.

The tables lie in the ledger's database, beside its own, so that one disk and one lock hold everything an answer depends on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sqlalchemy import Column, Engine, Float, LargeBinary, MetaData, Table, Text, select

from ..errors import BadInput
from ..ledger.database import reading, writing
from ..privacy.mechanisms import mechanism_from_json
from .batches import Batch, BatchState, Result

_metadata = MetaData()
_batches = Table(
    "aggregator_batches",
    _metadata,
    Column("id", Text, primary_key=True),
    Column("hash", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("images", LargeBinary, nullable=False),
    Column("student", LargeBinary),
    Column("deadline", Float, nullable=False),
    Column("state", Text, nullable=False),
    Column("progress", Text, nullable=False),
    Column("result", Text),
)


@dataclass(frozen=True)
class Progress:
    """How far an evaluation is; written before each charge, so that a crash cannot make it charge or draw for other queries.

    Args:
        attempt: counts the times that a batch was taken up again after its budget ended.
        plan: contents (hashes) to be decided and answered, in the batch's order; None before the first evaluation.
        decisions: of each planned content, once its check was drawn.
        chosen: contents whose answers this attempt pays for; None until fixed.
    """

    attempt: int = 1
    plan: tuple[str, ...] | None = None
    decisions: Mapping[str, int] = field(default_factory=dict)
    chosen: tuple[str, ...] | None = None

    def to_text(self) -> str:
        """A JSON text."""
        plan = None if self.plan is None else list(self.plan)
        chosen = None if self.chosen is None else list(self.chosen)
        return json.dumps({"attempt": self.attempt, "plan": plan, "decisions": dict(self.decisions), "chosen": chosen})

    @classmethod
    def from_text(cls, text: str) -> Progress:
        """Read `to_text`'s form."""
        data = json.loads(text)
        return cls(data["attempt"], _tuple(data["plan"]), data["decisions"], _tuple(data["chosen"]))


def _tuple(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


class BatchStore:
    """All batches of one aggregator, in the database of its ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        with writing(engine) as connection:
            _metadata.create_all(connection)

    def add(self, batch: Batch) -> None:
        """Keep a new batch, durably when this returns."""
        body = {
            "dataset": batch.dataset,
            "ensemble": batch.ensemble,
            "mechanism": batch.mechanism.to_json(),
            "shape": list(batch.images.shape),
            "student": None if batch.student is None else list(batch.student.shape),
        }
        student = None if batch.student is None else np.ascontiguousarray(batch.student, dtype="<f8").tobytes()
        row = {
            "id": batch.id,
            "hash": batch.hash,
            "body": json.dumps(body),
            "images": np.ascontiguousarray(batch.images).tobytes(),
            "student": student,
            "deadline": batch.deadline,
            "state": BatchState.OPEN.value,
            "progress": Progress().to_text(),
        }
        with writing(self._engine) as connection:
            connection.execute(_batches.insert(), row)

    def known_hash(self, batch_id: str) -> str | None:
        """The hash of the batch with this id, if there is one."""
        with reading(self._engine) as connection:
            return connection.execute(select(_batches.c.hash).where(_batches.c.id == batch_id)).scalar()

    def batch(self, batch_id: str) -> Batch:
        """The batch as it was asked."""
        return _batch(self._row(batch_id))

    def open(self) -> list[Batch]:
        """All batches that wait for votes, the earliest deadline first."""
        query = (
            select(_batches)
            .where(_batches.c.state == BatchState.OPEN.value)
            .order_by(_batches.c.deadline, _batches.c.id)
        )
        with reading(self._engine) as connection:
            return [_batch(row) for row in connection.execute(query)]

    def progress(self, batch_id: str) -> Progress:
        """How far its evaluation is."""
        return Progress.from_text(self._row(batch_id).progress)

    def keep_progress(self, batch_id: str, progress: Progress) -> Progress:
        """Write the progress, durably when this returns."""
        self._update(batch_id, progress=progress.to_text())
        return progress

    def finish(self, batch_id: str, result: Result) -> Result:
        """Write the end of a batch, durably when this returns."""
        self._update(batch_id, state=result.state.value, result=json.dumps(result.to_json()))
        return result

    def reopen(self, batch_id: str, *, deadline: float) -> None:
        """Let a batch that ended without all its answers be voted on again; what was decided and paid stays."""
        before = self.progress(batch_id)
        after = replace(before, attempt=before.attempt + 1, chosen=None)
        self._update(batch_id, state=BatchState.OPEN.value, result=None, deadline=deadline, progress=after.to_text())

    def result(self, batch_id: str) -> Result:
        """Where it stands."""
        row = self._row(batch_id)
        if row.result is None:
            return Result.without_answers(BatchState.OPEN, json.loads(row.body)["shape"][0])
        return Result.from_json(json.loads(row.result))

    def _row(self, batch_id: str) -> Any:
        with reading(self._engine) as connection:
            row = connection.execute(select(_batches).where(_batches.c.id == batch_id)).one_or_none()
        if row is None:
            raise BadInput("there is no batch with this id", mend="submit it first")
        return row

    def _update(self, batch_id: str, **values: Any) -> None:
        with writing(self._engine) as connection:
            connection.execute(_batches.update().where(_batches.c.id == batch_id).values(**values))


def _batch(row: Any) -> Batch:
    body = json.loads(row.body)
    student = None if row.student is None else np.frombuffer(row.student, "<f8").reshape(body["student"])
    return Batch(
        id=row.id,
        dataset=body["dataset"],
        ensemble=body["ensemble"],
        mechanism=mechanism_from_json(body["mechanism"]),
        images=np.frombuffer(row.images, np.uint8).reshape(body["shape"]),
        deadline=row.deadline,
        student=student,
    )
