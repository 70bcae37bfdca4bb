"""Empirical lower bounds on epsilon: what an attack has shown, with confidence, whatever the analysis claims.

An audit compares such a bound with the claim. A bound above the claim refutes the claim; one below proves nothing.

- Two-sided Clopper-Pearson (Jagielski et al. 2020; Nasr et al. 2021): from false positive and false negative rates.
- GDP (Nasr et al. 2023): for mechanisms that are mu-GDP by design; far more powerful at the same sample size.
- One run (Steinke, Nasr & Jagielski 2023; its GDP form by Mahloujifar et al. 2024): many canaries, each in with
  probability 1/2, one training.
- Black box: draws of a discrete output (a label, an abstention) on two neighbouring inputs.

Where a decision rule has to be chosen from data, it is chosen on one half of the draws and measured on the other.

>>> round(one_run_epsilon(1000, 100, 99, delta=1e-5), 3)
3.003
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, betainccinv, ndtr, ndtri

from ..errors import BadInput
from .accounting import gdp_epsilon
from .validate import positive_int, probability

_LARGEST_EPSILON = 100.0


def _delta(delta: float) -> float:
    if not 0 <= delta < 1:
        raise BadInput(f"delta must lie in [0, 1), not {delta!r}")
    return float(delta)


def upper_rate(errors: int, trials: int, significance: float) -> float:
    """Clopper-Pearson upper bound on the rate of an error seen `errors` times in `trials`."""
    probability(significance=significance)
    positive_int(trials=trials)
    if not 0 <= errors <= trials:
        raise BadInput("errors must lie between 0 and the number of trials")
    return 1.0 if errors == trials else float(betainccinv(errors + 1, trials - errors, significance))


@dataclass(frozen=True)
class ErrorCounts:
    """How often an attack said "in" wrongly (of `out_trials`) and "out" wrongly (of `in_trials`)."""

    false_positives: int
    out_trials: int
    false_negatives: int
    in_trials: int

    def rates(self, significance: float) -> tuple[float, float]:
        """Upper bounds on (false positive rate, false negative rate), together at this significance."""
        return (
            upper_rate(self.false_positives, self.out_trials, significance / 2),
            upper_rate(self.false_negatives, self.in_trials, significance / 2),
        )

    def epsilon(self, *, delta: float, significance: float = 0.05) -> float:
        """Lower bound on epsilon from FPR + e^epsilon FNR >= 1 - delta and its mirror image."""
        fpr, fnr = self.rates(significance)
        room = 1 - _delta(delta)
        bounds = [math.log((room - a) / b) for a, b in ((fpr, fnr), (fnr, fpr)) if room > a]
        return max([0.0, *bounds])

    def mu(self, *, significance: float = 0.05) -> float:
        """Lower bound on mu of a mechanism that is mu-GDP: the trade-off curve passes below the observed rates."""
        fpr, fnr = self.rates(significance)
        if fpr >= 1 or fnr >= 1:
            return 0.0
        return max(0.0, float(-ndtri(fpr) - ndtri(fnr)))

    def gdp_epsilon(self, *, delta: float, significance: float = 0.05) -> float:
        """`mu` as an epsilon; a bound only if the audited mechanism is GDP."""
        return gdp_epsilon(self.mu(significance=significance), delta)


def score_errors(
    in_scores: np.ndarray,
    out_scores: np.ndarray,
    *,
    power: Callable[[ErrorCounts], float],
) -> ErrorCounts:
    """Errors of the rule `score > t` on every second score, t being the best for `power` on the other ones.

    `power` is what the audit will report, e.g. `lambda e: e.epsilon(delta=1e-5)`. Scores must be in random order.
    """
    inside, outside = np.asarray(in_scores, dtype=float), np.asarray(out_scores, dtype=float)
    if min(len(inside), len(outside)) < 4:
        raise BadInput("an audit needs at least 4 scores on each side")
    if not (np.all(np.isfinite(inside)) and np.all(np.isfinite(outside))):
        raise BadInput("a score is NaN or infinite")
    known = np.concatenate((inside[::2], outside[::2]))
    candidates = np.unique(np.quantile(known, np.linspace(0.002, 0.998, 250)))

    def errors(t: float, a: np.ndarray, b: np.ndarray) -> ErrorCounts:
        return ErrorCounts(int(np.count_nonzero(b > t)), len(b), int(np.count_nonzero(a <= t)), len(a))

    best = max(candidates, key=lambda t: power(errors(float(t), inside[::2], outside[::2])))
    return errors(float(best), inside[1::2], outside[1::2])


def clopper_pearson_epsilon(
    in_scores: np.ndarray, out_scores: np.ndarray, *, delta: float, significance: float = 0.05
) -> float:
    """Lower bound on epsilon from attack scores of members and non-members."""

    def power(errors: ErrorCounts) -> float:
        return errors.epsilon(delta=delta, significance=significance)

    return power(score_errors(in_scores, out_scores, power=power))


def gdp_mu(in_scores: np.ndarray, out_scores: np.ndarray, *, significance: float = 0.05) -> float:
    """Lower bound on mu from attack scores, for mechanisms that are GDP by design."""

    def power(errors: ErrorCounts) -> float:
        return errors.mu(significance=significance)

    return power(score_errors(in_scores, out_scores, power=power))


def output_errors(first: Sequence[Hashable], second: Sequence[Hashable]) -> ErrorCounts:
    """Errors of the likelihood-ratio rule between discrete outputs on two neighbouring inputs.

    The rule, "outputs seen more often on the first input mean the first input", is learnt on every second draw.
    """
    a, b = list(first), list(second)
    if min(len(a), len(b)) < 4:
        raise BadInput("an audit needs at least 4 draws on each side")
    on_first, on_second = Counter(a[::2]), Counter(b[::2])
    share = on_second.total() / on_first.total()
    says_first = {output for output, seen in on_first.items() if seen * share > on_second[output]}
    tested_first, tested_second = Counter(a[1::2]), Counter(b[1::2])
    return ErrorCounts(
        false_positives=sum(seen for output, seen in tested_second.items() if output in says_first),
        out_trials=tested_second.total(),
        false_negatives=sum(seen for output, seen in tested_first.items() if output not in says_first),
        in_trials=tested_first.total(),
    )


def one_run_p_value(canaries: int, guesses: int, correct: int, *, epsilon: float, delta: float) -> float:
    """Probability that an (epsilon, delta)-DP run lets this many guesses be right (Steinke et al. 2023)."""
    positive_int(canaries=canaries, guesses=guesses)
    if not 0 <= correct <= guesses <= canaries:
        raise BadInput("0 <= correct <= guesses <= canaries must hold")
    _delta(delta)
    if correct == 0:
        return 1.0
    # Pr[Bin <= k] for k = -1 .. correct - 1, and the tail as the mirrored law's head, which keeps its digits.
    head = np.append(0.0, bdtr(np.arange(correct), guesses, 1 / (1 + math.exp(-epsilon))))
    tail = float(bdtr(guesses - correct, guesses, 1 / (1 + math.exp(epsilon))))
    i = np.arange(1, correct + 1)
    return min(1.0, tail + 2 * canaries * delta * float(np.max((head[-1] - head[correct - i]) / i)))


def one_run_epsilon(canaries: int, guesses: int, correct: int, *, delta: float, significance: float = 0.05) -> float:
    """The largest epsilon that one run's guesses refute."""
    probability(significance=significance)

    def refuted(epsilon: float) -> bool:
        return one_run_p_value(canaries, guesses, correct, epsilon=epsilon, delta=delta) < significance

    return _largest_refuted(refuted)


def one_run_gdp_mu(canaries: int, guesses: int, correct: int, *, significance: float = 0.05) -> float:
    """The largest mu that one run's guesses refute, for mechanisms that are GDP (Mahloujifar et al. 2024)."""
    positive_int(canaries=canaries, guesses=guesses)
    probability(significance=significance)
    if not 0 <= correct <= guesses <= canaries:
        raise BadInput("0 <= correct <= guesses <= canaries must hold")

    def refuted(mu: float) -> bool:
        # Suppose at least `correct` are right with probability `significance`. For a random canary, `right` and `wrong`
        # are the masses of "guessed rightly (wrongly) in such a run". Letting one right guess fewer suffice, step by
        # step, both grow: what is wrong must weigh at least what the trade-off curve leaves of what is right. Passing
        # the share of canaries that are guessed at all is a contradiction.
        right = significance * correct / canaries
        wrong = significance * (guesses - correct) / canaries
        for enough in range(correct - 1, -1, -1):
            least = max(wrong, float(ndtr(ndtri(min(right, 1.0)) - mu)))
            right += enough / (guesses - enough) * (least - wrong)
            wrong = least
        return right + wrong > guesses / canaries

    return _largest_refuted(refuted)


def one_run_gdp_epsilon(
    canaries: int, guesses: int, correct: int, *, delta: float, significance: float = 0.05
) -> float:
    """`one_run_gdp_mu` as an epsilon."""
    return gdp_epsilon(one_run_gdp_mu(canaries, guesses, correct, significance=significance), delta)


def _largest_refuted(refuted: Callable[[float], bool]) -> float:
    if not refuted(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while refuted(high):
        low, high = high, 2 * high
        if high > _LARGEST_EPSILON:
            return low
    while high - low > 1e-10:
        middle = (low + high) / 2
        if refuted(middle):
            low = middle
        else:
            high = middle
    return low


def one_run_guesses(in_scores: np.ndarray, out_scores: np.ndarray, guesses: int) -> int:
    """How many of `guesses` are right: the higher half of them says "in" of the top scores, the lower "out"."""
    positive_int(guesses=guesses)
    scores = np.concatenate((in_scores, out_scores)).astype(float)
    included = np.concatenate((np.ones(len(in_scores), dtype=bool), np.zeros(len(out_scores), dtype=bool)))
    if guesses > len(scores):
        raise BadInput("more guesses than canaries")
    order = np.argsort(scores, kind="stable")
    out_guesses = guesses // 2
    return int(np.sum(~included[order[:out_guesses]]) + np.sum(included[order[len(order) - (guesses - out_guesses) :]]))
