from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.methods.noisy_labels.multilabel.pair_counts import count_pairs
from stillhouse.platform.errors import BadInput


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(2, 6))
def test_the_products_count_what_loops_count(seed: int, rows: int, q: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, (rows, q)).astype(np.uint8)
    selected = generator.random((rows, q)) < 0.6
    found = count_pairs(labels, selected)
    for j in range(q):
        ones = [n for n in range(rows) if selected[n, j] and labels[n, j] == 1]
        zeros = [n for n in range(rows) if selected[n, j] and labels[n, j] == 0]
        assert (found.ones[j], found.zeros[j]) == (len(ones), len(zeros))
        for i in range(q):
            both = sum(labels[n, j] == 1 and labels[n, i] == 1 for n in range(rows))
            assert found.together[j, i] == pytest.approx(both / rows, abs=1e-15)
            for part, value in ((ones, found.given_one[j, i]), (zeros, found.given_zero[j, i])):
                if part:
                    assert value == pytest.approx(sum(labels[n, i] for n in part) / len(part), abs=1e-15)
                else:
                    assert np.isnan(value)


def test_counts_of_many_rows_are_exact() -> None:
    labels = np.ones((300_001, 2), np.uint8)
    labels[0] = 0
    found = count_pairs(labels, np.ones(labels.shape, bool))
    assert found.together[0, 1] == 300_000 / 300_001
    assert found.ones.tolist() == [300_000, 300_000]


def test_shapes_must_fit() -> None:
    with pytest.raises(BadInput, match="selection of shape"):
        count_pairs(np.zeros((3, 2), np.uint8), np.zeros((3, 3), bool))
