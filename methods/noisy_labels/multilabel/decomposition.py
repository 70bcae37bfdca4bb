"""From pair counts to flip rates: the bilinear decomposition, in closed form for every class and every partner.

With a = P(given i), b = P(given i and j), pi = P(given j), M1 and M0 = P(given i | true j = 1 or 0) and d = M1 - M0 the equations of
the paper (Li et al., NeurIPS 2022, equations 5 and 6) become
    p = P(true j) = (a - M0) / d          t = P(true j, given j) = (b - pi M0) / d
    false negatives = 1 - t / p           false positives = (pi - t) / (1 - p).
This needs that the labels are flipped on their own, by their class alone, and that d is not zero (assumption A2).

A weighting w of partners gives the same equations for sums: p = <w, a - M0> / <w, d>, and t likewise. One partner is a weighting by
zeros and a one; w = d is least squares over all partners.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .pair_counts import PairCounts

# Estimates between this and 0, divided by the number of classes, count as 0: sampling alone makes them (the authors' code).
LEAST_NEGATIVE = -0.3


@dataclass(frozen=True, eq=False)
class Candidates:
    """What every partner i says about every class j: arrays (q, q), entry [j, i]. What no partner can say is NaN.

    Args:
        present: p = P(true j = 1).
        kept: t = P(true j = 1 and given j = 1).
        false_positive, false_negative: the flip rates; slightly negative ones are set to 0 where the partner survives.
        survives: whether the rejection rules leave the partner in.
    """

    present: np.ndarray
    kept: np.ndarray
    false_positive: np.ndarray
    false_negative: np.ndarray
    survives: np.ndarray


def decompose(counts: PairCounts) -> Candidates:
    """Solve for every class and partner, and apply the rejection rules.

    A partner is rejected if it is the class itself, if p is outside [0, 1], if a rate is below -0.3 / q or above 1, or if the two rates
    add up to 1 or more (assumption A1).
    """
    marginal = counts.frequency
    d = counts.difference
    with np.errstate(divide="ignore", invalid="ignore"):
        present = (marginal[None, :] - counts.given_zero) / d
        kept = (counts.together - marginal[:, None] * counts.given_zero) / d
        false_negative = 1 - kept / present
        false_positive = (marginal[:, None] - kept) / (1 - present)
    usable = np.isfinite(false_positive) & np.isfinite(false_negative) & ~np.eye(len(d), dtype=bool)
    least = LEAST_NEGATIVE / len(d)
    with np.errstate(invalid="ignore"):
        inside = (present >= 0) & (present <= 1)
        for rate in (false_positive, false_negative):
            inside &= (rate > least) & (rate <= 1)
        inside &= np.maximum(false_positive, 0) + np.maximum(false_negative, 0) < 1
    survives = usable & inside
    for rate in (false_positive, false_negative):
        rate[survives] = np.maximum(rate[survives], 0)
        rate[~usable] = np.nan
    present[~usable] = kept[~usable] = np.nan
    return Candidates(present, kept, false_positive, false_negative, survives)


def combined(counts: PairCounts, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P(true j = 1) and P(true j = 1, given j = 1), each (q,), from partners weighted by `weights` (q, q); NaN where they are all 0."""
    marginal = counts.frequency
    used = weights != 0
    total = lambda values: np.where(used, weights * values, 0.0).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        strength = total(counts.difference)
        present = total(marginal[None, :] - counts.given_zero) / strength
        kept = total(counts.together - marginal[:, None] * counts.given_zero) / strength
    return present, kept


def rates_of(present: np.ndarray, kept: np.ndarray, marginal: np.ndarray) -> np.ndarray:
    """False-positive and false-negative rates (q, 2) from p, t and P(given j); not below 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.maximum(np.stack([(marginal - kept) / (1 - present), 1 - kept / present], axis=1), 0.0)
