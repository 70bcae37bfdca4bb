"""Maps of networks of unlike depth and resolution are brought together."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.methods.recognition.baselines.maps import at_one_size, check_maps, matched
from stillhouse.platform.errors import BadInput
from support.distillation import SIZES


@given(teacher=st.integers(1, 8), student=st.integers(1, 8))
def test_as_many_pairs_as_the_shallower_network_has_maps_the_last_with_the_last(teacher: int, student: int) -> None:
    pairs = matched(teacher, student)
    assert len(pairs) == min(teacher, student) and pairs[-1] == (teacher - 1, student - 1)
    for side in zip(*pairs, strict=True):
        assert list(side) == sorted(set(side))
    if teacher == student:
        assert pairs == [(i, i) for i in range(teacher)]


def test_the_larger_map_is_averaged_to_the_smaller_in_each_direction() -> None:
    first, second = torch.rand(2, 3, 4, 2), torch.rand(2, 5, 2, 6)
    a, b = at_one_size(first, second)
    assert a.shape == (2, 3, 2, 2) and b.shape == (2, 5, 2, 2)
    assert torch.allclose(a[0, 0, 0, 0], first[0, 0, :2, 0].mean())
    assert torch.allclose(b[1, 4, 1, 1], second[1, 4, 1, 3:].mean())


@pytest.mark.parametrize("side", ["teacher", "student"])
def test_a_network_without_maps_is_refused_by_name(side: str) -> None:
    with pytest.raises(BadInput, match=f"this {side} shows none"):
        check_maps("at", replace(SIZES, **{f"{side}_maps": ()}))
