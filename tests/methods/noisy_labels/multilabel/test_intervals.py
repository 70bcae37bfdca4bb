"""Check 10, second half: the delta method against experiments; and the test of over-identification against both of its answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest
from stillhouse.methods.noisy_labels.multilabel.consensus import agree
from stillhouse.methods.noisy_labels.multilabel.decomposition import combined, decompose
from stillhouse.methods.noisy_labels.multilabel.intervals import contradiction, deviations, influences, interval
from stillhouse.methods.noisy_labels.multilabel.pair_counts import count_pairs

from .worlds import sampled

Q = 6
RATES = np.tile([0.15, 0.25], (Q, 1))
ROWS = 3000


def one(seed: int, rule: str, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    clean, labels = sampled(rows, seed, RATES, q=Q)
    selected = labels == clean
    counts = count_pairs(labels, selected)
    candidates = decompose(counts)
    # The experiment fixes who the partners are: intervals do not claim to know about the choice.
    candidates.survives[:] = ~np.eye(Q, dtype=bool)
    agreed = agree(rule, candidates, counts)
    effects = influences(labels, selected, counts, agreed)
    assert np.abs(effects.mean(1)).max() < 1e-12
    return agreed.rates, deviations(effects)


def test_the_delta_method_tells_the_spread_of_repeated_experiments() -> None:
    found = [one(seed, "pooled") for seed in range(250)]
    rates = np.stack([rate for rate, _ in found])
    told = np.stack([deviation for _, deviation in found])
    spread = rates.std(0, ddof=1)
    ratio = np.sqrt((told**2).mean(0)) / spread
    # 250 repeats give a spread to 4.5 %, one deviation.
    assert np.abs(ratio - 1).max() < 0.15
    assert ratio.mean() == pytest.approx(1.0, abs=0.1)
    inside = np.stack([
        (ends[..., 0] <= RATES) & (ends[..., 1] >= RATES)
        for ends in (interval(rate, deviation, 0.95) for rate, deviation in found)
    ])  # fmt: skip
    assert inside.mean() == pytest.approx(0.95, abs=0.015)


def test_a_single_partner_has_the_deviation_of_the_closed_form() -> None:
    """Against derivatives taken numerically, row by row, of the estimate as a function of the rows' weights."""
    clean, labels = sampled(300, 5, RATES, q=Q)
    selected = labels == clean
    counts = count_pairs(labels, selected)
    agreed = agree("medoid", decompose(counts), counts)
    effects = influences(labels, selected, counts, agreed)
    j = int(np.flatnonzero(agreed.found)[0])
    partner = int(agreed.weights[0, j].argmax())

    def rate(weight: np.ndarray) -> np.ndarray:
        own, other, right = labels[:, j] == 1, labels[:, partner] == 1, selected[:, j]
        mean = lambda what, where: float((weight * what * where).sum() / (weight * where).sum())
        everything = np.ones(len(labels))
        m1, m0 = mean(other, own & right), mean(other, ~own & right)
        a, b, pi = mean(other, everything), mean(own & other, everything), mean(own, everything)
        p, t = (a - m0) / (m1 - m0), (b - pi * m0) / (m1 - m0)
        return np.array([(pi - t) / (1 - p), 1 - t / p])

    for n in range(0, 300, 13):
        step = np.zeros(300)
        step[n] = 1e-5
        slope = (rate(1 + step) - rate(1 - step)) / 2e-5 * 300
        assert effects[:, n, j] == pytest.approx(slope, rel=1e-5, abs=1e-6)


def test_errors_fall_with_the_square_root_of_the_rows() -> None:
    """Check 11, second half, with a perfect selection."""
    error = [
        np.mean([np.abs(one(seed, "pooled", rows)[0] - RATES).mean() for seed in range(12)])
        for rows in (2000, 8000, 32000)
    ]
    assert error[0] / error[1] == pytest.approx(2, rel=0.25)
    assert error[1] / error[2] == pytest.approx(2, rel=0.25)


def contradicted(labels: np.ndarray, selected: np.ndarray, j: int = 0) -> float:
    counts = count_pairs(labels, selected)
    agreed = agree("pooled", decompose(counts), counts)
    p, t = combined(counts, agreed.weights[0])
    found = contradiction(labels, selected, counts, j, kept=(p[j], t[j]), partners=4)
    assert found is not None
    assert found.freedom == 6
    return found.probability


def test_partners_of_an_honest_world_contradict_each_other_as_often_as_chance_has_it() -> None:
    probabilities = []
    for seed in range(120):
        clean, labels = sampled(3000, seed, RATES, q=Q)
        probabilities.append(contradicted(labels, labels == clean))
    assert kstest(probabilities, "uniform").pvalue > 1e-3


def test_flips_that_go_together_are_noticed() -> None:
    clean, labels = sampled(20_000, 1, RATES, q=Q)
    copied = labels.copy()
    copied[:, 1] = clean[:, 1] ^ (clean[:, 0] ^ labels[:, 0])  # label 1 is wrong whenever label 0 is
    assert contradicted(labels, labels == clean) > 1e-3
    assert contradicted(copied, copied == clean) < 1e-6


def test_a_copy_of_a_label_does_not_break_the_test() -> None:
    clean, labels = sampled(3000, 2, RATES, q=Q)
    clean, labels = (np.column_stack([part, part[:, 2]]) for part in (clean, labels))
    counts = count_pairs(labels, labels == clean)
    found = contradiction(labels, labels == clean, counts, 0, kept=(0.2, 0.15), partners=6)
    assert found is not None
    assert np.isfinite(found.statistic)
    assert found.freedom < 10  # two of twelve equations say what others say


def test_one_partner_cannot_contradict() -> None:
    clean, labels = sampled(500, 0, RATES[:2], q=2)
    counts = count_pairs(labels, labels == clean)
    assert contradiction(labels, labels == clean, counts, 0, kept=(0.2, 0.15), partners=5) is None
