from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.methods.noisy_labels.multilabel.consensus import RULES, agree
from stillhouse.methods.noisy_labels.multilabel.decomposition import decompose
from stillhouse.methods.noisy_labels.multilabel.pair_counts import count_pairs

from .worlds import population, sampled

RATES = np.tile([0.2, 0.25], (12, 1))
seeds = st.integers(0, 10**6)
few = settings(max_examples=15)


def noisy(seed: int, rows: int = 600):
    clean, labels = sampled(rows, seed, RATES)
    counts = count_pairs(labels, labels == clean)
    return counts, decompose(counts)


@pytest.mark.parametrize("rule", RULES)
def test_partners_that_agree_are_believed(rule: str) -> None:
    rates = np.random.default_rng(0).uniform(0.05, 0.4, (8, 2))
    counts = population(8, 5, rates).counts()
    found = agree(rule, decompose(counts), counts)
    assert np.abs(found.rates - rates).max() < 1e-9
    assert found.found.all()


@few
@given(seeds)
def test_pooled_rates_lie_between_those_of_the_partners_and_keep_assumption_a1(seed: int) -> None:
    counts, candidates = noisy(seed)
    found = agree("pooled", candidates, counts)
    for j in np.flatnonzero(found.partners):
        survives = candidates.survives[j]
        for column, rate in enumerate((candidates.false_positive, candidates.false_negative)):
            assert rate[j, survives].min() - 1e-9 <= found.rates[j, column] <= rate[j, survives].max() + 1e-9
        assert found.rates[j].sum() < 1


@few
@given(seeds)
def test_pooled_is_least_squares(seed: int) -> None:
    counts, candidates = noisy(seed)
    found = agree("pooled", candidates, counts)
    for j in np.flatnonzero(found.partners):
        who = candidates.survives[j]
        d = counts.difference[j, who][:, None]
        right = np.stack([counts.frequency[who] - counts.given_zero[j, who],
                          counts.together[j, who] - counts.frequency[j] * counts.given_zero[j, who]], 1)  # fmt: skip
        p, t = np.linalg.lstsq(d, right, rcond=None)[0][0]
        assert found.rates[j, 1] == pytest.approx(max(1 - t / p, 0), abs=1e-9)


@few
@given(seeds)
def test_the_medoid_is_the_survivor_nearest_to_all(seed: int) -> None:
    counts, candidates = noisy(seed)
    found = agree("medoid", candidates, counts)
    rates = np.stack([candidates.false_positive, candidates.false_negative], 2)
    for j in np.flatnonzero(found.partners):
        mine = rates[j, candidates.survives[j]]
        sums = [sum(np.abs(one - other).sum() for other in mine) for one in mine]
        # The sums of two survivors are equal: what counts is that none is smaller.
        assert np.abs(mine - found.rates[j]).sum() == pytest.approx(min(sums), abs=1e-9)


@few
@given(seeds)
def test_the_weighted_medoid_follows_the_published_code(seed: int) -> None:
    """The rule as the authors' code writes it, with a loop over all partners."""
    counts, candidates = noisy(seed)
    found = agree("weighted_medoid", candidates, counts)
    marginal = counts.frequency
    for j in np.flatnonzero(found.partners):
        survivors = np.flatnonzero(candidates.survives[j])
        costs = []
        for i in survivors:
            fp, fn = candidates.false_positive[j, i], candidates.false_negative[j, i]
            cost = 0.0
            for k in range(len(marginal)):
                if k == j or not np.isfinite(candidates.present[j, k]):
                    continue
                p = candidates.present[j, k]
                joint = np.diag([1 - p, p]) @ [[1 - counts.given_zero[j, k], counts.given_zero[j, k]],
                                               [1 - counts.given_one[j, k], counts.given_one[j, k]]]  # fmt: skip
                e11 = counts.together[j, k]
                e = np.array([[1 - marginal[j] - marginal[k] + e11, marginal[k] - e11], [marginal[j] - e11, e11]])
                det = np.linalg.det(joint)
                cost += abs(fp * det + joint[1, 0] * e[1, 1] - joint[1, 1] * e[1, 0])
                cost += abs(fn * det - (joint[0, 0] * e[0, 1] - joint[0, 1] * e[0, 0]))
            costs.append(cost)
        chosen = int(found.weights[0, j].argmax())
        assert costs[survivors.tolist().index(chosen)] == pytest.approx(min(costs), abs=1e-9)
        expected = [candidates.false_positive[j, chosen], candidates.false_negative[j, chosen]]
        assert found.rates[j] == pytest.approx(expected, abs=1e-9)


@few
@given(seeds)
def test_the_median_is_taken_of_each_rate(seed: int) -> None:
    counts, candidates = noisy(seed)
    found = agree("median", candidates, counts)
    for j in np.flatnonzero(found.partners):
        survives = candidates.survives[j]
        for column, rate in enumerate((candidates.false_positive, candidates.false_negative)):
            expected = np.sort(rate[j, survives])[(survives.sum() - 1) // 2]
            assert found.rates[j, column] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("rule", RULES)
def test_a_class_without_survivors_has_no_rates(rule: str) -> None:
    counts, candidates = noisy(0)
    candidates.survives[3] = False
    found = agree(rule, candidates, counts)
    assert np.isnan(found.rates[3]).all()
    assert not found.found[3]
    assert np.isfinite(found.rates[[0, 1, 2, 4]]).all()
