"""One record moves the integer sums by no more than the bound, exactly; the release is the moments plus noise of the stated size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from stillhouse.platform.errors import BadInput
from stillhouse.platform.ledger import Ledger
from stillhouse.platform.privacy.accounting import gdp_epsilon
from stillhouse.platform.privacy.budget import BudgetKind
from stillhouse.platform.privacy.neighbours import Relation
from stillhouse.platform.privacy.selection import SelectionEvent, worst_of
from stillhouse.platform.privacy.sums import HEADROOM, SUM_UNITS, integer_sums, sums_event

VALUES = st.floats(allow_nan=True, allow_infinity=True, width=32)


@settings(max_examples=200)
@given(arrays(np.float32, (5, 7), elements=VALUES), st.floats(1.0, 500.0), st.integers(0, 2))
def test_one_record_moves_the_sums_by_at_most_the_bound(vectors: np.ndarray, bound: float, label: int) -> None:
    labels = np.array([0, 1, 2, 0, label])
    whole = integer_sums(torch.from_numpy(vectors), labels, 3, bound=bound)
    without = integer_sums(torch.from_numpy(vectors[:4]), labels[:4], 3, bound=bound)
    assert int(((whole - without) ** 2).sum()) <= bound**2


def test_sums_are_those_of_the_vectors_up_to_the_grid() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(9000, 30, generator=generator))
    labels = torch.randint(4, (9000,), generator=generator).numpy()
    expected = np.stack([vectors.numpy()[labels == k].astype(np.float64).sum(0) for k in range(4)])
    found = integer_sums(vectors, labels, 4, bound=SUM_UNITS / 20) / (SUM_UNITS / 20 * HEADROOM)
    # Each entry was rounded by half a unit of the grid at most, up or down alike: errors of thousands of records cancel.
    assert np.abs(found - expected).max() < 6 * (9000 / 4 / 12) ** 0.5 * 20 / SUM_UNITS
    assert abs(float((found * expected).sum() / (expected * expected).sum()) - 1) < 0.01


def test_a_vector_that_rounds_too_long_is_cut() -> None:
    # All coordinates round up: 0.55 to 1 in each of 400.
    vector = torch.full((1, 400), 0.05)
    units = integer_sums(vector, np.array([0]), 1, bound=0.55 * 20 / HEADROOM)
    assert int((units**2).sum()) <= (0.55 * 20 / HEADROOM) ** 2


@settings(max_examples=100)
@given(arrays(np.float32, (5, 7), elements=VALUES), arrays(np.float32, (1, 7), elements=VALUES), st.integers(0, 2))
def test_a_replaced_record_moves_the_sums_by_at_most_twice_the_bound(
    vectors: np.ndarray, other: np.ndarray, label: int
) -> None:
    bound = 100.0
    before = integer_sums(torch.from_numpy(vectors), np.array([0, 1, 2, 0, 1]), 3, bound=bound)
    changed = np.concatenate([vectors[:4], other])
    after = integer_sums(torch.from_numpy(changed), np.array([0, 1, 2, 0, label]), 3, bound=bound)
    assert int(((before - after) ** 2).sum()) <= (2 * bound) ** 2


def test_a_budget_for_replacing_records_refuses_sums_that_are_priced_for_removing_them(tmp_path: Path) -> None:
    """A record and its opposite are nearly two bounds apart, so the true epsilon is another one than was priced."""
    bound, sigma = SUM_UNITS / 20.0, 20.0
    vector = torch.nn.functional.one_hot(torch.tensor([3]), 8).float()
    ends = [integer_sums(sign * vector, np.array([0]), 2, bound=bound) for sign in (1, -1)]
    assert np.linalg.norm(ends[0] - ends[1]) > 1.9 * bound
    assert gdp_epsilon(1.9 / sigma, 1e-5) > 1.8 * gdp_epsilon(1 / sigma, 1e-5)
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        ledger.grant("votes", epsilon=1.0, delta=1e-5, by="officer")
        ledger.grant("sums", epsilon=1.0, delta=1e-5, neighbouring=Relation.ADD_OR_REMOVE_ONE, by="officer")
        event = sums_event(sigma)
        with pytest.raises(BadInput, match="add-or-remove-one only"):
            ledger.charge("votes", key="k", event=event, purpose="sums")
        receipt = ledger.charge("sums", key="k", event=event, purpose="sums")
        # Kept with its relation, and found again by a retry.
        again = ledger.charge("sums", key="k", event=event, purpose="sums")
        assert again.replayed and again.cost == receipt.cost == (1_250_000,)
        assert ledger.verify().ok and ledger.entries("sums")[-1].content["event"]["holds_for"] == ["add-or-remove-one"]


def test_a_search_over_such_sums_is_about_the_same_neighbours(tmp_path: Path) -> None:
    worst = worst_of([sums_event(20.0), sums_event(30.0)])
    assert worst.relations == {Relation.ADD_OR_REMOVE_ONE}
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        ledger.grant("votes", epsilon=3.0, delta=1e-5, kind=BudgetKind.RDP, orders=(8.0,), by="officer")
        for event in (SelectionEvent(sums_event(20.0), 4.0), worst):
            with pytest.raises(BadInput, match="add-or-remove-one only"):
                ledger.would_fit("votes", event)
