from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from stillhouse.platform.data.multilabel_noise import balanced, check_rates, class_dependent, flip
from stillhouse.platform.errors import BadInput

rate = st.floats(0.0, 1.0)


@given(rate, rate, st.integers(0, 2**31))
def test_labels_flip_as_often_as_they_should(fp: float, fn: float, seed: int) -> None:
    clean = np.repeat(np.array([[0, 1]], np.uint8), 4000, axis=0)
    noisy = flip(clean, class_dependent(2, false_positive=fp, false_negative=fn), seed=seed)
    for flipped, expected in ((noisy[:, 0].sum(), fp), ((1 - noisy[:, 1]).sum(), fn)):
        # Both tails, exactly: six deviations of a normal law leave as much.
        assert binom.cdf(flipped, 4000, expected) > 1e-9 and binom.sf(int(flipped) - 1, 4000, expected) > 1e-9


def test_flips_are_repeatable_and_independent() -> None:
    clean = np.zeros((20_000, 2), np.uint8)
    rates = class_dependent(2, false_positive=0.3, false_negative=0.0)
    first = flip(clean, rates, seed=4)
    assert (first == flip(clean, rates, seed=4)).all()
    assert (first != flip(clean, rates, seed=5)).any()
    assert abs(np.corrcoef(first.T)[0, 1]) < 0.03
    assert (flip(1 - clean, rates, seed=4) == 1).all()


def test_balanced_noise_keeps_the_number_of_labels() -> None:
    """The published scripts' rates: 1.5 of 20 labels and 0.2 give 0.0162 (they write 0.0172 for their cardinality)."""
    rates = balanced(20, false_negative=0.2, cardinality=1.5)
    assert rates[0] == pytest.approx([0.2 * 1.5 / 18.5, 0.2])
    clean = (np.random.default_rng(0).random((50_000, 20)) < 0.075).astype(np.uint8)
    assert flip(clean, rates, seed=1).sum() == pytest.approx(clean.sum(), rel=0.01)


def test_rates_out_of_range() -> None:
    for wrong in (-0.1, 1.1, True, "0.2"):
        with pytest.raises(BadInput, match="false_positive is"):
            check_rates(false_positive=wrong)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="balanced noise"):
        balanced(3, false_negative=0.2, cardinality=3.0)
