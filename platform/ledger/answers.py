"""Answers that were released, so that a repeated question is served from here, free and always the same.

Insert-only: an answer is never changed. A stored label of 0 is an answer like any other (a class, not a miss), and -1
says that the ensemble abstained. Answers live in the ledger's database and under its mark: a backup that is older
than the last stored answer is refused like one that is older than the last charge, because it would let a question
be answered a second time, differently, under a charge that was already used.

>>> answer_key("scans", "ensemble 1", "content", "mechanism")[:16]
'c8e7540ea9f32828'
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
from sqlalchemy import Connection, Engine, select

from ..errors import BadInput, LedgerDoubt
from . import schema
from .chain import netstrings
from .database import mark_of, reading, writing
from .opening import stored_answers

_AT_ONCE = 500


def answer_key(dataset: str, ensemble: str, content_hash: str, mechanism_fingerprint: str) -> str:
    """The name of a question: who is asked what, in which way. Lengths are part of it, so no two questions collide."""
    return hashlib.sha256(
        netstrings("stillhouse answer 1", dataset, ensemble, content_hash, mechanism_fingerprint)
    ).hexdigest()


class AnswerStore:
    """The answers in the database of a ledger (`AnswerStore(ledger.engine)`)."""

    def __init__(self, engine: Engine) -> None:
        mark = mark_of(engine)
        if mark is None:
            raise BadInput("answers are kept in a ledger's database", mend="use the engine of an open Ledger")
        self._engine, self._mark = engine, mark

    def get(self, keys: Iterable[str]) -> dict[str, int]:
        """The labels of those keys that have one. Ask `key in result`; a label may be 0."""
        with reading(self._engine) as connection:
            return _stored(connection, list(dict.fromkeys(keys)))

    def put(self, labels: Mapping[str, int]) -> None:
        """Store answers, durably when it returns; the same answer again is fine, another one for its key is not."""
        wanted = {key: _whole(label) for key, label in labels.items()}
        if not wanted:
            return
        mark = self._mark.read()
        with writing(self._engine) as connection:
            count = stored_answers(connection)
            if count < mark.answers:
                raise LedgerDoubt(f"{count} answers are stored, but {mark.answers} were acknowledged")
            stored = _stored(connection, list(wanted))
            if any(wanted[key] != label for key, label in stored.items()):
                raise LedgerDoubt(
                    "a question that was answered already would be answered differently",
                    why="an answer that may have been seen never changes",
                    mend="serve the stored answer; ask for help if a program produced the second one",
                )
            fresh = [(key, label) for key, label in wanted.items() if key not in stored]
            rows = [{"position": count + n, "key": key, "label": label} for n, (key, label) in enumerate(fresh, 1)]
            if rows:
                connection.execute(schema.answers.insert(), rows)
        self._mark.advance(mark.ledger, answers=count + len(rows))


def _stored(connection: Connection, keys: list[str]) -> dict[str, int]:
    table = schema.answers.c
    found: dict[str, int] = {}
    for start in range(0, len(keys), _AT_ONCE):
        query = select(table.key, table.label).where(table.key.in_(keys[start : start + _AT_ONCE]))
        found.update((key, label) for key, label in connection.execute(query))
    return found


def _whole(label: int) -> int:
    if isinstance(label, (bool, np.bool_)) or not isinstance(label, (int, np.integer)) or not -1 <= label < 2**31:
        raise BadInput("a label must be a whole number of at least -1")
    return int(label)
