"""Stored answers: durable, insert-only, and 0 is an answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError
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


class TestHistograms:
    COUNTS = np.array([-3, 0, 2**40])

    def test_they_come_back_bit_for_bit_in_the_next_process(self, place):
        with place.open() as ledger:
            store = AnswerStore(ledger.engine)
            store.put({"a": 2, "b": 0, "c": -1}, {"a": self.COUNTS, "b": np.zeros(2, np.int32)})
        store = AnswerStore(place.open().engine)
        found = store.histograms(["a", "b", "c", "unknown", "a"])
        assert {key: row.tolist() for key, row in found.items()} == {"a": [-3, 0, 2**40], "b": [0, 0]}
        assert all(row.dtype == np.int64 for row in found.values())
        assert store.get("abc") == {"a": 2, "b": 0, "c": -1} and store.histograms([]) == {}

    def test_many_at_once(self, place):
        counts = {f"{i}": np.array([i, -i]) for i in range(1201)}
        store = AnswerStore(place.open().engine)
        store.put(dict.fromkeys(counts, 0), counts)
        found = store.histograms(counts)
        assert found.keys() == counts.keys() and all(np.array_equal(found[key], counts[key]) for key in counts)

    @pytest.mark.parametrize("other", [COUNTS + 1, COUNTS[:2], None])
    def test_another_histogram_under_the_same_label_is_another_answer(self, place, other):
        store = AnswerStore(place.open().engine)
        store.put({"a": 2}, {"a": self.COUNTS})
        store.put({"a": 2}, {"a": self.COUNTS.astype(np.int32 if self.COUNTS.max() < 2**31 else np.int64)})
        with pytest.raises(LedgerDoubt, match="differently"):
            store.put({"a": 2, "b": 1}, {} if other is None else {"a": other})
        assert store.get("ab") == {"a": 2} and store.histograms("a")["a"].tolist() == self.COUNTS.tolist()

    def test_a_label_alone_gets_no_histogram_later(self, place):
        store = AnswerStore(place.open().engine)
        store.put({"a": 2})
        with pytest.raises(LedgerDoubt, match="differently"):
            store.put({"a": 2}, {"a": self.COUNTS})
        assert store.histograms("a") == {}

    @pytest.mark.parametrize(
        "counts", [[1, 2], np.array([1.0]), np.array([], np.int64), np.array([[1, 2]]), np.int64(3)]
    )
    def test_what_is_no_histogram_is_refused(self, sqlite_place, counts):
        store = AnswerStore(sqlite_place.open().engine)
        with pytest.raises(BadInput, match="histogram"):
            store.put({"a": 1}, {"a": counts})
        with pytest.raises(BadInput, match="label"):
            store.put({"a": 1}, {"b": self.COUNTS})
        assert store.get("ab") == {}

    def test_a_stored_histogram_cannot_be_changed(self, sqlite_place):
        AnswerStore(sqlite_place.open().engine).put({"a": 2}, {"a": self.COUNTS})
        with pytest.raises(DBAPIError, match="append-only"):
            sqlite_place.plain("UPDATE ledger_answers SET histogram = NULL")


class TestAnOlderDatabase:
    """One of the time when answers were labels alone."""

    @staticmethod
    def older(place):
        with place.open() as ledger:
            AnswerStore(ledger.engine).put({"a": 0, "b": -1})
        place.tamper("ALTER TABLE ledger_answers DROP COLUMN histogram")

    def test_it_opens_with_its_answers_and_takes_histograms(self, place):
        self.older(place)
        ledger = place.open()
        assert ledger.verify().ok, "the ledger itself does not need the place"
        for _ in range(2):
            store = AnswerStore(ledger.engine)
        assert store.get("abc") == {"a": 0, "b": -1} and store.histograms("ab") == {}
        store.put({"a": 0, "c": 1}, {"c": np.array([4, 5])})
        assert place.open().verify().ok
        with pytest.raises(LedgerDoubt, match="differently"):
            store.put({"a": 0}, {"a": np.array([4, 5])})
        assert AnswerStore(place.open().engine).histograms("abc")["c"].tolist() == [4, 5]

    def test_it_stays_append_only(self, sqlite_place):
        self.older(sqlite_place)
        AnswerStore(sqlite_place.open().engine)
        for statement in ("UPDATE ledger_answers SET histogram = x'00'", "DELETE FROM ledger_answers"):
            with pytest.raises(DBAPIError, match="append-only"):
                sqlite_place.plain(statement)

    def test_many_that_open_it_at_once(self, sqlite_place):
        self.older(sqlite_place)
        ledgers = [sqlite_place.open() for _ in range(6)]
        with ThreadPoolExecutor(6) as pool:
            stores = list(pool.map(lambda ledger: AnswerStore(ledger.engine), ledgers))
        assert all(store.get("a") == {"a": 0} for store in stores)

    def test_a_program_of_that_time_still_writes_its_labels(self, sqlite_place):
        """It names its columns, so the new one does not disturb it."""
        with sqlite_place.open() as ledger:
            AnswerStore(ledger.engine).put({"a": 0})
        sqlite_place.plain("INSERT INTO ledger_answers (position, key, label) VALUES (2, 'old', 7)")
        store = AnswerStore(sqlite_place.open().engine)
        assert store.get(["a", "old"]) == {"a": 0, "old": 7} and store.histograms(["old"]) == {}


TEXT = st.text(alphabet="ab:,-1", max_size=4)


@given(st.tuples(TEXT, TEXT, TEXT, TEXT), st.tuples(TEXT, TEXT, TEXT, TEXT))
def test_two_questions_share_a_key_only_if_they_are_the_same(a, b):
    assert (answer_key(*a) == answer_key(*b)) == (a == b)
