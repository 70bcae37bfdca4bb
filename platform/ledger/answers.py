"""Answers that were released, so that a repeated question is served from here, free and always the same.

Insert-only: an answer is never changed. A stored label of 0 is an answer like any other (a class, not a miss), and -1
says that the ensemble abstained. Answers live in the ledger's database and under its mark: a backup that is older
than the last stored answer is refused like one that is older than the last charge, because it would let a question
be answered a second time, differently, under a charge that was already used.

Where a whole noisy histogram was released, it lies beside its label and is as final. A database from before there were
histograms is given the place for them when it is opened here; its answers stay what they are.

>>> answer_key("scans", "ensemble 1", "content", "mechanism")[:16]
'c8e7540ea9f32828'
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from sqlalchemy import Column, Connection, Engine, select

from ..errors import BadInput, LedgerDoubt
from ..privacy.validate import integer_array
from . import schema
from .chain import netstrings
from .database import mark_of, reading, writing
from .opening import stored_answers

_AT_ONCE = 500
_TABLE = schema.answers.c


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
        with reading(engine) as connection:
            older = schema.lacks_histograms(connection)
        if older:
            with writing(engine) as connection:
                if schema.lacks_histograms(connection):  # or another process was faster
                    schema.add_histograms(connection)

    def get(self, keys: Iterable[str]) -> dict[str, int]:
        """The labels of those keys that have one. Ask `key in result`; a label may be 0."""
        with reading(self._engine) as connection:
            return {row.key: row.label for row in _rows(connection, keys, _TABLE.key, _TABLE.label)}

    def histograms(self, keys: Iterable[str]) -> dict[str, np.ndarray]:
        """The noisy counts (K,) int64 of those keys that were answered with some."""
        with reading(self._engine) as connection:
            rows = _rows(connection, keys, _TABLE.key, _TABLE.histogram)
            return {
                row.key: np.frombuffer(row.histogram, "<i8").astype(np.int64)
                for row in rows
                if row.histogram is not None
            }

    def put(self, labels: Mapping[str, int], histograms: Mapping[str, np.ndarray] | None = None) -> None:
        """Store answers, durably when it returns; the same answer again is fine, another one for its key is not.

        `histograms`: the noisy counts (K,) that were released with some of the labels; they are part of the answer.
        """
        counts = {key: _counts(histogram) for key, histogram in (histograms or {}).items()}
        if not counts.keys() <= labels.keys():
            raise BadInput("a histogram is stored with its label", mend="give the label too")
        wanted = {key: (_whole(label), counts.get(key)) for key, label in labels.items()}
        if not wanted:
            return
        mark = self._mark.read()
        with writing(self._engine) as connection:
            count = stored_answers(connection)
            if count < mark.answers:
                raise LedgerDoubt(f"{count} answers are stored, but {mark.answers} were acknowledged")
            rows = _rows(connection, wanted, _TABLE.key, _TABLE.label, _TABLE.histogram)
            stored = {row.key: (row.label, row.histogram) for row in rows}
            if any(wanted[key] != answer for key, answer in stored.items()):
                raise LedgerDoubt(
                    "a question that was answered already would be answered differently",
                    why="an answer that may have been seen never changes",
                    mend="serve the stored answer; ask for help if a program produced the second one",
                )
            fresh = [(key, *answer) for key, answer in wanted.items() if key not in stored]
            made = [
                {"position": count + n, "key": key, "label": label, "histogram": histogram}
                for n, (key, label, histogram) in enumerate(fresh, 1)
            ]
            if made:
                connection.execute(schema.answers.insert(), made)
        self._mark.advance(mark.ledger, answers=count + len(made))


def _rows(connection: Connection, keys: Iterable[str], *columns: Column[Any]) -> list[Any]:
    names = list(dict.fromkeys(keys))
    found: list[Any] = []
    for start in range(0, len(names), _AT_ONCE):
        found += connection.execute(select(*columns).where(_TABLE.key.in_(names[start : start + _AT_ONCE])))
    return found


def _counts(histogram: np.ndarray) -> bytes:
    integer_array(histogram=histogram)
    if histogram.ndim != 1 or not histogram.size:
        raise BadInput("a histogram to be stored is one row of counts")
    return histogram.astype("<i8").tobytes()


def _whole(label: int) -> int:
    if isinstance(label, (bool, np.bool_)) or not isinstance(label, (int, np.integer)) or not -1 <= label < 2**31:
        raise BadInput("a label must be a whole number of at least -1")
    return int(label)
