"""Unnatural orders: what they are, and that none is missing."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.methods.recognition.naco.shuffles import in_order, shuffled_orders, unnatural
from stillhouse.platform.errors import BadInput

KINDS = ("frame", "segment", "local")


@given(st.sampled_from(KINDS), st.integers(4, 19), st.integers(0, 2**31))
def test_an_order_is_a_permutation_that_moves_half_and_is_no_reversal(kind: str, length: int, seed: int) -> None:
    orders = shuffled_orders(kind, 7, length, torch.Generator().manual_seed(seed))
    natural = list(range(length))
    for order in orders.tolist():
        assert sorted(order) == natural
        assert order != natural and order != natural[::-1]
        assert sum(a != b for a, b in zip(order, natural, strict=True)) * 2 >= length


def test_every_unnatural_order_of_four_frames_is_drawn() -> None:
    drawn = shuffled_orders("frame", 4000, 4, torch.Generator().manual_seed(1))
    wanted = {
        order
        for order in itertools.permutations(range(4))
        if sum(a != b for a, b in enumerate(order)) >= 2 and order != (3, 2, 1, 0)
    }
    found = {tuple(order) for order in drawn.tolist()}
    assert found == wanted and len(wanted) == 22
    counts = torch.unique(drawn, dim=0, return_counts=True)[1].double()
    expected = 4000 / 22
    assert float(((counts - expected) ** 2 / expected).sum()) < 46.8  # chi-square of 21 degrees, p = 0.001


def test_windows_and_pieces_stay_what_they_are() -> None:
    draw = torch.Generator().manual_seed(2)
    local = shuffled_orders("local", 50, 16, draw)
    assert (local // 4 == torch.arange(16) // 4).all()
    for order in shuffled_orders("segment", 50, 16, draw).tolist():
        pieces = [order[first : first + 4] for first in range(0, 16, 4)]
        assert all(piece == list(range(piece[0], piece[0] + 4)) and piece[0] % 4 == 0 for piece in pieces)


def test_natural_and_reversed_orders_are_told() -> None:
    orders = torch.tensor([[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [1, 0, 2, 3, 4, 5], [2, 0, 1, 3, 4, 5]])
    assert unnatural(orders).tolist() == [False, False, False, True]


def test_frames_are_put_in_the_order_asked_for() -> None:
    features = torch.arange(24.0).reshape(2, 2, 3, 2)
    orders = torch.tensor([[2, 0, 1], [0, 2, 1]])
    found = in_order(features, orders)
    for clip in range(2):
        for place, frame in enumerate(orders[clip].tolist()):
            assert torch.equal(found[clip, :, place], features[clip, :, frame])


def test_three_frames_and_unknown_kinds_are_refused() -> None:
    with pytest.raises(BadInput, match="cannot be shuffled"):
        shuffled_orders("frame", 1, 3, torch.Generator())
    with pytest.raises(BadInput, match="use one of frame, segment, local"):
        shuffled_orders("swap", 1, 8, torch.Generator())
