"""One record moves the integer sums by no more than the bound, exactly; the release is the moments plus noise of the stated size."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from stillhouse.platform.privacy.sums import SUM_UNITS, integer_sums

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
    found = integer_sums(vectors, labels, 4, bound=SUM_UNITS / 20) / (SUM_UNITS / 20)
    # Each entry was cut by less than one unit of the grid.
    assert np.abs(found - expected).max() < 9000 / 4 * 1.2 * 20 / SUM_UNITS
