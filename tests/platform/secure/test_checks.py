"""What is kept of a check, and the sentence about one whose answers do not come."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from stillhouse.platform.errors import BadInput
from stillhouse.platform.secure import checks
from stillhouse.platform.secure.checks import Checked, about_check, known


def test_the_examples_hold() -> None:
    outcome = doctest.testmod(checks)
    assert outcome.attempted > 0 and outcome.failed == 0


def test_a_cost_is_told_only_where_there_is_one() -> None:
    """A charge by a Renyi curve has no rho, and "rho 0" would say that it was free."""
    assert about_check(charged=True, cost=0, kept=False) == "The check was charged"
    assert about_check(charged=True, cost=10**9, kept=False) == "The check cost rho 1"
    assert about_check(charged=False, cost=0, kept=True).startswith("The check had been paid for before and is kept")


def test_only_rows_that_are_asked_and_classes_that_are_the_same() -> None:
    check = Checked(np.array([3, 1, 2]), 5)
    assert known({0: check, 4: check}, (0, 1), classes=3) == {0: check}
    assert known({0: Checked(np.zeros(2, np.int64), 5)}, (1,), classes=3) == {}
    with pytest.raises(BadInput, match="number of classes"):
        known({0: check}, (0, 1), classes=4)
