"""Histograms by sums modulo 2^32 against counting one vote after the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.errors import BadInput
from stillhouse.platform.secure.histogram import check_room, decode, encode


@settings(max_examples=300)
@given(silos=st.integers(1, 8), queries=st.integers(1, 4), classes=st.integers(2, 5), seed=st.integers(0, 2**32))
def test_the_sum_is_the_noisy_histogram(silos: int, queries: int, classes: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    votes = generator.integers(-1, classes, (silos, queries))
    noise = generator.integers(-(2**20), 2**20, (silos, queries, classes))
    total = np.zeros(queries * classes, dtype=np.uint32)
    for silo in range(silos):
        total += encode(votes[silo], classes=classes, noise=noise[silo])
    expected = [[0] * classes for _ in range(queries)]
    for silo in range(silos):
        for query in range(queries):
            for label in range(classes):
                expected[query][label] += int(noise[silo, query, label]) + (votes[silo, query] == label)
    assert decode(total, queries=queries, classes=classes).tolist() == expected


def test_both_ends_of_the_range_come_back() -> None:
    for value in (2**31 - 1, -(2**31), -1, 0):
        vector = encode(np.array([-1]), classes=2, noise=np.array([[value, 0]]))
        assert decode(vector, queries=1, classes=2).tolist() == [[value, 0]]


def test_what_does_not_fit_is_refused() -> None:
    none = np.zeros((1, 3), np.int64)
    for votes, noise in (
        (np.array([3]), none), (np.array([-2]), none), (np.array([0.0]), none), (np.array([0, 1]), none),
        (np.array([[0]]), none), (np.array([0]), none.astype(float)), (np.array([0]), none[:, :2]),
    ):  # fmt: skip
        with pytest.raises(BadInput):
            encode(votes, classes=3, noise=noise)
    for total in (np.zeros(3, np.int64), np.zeros(4, np.uint32), [0, 0, 0]):
        with pytest.raises(BadInput):
            decode(total, queries=1, classes=3)
    check_room(silos=1000, deviation=5e7)
    with pytest.raises(BadInput, match="too wide"):
        check_room(silos=1000, deviation=6e7)
