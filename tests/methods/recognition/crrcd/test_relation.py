"""Relation modules against their formula, entry by entry."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.methods.recognition.crrcd.relation import FeatureRelation, ProjectedRelation, unit_variance
from stillhouse.platform.errors import BadInput


def _by_hand(module: FeatureRelation, anchor: list[float], other: list[float]) -> list[float]:
    def times(weight: torch.Tensor, vector: list[float]) -> list[float]:
        return [sum(w * x for w, x in zip(row, vector, strict=True)) for row in weight.tolist()]

    left, right = times(module.anchor.weight, anchor), times(module.other.weight, other)
    return times(module.out.weight, [max(a - b, 0.0) for a, b in zip(left, right, strict=True)])


@given(seed=st.integers(0, 10**6))
@settings(max_examples=10)
def test_a_relation_is_equation_1(seed: int) -> None:
    torch.manual_seed(seed)
    module = FeatureRelation(3, 4, hidden=5, dimension=2).double()
    anchor, other = torch.randn(6, 3).double(), torch.randn(6, 4).double()
    wanted = [_by_hand(module, a, o) for a, o in zip(anchor.tolist(), other.tolist(), strict=True)]
    assert torch.allclose(module(anchor, other), torch.tensor(wanted).double(), atol=1e-6)


def test_projections_are_the_unit_vectors_of_h_of_v_and_cosines_are_with_them() -> None:
    torch.manual_seed(0)
    module = ProjectedRelation(3, 4, hidden=5, dimension=6).double()
    anchor, others = torch.randn(2, 3).double(), torch.randn(7, 4).double()
    chosen = torch.tensor([[0, 6, 3], [2, 2, 5]])
    units = torch.nn.functional.normalize(torch.randn(2, 6).double(), dim=1)
    cosines = module.cosines(anchor, others, chosen, units)
    for i in range(2):
        for k in range(3):
            projected = module.projection(module.relation(anchor[i], others[chosen[i, k]]))
            unit = projected / projected.norm()
            assert torch.allclose(cosines[i, k], unit @ units[i])
            assert torch.allclose(module(anchor[i : i + 1], others[chosen[i, k]].unsqueeze(0))[0], unit)


def test_a_relation_without_an_active_unit_has_cosines_and_gradients_of_zero() -> None:
    torch.manual_seed(0)
    module = ProjectedRelation(3, 3, hidden=5, dimension=6)
    module.relation.other.load_state_dict(module.relation.anchor.state_dict())
    others, units = torch.ones(4, 3, requires_grad=True), torch.eye(6)[:1]
    cosines = module.cosines(torch.ones(1, 3), others, torch.tensor([[0, 1]]), units)
    cosines.sum().backward()
    assert not cosines.any() and others.grad is not None and not others.grad.any()


def test_no_map_has_a_bias_and_relations_point_apart_at_the_start() -> None:
    torch.manual_seed(0)
    module = ProjectedRelation(64, 64)
    assert not [name for name, _ in module.named_parameters() if name.endswith("bias")]
    embeddings = unit_variance(torch.randn(40, 64))
    units = module(embeddings[:20], embeddings[20:])
    cosines = (units @ units.T)[~torch.eye(20, dtype=torch.bool)]
    assert cosines.mean() < 0.9  # With biases, and unit vectors, this is above 0.99: see below.
    biased = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 128))
    parallel = torch.nn.functional.normalize(biased(embeddings / math.sqrt(64)), dim=1)
    assert (parallel @ parallel.T).mean() > cosines.mean() + 0.05


def test_unit_variance_is_of_length_root_d_and_leaves_zero_alone() -> None:
    given_ = torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert torch.allclose(unit_variance(given_), torch.tensor([[1.2, 1.6, 0.0, 0.0], [0.0] * 4]))


def test_a_relation_of_no_length_is_refused() -> None:
    with pytest.raises(BadInput, match="hidden"):
        FeatureRelation(3, 3, hidden=0)
