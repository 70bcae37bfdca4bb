from __future__ import annotations

import torch
from stillhouse.methods.dgd.inner import column, inner, random_unit, unit


def test_inner_products_and_columns_are_per_sample() -> None:
    a = torch.arange(12.0).reshape(2, 2, 3)
    assert torch.equal(inner(a, a), torch.tensor([55.0, 451.0]))
    assert torch.equal(column(torch.tensor([2.0, 0.0]), a) * a, torch.stack([2 * a[0], torch.zeros(2, 3)]))


def test_unit_vectors_survive_any_length_and_fall_back_where_there_is_none() -> None:
    v = torch.tensor([[3.0, 4.0], [3e-30, 4e-30], [3e30, 4e30], [0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0]])
    other = torch.tensor([1.0, 0.0]).expand(6, 2)
    found = unit(v, otherwise=other)
    assert torch.allclose(found[:3], torch.tensor([0.6, 0.8]).expand(3, 2))
    assert torch.equal(found[3:], other[3:])


def test_random_directions_have_length_one_no_preference_and_belong_to_the_generator() -> None:
    like = torch.empty(4000, 1, 2, 2, dtype=torch.float64)
    drawn = random_unit(like, torch.Generator().manual_seed(0))
    assert torch.allclose(inner(drawn, drawn), torch.ones(4000, dtype=torch.float64))
    assert drawn.mean(0).abs().max() < 4 * (0.25 / 4000) ** 0.5
    assert torch.equal(drawn, random_unit(like, torch.Generator().manual_seed(0)))
