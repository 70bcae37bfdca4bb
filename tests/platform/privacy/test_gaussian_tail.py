"""The quick way to a wide Gaussian's tails gives the same bits as computing each of them by itself."""

from __future__ import annotations

import math
from itertools import pairwise

import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.privacy import gaussian_tail
from stillhouse.platform.privacy.gaussian_tail import FROM_SIGMA, GUARD, gaussian_tails
from stillhouse.platform.privacy.noise import BITS, gaussian_table

TAIL = 17  # standard deviations that a table holds


def exact(sigma: float, k: int, *, bits: int = BITS) -> int:
    """erfc of one number, with more digits than the production code uses."""
    with mpmath.workdps(140):
        x = (k + mpmath.mpf("0.5")) / (mpmath.mpf(sigma) * mpmath.sqrt(2))
        return int(mpmath.nint(mpmath.erfc(x) / 2 * mpmath.mpf(2) ** bits))


def steps(sigma: float) -> int:
    return math.ceil(TAIL * sigma) + 1


@settings(max_examples=8, deadline=None)
@given(st.floats(FROM_SIGMA, 60.0))
def test_every_tail_is_the_one_computed_by_itself(sigma: float) -> None:
    count = steps(sigma)
    assert gaussian_tails(sigma, count, bits=BITS) == [exact(sigma, k) for k in range(count)]


@pytest.mark.parametrize("sigma", [200.0, 1000 / 3, 2048.0, 2940.0])
def test_errors_do_not_grow_over_the_widest_tables(sigma: float) -> None:
    count = steps(sigma)
    tails = gaussian_tails(sigma, count, bits=BITS)
    for k in [*range(0, count, count // 60), count - 2, count - 1]:
        assert tails[k] == exact(sigma, k)
    assert all(before > after for before, after in pairwise(tails[: count // 2]))


def test_the_error_is_below_the_bound_that_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the guard bits the results are in the units that the computation itself rounds to."""
    monkeypatch.setattr(gaussian_tail, "GUARD", 1)
    sigma, bits = 2940.0, BITS + GUARD - 1
    count = steps(sigma)
    tails = gaussian_tails(sigma, count, bits=bits)
    worst = max(abs(tails[k] - exact(sigma, k, bits=bits)) for k in range(count // 40, count, count // 40))
    assert 0 < worst < 2**47


def test_the_table_of_a_wide_gaussian_is_made_of_them() -> None:
    table = gaussian_table(2048.0)
    assert list(reversed(table.cumulative[: table.largest])) == gaussian_tails(2048.0, table.largest, bits=BITS)
    assert sum(table.cumulative[table.largest - 1 : table.largest + 1]) == 1 << BITS  # symmetric


@pytest.mark.slow
def test_all_of_the_widest_table_that_is_used() -> None:
    count = steps(2048.0)
    assert gaussian_tails(2048.0, count, bits=BITS) == [exact(2048.0, k) for k in range(count)]
