"""Orders that are not natural: what they keep, what they move."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.platform.data.forgery_order import held_order, local_order, shuffled_order
from stillhouse.platform.errors import BadInput


@pytest.mark.parametrize(("order_of", "window"), [(shuffled_order, 16), (local_order, 4)])
@given(frames=st.integers(3, 70), seed=st.integers(0, 10**6))
def test_each_window_is_permuted_and_mostly_moved(order_of, window: int, frames: int, seed: int) -> None:
    order = order_of(frames, np.random.default_rng(seed))
    for start in range(0, frames, window):
        natural = np.arange(start, min(start + window, frames))
        here = order[natural]
        assert sorted(here.tolist()) == natural.tolist()
        if len(natural) >= 3:
            assert (here != natural).sum() * 2 >= len(natural) and here.tolist() != natural[::-1].tolist()
        else:
            assert (here == natural).all()


@given(frames=st.integers(3, 70), seed=st.integers(0, 10**6))
def test_held_frames_repeat_the_one_before(frames: int, seed: int) -> None:
    shown = held_order(frames, np.random.default_rng(seed))
    assert shown[0] == 0 and len(shown) == frames
    held = shown != np.arange(frames)
    assert (shown[1:][held[1:]] == shown[:-1][held[1:]]).all()
    for start in range(0, frames, 16):
        here = held[start : start + 16]
        assert here.sum() == min(round(len(here) * 6 / 16), len(here) - (start == 0))


def test_all_orders_of_four_that_are_moved_occur_alike() -> None:
    rng = np.random.default_rng(0)
    counted: dict[tuple[int, ...], int] = {}
    for _ in range(2000):
        order = tuple(local_order(4, rng).tolist())
        counted[order] = counted.get(order, 0) + 1
    # Of 24, the natural one, the reversal, and none with only one in its place more than half: 2 swaps of pairs leave two.
    assert len(counted) == 22 and min(counted.values()) > 2000 / 22 * 0.6


@pytest.mark.parametrize("order_of", [shuffled_order, local_order, held_order])
def test_two_frames_have_no_other_order(order_of) -> None:
    with pytest.raises(BadInput, match="2 frames"):
        order_of(2, np.random.default_rng(0))
