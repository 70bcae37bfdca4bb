"""Soft labels lie on the simplex and nearest to what came; corrected losses and confusions are what they are defined as."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize
from stillhouse.methods.dgd.answers import confusion, forward_corrected, project_to_simplex, soft_cross_entropy

ROWS = arrays(np.float64, (4, 5), elements=st.floats(-3, 3))


@given(ROWS)
def test_projection_is_on_the_simplex_and_no_point_of_it_is_nearer(rows: np.ndarray) -> None:
    projected = project_to_simplex(torch.from_numpy(rows)).numpy()
    assert (projected >= 0).all()
    np.testing.assert_allclose(projected.sum(1), 1, atol=1e-9)
    others = np.random.default_rng(0).dirichlet(np.ones(5), 200)
    for row, found in zip(rows, projected, strict=True):
        assert ((row - found) ** 2).sum() <= ((row - others) ** 2).sum(1).min() + 1e-9


def test_projection_agrees_with_a_general_optimiser() -> None:
    row = np.array([0.7, 0.6, -0.4, 0.1])
    found = minimize(
        lambda p: ((p - row) ** 2).sum(), np.full(4, 0.25), bounds=[(0, 1)] * 4,
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1}, tol=1e-12,
    ).x  # fmt: skip
    np.testing.assert_allclose(project_to_simplex(torch.from_numpy(row[None])).numpy()[0], found, atol=1e-5)


def test_points_of_the_simplex_stay() -> None:
    points = torch.from_numpy(np.random.default_rng(1).dirichlet(np.ones(6), 50))
    torch.testing.assert_close(project_to_simplex(points), points)


def test_confusion_finds_the_rate_at_which_labels_are_wrong() -> None:
    generator = torch.Generator().manual_seed(0)
    true = torch.randint(3, (6000,), generator=generator)
    noise = torch.tensor([[0.8, 0.1, 0.1], [0.0, 0.6, 0.4], [0.3, 0.0, 0.7]])
    labels = torch.multinomial(noise[true], 1, generator=generator).flatten()
    found = confusion(torch.eye(3)[true], labels)
    torch.testing.assert_close(found, noise, atol=0.03, rtol=0)
    torch.testing.assert_close(found.sum(1), torch.ones(3))


def test_without_labels_the_confusion_is_the_prior() -> None:
    found = confusion(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    torch.testing.assert_close(found.diagonal(), torch.full((4,), 0.7))
    torch.testing.assert_close(found.sum(1), torch.ones(4))


def test_forward_correction_by_the_identity_is_cross_entropy() -> None:
    logits = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(10) % 4
    plain = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(forward_corrected(logits, labels, torch.eye(4)), plain)
    torch.testing.assert_close(soft_cross_entropy(logits, torch.eye(4)[labels]), plain)


def test_forward_correction_is_least_at_the_true_classes() -> None:
    # Labels of class 0 are seen as 1 half of the time: a student that answers 0 surely is as likely as the data are.
    noise = torch.tensor([[0.5, 0.5], [0.0, 1.0]])
    labels = torch.tensor([0, 1] * 500)
    sure, torn = torch.tensor([[20.0, -20.0]]).expand(1000, 2), torch.zeros(1000, 2)
    assert forward_corrected(sure, labels, noise).mean() < forward_corrected(torn, labels, noise).mean()


def test_gradients() -> None:
    logits = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    noise = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(4), 4))
    labels = torch.tensor([0, 2, 3])
    assert torch.autograd.gradcheck(lambda x: forward_corrected(x, labels, noise), logits)
    assert torch.autograd.gradcheck(lambda x: soft_cross_entropy(x, noise[:3]), logits)
