"""How far counting errors can move the estimated rates: the delta method, and a test of whether partners contradict each other.

To first order, with the symbols of `decomposition` (our derivation; a Monte-Carlo experiment agrees):
    dp = (da - (1 - p) dM0 - p dM1) / d           dt = (db - M0 dpi - (pi - t) dM0 - t dM1) / d
    d(false negatives) = -(dt - (1 - fn) dp) / p  d(false positives) = (dpi - dt + fp dp) / (1 - p).
Each of these is a mean over rows, so one number a row and class (its influence) gives variances and covariances, whatever weights the
partners have and however they go together. The variance goes as 1 / d^2, and for false negatives as 1 / p^2: rare classes are hard.

The intervals know of counting only. Rows that were selected though their label is wrong bias the estimate (if a share 1 - s0 of the
selected negatives and 1 - s1 of the positives are wrong at random, p becomes (p - (1 - s0)) / (s1 + s0 - 1)), and no interval shows it;
the test of over-identification does so in part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2, norm

from .consensus import Consensus
from .decomposition import combined
from .pair_counts import PairCounts

# Moments whose variance is less than this part of the largest one's are taken for copies of others.
RANK = 1e-9


def influences(labels: np.ndarray, selected: np.ndarray, counts: PairCounts, agreed: Consensus) -> np.ndarray:
    """First-order effect of each row on each class's rates, (2, N, q): false positives, false negatives; NaN without an estimate.

    The mean over rows is 0; the variance of an estimate is the mean square, divided by N.
    """
    present = labels.astype(np.float64)
    solved = _solved(present, selected, counts, agreed.weights[0])
    found = []
    for column, weights in enumerate(agreed.weights):
        if column and not np.array_equal(weights, agreed.weights[0]):
            solved = _solved(present, selected, counts, weights)
        p, dp, dt = solved
        rate = agreed.rates[:, column]
        with np.errstate(divide="ignore", invalid="ignore"):
            if column == 0:
                found.append((present - counts.frequency - dt + rate * dp) / (1 - p))
            else:
                found.append(-(dt - (1 - rate) * dp) / p)
    return np.stack(found)


def true_covariance(labels: np.ndarray, selected: np.ndarray, counts: PairCounts) -> tuple[np.ndarray, np.ndarray]:
    """Cov(true j, given j) = t - p pi, by least squares over all partners, rejected ones too; with its standard deviation, (q,) each.

    It is p (1 - p) (1 - fp - fn), so assumption A1 says that it is above 0. Looking at the partners that survive would not do: those
    that say that the rates add up to 1 or more were rejected for it.
    """
    others = ~np.eye(labels.shape[1], dtype=bool)
    weights = np.where(others & np.isfinite(counts.difference), counts.difference, 0.0)
    p, t = combined(counts, weights)
    present = labels.astype(np.float64)
    dp, dt = _first_order(present, selected, counts, weights, p, t)
    effects = dt - counts.frequency * dp - p * (present - counts.frequency)
    return t - counts.frequency * p, np.sqrt((effects**2).mean(0) / len(labels))


def deviations(effects: np.ndarray) -> np.ndarray:
    """Standard deviation of each rate, (q, 2)."""
    return np.sqrt((effects**2).mean(1) / effects.shape[1]).T


def interval(rates: np.ndarray, deviation: np.ndarray, confidence: float) -> np.ndarray:
    """Lower and upper ends (q, 2, 2) of two-sided intervals, kept within [0, 1]."""
    reach = norm.ppf(0.5 + confidence / 2) * deviation
    return np.clip(np.stack([rates - reach, rates + reach], axis=2), 0.0, 1.0)


@dataclass(frozen=True)
class Contradiction:
    """Hansen's test of over-identification: with k partners there are 2k equations for p and t.

    `probability` is that of a statistic as large as this one if all partners meet the assumptions and the selected rows are right.
    """

    statistic: float
    freedom: int
    probability: float


def contradiction(
    labels: np.ndarray, selected: np.ndarray, counts: PairCounts, j: int, *, kept: tuple[float, float], partners: int
) -> Contradiction | None:
    """Test class j with its `partners` strongest partners, those with the largest d against its error.

    Args:
        labels, selected: (N, q).
        counts: of these.
        j: the class.
        kept: p and t at which the covariance of the equations is taken.
        partners: at most so many; with fewer than two there is nothing to test.

    Returns:
        The test, or None where fewer than two partners say anything.
    """
    strength = np.abs(partner_scores(counts)[j])
    strength[j] = -np.inf
    chosen = np.argsort(-strength, kind="stable")[:partners]
    chosen = chosen[np.isfinite(strength[chosen]) & (counts.difference[j, chosen] != 0)]
    if len(chosen) < 2:
        return None
    effects, values = _equations(labels, selected, counts, j, chosen, *kept)
    covariance = effects.T @ effects / len(labels)
    scale = np.sqrt(np.diagonal(covariance))
    usable = scale > 0
    scale = np.where(usable, scale, 1.0)
    size, axes = np.linalg.eigh(covariance / np.outer(scale, scale))
    real = size > RANK * size.max()
    root = (axes[:, real] / np.sqrt(size[real])).T / scale
    d = counts.difference[j, chosen]
    design = np.zeros((2 * len(chosen), 2))
    design[: len(chosen), 0] = design[len(chosen) :, 1] = d
    left, right = root @ design, root @ values
    solution = np.linalg.lstsq(left, right, rcond=None)[0]
    statistic = float(len(labels) * ((right - left @ solution) ** 2).sum())
    freedom = int(real.sum()) - 2
    if freedom < 1:
        return None
    return Contradiction(statistic, freedom, float(chi2.sf(statistic, freedom)))


def partner_scores(counts: PairCounts) -> np.ndarray:
    """d over its standard error, (q, q): how surely partner i depends on class j. Not finite without selected rows or variation."""
    variance = sum(
        m * (1 - m) / np.maximum(rows, 1)[:, None]
        for m, rows in ((counts.given_one, counts.ones), (counts.given_zero, counts.zeros))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return counts.difference / np.sqrt(variance)


def _solved(
    present: np.ndarray, selected: np.ndarray, counts: PairCounts, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    p, t = combined(counts, weights)
    return p, *_first_order(present, selected, counts, weights, p, t)


def _first_order(
    present: np.ndarray, selected: np.ndarray, counts: PairCounts, weights: np.ndarray, p: np.ndarray, t: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """dp and dt of every row and class, (N, q) each, for partners with weights (q, q)."""
    used = weights != 0
    total = lambda values: np.where(used, weights * values, 0.0).sum(1)
    score = present @ np.where(used, weights, 0.0).T
    with np.errstate(divide="ignore", invalid="ignore"):
        moved_one = (selected & (present == 1)) * (score - total(counts.given_one)) / (counts.ones / counts.rows)
        moved_zero = (selected & (present == 0)) * (score - total(counts.given_zero)) / (counts.zeros / counts.rows)
        d = total(counts.difference)
        dp = (score - total(counts.frequency[None, :]) - (1 - p) * moved_zero - p * moved_one) / d
        both = present * score - total(counts.together) - total(counts.given_zero) * (present - counts.frequency)
        dt = (both - (counts.frequency - t) * moved_zero - t * moved_one) / d
    return dp, dt


def _equations(
    labels: np.ndarray, selected: np.ndarray, counts: PairCounts, j: int, chosen: np.ndarray, p: float, t: float
) -> tuple[np.ndarray, np.ndarray]:
    """Effects of rows (N, 2k) on a - M0 - p d and b - pi M0 - t d of the k chosen partners, and the values (2k,) without p and t."""
    own = labels[:, j].astype(np.float64)[:, None]
    partner = labels[:, chosen].astype(np.float64)
    m1, m0 = counts.given_one[j, chosen], counts.given_zero[j, chosen]
    pi, a, b = counts.frequency[j], counts.frequency[chosen], counts.together[j, chosen]
    mine = selected[:, j, None]
    moved_one = (mine & (own == 1)) * (partner - m1) / (counts.ones[j] / counts.rows)
    moved_zero = (mine & (own == 0)) * (partner - m0) / (counts.zeros[j] / counts.rows)
    first = partner - a - (1 - p) * moved_zero - p * moved_one
    second = own * partner - b - m0 * (own - pi) - (pi - t) * moved_zero - t * moved_one
    return np.concatenate([first, second], axis=1), np.concatenate([a - m0, b - pi * m0])
