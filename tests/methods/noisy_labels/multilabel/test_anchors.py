from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.methods.noisy_labels.multilabel.anchors import NO_PREDICTION, anchor_rates, at_anchors

FP, FN = 0.15, 0.3


def world(rows: int = 200_000) -> tuple[np.ndarray, np.ndarray]:
    """A perfect network's noisy posteriors (n, 1), with records of which the truth is certain, and given labels."""
    generator = np.random.default_rng(1)
    truth = np.concatenate([generator.beta(0.3, 0.6, rows - 2), [0.0, 1.0]])
    posterior = (FP + (1 - FP - FN) * truth)[:, None]
    return posterior, (generator.random((rows, 1)) < posterior).astype(np.uint8)


def test_anchors_of_a_perfect_network_are_the_rates() -> None:
    posterior, labels = world()
    rates, reasons = anchor_rates("t_max", posterior, labels)
    assert rates[0] == pytest.approx([FP, FN], abs=1e-12)
    assert reasons == [""]


def test_leaving_out_the_surest_moves_both_anchors_inwards() -> None:
    posterior = np.linspace(0.0, 1.0, 101)[:, None]
    assert at_anchors(posterior, 0.03)[0] == pytest.approx([0.03, 0.03])
    assert anchor_rates("t_97", posterior, np.ones((101, 1)))[0][0] == pytest.approx([0.03, 0.03])


@given(st.integers(0, 10**6))
def test_dual_t_is_the_product_of_two_matrices(seed: int) -> None:
    generator = np.random.default_rng(seed)
    posterior, labels = generator.random((50, 3)), generator.integers(0, 2, (50, 3))
    posterior[0], posterior[1] = 0.1, 0.9
    found, reasons = anchor_rates("dual_t", posterior, labels)
    assert reasons == ["", "", ""]
    for j in range(3):
        low, high = posterior[:, j].min(), posterior[:, j].max()
        club = np.array([[1 - low, low], [1 - high, high]])
        spade = np.array([
            [np.mean(labels[(posterior[:, j] >= 0.5) == k, j] == value) for value in (0, 1)] for k in (0, 1)
        ])  # fmt: skip
        product = club @ spade
        assert found[j] == pytest.approx([product[0, 1], product[1, 0]], abs=1e-12)


def test_dual_t_of_a_network_that_always_says_no_is_refused() -> None:
    posterior, labels = np.full((20, 1), 0.2), np.zeros((20, 1))
    found, reasons = anchor_rates("dual_t", posterior, labels)
    assert reasons == [NO_PREDICTION]
    assert np.isnan(found).any()
