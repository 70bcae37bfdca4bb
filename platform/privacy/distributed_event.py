"""Events of noise that nobody drew alone: a sum of discrete Gaussians, or of Skellam variables, one from each of several silos.

A sum of discrete Gaussians is no discrete Gaussian, but nearly one. For n >= 1 shares of variance s^2, s >= 1/2, and a change of the
released whole numbers by D, of d coordinates and norms D1 and D2, Kairouz, Liu & Steinke 2021 (arXiv 2102.06387, Proposition 14) bound
the Renyi divergence at order a by the least of

    a D2^2 / (2 n s^2) + tau d
    a/2 (D2^2 / (n s^2) + 2 D1 tau / (s sqrt n) + tau^2 d)
    a/2 (D2 / (s sqrt n) + tau sqrt d)^2,       tau = 10 sum_{k=1}^{n-1} exp(-2 pi^2 s^2 k / (k + 1)).

d counts the coordinates that may change: the others have their own, independent noise and the same law under both neighbours. In a
histogram these are 2, however many classes it has. The last two are straight lines through 0, the first lies below one of slope
D2^2 / (2 n s^2) + tau d for all a >= 1; the least slope is the zCDP cost.

Skellam variables do add up to one. For variance m Agarwal, Kairouz & Liu 2021 (arXiv 2110.04995) have at whole orders
a > 1 the bound

    a D2^2 / (2 m) + min(((2 a - 1) D2^2 + 6 D1) / (4 m^2), 3 D1 / (2 m)).

Shares beyond those that are counted on only add independent noise, which is post-processing: the bounds stand.

>>> DistributedGaussianEvent(local_sigma=4.0, shares=100).nano_rho()   # GNMax with sigma 40 costs 625000; and rounded up
625001
>>> round(DistributedGaussianEvent(local_sigma=0.6, shares=100).nano_rho() / 1e9, 4), round(1 / 36, 4)
(2.6147, 0.0278)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..errors import BadInput
from .neighbours import EVERY_RELATION, Relation
from .validate import moderate, positive_int, renyi_orders

if TYPE_CHECKING:
    from dp_accounting import DpEvent

_NANO = 10**9
LEAST_LOCAL_SIGMA = 0.5
# More than what rounding takes off tau, and off what is added to the exact part of a cost.
_UP = 1 + 1e-9


@lru_cache(maxsize=256)
def excess(local_sigma: float, shares: int) -> float:
    """tau of the module's text, rounded up; nil for a single share."""
    if shares == 1:
        return 0.0
    rate = 2 * (math.pi * local_sigma) ** 2
    # For large k the terms come near exp(-rate) from above; all are summed, for a thousand shares are not many.
    total = 10 * math.fsum(math.exp(-rate * k / (k + 1)) for k in range(1, shares))
    return math.nextafter(total * _UP, math.inf)


@dataclass(frozen=True)
class DistributedGaussianEvent:
    """The sum of `shares` discrete Gaussians, each of parameter `local_sigma`, on whole numbers of which `coordinates` may change."""

    local_sigma: float
    shares: int
    squared_sensitivity: int = 2
    l1_sensitivity: int = 2
    coordinates: int = 2
    count: int = 1

    kind: ClassVar[str] = "distributed_gaussian"
    gaussian: ClassVar[bool] = False  # a discrete Gaussian is zCDP and not GDP; a sum of them all the less
    relations: ClassVar[frozenset[Relation]] = EVERY_RELATION

    def __post_init__(self) -> None:
        moderate(local_sigma=self.local_sigma)
        _sensitivities(self)
        positive_int(shares=self.shares)
        if self.local_sigma < LEAST_LOCAL_SIGMA:
            raise BadInput(
                f"shares of noise of parameter {self.local_sigma:.3g} are too narrow",
                why=f"the bound for their sum is proven from {LEAST_LOCAL_SIGMA} on",
                mend="use a larger sigma, or let fewer silos draw noise",
            )

    def rho(self) -> Fraction:
        """The zCDP cost of one unit, never below the exact value of the bound."""
        variance = self.shares * Fraction(self.local_sigma) ** 2
        return Fraction(self.squared_sensitivity) / (2 * variance) + Fraction(min(self._above()))

    def nano_rho(self) -> int:
        """Rounded up per unit, so that the cost of n units is n times the cost of one."""
        return self.count * math.ceil(self.rho() * _NANO)

    def rdp(self, orders: Sequence[float] | np.ndarray) -> np.ndarray:
        """The least of the three bounds at each order."""
        a = renyi_orders(orders)
        flat, *steep = self._above()
        # (1 + 1e-15)-fold or so by rounding; `_UP` in tau outweighs it wherever tau counts.
        ideal = self.squared_sensitivity / (2 * self.shares * self.local_sigma**2)
        return self.count * (a * ideal + np.minimum(flat, a * min(steep)))

    def _above(self) -> tuple[float, float, float]:
        """What each of the three bounds adds to a D2^2 / (2 n s^2): a constant, and two that are multiplied by a."""
        tau = excess(float(self.local_sigma), int(self.shares))
        if tau == 0:
            return 0.0, 0.0, 0.0
        deviation = self.local_sigma * math.sqrt(self.shares)
        d = self.coordinates
        squares = tau**2 * d / 2
        second = self.l1_sensitivity * tau / deviation + squares
        third = math.sqrt(self.squared_sensitivity * d) * tau / deviation + squares
        return tau * d * _UP, _up(second), _up(third)

    def times(self, n: int) -> DistributedGaussianEvent:
        """The same release, n times as often."""
        positive_int(n=n)
        return replace(self, count=self.count * int(n))

    def to_json(self) -> dict[str, Any]:
        """A flat JSON object."""
        return {"kind": self.kind, "local_sigma": float(self.local_sigma), "shares": int(self.shares), **_common(self)}

    def dp_event(self) -> DpEvent:
        """A ZCDpEvent of the whole."""
        from dp_accounting import dp_event

        return dp_event.ZCDpEvent(self.nano_rho() / _NANO)


@dataclass(frozen=True)
class SkellamEvent:
    """Skellam noise of this variance, in shares or whole, on whole numbers."""

    variance: float
    squared_sensitivity: int = 2
    l1_sensitivity: int = 2
    coordinates: int = 2
    count: int = 1

    kind: ClassVar[str] = "skellam"
    gaussian: ClassVar[bool] = False
    relations: ClassVar[frozenset[Relation]] = EVERY_RELATION

    def __post_init__(self) -> None:
        moderate(variance=self.variance)
        _sensitivities(self)

    def nano_rho(self) -> None:
        """None: the bound is for whole orders from 2 on, and a cost in zCDP needs all orders above 1."""
        return

    def rdp(self, orders: Sequence[float] | np.ndarray) -> np.ndarray:
        """The bound at the next whole order: a divergence never falls as its order grows."""
        a = np.ceil(renyi_orders(orders))
        l1, l2, m = self.l1_sensitivity, self.squared_sensitivity, float(self.variance)
        above = np.minimum(((2 * a - 1) * l2 + 6 * l1) / (4 * m**2), 3 * l1 / (2 * m))
        return self.count * (a * l2 / (2 * m) + above)

    def times(self, n: int) -> SkellamEvent:
        """The same release, n times as often."""
        positive_int(n=n)
        return replace(self, count=self.count * int(n))

    def to_json(self) -> dict[str, Any]:
        """A flat JSON object."""
        return {"kind": self.kind, "variance": float(self.variance), **_common(self)}

    def dp_event(self) -> DpEvent:
        """dp-accounting has no word for it."""
        raise BadInput("Skellam noise has no dp-accounting event", mend="use its `rdp` curve")


def _up(extra: float) -> float:
    return math.nextafter(extra * _UP, math.inf)


def _sensitivities(event: DistributedGaussianEvent | SkellamEvent) -> None:
    positive_int(
        squared_sensitivity=event.squared_sensitivity,
        l1_sensitivity=event.l1_sensitivity,
        coordinates=event.coordinates,
        count=event.count,
    )
    squared, l1, d = event.squared_sensitivity, event.l1_sensitivity, event.coordinates
    # Whole numbers: each changed coordinate moves by 1 at least.
    if l1 > squared or l1**2 > squared * d or squared > l1**2:
        raise BadInput(
            f"a change of squared length {squared} in {d} coordinates cannot be {l1} in all",
            why="for whole numbers the sum of sizes is between the length and its square, and at most the length times the root of d",
        )


def _common(event: DistributedGaussianEvent | SkellamEvent) -> dict[str, Any]:
    return {
        "squared_sensitivity": int(event.squared_sensitivity),
        "l1_sensitivity": int(event.l1_sensitivity),
        "coordinates": int(event.coordinates),
        "count": int(event.count),
    }
