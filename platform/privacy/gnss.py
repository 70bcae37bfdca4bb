"""Publishing a data-dependent total: Gaussian noise scaled by smooth sensitivity (Papernot et al. 2018, Appendix B).

A data-dependent bound is a function of the votes. It may leave only with noise, and that release costs privacy itself:
`GnssPlan.event()` is what the ledger is charged. The plan (order, beta, sigma) is fixed *before* the votes are seen;
choosing it on the votes is what the published code did and says "cannot be released".

What is published is an unbiased estimate of the data-dependent epsilon with a known spread. The guarantee that binds is
the data-independent one.

>>> float(GnssPlan(order=14.0, beta=0.0329, sigma=6.23).event().rdp([14.0])[0].round(6))
0.518393
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass

import mpmath
import numpy as np

from ..errors import BadInput, InternalBug
from .events import SmoothSensitivityEvent
from .noise import BITS
from .smooth_sensitivity import gnmax_local_sensitivity, smooth, threshold_local_sensitivity
from .validate import non_negative, positive, probability, renyi_orders

# Published figures lie on this grid: the bits below it could carry more than the noise hides.
GRID = 1e-4


@dataclass(frozen=True)
class GnssPlan:
    """Order, smoothness and noise of the release, all public and fixed in advance."""

    order: float
    beta: float
    sigma: float

    def __post_init__(self) -> None:
        renyi_orders([self.order])
        positive(beta=self.beta, sigma=self.sigma)
        if 2 * self.order * self.beta >= 1:
            raise BadInput(
                f"beta {self.beta} is too large for order {self.order}",
                why="the release is proven for orders below 1/(2 beta) only",
                mend=f"use a beta below {1 / (2 * self.order):.6g}",
            )

    def event(self) -> SmoothSensitivityEvent:
        """What the release costs."""
        return SmoothSensitivityEvent(self.beta, self.sigma)

    def extra(self, delta: float) -> float:
        """What the published epsilon holds beyond the (noisy) data-dependent curve: own cost and conversion."""
        probability(delta=delta)
        return float(self.event().rdp([self.order])[0]) - math.log(delta) / (self.order - 1)


def confident_gnmax_sensitivity(
    plan: GnssPlan,
    counts: np.ndarray,
    *,
    teachers: int,
    threshold: float,
    sigma1: float,
    sigma2: float,
    answered: np.ndarray,
    integer_noise: bool = True,
) -> float:
    """Smooth sensitivity of a whole run's bound at the plan's order: one teacher may change its vote on every query."""
    rows = np.asarray(counts)
    weight = np.asarray(answered, dtype=float)
    if weight.shape != (len(rows),):
        raise BadInput("answered must hold one entry for each query")
    local = np.zeros(teachers)
    for row, share in zip(rows, weight, strict=True):
        local += threshold_local_sensitivity(
            row, teachers=teachers, threshold=threshold, sigma=sigma1, order=plan.order, integer_noise=integer_noise
        )
        if share:
            local += share * gnmax_local_sensitivity(
                row, teachers=teachers, sigma=sigma2, order=plan.order, integer_noise=integer_noise
            )
    return smooth(local, plan.beta)


def release(
    plan: GnssPlan,
    *,
    bound: float,
    smooth_sensitivity: float,
    delta: float,
    bytes_source: Callable[[int], bytes] = os.urandom,
) -> float:
    """A publishable epsilon: noisy data-dependent bound at the plan's order, plus the cost of this release, converted.

    The noise is one normal deviate by inversion at high precision (no floating-point sampler whose low bits speak), and
    the sum is rounded to a public grid before it becomes a float. Charge `plan.event()` before calling this.
    """
    non_negative(bound=bound, smooth_sensitivity=smooth_sensitivity)
    raw = bytes_source(BITS // 8)
    if len(raw) != BITS // 8:
        raise InternalBug("the source of randomness returned too few bytes", why="noise must never be repeated")
    with mpmath.workdps(80):
        uniform = (int.from_bytes(raw, "big") + mpmath.mpf(0.5)) / mpmath.mpf(2) ** BITS
        deviate = mpmath.sqrt(2) * mpmath.erfinv(2 * uniform - 1)
        noisy = mpmath.mpf(bound) + mpmath.mpf(smooth_sensitivity) * mpmath.mpf(plan.sigma) * deviate
        steps = int(mpmath.nint(noisy / mpmath.mpf(GRID)))
    return max(steps, 0) * GRID + plan.extra(delta)
