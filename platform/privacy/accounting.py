"""Composition, and conversion of what was composed into (epsilon, delta).

Renyi curves at the same orders compose by addition. A curve becomes an epsilon by one of two conversions:
*classic* (Mironov 2017, Proposition 3) RDP(a) + ln(1/delta)/(a-1), and *tight* (Canonne, Kamath & Steinke 2020,
Proposition 12) RDP(a) + ln((a-1)/a) - (ln delta + ln a)/(a-1). Plans made of Gaussian releases only are mu-GDP with
mu^2 = 2 rho and convert exactly (Balle & Wang 2018).

640 threshold checks with sigma 150 and 286 answers with sigma 40 cost rho = 640/(2*150^2) + 286/40^2:

>>> rho = 640 / (2 * 150**2) + 286 / 40**2
>>> round(zcdp_epsilon(rho, 1e-5, conversion="classic"), 3)
3.174
>>> round(gdp_epsilon((2 * rho) ** 0.5, 1e-5), 3)
2.543
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import erfcx, log_ndtr

from ..errors import BadInput
from .events import Event, GaussianEvent, PureDpEvent, SubsampledGaussianEvent
from .validate import non_negative, positive, probability, renyi_orders

if TYPE_CHECKING:
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

Conversion = Literal["classic", "tight"]

# The orders of the PATE papers' scripts: every half from 2 to 100, then 100 log-spaced ones up to 500.
PATE_ORDERS: np.ndarray = np.concatenate((np.arange(2, 101, 0.5), np.logspace(2, math.log10(500), 100)))

# Fixed and dense, so that an epsilon from rho is monotone in rho (a minimiser's stopping rule would not be).
_ZCDP_ORDERS: np.ndarray = 1 + np.logspace(-5, 8, 26_001)


def compose(curves: Iterable[np.ndarray]) -> np.ndarray:
    """The sum of Renyi curves given at the same orders."""
    arrays = [np.asarray(curve, dtype=float) for curve in curves]
    if not arrays:
        raise BadInput("nothing to compose", why="at least one curve is needed")
    if len({array.shape for array in arrays}) != 1:
        raise BadInput("curves of different lengths", why="curves compose order by order")
    return np.sum(arrays, axis=0)


def compose_events(events: Iterable[Event], orders: Sequence[float] | np.ndarray) -> np.ndarray:
    """The data-independent curve of all events together; zero for none."""
    grid = renyi_orders(orders)
    return np.sum([np.zeros_like(grid), *(event.rdp(grid) for event in events)], axis=0)


def _penalty(orders: np.ndarray, delta: float, conversion: Conversion) -> np.ndarray:
    """What a conversion adds to the curve at each order."""
    if conversion == "classic":
        return -math.log(delta) / (orders - 1)
    if conversion == "tight":
        return np.log1p(-1 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1)
    raise BadInput(f"unknown conversion {conversion!r}", why="it is 'classic' or 'tight'")


def epsilon_at_orders(
    orders: Sequence[float] | np.ndarray, curve: np.ndarray, delta: float, *, conversion: Conversion = "tight"
) -> np.ndarray:
    """The epsilon that each order alone proves (never below 0)."""
    probability(delta=delta)
    grid = renyi_orders(orders)
    values = np.asarray(curve, dtype=float)
    if values.shape != grid.shape:
        raise BadInput("the curve and its orders differ in length")
    if np.any(np.isnan(values)) or np.any(values < 0):
        raise BadInput("a Renyi curve holds a negative value or NaN")
    epsilon = np.maximum(values + _penalty(grid, delta, conversion), 0.0)
    if conversion == "tight":
        # Below this the total variation bound, sqrt(1 - exp(-KL)) <= delta, already gives epsilon 0.
        return np.where(delta**2 + np.expm1(-values) > 0, 0.0, epsilon)
    return epsilon


def rdp_epsilon(
    orders: Sequence[float] | np.ndarray, curve: np.ndarray, delta: float, *, conversion: Conversion = "tight"
) -> tuple[float, float]:
    """(epsilon, the order that gave it)."""
    epsilon = epsilon_at_orders(orders, curve, delta, conversion=conversion)
    best = int(np.argmin(epsilon))
    return float(epsilon[best]), float(renyi_orders(orders)[best])


def zcdp_epsilon(rho: float, delta: float, *, conversion: Conversion = "tight") -> float:
    """Epsilon of a rho-zCDP mechanism; the classic form is rho + 2 sqrt(rho ln(1/delta))."""
    non_negative(rho=rho)
    probability(delta=delta)
    if rho == 0:
        return 0.0
    if conversion == "classic":
        return rho + 2 * math.sqrt(-rho * math.log(delta))
    return float(np.min(epsilon_at_orders(_ZCDP_ORDERS, rho * _ZCDP_ORDERS, delta, conversion=conversion)))


def gdp_delta(mu: float, epsilon: float) -> float:
    """The exact delta of a mu-GDP mechanism at epsilon (Balle & Wang 2018, Theorem 8)."""
    x, half = epsilon / mu, mu / 2
    if x - half < -5:
        return math.exp(log_ndtr(half - x)) - math.exp(epsilon + log_ndtr(-half - x))
    # exp(epsilon) phi(x + half) = phi(x - half): a difference of Mills ratios keeps the digits the plain form loses.
    mills = math.sqrt(math.pi / 2) * (erfcx((x - half) / math.sqrt(2)) - erfcx((x + half) / math.sqrt(2)))
    return float(math.exp(-((x - half) ** 2) / 2) / math.sqrt(2 * math.pi) * mills)


def gdp_epsilon(mu: float, delta: float) -> float:
    """The exact epsilon of a mu-GDP mechanism, e.g. of any Gaussian-only plan with mu^2 = 2 rho.

    Bisection keeps the side on which delta is met, so floating point errs towards the larger epsilon.
    """
    non_negative(mu=mu)
    probability(delta=delta)
    if mu == 0 or gdp_delta(mu, 0.0) <= delta:
        return 0.0
    low, high = 0.0, mu * mu / 2 + mu * math.sqrt(-2 * math.log(delta))
    while high - low > 1e-15 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if gdp_delta(mu, middle) > delta:
            low = middle
        else:
            high = middle
    return high


def gdp_mu(epsilon: float, delta: float) -> float:
    """The largest mu whose exact conversion stays at or below epsilon."""
    positive(epsilon=epsilon)
    probability(delta=delta)
    low, high = 0.0, 1.0
    while gdp_delta(high, epsilon) <= delta:
        low, high = high, 2 * high
    while high - low > 1e-15 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if gdp_delta(middle, epsilon) > delta:
            high = middle
        else:
            low = middle
    return low


def plan_epsilon(
    events: Sequence[Event],
    delta: float,
    *,
    orders: Sequence[float] | np.ndarray = PATE_ORDERS,
    conversion: Conversion | Literal["best"] = "best",
) -> float:
    """Data-independent epsilon of a fixed plan: exact for Gaussian-only plans, else by Renyi curves.

    `conversion` forces one of the Renyi conversions, for comparison with published figures.
    """
    if not events:
        return 0.0
    if conversion == "best":
        if all(event.gaussian for event in events):
            mu_squared = 2 * float(sum(curve_at_one(event) for event in events))
            return gdp_epsilon(math.sqrt(mu_squared), delta)
        conversion = "tight"
    return rdp_epsilon(orders, compose_events(events, orders), delta, conversion=conversion)[0]


def curve_at_one(event: Event) -> float:
    """Rho of a Gaussian event, unrounded (its curve is a straight line through 0)."""
    return float(event.rdp([2.0])[0]) / 2


def pld_epsilon(events: Sequence[Event], delta: float, *, discretisation: float = 1e-4) -> float:
    """Epsilon of a *fixed* plan by privacy loss distributions, rounded pessimistically; a report, never a filter.

    Pure-DP events count as the worst mechanism of their epsilon, not as a Laplace number: the output of a noisy
    maximum is not that number.
    """
    probability(delta=delta)
    positive(discretisation=discretisation)
    if not events:
        return 0.0
    whole, *rest = (_loss_distribution(event, discretisation) for event in events)
    for part in rest:
        whole = whole.compose(part)
    return float(whole.get_epsilon_for_delta(delta))


def _loss_distribution(event: Event, discretisation: float) -> PrivacyLossDistribution:
    from dp_accounting.pld import common, privacy_loss_distribution

    repeats = event.count
    if isinstance(event, PureDpEvent):
        unit = privacy_loss_distribution.from_privacy_parameters(
            common.DifferentialPrivacyParameters(event.epsilon, 0), value_discretization_interval=discretisation
        )
    elif isinstance(event, GaussianEvent):
        unit = privacy_loss_distribution.from_gaussian_mechanism(
            event.sigma / math.sqrt(event.squared_sensitivity), value_discretization_interval=discretisation
        )
    elif isinstance(event, SubsampledGaussianEvent):
        repeats *= event.steps
        unit = privacy_loss_distribution.from_gaussian_mechanism(
            event.noise_multiplier,
            value_discretization_interval=discretisation,
            sampling_prob=event.sample_rate,
        )
    else:
        raise BadInput(f"a {type(event).__name__} has no privacy loss distribution", mend="use its Renyi curve")
    return unit.self_compose(repeats) if repeats > 1 else unit
