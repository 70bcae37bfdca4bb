"""Noise in shares: how much each silo draws, and what a sum with all of it costs.

Each silo adds a share of integer noise to what it adds to a sum that nobody sees in parts. Of n silos d may be lost, and c may tell
their own shares to whoever sees the sum, so that m = n - d - c shares are to be counted on: each has variance sigma^2 / m, and the
guarantee is that of their sum, whose parameter is sigma. If nobody is lost the sum holds n / m times that variance: see
`distributed_price`.

A curious silo knows its own share. Count one colluding silo at least, or the guarantee is against the others only.

>>> share = NoiseShare(sigma=40.0, silos=250, dropped=25)
>>> round(share.local_sigma, 4), round(share.deviation(250), 2), share.event().nano_rho()
(2.6667, 42.16, 625000)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import BadInput
from .budget import BudgetKind, budget_cap, event_cost
from .discrete_noise import DISCRETE_GAUSSIAN, LAWS, SKELLAM, Law, ShareNoise
from .distributed_event import LEAST_LOCAL_SIGMA, DistributedGaussianEvent, SkellamEvent
from .events import Event
from .mechanisms import HISTOGRAM_L1_SENSITIVITY, HISTOGRAM_SQUARED_L2_SENSITIVITY
from .noise import Shape
from .validate import moderate, positive_int

# One changed vote: one count falls, another rises.
CHANGED_COUNTS = 2


@dataclass(frozen=True)
class NoiseShare:
    """The noise of a sum of `silos` parts, guaranteed to be of parameter `sigma` though some are lost and some collude.

    Args:
        sigma: of the noise that is counted on, in counts.
        silos: n, all that take part; their number is public and fixed.
        dropped: d, so many may be missing. A round with fewer than n - d parts must reveal nothing.
        colluding: c, so many may tell their shares.
        law: "discrete_gaussian", or "skellam" (which is never narrower than its share of sigma, but needs Renyi budgets).
    """

    sigma: float
    silos: int
    dropped: int = 0
    colluding: int = 0
    law: Law = DISCRETE_GAUSSIAN

    def __post_init__(self) -> None:
        moderate(sigma=self.sigma)
        positive_int(silos=self.silos, dropped=self.dropped + 1, colluding=self.colluding + 1)
        object.__setattr__(self, "sigma", float(self.sigma))
        if self.law not in LAWS:
            raise BadInput(f"unknown law of noise {str(self.law)[:40]!r}", why=f"known ones are {', '.join(LAWS)}")
        if self.counted < 1:
            raise BadInput(
                f"of {self.silos} silos {self.dropped} lost and {self.colluding} colluding leave nobody to draw noise",
                mend="tolerate fewer",
            )
        self.event()

    @property
    def counted(self) -> int:
        """m = n - d - c, the shares that are counted on."""
        return self.silos - self.dropped - self.colluding

    @property
    def least(self) -> int:
        """n - d, the parts without which nothing may be revealed."""
        return self.silos - self.dropped

    @property
    def local_sigma(self) -> float:
        """Of each silo's share; rounded up, so that the counted ones make sigma at least."""
        return math.nextafter(self.sigma / math.sqrt(self.counted) * (1 + 2**-50), math.inf)

    def deviation(self, parts: int) -> float:
        """The parameter (for Skellam noise the standard deviation) of the sum of so many shares."""
        positive_int(parts=parts)
        return self.local_sigma * math.sqrt(parts)

    def event(self) -> Event:
        """What one histogram costs; one changed vote moves two counts by one."""
        if self.law == SKELLAM:
            variance = self.counted * self.local_sigma**2 * (1 - 1e-15)
            return SkellamEvent(variance, HISTOGRAM_SQUARED_L2_SENSITIVITY, HISTOGRAM_L1_SENSITIVITY, CHANGED_COUNTS)
        return DistributedGaussianEvent(
            self.local_sigma, self.counted, HISTOGRAM_SQUARED_L2_SENSITIVITY, HISTOGRAM_L1_SENSITIVITY, CHANGED_COUNTS
        )

    def draw(self, shape: Shape, noise: ShareNoise) -> np.ndarray:
        """One silo's share, int64."""
        return (noise.skellam if self.law == SKELLAM else noise.gaussian)(self.local_sigma, shape)

    def to_json(self) -> dict[str, Any]:
        """Its settings."""
        return asdict(self)


def noise_share_from_json(data: Mapping[str, Any]) -> NoiseShare:
    """The share that `to_json` described; anything unknown is refused."""
    if not isinstance(data, Mapping):
        raise BadInput(f"a share of noise must be a JSON object, not {type(data).__name__}")
    try:
        return NoiseShare(**data)
    except TypeError as error:
        raise BadInput("a share of noise with wrong settings", why=str(error).split("__init__() ")[-1]) from None


def distributed_sigma(
    *,
    epsilon: float,
    delta: float,
    answers: int,
    silos: int,
    dropped: int = 0,
    colluding: int = 0,
    law: Law = DISCRETE_GAUSSIAN,
    kind: BudgetKind = BudgetKind.ZCDP,
    orders: Sequence[float] = (),
) -> float:
    """The smallest sigma at which so many histograms fit a budget of this epsilon, to 1 part in 10^12 (and the law allows it)."""
    positive_int(answers=answers)
    cap = budget_cap(kind, epsilon=epsilon, delta=delta, orders=orders)

    def fits(sigma: float) -> bool:
        event = NoiseShare(sigma, silos, dropped, colluding, law).event().times(answers)
        return all(cost <= limit for cost, limit in zip(event_cost(kind, event, orders=orders), cap, strict=True))

    low = LEAST_LOCAL_SIGMA * math.sqrt(silos - dropped - colluding) if silos > dropped + colluding else 1.0
    if fits(low):
        return low
    high = 2 * low
    while not fits(high):
        low, high = high, 2 * high
        if high > 1e9:
            raise BadInput("no noise is wide enough for this plan", mend="ask fewer queries or raise epsilon")
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high
