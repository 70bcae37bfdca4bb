"""Vector batches on disk: what was asked, whether a charge for it may have been made, how it ended. No silo's vectors are written.

The table lies beside that of label batches, in the ledger's database, and is written in the same terms.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from sqlalchemy import Boolean, Column, Engine, Float, LargeBinary, MetaData, Table, Text, select

from ..errors import BadInput
from ..ledger.database import reading, writing
from ..privacy.vector_mean import vector_mean_from_json
from .batches import BatchState
from .store import BatchStore
from .vector_batches import VectorBatch, VectorQuestion, VectorResult, described, undescribed

_metadata = MetaData()
_batches = Table(
    "aggregator_vector_batches",
    _metadata,
    Column("id", Text, primary_key=True),
    Column("hash", Text, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("ensemble", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("arrays", LargeBinary),
    Column("deadline", Float, nullable=False),
    Column("state", Text, nullable=False),
    # True before the charge is made: from then on it may have been.
    Column("charging", Boolean, nullable=False),
    Column("result", Text),
)
_OPEN = _batches.c.state == BatchState.OPEN.value


class VectorStore:
    """All vector batches that were submitted, beside the label batches of `terms`, whose claims guard these writes too."""

    def __init__(self, engine: Engine, terms: BatchStore) -> None:
        self._engine, self._terms = engine, terms
        with writing(engine) as connection:
            _metadata.create_all(connection)

    def add(self, batch: VectorBatch) -> None:
        """Keep a new batch, durably when this returns."""
        question = batch.question
        body = {
            "mechanism": batch.mechanism.to_json(), "task": question.task, "width": int(question.width),
            "rows": question.rows, "arrays": described(question.arrays),
        }  # fmt: skip
        row = {
            "id": batch.id, "hash": batch.hash, "dataset": batch.dataset, "ensemble": batch.ensemble,
            "body": json.dumps(body), "arrays": _bytes(batch), "deadline": batch.deadline,
            "state": BatchState.OPEN.value, "charging": False,
        }  # fmt: skip
        with self._terms.mine() as connection:
            connection.execute(_batches.insert(), row)

    def known_hash(self, batch_id: str) -> str | None:
        """The hash of the batch with this id, if there is one."""
        with reading(self._engine) as connection:
            return connection.execute(select(_batches.c.hash).where(_batches.c.id == batch_id)).scalar()

    def batch(self, batch_id: str) -> VectorBatch:
        """An open batch as it was asked."""
        with reading(self._engine) as connection:
            row = connection.execute(select(_batches).where(_batches.c.id == batch_id, _OPEN)).one_or_none()
        if row is None:
            raise BadInput("there is no open batch with this id", mend="submit it first")
        return _batch(row)

    def open(self, dataset: str, ensemble: str) -> list[VectorBatch]:
        """The batches of this ensemble that wait for silos, the earliest deadline first."""
        mine = (_batches.c.dataset == dataset, _batches.c.ensemble == ensemble, _OPEN)
        query = select(_batches).where(*mine).order_by(_batches.c.deadline, _batches.c.id)
        with reading(self._engine) as connection:
            return [_batch(row) for row in connection.execute(query)]

    def charging(self, batch_id: str) -> bool:
        """Whether a charge for it may have been made."""
        return bool(self._read(batch_id, _batches.c.charging).charging)

    def begin_charge(self, batch_id: str) -> None:
        """Write down that an open batch is about to be charged, durably when this returns."""
        self._update(batch_id, charging=True)

    def end_charge(self, batch_id: str) -> None:
        """Write down that an open batch was not charged after all."""
        self._update(batch_id, charging=False)

    def finish(self, batch_id: str, result: VectorResult) -> None:
        """Write the end of an open batch, durably when this returns. Its arrays are let go."""
        self._update(batch_id, state=result.state.value, result=json.dumps(result.to_json()), arrays=None)

    def reopen(self, batch: VectorBatch) -> None:
        """Let a batch that ended without its answer be asked again. What may have been paid stays noted."""
        again = {"state": BatchState.OPEN.value, "result": None, "deadline": batch.deadline, "arrays": _bytes(batch)}
        with self._terms.mine() as connection:
            connection.execute(_batches.update().where(_batches.c.id == batch.id, ~_OPEN).values(**again))

    def ended(self, batch_id: str) -> tuple[dict[str, Any] | None, str, tuple[int, int]]:
        """The result's JSON (None while it is open), the name of the answer, and the answer's shape."""
        row = self._read(batch_id, _batches.c.body, _batches.c.hash, _batches.c.result)
        body = json.loads(row.body)
        result = None if row.result is None else json.loads(row.result)
        return result, row.hash, (int(body["rows"]), int(body["width"]))

    def _read(self, batch_id: str, *columns: Column[Any]) -> Any:
        with reading(self._engine) as connection:
            row = connection.execute(select(*columns).where(_batches.c.id == batch_id)).one_or_none()
        if row is None:
            raise BadInput("there is no batch with this id", mend="submit it first")
        return row

    def _update(self, batch_id: str, **values: Any) -> None:
        """Change an open batch; one that another aggregator ended meanwhile is left as it is."""
        with self._terms.mine() as connection:
            connection.execute(_batches.update().where(_batches.c.id == batch_id, _OPEN).values(**values))


def _bytes(batch: VectorBatch) -> bytes:
    return b"".join(values.tobytes() for values in batch.question.arrays.values())


def _batch(row: Any) -> VectorBatch:
    body = json.loads(row.body)
    arrays = undescribed(body["arrays"], row.arrays)
    centre: np.ndarray | None = arrays.pop("", None)
    return VectorBatch(
        id=row.id,
        dataset=row.dataset,
        ensemble=row.ensemble,
        mechanism=vector_mean_from_json(body["mechanism"]),
        question=VectorQuestion(body["task"], arrays, body["width"], centre),
        deadline=row.deadline,
    )
