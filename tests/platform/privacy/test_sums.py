"""One record moves the integer sums by no more than the bound, exactly; the release is the moments plus noise of the stated size."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from stillhouse.platform.privacy.sums import HEADROOM, SUM_UNITS, integer_sums

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
