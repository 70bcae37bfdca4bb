"""Renyi bounds of the vote mechanisms, vectorised over queries (rows) and orders (columns).

*Data-independent* bounds hold for every histogram; only they are charged and published. *Data-dependent* bounds
(Papernot et al. 2018, Theorem 6 and Propositions 7, 8, 10; Papernot et al. 2017, Theorem 3 for Laplace noise) are
smaller where the teachers agree, but they are functions of the votes: they stay inside, or leave through `gnss`.

All of them rest on q, an upper bound on the probability that the output differs from the plurality class. With integer
noise a rival also wins by a tie, so `integer_noise=True` (the default, right for `noise.SystemNoise`) lessens every gap
by 1 and the threshold by 1/2; False is the continuous reference of the papers.

>>> counts = np.array([[250] + 9 * [0]])
>>> float(np.round(gnmax_log_q(counts, 40.0, integer_noise=False)[0], 6))
-10.019228
>>> [f"{bound:.8e}" for bound in gnmax(counts, 40.0, [2, 32], integer_noise=False)[0]]
['1.52735726e-05', '2.03454988e-04']
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import log_ndtr

from ..errors import BadInput
from .events import GaussianEvent, PureDpEvent
from .mechanisms import HISTOGRAM_L1_SENSITIVITY
from .validate import finite, positive, renyi_orders

Orders = Sequence[float] | np.ndarray

_CELLS = 1 << 16  # queries times orders worked on at once: stays in the processor's cache


def _counts(counts: np.ndarray) -> np.ndarray:
    table = np.atleast_2d(np.asarray(counts, dtype=float))
    if table.ndim != 2 or table.shape[1] < 2 or not np.all(np.isfinite(table)):
        raise BadInput("counts must be finite and have the shape (queries, classes) with at least 2 classes")
    return table


def _log1mexp(x: np.ndarray) -> np.ndarray:
    """log(1 - e^x) for x <= 0, without cancellation."""
    return np.where(x > -math.log(2), np.log(-np.expm1(x)), np.log1p(-np.exp(x)))


def _log_add(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """log(e^x + e^y) of finite numbers; twice as fast as numpy's own, which is not vectorised."""
    return np.maximum(x, y) + np.log1p(np.exp(-np.abs(x - y)))


def _gaps(counts: np.ndarray, integer_noise: bool) -> np.ndarray:
    """Lead of the plurality class over each class, less 1 for ties; infinite for the class itself."""
    table = _counts(counts)
    rows = np.arange(len(table))
    winner = np.argmax(table, axis=1)
    gaps = table[rows, winner][:, None] - table - (1.0 if integer_noise else 0.0)
    gaps[rows, winner] = np.inf
    return gaps


def _log_sum(log_terms: np.ndarray) -> np.ndarray:
    """log of the sum over classes, at most log(1 - 1/classes): a guess at random is right that often."""
    top = log_terms.max(axis=1)
    shift = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        total = np.log(np.exp(log_terms - shift[:, None]).sum(axis=1)) + shift
    return np.minimum(total, math.log1p(-1 / log_terms.shape[1]))


def gnmax_log_q(counts: np.ndarray, sigma: float, *, integer_noise: bool = True) -> np.ndarray:
    """log q of GNMax: q = sum over rivals of Pr[N(0, 2 sigma^2) > gap] (Proposition 7)."""
    positive(sigma=sigma)
    return _log_sum(log_ndtr(_gaps(counts, integer_noise) * (-1 / (math.sqrt(2) * sigma))))


def threshold_log_pass(
    counts: np.ndarray, threshold: float, sigma: float, *, integer_noise: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """(log Pr[pass], log Pr[fail]) of the test `largest count + noise >= threshold`.

    A count that is not whole (the papers' interactive variant subtracts N p) is rounded first, as the mechanism does.
    """
    positive(sigma=sigma)
    finite(threshold=threshold)
    bound = math.ceil(threshold) - 0.5 if integer_noise else threshold
    z = (np.rint(_counts(counts).max(axis=1)) - bound) / sigma
    return log_ndtr(z), log_ndtr(-z)


def lnmax_log_q(counts: np.ndarray, scale: float, *, integer_noise: bool = True) -> np.ndarray:
    """log q of LNMax: the difference of two Laplace variables exceeds gap d with probability (2 + d/b) e^(-d/b) / 4."""
    positive(scale=scale)
    gaps = _gaps(counts, integer_noise) / scale
    size = np.abs(gaps)
    with np.errstate(invalid="ignore"):
        log_tail = np.where(np.isinf(size), -np.inf, np.log((2 + size) / 4) - size)
    return _log_sum(np.where(gaps >= 0, log_tail, _log1mexp(np.minimum(log_tail, -math.log(2)))))


def gaussian_data_dependent(log_q: np.ndarray, sigma: float, orders: Orders) -> np.ndarray:
    """Theorem 6 with the orders of Proposition 10, or order / sigma^2 where that is smaller or the theorem is silent.

    `sigma` is the noise of GNMax; a threshold test with noise s and sensitivity 1 is the same with sigma = sqrt(2) s.
    """
    positive(sigma=sigma)
    grid = renyi_orders(orders)
    log_q = np.atleast_1d(np.asarray(log_q, dtype=float))
    if np.any(np.isnan(log_q)) or np.any(log_q > 0):
        raise BadInput("log_q must hold logarithms of probabilities, none above 0")
    variance = float(sigma) ** 2
    bound = np.repeat((grid / variance)[None, :], len(log_q), axis=0)
    bound[np.isneginf(log_q)] = 0.0
    # Proposition 10: mu2 = sigma sqrt(ln 1/q), mu1 = mu2 + 1, e_i = mu_i / sigma^2.
    mu2 = sigma * np.sqrt(-log_q)
    candidates = np.flatnonzero((mu2 > 1) & np.isfinite(log_q))
    mu2, log_q = mu2[candidates], log_q[candidates]
    e1, e2 = (mu2 + 1) / variance, mu2 / variance
    proven = (log_q <= (mu2 - 1) * e2 - mu2 * (np.log1p(1 / mu2) + np.log1p(1 / (mu2 - 1)))) & (-log_q > e2)
    rows, mu2, log_q, e1, e2 = candidates[proven], mu2[proven], log_q[proven], e1[proven], e2[proven]
    if not len(rows):
        return bound
    log_1q = _log1mexp(log_q)
    log_a = log_1q - _log1mexp((log_q + e2) * (1 - 1 / mu2))
    log_b = e1 - log_q / mu2
    power = grid - 1
    log_sum = _log_add(log_1q[:, None] + log_a[:, None] * power, log_q[:, None] + log_b[:, None] * power)
    dependent = np.where(grid < mu2[:, None] + 1, np.maximum(log_sum, 0.0) / power, np.inf)
    bound[rows] = np.minimum(bound[rows], dependent)
    return bound


def gnmax(counts: np.ndarray, sigma: float, orders: Orders, *, integer_noise: bool = True) -> np.ndarray:
    """Data-dependent bound of one GNMax answer for each row of counts."""
    return gaussian_data_dependent(gnmax_log_q(counts, sigma, integer_noise=integer_noise), sigma, orders)


def threshold(
    counts: np.ndarray, threshold: float, sigma: float, orders: Orders, *, integer_noise: bool = True
) -> np.ndarray:
    """Data-dependent bound of one threshold test for each row: the likelier outcome plays the plurality class."""
    log_pass, log_fail = threshold_log_pass(counts, threshold, sigma, integer_noise=integer_noise)
    return gaussian_data_dependent(np.minimum(log_pass, log_fail), math.sqrt(2) * sigma, orders)


def lnmax_of_log_q(log_q: np.ndarray, epsilon: float, orders: Orders) -> np.ndarray:
    """The least of epsilon^2 a / 2, epsilon and the bound in q, which is proven only for q <= 1 / (e^epsilon + 1).

    (The code published in 2017 tests q < 1/2 instead; between the two its values lie below every proven bound.)
    """
    positive(epsilon=epsilon)
    grid = renyi_orders(orders)
    log_q = np.atleast_1d(np.asarray(log_q, dtype=float))
    if np.any(np.isnan(log_q)) or np.any(log_q > 0):
        raise BadInput("log_q must hold logarithms of probabilities, none above 0")
    bound = np.repeat(np.minimum(epsilon**2 * grid / 2, epsilon)[None, :], len(log_q), axis=0)
    rows = np.flatnonzero(log_q <= -np.logaddexp(epsilon, 0.0))
    small = log_q[rows, None]
    log_1q = _log1mexp(small)
    power = grid - 1
    log_sum = np.logaddexp(log_1q + (log_1q - _log1mexp(small + epsilon)) * power, small + epsilon * power)
    bound[rows] = np.minimum(bound[rows], np.maximum(log_sum, 0.0) / power)
    return bound


def lnmax(counts: np.ndarray, scale: float, orders: Orders, *, integer_noise: bool = True) -> np.ndarray:
    """Data-dependent bound of one LNMax answer for each row of counts."""
    log_q = lnmax_log_q(counts, scale, integer_noise=integer_noise)
    return lnmax_of_log_q(log_q, HISTOGRAM_L1_SENSITIVITY / scale, orders)


def gnmax_data_independent(sigma: float, orders: Orders) -> np.ndarray:
    """Order / sigma^2 (Proposition 8)."""
    return GaussianEvent(sigma, 2).rdp(orders)


def threshold_data_independent(sigma: float, orders: Orders) -> np.ndarray:
    """Order / (2 sigma^2): the largest count has sensitivity 1."""
    return GaussianEvent(sigma, 1).rdp(orders)


def lnmax_data_independent(scale: float, orders: Orders) -> np.ndarray:
    """The curve of a (2/scale)-DP mechanism."""
    return PureDpEvent(HISTOGRAM_L1_SENSITIVITY / scale).rdp(orders)


def laplace_scalar(noise_multiplier: float, orders: Orders) -> np.ndarray:
    """A *number* released with Laplace noise (Mironov 2017, Table II). Not for noisy-max: its output is no number."""
    positive(noise_multiplier=noise_multiplier)
    a = renyi_orders(orders)
    high = np.log(a / (2 * a - 1)) + (a - 1) / noise_multiplier
    low = np.log((a - 1) / (2 * a - 1)) - a / noise_multiplier
    return np.logaddexp(high, low) / (a - 1)


def total(
    rows: Callable[[np.ndarray], np.ndarray], counts: np.ndarray, orders: Orders, *, weights: np.ndarray | None = None
) -> np.ndarray:
    """Sum of `rows(counts)` over all queries, in pieces that fit the cache: a million queries need no huge array.

    `weights` counts a row more or less: booleans for what was answered, or probabilities for an expectation (which is
    a figure for reports, never a guarantee).
    """
    table = _counts(counts)
    size = len(renyi_orders(orders))
    step = max(1, _CELLS // size)
    curve = np.zeros(size)
    share = np.ones(len(table)) if weights is None else np.asarray(weights, dtype=float)
    if share.shape != (len(table),):
        raise BadInput("weights must hold one number for each query")
    for start in range(0, len(table), step):
        curve += share[start : start + step] @ rows(table[start : start + step])
    return curve


def confident_gnmax(
    counts: np.ndarray,
    *,
    threshold_at: float,
    sigma1: float,
    sigma2: float,
    orders: Orders,
    answered: np.ndarray | None = None,
    integer_noise: bool = True,
    data_dependent: bool = True,
) -> np.ndarray:
    """Curve of a whole Confident-GNMax run: every row is checked, the `answered` ones are answered.

    Without `answered` each answer is weighed by its probability: the expectation that the 2018 paper reports.
    """
    table = _counts(counts)
    share = (
        np.exp(threshold_log_pass(table, threshold_at, sigma1, integer_noise=integer_noise)[0])
        if answered is None
        else np.asarray(answered, dtype=float)
    )
    if not data_dependent:
        checks = len(table) * threshold_data_independent(sigma1, orders)
        return checks + share.sum() * gnmax_data_independent(sigma2, orders)
    checks = total(lambda c: threshold(c, threshold_at, sigma1, orders, integer_noise=integer_noise), table, orders)
    answers = total(lambda c: gnmax(c, sigma2, orders, integer_noise=integer_noise), table, orders, weights=share)
    return checks + answers
