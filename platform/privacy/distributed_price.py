"""What noise in shares costs more than the same noise from one trusted place.

Three things make it dearer. Shares that may be lost or told are not counted on, though they are in the sum. A sum of discrete Gaussians
is no Gaussian; with shares of parameter 2 or more this is less than a part in 10^6. And a ledger converts the zCDP total of such sums
to epsilon, where a Gaussian has an exact conversion. The last is bookkeeping: a *fixed* plan can be reported by privacy loss
distributions instead (`fixed_plan_epsilon`), as the ledger must not, since it decides about the next event.

The report stands on this: the sum of k discrete Gaussians of parameter s and one more has at x the probability

    exp(-x^2 / (2 (k+1) s^2)) S(x) / const,   S(x) = sum_y exp(-(y - c x)^2 / (2 t^2)),   t^2 = s^2 k / (k+1),

had the first k made an exact discrete Gaussian. By Poisson's formula S is t sqrt(2 pi) up to a factor of 1 - h to 1 + h,
h = 2 sum_j exp(-2 pi^2 t^2 j^2), so the whole is a discrete Gaussian of parameter s sqrt(k+1) up to (1 + h) / (1 - h) at every x.
Adding another variable keeps such a factor, and so they multiply: `closeness` is the logarithm of the product.

>>> rows = prices(sigma=40.0, silos=250, answers=100, delta=1e-5, tolerated=(0.3,))
>>> [round(epsilon, 2) for epsilon in (rows[0].trusted, rows[0].in_shares, rows[0].in_shares_fixed_plan)]
[1.36, 1.8, 1.65]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import BadInput
from .accounting import gdp_epsilon, rdp_epsilon, zcdp_epsilon
from .discrete_noise import DISCRETE_GAUSSIAN, Law
from .distributed_event import DistributedGaussianEvent
from .distributed_noise import NoiseShare
from .events import NANO, Event
from .validate import positive, positive_int, probability

_WHOLE_ORDERS = np.arange(2.0, 1025.0)
_UP = 1 + 1e-9


@dataclass(frozen=True)
class Price:
    """What so many answers cost where a sum of all silos' noise has the same parameter: from one trusted place, or in shares."""

    tolerated: float  # part of the silos that may be lost
    counted: int  # shares that are counted on
    sigma_guaranteed: float
    trusted: float  # epsilon of the rounded Gaussian, by the exact conversion
    in_shares: float  # epsilon as the ledger counts it
    in_shares_fixed_plan: float | None  # epsilon by privacy loss distributions; None for Skellam noise
    sigma_needed: float  # parameter of all shares' sum with which they meet the trusted epsilon, as the ledger counts


def prices(
    *,
    sigma: float,
    silos: int,
    answers: int,
    delta: float,
    tolerated: Sequence[float] = (0.0, 0.1, 0.3),
    colluding: int = 0,
    law: Law = DISCRETE_GAUSSIAN,
) -> list[Price]:
    """The price of shares against a trusted aggregator that draws noise `sigma`, for each part of the silos that may be lost.

    In each row the noise in a sum of all silos has the parameter `sigma`, so that answers are equally good.
    """
    positive(sigma=sigma)
    positive_int(answers=answers)
    trusted = gdp_epsilon(math.sqrt(2 * answers) / sigma, delta)
    rows = []
    for part in tolerated:
        dropped = math.floor(part * silos + 1e-9)
        counted = silos - dropped - colluding
        if counted < 1:
            raise BadInput("nobody is left to draw noise", mend="tolerate fewer lost or colluding silos")

        def share_of(guaranteed: float, dropped: int = dropped) -> NoiseShare:
            return NoiseShare(guaranteed, silos, dropped, colluding, law)

        guaranteed = sigma * math.sqrt(counted / silos)
        event = share_of(guaranteed).event().times(answers)
        low = high = guaranteed
        while _epsilon(share_of(high).event().times(answers), delta) > trusted:
            low, high = high, 2 * high
        while high - low > 1e-9 * high:
            middle = (low + high) / 2
            fits = _epsilon(share_of(middle).event().times(answers), delta) <= trusted
            low, high = (low, middle) if fits else (middle, high)
        fixed = fixed_plan_epsilon(event, delta) if isinstance(event, DistributedGaussianEvent) else None
        needed = share_of(high).deviation(silos)
        rows.append(Price(part, counted, guaranteed, trusted, _epsilon(event, delta), fixed, needed))
    return rows


def fixed_plan_epsilon(event: DistributedGaussianEvent, delta: float, *, discretisation: float = 2e-5) -> float:
    """Epsilon of `event.count` releases that were all fixed beforehand; each changes its coordinates by one at most.

    The privacy loss distribution of the discrete Gaussian is dp-accounting's, rounded pessimistically; for what the sum of shares
    differs from it, twice `closeness` is added for each changed coordinate of each release, and delta is lessened by that factor.
    """
    from dp_accounting.pld import privacy_loss_distribution

    probability(delta=delta)
    if not event.squared_sensitivity == event.l1_sensitivity == event.coordinates:
        raise BadInput("a fixed plan is reported for changes by one in each coordinate", mend="use the event's curve")
    variables = event.coordinates * event.count
    far = variables * closeness(event.local_sigma, event.shares)
    if not math.isfinite(far):
        return math.inf
    # A hair narrower than it is, against the rounding of a root.
    sigma = event.local_sigma * math.sqrt(event.shares) * (1 - 1e-12)
    one = privacy_loss_distribution.from_discrete_gaussian_mechanism(
        sigma, value_discretization_interval=discretisation
    )
    return float(one.self_compose(variables).get_epsilon_for_delta(delta * math.exp(-far))) + 2 * far


def closeness(local_sigma: float, shares: int) -> float:
    """A bound of |ln p(x) / q(x)| for all x, p the sum of the shares and q the discrete Gaussian of the same parameter."""
    total = 0.0
    for k in range(1, shares):
        q = math.exp(-2 * (math.pi * local_sigma) ** 2 * k / (k + 1)) * _UP
        # j^2 >= j: the sum over j is at most a geometric one.
        h = 2 * q / (1 - q)
        if h >= 1:
            return math.inf
        total += 2 * math.atanh(h)
    return math.nextafter(total * _UP, math.inf) if shares > 1 else 0.0


def _epsilon(event: Event, delta: float) -> float:
    nano = event.nano_rho()
    if nano is None:
        return rdp_epsilon(_WHOLE_ORDERS, event.rdp(_WHOLE_ORDERS), delta)[0]
    return zcdp_epsilon(nano / NANO, delta)


def price_table(rows: Sequence[Price]) -> str:
    """The prices as a table in Markdown."""
    head = (
        "| may be lost | shares counted on | sigma guaranteed | epsilon, trusted | in shares, by the ledger "
        "| in shares, fixed plan | noise for the trusted epsilon |\n| --- | --- | --- | --- | --- | --- | --- |\n"
    )
    return head + "\n".join(
        f"| {row.tolerated:.0%} | {row.counted} | {row.sigma_guaranteed:.2f} | {row.trusted:.3f} | {row.in_shares:.3f} "
        f"| {'-' if row.in_shares_fixed_plan is None else f'{row.in_shares_fixed_plan:.3f}'} | {row.sigma_needed:.2f} |"
        for row in rows
    )
