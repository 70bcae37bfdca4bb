"""Faults that PATE systems have had, each written out as a mutant and caught by the black-box audit.

The audit sees only outputs on two neighbouring inputs (one teacher's votes differ) and the epsilon claimed for them.
The honest mechanisms pass the same audit with the same draws. Two classes are the hardest case: there the argmax is the
best test an attacker could make of the noisy histogram, so a claim that is too small shows.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import binomtest
from stillhouse.platform.privacy.accounting import gdp_epsilon
from stillhouse.platform.privacy.audit import output_errors
from stillhouse.platform.privacy.mechanisms import ConfidentGNMax, Decision, GNMax, LNMax
from support.noise import repeatable_noise

DRAWS = 60_000
SIGNIFICANCE = 1e-6
DELTA = 0.02
SIGMA = 2.0
# One vote moves from class 0 to class 1: the gap falls from 1 to -1.
HERE, THERE = np.array([10, 9]), np.array([9, 10])


def claimed_mu(*events):
    return float(np.sqrt(sum(event.rdp([2.0])[0] for event in events)))


def shown(mechanism, here=HERE, there=THERE, draws=DRAWS):
    """Errors of the best rule between the mechanism's answers on the two histograms."""
    noise = repeatable_noise(123)
    first = mechanism.answer(np.tile(here, (draws, 1)), noise)
    second = mechanism.answer(np.tile(there, (draws, 1)), noise)
    return output_errors(first.tolist(), second.tolist())


def refuted(errors, mu):
    """Whether the outputs refute the claim mu, in GDP terms or as an epsilon at DELTA."""
    by_mu = errors.mu(significance=SIGNIFICANCE) > mu
    by_epsilon = errors.epsilon(delta=DELTA, significance=SIGNIFICANCE) > gdp_epsilon(mu, DELTA)
    return by_mu or by_epsilon


@dataclass(frozen=True)
class HalvedSigma:
    """Claims GNMax(sigma) but draws half of it."""

    sigma: float

    def answer(self, histograms, noise):
        return GNMax(self.sigma / 2).answer(histograms, noise)


@dataclass(frozen=True)
class SensitivityOne:
    """Calibrated as if one vote moved the histogram by 1 instead of sqrt 2: sigma too small by sqrt 2."""

    sigma: float

    def answer(self, histograms, noise):
        return GNMax(self.sigma / np.sqrt(2)).answer(histograms, noise)


@dataclass(frozen=True)
class NoiseOnProbabilities:
    """Divides votes by teachers and scales the integer noise along: it rounds to nothing."""

    sigma: float

    def answer(self, histograms, noise):
        teachers = histograms.sum(axis=1, keepdims=True)
        return np.argmax(histograms / teachers + noise.gaussian(self.sigma / teachers[0, 0], histograms.shape), axis=1)


@dataclass(frozen=True)
class UnscaledNoiseOnProbabilities:
    """Divides votes by teachers but not the noise: private, and useless."""

    sigma: float

    def answer(self, histograms, noise):
        teachers = histograms.sum(axis=1, keepdims=True)
        return np.argmax(histograms / teachers + noise.gaussian(self.sigma, histograms.shape), axis=1)


class TestAnswers:
    claim = claimed_mu(GNMax(SIGMA).answer_event())

    def test_honest_gnmax_passes_and_the_audit_comes_close(self):
        errors = shown(GNMax(SIGMA))
        assert not refuted(errors, self.claim)
        assert errors.mu(significance=SIGNIFICANCE) > 0.8 * self.claim

    @pytest.mark.parametrize("here", [(10, 9), (12, 8), (8, 12), (30, 20), (20, 0)])
    def test_honest_gnmax_passes_at_other_gaps(self, here):
        there = (here[0] - 1, here[1] + 1)
        assert not refuted(shown(GNMax(SIGMA), np.array(here), np.array(there)), self.claim)

    @pytest.mark.parametrize("mutant", [HalvedSigma(SIGMA), SensitivityOne(SIGMA), NoiseOnProbabilities(SIGMA)])
    def test_mutant_is_caught(self, mutant):
        assert refuted(shown(mutant), self.claim)

    def test_honest_lnmax_passes_and_its_half_is_caught(self):
        # Pure DP: the claim is an epsilon at delta 0.
        here, there = np.array([6, 10]), np.array([5, 11])
        claim = LNMax(3.0).answer_event().epsilon
        assert shown(LNMax(3.0), here, there).epsilon(delta=0.0, significance=SIGNIFICANCE) <= claim
        assert shown(LNMax(1.5), here, there).epsilon(delta=0.0, significance=SIGNIFICANCE) > claim

    @pytest.mark.parametrize("counts", [(30, 20, 10), (22, 15, 3)])
    def test_answers_have_exactly_the_announced_distribution(self, counts):
        """Too much noise in the wrong place is a fault as well: labels must be as good as the noise allows."""

        def pvalue(mechanism):
            labels = mechanism.answer(np.tile(counts, (DRAWS, 1)), repeatable_noise(9))
            return binomtest(int(np.sum(labels == 0)), DRAWS, right).pvalue

        right = float(np.exp(exact_log_probability(counts, 8.0)))
        assert pvalue(GNMax(8.0)) > SIGNIFICANCE
        assert pvalue(UnscaledNoiseOnProbabilities(8.0)) < SIGNIFICANCE


def exact_log_probability(counts, sigma):
    """log Pr[class 0 wins] under rounded noise; class 0 also wins its ties."""
    from scipy.special import log_ndtr

    x = np.arange(-14 * int(sigma) - 5, max(counts) + 14 * int(sigma) + 5)
    mass = np.exp(log_ndtr((x - counts[0] + 0.5) / sigma)) - np.exp(log_ndtr((x - counts[0] - 0.5) / sigma))
    rivals = sum(log_ndtr((x - rival + 0.5) / sigma) for rival in counts[1:])
    return np.log(np.sum(mass * np.exp(rivals)))


class TestReusedNoise:
    """Two queries, on both of which one teacher changes its vote, in opposite directions."""

    here = np.array([[10, 9], [9, 10]])
    there = np.array([[9, 10], [10, 9]])
    claim = claimed_mu(GNMax(SIGMA).answer_event().times(2))

    def outputs(self, answer):
        noise = repeatable_noise(5)
        pairs = []
        for table in (self.here, self.there):
            labels = answer(np.tile(table, (DRAWS, 1)), noise).reshape(DRAWS, 2)
            pairs.append([tuple(row) for row in labels.tolist()])
        return output_errors(*pairs)

    def test_honest(self):
        assert not refuted(self.outputs(GNMax(SIGMA).answer), self.claim)

    def test_mutant_is_caught(self):
        def reused(histograms, noise):
            draws = noise.gaussian(SIGMA, (len(histograms) // 2, histograms.shape[1]))
            return np.argmax(histograms + np.repeat(draws, 2, axis=0), axis=1)

        assert refuted(self.outputs(reused), self.claim)


class TestThreshold:
    """Whether a query is answered at all is an output, too."""

    mechanism = ConfidentGNMax(threshold=15, sigma1=3.0, sigma2=50.0)
    claim = claimed_mu(mechanism.check_event(), mechanism.answer_event())
    here, there = np.array([15, 5]), np.array([14, 6])

    def outputs(self, check):
        noise = repeatable_noise(6)
        results = []
        for counts in (self.here, self.there):
            table = np.tile(counts, (DRAWS, 1))
            passed = check(table, noise) == Decision.ANSWER
            labels = np.where(passed, self.mechanism.answer(table, noise), -1)
            results.append(labels.tolist())
        return output_errors(*results)

    def test_honest(self):
        errors = self.outputs(lambda table, noise: self.mechanism.check(table, noise, teachers=20))
        assert not refuted(errors, self.claim)
        assert errors.mu(significance=SIGNIFICANCE) > 0.7 * claimed_mu(self.mechanism.check_event())

    def test_skipped_noise_is_caught(self):
        def skipped(table, noise):
            return np.where(table.max(axis=1) >= self.mechanism.threshold, Decision.ANSWER, Decision.ABSTAIN)

        assert refuted(self.outputs(skipped), self.claim)

    def test_halved_noise_is_caught(self):
        half = ConfidentGNMax(15, 1.5, 50.0)
        assert refuted(self.outputs(lambda table, noise: half.check(table, noise, teachers=20)), self.claim)
