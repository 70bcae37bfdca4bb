from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from stillhouse.methods.dgd.conjugate_gradient import conjugate_gradient
from stillhouse.platform.errors import BadInput
from torch import Tensor


def systems(seed: int, batch: int, size: int, *, rank: int | None = None) -> tuple[Tensor, Tensor]:
    """Return positive semi-definite matrices (batch, size, size) of a rank, condition about 100 on it, and right-hand sides."""
    generator = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(batch, size, size, dtype=torch.float64, generator=generator)).Q
    values = 10 ** (2 * torch.rand(batch, size, dtype=torch.float64, generator=generator) - 1)
    values[:, rank if rank is not None else size :] = 0
    b = torch.randn(batch, size, dtype=torch.float64, generator=generator)
    return q @ (values[:, :, None] * q.mT), b


def products(matrices: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda v: (matrices @ v[:, :, None])[:, :, 0]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 8))
def test_as_many_steps_as_dimensions_solve_it(seed: int, batch: int, size: int) -> None:
    matrices, b = systems(seed, batch, size)
    found = conjugate_gradient(products(matrices), b, steps=size, damping=1e-3, tolerance=0)
    oracle = torch.linalg.solve(matrices + 1e-3 * torch.eye(size, dtype=torch.float64), b)
    assert (found - oracle).norm() <= 1e-6 * oracle.norm()


def test_residuals_fall_with_steps() -> None:
    matrices, b = systems(0, 20, 12)
    matrices = matrices + 2 * torch.eye(12, dtype=torch.float64)
    norms = []
    for steps in range(1, 9):
        found = conjugate_gradient(products(matrices), b, steps=steps, damping=0)
        norms.append((products(matrices)(found) - b).norm(dim=1))
    falls = torch.stack(norms)
    assert (falls[1:] < falls[:-1]).all()
    assert (falls[-1] < 1e-2 * b.norm(dim=1)).all()


def test_the_default_is_four_steps() -> None:
    matrices, b = systems(1, 3, 8)
    calls = []
    conjugate_gradient(lambda v: (calls.append(1), products(matrices)(v))[1], b)
    assert len(calls) == 4


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["zero", "singular", "nan", "negative", "huge"]))
def test_no_sample_disturbs_another(seed: int, kind: str) -> None:
    matrices, b = systems(seed, 3, 6)
    alone = conjugate_gradient(products(matrices[1:]), b[1:])
    if kind == "singular":
        matrices[0], b[0] = systems(seed, 1, 6, rank=2)[0][0], b[0]
    elif kind == "zero":
        b[0] = 0
    else:
        matrices[0] *= {"nan": float("nan"), "negative": -1.0, "huge": 1e200}[kind]
    together = conjugate_gradient(products(matrices), b)
    torch.testing.assert_close(together[1:], alone, rtol=1e-9, atol=1e-12)
    assert together.isfinite().all()
    if kind == "zero":
        assert torch.equal(together[0], torch.zeros(6, dtype=torch.float64))


def test_a_singular_system_is_solved_on_its_range() -> None:
    matrices, b = systems(2, 4, 10, rank=3)
    inside = products(matrices)(b)
    found = conjugate_gradient(products(matrices), inside, steps=4)
    assert (products(matrices)(found) - inside).norm() < 1e-5 * inside.norm()
    # A right-hand side that the matrix cannot reach is divided by the damping alone, and stays finite.
    assert conjugate_gradient(products(torch.zeros_like(matrices)), b).allclose(b / 1e-6)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_direction_does_not_depend_on_the_right_hand_sides_length(scale: float) -> None:
    matrices, b = systems(3, 4, 6)
    assert torch.allclose(
        conjugate_gradient(products(matrices), scale * b) / scale, conjugate_gradient(products(matrices), b)
    )


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(BadInput):
        conjugate_gradient(lambda v: v, torch.ones(2, 2), steps=0)
    with pytest.raises(BadInput):
        conjugate_gradient(lambda v: v, torch.ones(2))
