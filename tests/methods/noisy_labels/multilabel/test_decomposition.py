"""Check 9: what pairs determine, what they do not, and what the closed form does where it cannot know."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.methods.noisy_labels.multilabel.decomposition import combined, decompose, rates_of
from stillhouse.methods.noisy_labels.multilabel.pair_counts import PairCounts

from .worlds import Population, population


@given(st.integers(0, 10**6), st.floats(0.0, 0.45), st.floats(0.0, 0.45))
def test_population_pairs_give_the_rates_exactly(seed: int, fp: float, fn: float) -> None:
    q = 20
    rates = np.tile([fp, fn], (q, 1)) * np.random.default_rng(seed).uniform(0.2, 1.0, (q, 1))
    world = population(q, seed, rates)
    counts = world.counts()
    found = decompose(counts)
    clear = (np.abs(counts.difference) > 0.02) & ~np.eye(q, dtype=bool)
    assert clear.any()
    assert found.survives[clear].all()
    for value, true in (
        (found.present, np.diagonal(world.pairs)), (found.false_positive, rates[:, 0]), (found.false_negative, rates[:, 1]),
    ):  # fmt: skip
        # Rounding errors of 1e-16 are divided by d and by p.
        assert np.abs(value - true[:, None])[clear].max() < 2e-12


def test_two_labels_alone_do_not_determine_the_rates() -> None:
    """Theorem 1, by its construction: two worlds, all of them probabilities, with the same given pairs."""
    p, am, bm = 0.3, 0.05, 0.04
    ap, bp = bm * (1 - p) / (bm - p), am * (1 - p) / (am - p)
    transition = np.array([[0.85, 0.15], [0.2, 0.8]])
    partner = np.array([[0.8, 0.2], [0.25, 0.75]])
    prior = np.diag([1 - p, p])
    first, second = (np.array([[1 - m, m], [plus, 1 - plus]]) for m, plus in ((am, ap), (bm, bp)))
    other_transition, other_partner = first @ transition, second @ partner
    other_prior = np.linalg.inv(first.T) @ prior @ np.linalg.inv(second)
    assert np.abs(other_prior - np.diag(np.diagonal(other_prior))).max() < 1e-15
    for matrix in (other_transition, other_partner):
        assert matrix.min() > 0
        assert matrix.sum(1) == pytest.approx([1, 1], abs=1e-15)
    assert np.trace(other_prior) == pytest.approx(1, abs=1e-15)
    assert np.abs(other_transition - transition).max() > 0.02
    pairs = transition.T @ prior @ partner
    assert np.abs(other_transition.T @ other_prior @ other_partner - pairs).max() < 1e-15

    # Theorem 4: who knows P(partner | true) of one of the worlds finds the rates of that world.
    for m, t in ((partner, transition), (other_partner, other_transition)):
        rates = _of_one_pair(pairs, m)
        assert rates == pytest.approx([t[0, 1], t[1, 0]], abs=1e-14)


@given(st.floats(0.55, 0.9), st.floats(0.55, 0.9), st.integers(0, 1000))
def test_rates_that_add_up_to_more_than_one_have_a_twin_and_are_rejected(fp: float, fn: float, seed: int) -> None:
    world = population(5, seed, np.tile([fp, fn], (5, 1)))
    counts = world.counts()
    assert not decompose(counts).survives.any()
    # The twin calls the true labels false: the same given labels, and rates that are possible.
    twin = PairCounts(counts.together, counts.given_zero, counts.given_one, counts.zeros, counts.ones, counts.rows)
    found = decompose(twin)
    clear = (np.abs(counts.difference) > 0.01) & ~np.eye(5, dtype=bool)
    assert np.abs(found.false_positive - (1 - fn))[clear].max(initial=0) < 1e-9
    assert np.abs(found.false_negative - (1 - fp))[clear].max(initial=0) < 1e-9


def test_independent_labels_say_nothing() -> None:
    marginal = np.array([0.25, 0.5, 0.125])
    pairs = np.outer(marginal, marginal)
    np.fill_diagonal(pairs, marginal)
    counts = Population(pairs, np.full((3, 2), 0.25)).counts()
    assert (counts.difference[~np.eye(3, dtype=bool)] == 0).all()
    found = decompose(counts)
    assert not found.survives.any()
    assert np.isnan(found.false_positive).all()


def test_slightly_negative_rates_count_as_zero_and_others_reject() -> None:
    for fp, survives in ((-0.1, True), (-0.2, False)):  # with two classes the limit is -0.3 / 2
        found = decompose(population(2, 3, np.array([[fp, 0.2], [0.1, 0.1]])).counts())
        assert found.survives[0, 1] == survives
        assert found.false_positive[0, 1] == pytest.approx(0.0 if survives else fp, abs=1e-12)
        assert found.false_negative[0, 1] == pytest.approx(0.2, abs=1e-12)


@given(st.integers(0, 10**6))
def test_any_weighting_of_partners_gives_the_population_rates(seed: int) -> None:
    rates = np.random.default_rng(seed).uniform(0.05, 0.4, (6, 2))
    counts = population(6, seed, rates).counts()
    weights = np.where(np.eye(6, dtype=bool), 0.0, counts.difference)
    present, kept = combined(counts, weights)
    assert np.abs(rates_of(present, kept, counts.frequency) - rates).max() < 1e-10


def test_a_contaminated_selection_biases_as_the_lemma_says() -> None:
    """Check 10, first half: purities s1 and s0 of the selected rows, exactly."""
    rates = np.tile([0.15, 0.3], (6, 1))
    world = population(6, 11, rates)
    counts = world.counts()
    p = np.diagonal(world.pairs)
    t = p * (1 - rates[:, 1])
    clear = (np.abs(counts.difference) > 0.01) & ~np.eye(6, dtype=bool)
    for s1, s0 in ((0.9, 1.0), (1.0, 0.9), (0.85, 0.95)):
        one = s1 * counts.given_one + (1 - s1) * counts.given_zero
        zero = s0 * counts.given_zero + (1 - s0) * counts.given_one
        dirty = PairCounts(counts.together, one, zero, counts.ones, counts.zeros, counts.rows)
        g = s1 + s0 - 1
        found_p, found_t = combined(dirty, np.where(clear, dirty.difference, 0.0))
        assert found_p == pytest.approx((p - (1 - s0)) / g, abs=1e-12)
        assert found_t == pytest.approx((t - counts.frequency * (1 - s0)) / g, abs=1e-12)
        found = rates_of(found_p, found_t, counts.frequency)
        if s0 == 1.0:  # Wrong rows among the selected positives leave the false negatives exact.
            assert found[:, 1] == pytest.approx(rates[:, 1], abs=1e-12)
            assert np.abs(found[:, 0] - rates[:, 0]).min() > 0.01
        if s1 == 1.0:
            assert found[:, 0] == pytest.approx(rates[:, 0], abs=1e-12)
            assert np.abs(found[:, 1] - rates[:, 1]).min() > 0.01


def _of_one_pair(pairs: np.ndarray, partner: np.ndarray) -> np.ndarray:
    """Rates of class 0 from P(given 0, given 1) and P(given 1 | true 0): the closed form."""
    together = np.array([[pairs[1].sum(), pairs[1, 1]], [pairs[1, 1], pairs[:, 1].sum()]])
    one, zero = (np.array([[np.nan, value], [np.nan, np.nan]]) for value in (partner[1, 1], partner[0, 1]))
    many = np.full(2, 10**6)
    found = decompose(PairCounts(together, one, zero, many, many, 10**6))
    return np.array([found.false_positive[0, 1], found.false_negative[0, 1]])
