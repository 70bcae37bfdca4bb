"""What silos send on a batch of vectors: taken once, checked against the bound, added up exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.aggregator.vector_rounds import VectorRound
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.vector_mean import Grid

GRID = Grid.of(1.0, 4)
ROSTER = ("a", "b", "c")


def round_of(*, keep: bool = False, quorum: int = 2) -> VectorRound:
    return VectorRound(ROSTER, quorum, rows=2, grid=GRID, keep=keep)


def some(seed: int) -> np.ndarray:
    return GRID.put(np.random.default_rng(seed).normal(size=(2, 4)))


@settings(max_examples=40, deadline=None)
@given(order=st.permutations(range(3)), missing=st.integers(0, 3), repeats=st.lists(st.integers(0, 2), max_size=3))
def test_the_sum_is_that_of_who_answered_in_any_order(order: list[int], missing: int, repeats: list[int]) -> None:
    adding, keeping = round_of(), round_of(keep=True)
    came = [place for place in order if place != missing]
    for place in [*came, *[r for r in repeats if r != missing]]:
        adding.add(ROSTER[place], some(place))
        keeping.add(ROSTER[place], some(place))
    total = adding.table()
    assert total.voted == len(came) == keeping.voted
    expected = sum((some(place).astype(np.int64) for place in came), np.zeros((2, 4), np.int64))
    assert np.array_equal(total.total(), expected)
    for place in range(3):
        alone = keeping.table().of(place)
        assert np.array_equal(alone, some(place) if place in came else np.zeros((2, 4)))


def test_a_silo_that_lies_about_its_length_is_refused() -> None:
    round_ = round_of()
    long = np.zeros((2, 4), np.int64)
    long[1, :2] = GRID.bound, 1  # longer by one part in 30,000, and each number within the bound
    with pytest.raises(BadInput, match="longer than"):
        round_.add("a", long)
    assert round_.voted == 0 and not round_.table().total().any()
    long[1, 1] = 0
    round_.add("a", long)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((3, 4), np.int16),
        np.zeros((2, 5), np.int16),
        np.zeros(8, np.int16),
        np.zeros((2, 4)),
        np.full((2, 4), np.nan),
    ],
    ids=["rows", "width", "flat", "floats", "nan"],
)
def test_what_is_no_answer_is_refused(wrong: np.ndarray) -> None:
    round_ = round_of()
    with pytest.raises(BadInput):
        round_.add("a", wrong)
    assert round_.voted == 0


def test_the_first_answer_stands_whatever_its_type() -> None:
    round_ = round_of()
    round_.add("a", some(0))
    round_.add("a", some(0).astype(np.int64))
    with pytest.raises(BadInput, match="first answer stands"):
        round_.add("a", some(1))
    assert np.array_equal(round_.table().total(), some(0))


def test_who_is_waited_for() -> None:
    round_ = round_of()
    assert round_.awaits(["a"]) and not round_.complete and not round_.has_quorum
    round_.add("a", some(0))
    round_.give_up(["a", "b"])
    assert not round_.awaits(["a", "b"]) and round_.given_up == 1 and round_.lacks(["a", "b", "c"]) == 2
    round_.add("b", some(1))  # it came after all
    assert round_.given_up == 0 and round_.has_quorum and not round_.complete
    round_.closed = True
    assert not round_.awaits(["c"])
    round_.add("a", some(0))
    with pytest.raises(BadInput, match="too late"):
        round_.add("c", some(2))
    with pytest.raises(BadInput, match="roster"):
        round_.add("d", some(2))
