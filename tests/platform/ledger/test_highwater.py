"""The mark only moves up, survives a torn write, and says so when it is damaged."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.errors import LedgerDoubt, TimedOut
from stillhouse.platform.ledger.highwater import SLOT, HighWater, Mark

START = Mark("ledger", 0, "h0", 0)


@pytest.fixture
def mark(tmp_path):
    found = HighWater(tmp_path / "mark")
    found.create(START)
    return found


def test_a_new_mark_stands_at_its_start_and_a_second_creation_changes_nothing(mark, tmp_path):
    mark.advance("ledger", head=(3, "h3"))
    mark.create(START)
    assert mark.read() == Mark("ledger", 3, "h3", 0)
    assert [path.name for path in tmp_path.iterdir()] == ["mark"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_it_is_the_highest_position_ever_told(tmp_path_factory, positions):
    mark = HighWater(tmp_path_factory.mktemp("mark") / "mark")
    mark.create(START)
    seq = answers = 0
    for new_seq, new_answers in positions:
        mark.advance("ledger", head=(new_seq, f"h{new_seq}"), answers=new_answers)
        seq, answers = max(seq, new_seq), max(answers, new_answers)
        assert mark.read() == Mark("ledger", seq, f"h{seq}", answers)


def test_another_hash_for_the_same_entry_or_another_ledger_is_a_doubt(mark):
    mark.advance("ledger", head=(3, "h3"))
    with pytest.raises(LedgerDoubt, match="disagree"):
        mark.advance("ledger", head=(3, "other"))
    with pytest.raises(LedgerDoubt, match="another ledger"):
        mark.advance("other", head=(4, "h4"))
    assert mark.read() == Mark("ledger", 3, "h3", 0)


def test_one_torn_slot_falls_back_to_the_other_and_says_so(mark):
    mark.advance("ledger", head=(1, "h1"))
    mark.advance("ledger", head=(2, "h2"))
    data = mark.path.read_bytes()
    newest = max((0, 1), key=lambda slot: b'"seq": 2' in data[slot * SLOT : (slot + 1) * SLOT])
    torn = bytearray(data)
    torn[newest * SLOT + 100 : (newest + 1) * SLOT] = bytes(SLOT - 100)
    mark.path.write_bytes(torn)
    assert mark.read() == Mark("ledger", 1, "h1", 0, torn=True)
    mark.advance("ledger", head=(2, "h2"))
    assert mark.read() == Mark("ledger", 2, "h2", 0)


@pytest.mark.parametrize("cut", [0, 1, SLOT, 2 * SLOT - 1])
def test_a_file_of_another_length_is_refused(mark, cut):
    mark.path.write_bytes(mark.path.read_bytes()[:cut])
    with pytest.raises(LedgerDoubt, match="cannot be read"):
        mark.read()


def test_every_flipped_byte_is_seen(mark):
    mark.advance("ledger", head=(1, "h1"))
    data = mark.path.read_bytes()
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        mark.path.write_bytes(changed)
        assert mark.read().torn


def test_a_missing_or_unwritable_mark_is_refused_with_a_remedy(mark, tmp_path):
    mark.path.unlink()
    for attempt in (mark.read, lambda: mark.advance("ledger", head=(1, "h1"))):
        with pytest.raises(LedgerDoubt, match=r"missing.*rewrite_mark"):
            attempt()
    for path in (tmp_path / "no" / "folder" / "mark", tmp_path / ("x" * 300)):
        with pytest.raises(LedgerDoubt, match=r"missing|cannot write"):
            HighWater(path).create(START)


def test_writers_take_turns_and_give_up_in_time(mark):
    other = HighWater(mark.path, wait_seconds=0.1)
    with mark.locked(), pytest.raises(TimedOut, match="no turn"):
        other.advance("ledger", head=(1, "h1"))
    other.advance("ledger", head=(1, "h1"))


def test_many_threads_and_objects_end_at_the_top(mark):
    def climb(start: int) -> None:
        own = HighWater(mark.path)
        for seq in range(start, 60, 3):
            own.advance("ledger", head=(seq, f"h{seq}"))
            assert mark.read().seq >= seq

    threads = [threading.Thread(target=climb, args=(start,)) for start in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mark.read() == Mark("ledger", 59, "h59", 0)
    assert mark.path.stat().st_size == 2 * SLOT
