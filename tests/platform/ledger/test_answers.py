"""Stored answers: durable, insert-only, and 0 is an answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.platform.errors import BadInput, LedgerDoubt
from stillhouse.platform.ledger import AnswerStore, answer_key
from stillhouse.platform.ledger.database import open_engine


def test_class_0_is_a_hit_and_so_is_an_abstention(place):
    store = AnswerStore(place.open().engine)
    store.put({"zero": 0, "abstained": -1, "nine": np.int64(9)})
    assert store.get(["zero", "abstained", "nine", "unknown"]) == {"zero": 0, "abstained": -1, "nine": 9}
    assert store.get([]) == {} and store.get(["zero", "zero"]) == {"zero": 0}


def test_the_same_answer_again_is_fine_and_another_is_a_doubt(place):
    store = AnswerStore(place.open().engine)
    store.put({"a": 0})
    store.put({"a": 0, "b": 1})
    for label in (1, -1):
        with pytest.raises(LedgerDoubt, match="differently"):
            store.put({"c": 2, "a": label})
    assert store.get("abc") == {"a": 0, "b": 1}, "a refused group stores none of its answers"
    store.put({})


def test_answers_are_there_for_the_next_process_and_many_at_once(place):
    labels = {f"{i}": i % 11 - 1 for i in range(1201)}
    with place.open() as ledger:
        AnswerStore(ledger.engine).put(labels)
    assert AnswerStore(place.open().engine).get(labels) == labels


@pytest.mark.parametrize("label", [None, 1.0, True, "1", -2, 2**31, float("nan"), np.float32(1)])
def test_what_is_no_label_is_refused(sqlite_place, label):
    store = AnswerStore(sqlite_place.open().engine)
    with pytest.raises(BadInput, match="label"):
        store.put({"a": label})
    assert store.get(["a"]) == {}


def test_a_backup_that_lost_answers_is_refused(place):
    """Otherwise a question could be answered twice, differently, under one charge."""
    ledger = place.open()
    store = AnswerStore(ledger.engine)
    store.put({"a": 0, "b": 1})
    place.tamper("DELETE FROM ledger_answers WHERE key = 'b'")
    assert not ledger.verify().ok
    with pytest.raises(LedgerDoubt, match="1 answers are stored, but 2"):
        place.open()
    with pytest.raises(LedgerDoubt):
        store.put({"b": 2})
    with pytest.raises(LedgerDoubt):
        ledger.position()


def test_answers_need_a_ledger_and_its_mark(tmp_path):
    engine = open_engine(f"sqlite+pysqlite:///{tmp_path}/x.db")
    with pytest.raises(BadInput, match="engine of an open Ledger"):
        AnswerStore(engine)
    engine.dispose()


TEXT = st.text(alphabet="ab:,-1", max_size=4)


@given(st.tuples(TEXT, TEXT, TEXT, TEXT), st.tuples(TEXT, TEXT, TEXT, TEXT))
def test_two_questions_share_a_key_only_if_they_are_the_same(a, b):
    assert (answer_key(*a) == answer_key(*b)) == (a == b)
