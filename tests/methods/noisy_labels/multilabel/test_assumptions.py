from __future__ import annotations

import numpy as np
import pytest
from stillhouse.methods.noisy_labels.multilabel.estimate import from_pairs
from stillhouse.methods.noisy_labels.multilabel.settings import Estimator

from .worlds import sampled

RATES = np.tile([0.2, 0.2], (8, 1))


def world(rows: int = 8000, *, correlation: float = 0.9, rates: np.ndarray = RATES) -> tuple[np.ndarray, np.ndarray]:
    return sampled(rows, 3, rates, q=8, correlation=correlation)


def test_a_world_in_which_all_holds_is_not_refused() -> None:
    clean, labels = world()
    found = from_pairs(Estimator(), labels, labels == clean)
    assert not found.refused.any()
    assert np.abs(found.rates - RATES).max() < 0.12
    assert (found.intervals[..., 0] <= found.rates).all()
    assert (found.rates <= found.intervals[..., 1]).all()
    assert found.selected.sum(1) == pytest.approx((labels == clean).sum(0))


def test_independent_labels_are_refused_by_a2() -> None:
    clean, labels = world(correlation=0.0)
    found = from_pairs(Estimator(), labels, labels == clean)
    assert found.refused.all()
    assert all("A2" in reason for reason in found.reasons)
    assert np.isnan(found.rates).all()
    assert np.isnan(found.intervals).all()


def test_rates_above_one_together_are_refused_by_a1() -> None:
    clean, labels = world(rates=np.tile([0.6, 0.6], (8, 1)), correlation=0.99)
    found = from_pairs(Estimator(), labels, labels == clean)
    assert found.refused.all()
    assert any("A1" in reason for reason in found.reasons)


def test_noise_near_one_leaves_nothing_to_see() -> None:
    clean, labels = world(2000, rates=np.tile([0.48, 0.48], (8, 1)), correlation=0.99)
    found = from_pairs(Estimator(), labels, labels == clean)
    assert found.refused.all()
    assert all("A1" in reason or "A2" in reason for reason in found.reasons)


def test_too_few_selected_rows_are_refused() -> None:
    clean, labels = world()
    selected = labels == clean
    selected[np.flatnonzero(labels[:, 2] == 1)[10:], 2] = False
    found = from_pairs(Estimator(), labels, selected)
    assert found.refused.tolist() == [j == 2 for j in range(8)]
    assert "positive" in found.reasons[2]
    assert "50 are needed" in found.reasons[2]
    assert not from_pairs(Estimator(least_selected=1), labels, selected).reasons[2].startswith("only")


def test_contradictions_refuse_only_if_asked() -> None:
    clean, labels = world(20_000)
    copied = labels.copy()
    copied[:, 1] = clean[:, 1] ^ (clean[:, 0] ^ labels[:, 0])
    plain = from_pairs(Estimator(), copied, copied == clean)
    strict = from_pairs(Estimator(refuse_contradiction=True), copied, copied == clean)
    assert plain.probability[0] < 1e-6
    assert not plain.refused[0]
    assert "contradict" in strict.reasons[0]
    assert np.isnan(strict.rates[0]).all()


def test_a_known_zero_is_believed_and_the_default_knows_none() -> None:
    """Check 12 with a selection that keeps every second positive by chance: knowing that none is wrong mends false negatives of 0."""
    rates = np.tile([0.0, 0.3], (8, 1))
    clean, labels = world(rates=rates)
    selected = (labels == clean) & (np.random.default_rng(0).random(labels.shape) < 0.5)
    known = from_pairs(Estimator(known_zero="false_positive"), labels, selected)
    unknown = from_pairs(Estimator(), labels, selected)
    assert Estimator().known_zero == "none"
    assert (known.rates[:, 0] == 0).all()
    assert known.selected[:, 1] == pytest.approx(labels.sum(0))
    assert (unknown.rates[:, 0] > 0).any()
    assert unknown.selected[:, 1] == pytest.approx((selected & (labels == 1)).sum(0))
