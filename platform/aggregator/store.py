"""Batches on disk: what was asked, how far its evaluation is, how it ended. Votes are never written.

The table lies in the ledger's database, so that one disk holds everything an answer depends on, and a restored backup
shows in the ledger's mark before this table is believed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from sqlalchemy import Column, Connection, Engine, Float, Integer, LargeBinary, MetaData, Table, Text, select

from ..errors import BadInput, LedgerDoubt, TimedOut
from ..ledger.database import reading, writing
from ..privacy.mechanisms import mechanism_from_json
from .batches import Batch, BatchState, Progress, Result

_metadata = MetaData()
_batches = Table(
    "aggregator_batches",
    _metadata,
    Column("id", Text, primary_key=True),
    Column("hash", Text, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("ensemble", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("images", LargeBinary),
    Column("student", LargeBinary),
    Column("deadline", Float, nullable=False),
    Column("state", Text, nullable=False),
    Column("progress", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("result", Text),
)
# Who answers for an ensemble: the number goes up with every aggregator that takes it over.
_terms = Table(
    "aggregator_terms",
    _metadata,
    Column("dataset", Text, primary_key=True),
    Column("ensemble", Text, primary_key=True),
    Column("term", Integer, nullable=False),
)
_OPEN = _batches.c.state == BatchState.OPEN.value


class BatchStore:
    """All batches that were submitted, in the database of the ledger (`BatchStore(ledger.engine)`)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._claimed: dict[tuple[str, str], int] = {}
        with writing(engine) as connection:
            _metadata.create_all(connection)

    def claim(self, dataset: str, ensemble: str) -> None:
        """Begin a term. Stores that claimed this ensemble before are refused from here on; those that never did are not checked."""
        with writing(self._engine) as connection:
            term = _term(connection, dataset, ensemble)
            if term:
                mine = (_terms.c.dataset == dataset, _terms.c.ensemble == ensemble)
                connection.execute(_terms.update().where(*mine).values(term=term + 1))
            else:
                connection.execute(_terms.insert(), {"dataset": dataset, "ensemble": ensemble, "term": 1})
        self._claimed[dataset, ensemble] = term + 1

    def add(self, batch: Batch) -> None:
        """Keep a new batch, durably when this returns."""
        body = {"mechanism": batch.mechanism.to_json(), "shape": list(batch.images.shape)}
        row = {
            "id": batch.id,
            "hash": batch.hash,
            "dataset": batch.dataset,
            "ensemble": batch.ensemble,
            "body": json.dumps(body),
            "deadline": batch.deadline,
            "state": BatchState.OPEN.value,
            "progress": Progress().to_text(),
            "version": Progress().version,
        }
        with self.mine() as connection:
            connection.execute(_batches.insert(), row | _content(batch))

    def known_hash(self, batch_id: str) -> str | None:
        """The hash of the batch with this id, if there is one."""
        with reading(self._engine) as connection:
            return connection.execute(select(_batches.c.hash).where(_batches.c.id == batch_id)).scalar()

    def batch(self, batch_id: str) -> Batch:
        """An open batch as it was asked."""
        with reading(self._engine) as connection:
            row = connection.execute(select(_batches).where(_batches.c.id == batch_id, _OPEN)).one_or_none()
        if row is None:
            raise BadInput("there is no open batch with this id", mend="submit it first")
        return _batch(row)

    def open(self, dataset: str, ensemble: str) -> list[Batch]:
        """The batches of this ensemble that wait for votes, the earliest deadline first."""
        mine = (_batches.c.dataset == dataset, _batches.c.ensemble == ensemble, _OPEN)
        query = select(_batches).where(*mine).order_by(_batches.c.deadline, _batches.c.id)
        with reading(self._engine) as connection:
            return [_batch(row) for row in connection.execute(query)]

    def progress(self, batch_id: str) -> Progress:
        """How far its evaluation is."""
        return Progress.from_text(self._read(batch_id, _batches.c.progress).progress)

    def keep_progress(self, batch_id: str, progress: Progress) -> Progress:
        """Write the progress of an open batch, durably when this returns.

        Raises:
            TimedOut: somebody else worked on the batch meanwhile; read again.
        """
        kept = replace(progress, version=progress.version + 1)
        self._update(batch_id, progress.version, progress=kept.to_text(), version=kept.version)
        return kept

    def finish(self, batch_id: str, result: Result, progress: Progress) -> Result:
        """Write the end of an open batch, durably when this returns. Its images are let go.

        Raises:
            TimedOut: somebody else worked on the batch meanwhile; read again.
        """
        ended = {"state": result.state.value, "result": json.dumps(result.to_json()), "progress": progress.to_text()}
        self._update(batch_id, progress.version, **ended, images=None, student=None)
        return result

    def reopen(self, batch: Batch, progress: Progress) -> None:
        """Let a batch that ended without all its answers be voted on again."""
        again = {
            "state": BatchState.OPEN.value,
            "result": None,
            "deadline": batch.deadline,
            "version": progress.version,
        }
        with self.mine() as connection:
            update = _batches.update().where(_batches.c.id == batch.id, ~_OPEN)
            connection.execute(update.values(**again, progress=progress.to_text(), **_content(batch)))

    def result(self, batch_id: str) -> Result:
        """Where it stands."""
        row = self._read(batch_id, _batches.c.body, _batches.c.result)
        if row.result is None:
            return Result.without_answers(BatchState.OPEN, json.loads(row.body)["shape"][0])
        return Result.from_json(json.loads(row.result))

    def _read(self, batch_id: str, *columns: Column[Any]) -> Any:
        with reading(self._engine) as connection:
            row = connection.execute(select(*columns).where(_batches.c.id == batch_id)).one_or_none()
        if row is None:
            raise BadInput("there is no batch with this id", mend="submit it first")
        return row

    @contextlib.contextmanager
    def mine(self) -> Iterator[Connection]:
        """A transaction in a term that has not ended."""
        with writing(self._engine) as connection:
            for (dataset, ensemble), term in self._claimed.items():
                if _term(connection, dataset, ensemble) != term:
                    raise LedgerDoubt(
                        f"another aggregator took over ensemble '{ensemble}' of data set '{dataset}'",
                        why="two that answer for one ensemble could answer a question twice",
                        mend="stop one of the two; the batches go on with the other",
                    )
            yield connection

    def _update(self, batch_id: str, on_top_of: int, **values: Any) -> None:
        same = (_batches.c.id == batch_id, _OPEN, _batches.c.version == on_top_of)
        with self.mine() as connection:
            if connection.execute(_batches.update().where(*same).values(**values)).rowcount != 1:
                raise TimedOut(
                    "another aggregator works on this batch", why="it was changed meanwhile", mend="ask again"
                )


def _term(connection: Connection, dataset: str, ensemble: str) -> int:
    query = select(_terms.c.term).where(_terms.c.dataset == dataset, _terms.c.ensemble == ensemble)
    return int(connection.execute(query).scalar() or 0)


def _content(batch: Batch) -> dict[str, bytes | None]:
    student = None if batch.student is None else np.ascontiguousarray(batch.student, dtype="<f8").tobytes()
    return {"images": np.ascontiguousarray(batch.images).tobytes(), "student": student}


def _batch(row: Any) -> Batch:
    body = json.loads(row.body)
    shape = body["shape"]
    student = None if row.student is None else np.frombuffer(row.student, "<f8").reshape(shape[0], -1)
    return Batch(
        id=row.id,
        dataset=row.dataset,
        ensemble=row.ensemble,
        mechanism=mechanism_from_json(body["mechanism"]),
        images=np.frombuffer(row.images, np.uint8).reshape(shape),
        deadline=row.deadline,
        student=student,
    )
