"""How much the data-dependent bounds can change when teachers change their votes (Papernot et al. 2018, Appendix B).

The bound b(q) of one GNMax answer at one order is flat above q0 (there it equals the data-independent one) and grows
with q below. One changed vote moves q at most to B_U(q) or B_L(q). The local sensitivity is then
max(b(B_U(q)) - b(q), b(q) - b(B_L(q))), held at its value in q1 = B_L(q0) between q1 and q0. The sensitivity at
distance d is reached by moving d votes between the two leading classes towards that plateau. Two conditions must hold
for this to be a bound: b grows on (0, q0] (C5), and so does b(B_U(q)) - b(q) on (0, q1] (C6). They are checked here, on
a fine grid, for each (sigma, classes, order); without them nothing is returned.

`integer_noise` lessens gaps by 1 and thresholds by 1/2 exactly as in `rdp`; a changed vote moves a lessened gap by as
much as a plain one, so B_U and B_L stay what they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import log_ndtr, ndtri_exp

from ..errors import BadInput
from .mechanisms import HISTOGRAM_L1_SENSITIVITY
from .rdp import gaussian_data_dependent, gnmax_log_q, lnmax_log_q, lnmax_of_log_q
from .rdp import threshold as threshold_bound
from .validate import positive, positive_int, renyi_orders

_GRID = 2_000
_SMALLEST_LOG_Q = -700.0


@dataclass(frozen=True)
class GnmaxCurve:
    """b(q) of GNMax at one order, with its landmarks; all probabilities as logarithms."""

    sigma: float
    classes: int
    order: float

    def __post_init__(self) -> None:
        positive(sigma=self.sigma)
        positive_int(classes=self.classes)
        renyi_orders([self.order])
        if self.classes < 2:
            raise BadInput("classes must be at least 2")

    def bound(self, log_q: np.ndarray | float) -> np.ndarray:
        """b(q), the lesser of the data-dependent and the data-independent bound."""
        return gaussian_data_dependent(np.atleast_1d(log_q), self.sigma, [self.order])[:, 0]

    def after_one_vote(self, log_q: np.ndarray | float, direction: int) -> np.ndarray:
        """log B_U (direction +1: the gaps shrink by 2) or log B_L (-1: they widen by 2)."""
        log_q = np.atleast_1d(np.asarray(log_q, dtype=float))
        rivals = math.log(self.classes - 1)
        # (m-1)/2 erfc(x) = (m-1) Phi(-sqrt(2) x), so one vote shifts the normal quantile by sqrt(2) / sigma.
        quantile = ndtri_exp(np.minimum(log_q - rivals, -1e-300))
        moved = rivals + log_ndtr(quantile + direction * math.sqrt(2) / self.sigma)
        return np.minimum(moved, 0.0)

    def log_q0(self) -> float:
        """Where the data-dependent bound meets the data-independent one."""
        return _log_q0(self.sigma, self.order)

    def log_q1(self) -> float:
        """One vote below q0: from here on up to q0 the local sensitivity is constant."""
        return float(self.after_one_vote(self.log_q0(), -1)[0])

    def local_sensitivity(self, log_q: np.ndarray | float) -> np.ndarray:
        """The most that one changed vote can change b."""
        log_q = np.atleast_1d(np.asarray(log_q, dtype=float))
        q0, q1 = self.log_q0(), self.log_q1()
        at = np.where((log_q >= q1) & (log_q <= q0), q1, log_q)
        here = self.bound(at)
        up = self.bound(self.after_one_vote(at, 1)) - here
        down = here - self.bound(self.after_one_vote(at, -1))
        return np.maximum(up, down)

    def conditions(self) -> tuple[bool, bool]:
        """(C5, C6) on a fine grid of q."""
        return _conditions(self)


@lru_cache(maxsize=1024)
def _log_q0(sigma: float, order: float) -> float:
    flat = order / sigma**2

    def short_of_flat(log_q: float) -> float:
        return float(gaussian_data_dependent(np.array([log_q]), sigma, [order])[0, 0]) - flat

    # The theorem may fall silent before the two meet; its edge then counts as the meeting point. Either way it is where
    # b becomes flat: walk up to it, then bisect the last step.
    grid = np.linspace(_SMALLEST_LOG_Q, 0.0, 40_001)
    flat_from = np.flatnonzero(gaussian_data_dependent(grid, sigma, [order])[:, 0] >= flat)
    if flat_from[0] == 0:
        raise BadInput(
            f"at order {order} and sigma {sigma} the data-dependent bound never helps",
            mend="choose a smaller order or a larger sigma",
        )
    low, high = grid[flat_from[0] - 1], grid[flat_from[0]]
    while high - low > 1e-14 * abs(high):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if short_of_flat(middle) < 0:
            low = middle
        else:
            high = middle
    return float(high)


@lru_cache(maxsize=1024)
def _conditions(curve: GnmaxCurve) -> tuple[bool, bool]:
    def grows(values: np.ndarray) -> bool:
        # Differences of nearly equal numbers carry rounding of this size.
        return bool(np.all(np.diff(values) >= -1e-12 * np.max(np.abs(values))))

    q0, q1 = curve.log_q0(), curve.log_q1()
    below_q0 = np.linspace(max(_SMALLEST_LOG_Q, 20 * q0 - 50), q0, _GRID)
    below_q1 = np.linspace(max(_SMALLEST_LOG_Q, 20 * q1 - 50), q1, _GRID)
    step = curve.bound(curve.after_one_vote(below_q1, 1)) - curve.bound(below_q1)
    return grows(curve.bound(below_q0)), grows(step)


def gnmax_local_sensitivity(
    counts: np.ndarray, *, teachers: int, sigma: float, order: float, integer_noise: bool = True
) -> np.ndarray:
    """Bounds on the local sensitivity of b at distance 0, 1, ..., teachers - 1 from one histogram."""
    positive_int(teachers=teachers)
    votes = np.sort(np.asarray(counts, dtype=float))[::-1]
    curve = GnmaxCurve(float(sigma), len(votes), float(order))
    require_conditions(curve)
    q0, q1 = curve.log_q0(), curve.log_q1()

    def log_q() -> float:
        return float(gnmax_log_q(votes[None, :], sigma, integer_noise=integer_noise)[0])

    plateau = float(curve.local_sensitivity(q1)[0])
    bounds = np.full(teachers, plateau)
    here = log_q()
    widen = here > q0
    path: list[float] = []
    while (here > q0 if widen else here < q1) and len(path) < teachers:
        path.append(here)
        if widen:
            if votes[1] <= 0:
                break
            votes[0] += 1
            votes[1] -= 1
        else:
            if votes[0] <= votes[1]:
                break
            votes[0] -= 1
            votes[1] += 1
        votes = np.sort(votes)[::-1]
        here = log_q()
    if path:
        bounds[: len(path)] = curve.local_sensitivity(np.array(path))
    return bounds


def threshold_local_sensitivity(
    counts: np.ndarray, *, teachers: int, threshold: float, sigma: float, order: float, integer_noise: bool = True
) -> np.ndarray:
    """Local sensitivity of one threshold test's bound at distance 0, 1, ..., teachers - 1.

    The bound depends on the largest count alone, which moves by at most 1 a vote: finite differences are exact.
    """
    positive_int(teachers=teachers)
    largest = np.arange(teachers + 1, dtype=float)
    table = np.stack([largest, np.zeros_like(largest)], axis=1)
    bound = threshold_bound(table, threshold, sigma, [order], integer_noise=integer_noise)[:, 0]
    change = np.abs(np.diff(bound))
    local = np.maximum(np.append(change, 0.0), np.insert(change, 0, 0.0))
    here = int(np.rint(np.max(counts)))
    sensitivity = np.zeros(teachers)
    # Beyond this distance no other largest count is left: votes are changed, not lost, so it cannot fall to 0.
    for distance in range(min(teachers, max(here, teachers - here))):
        reached = [value for value in (here - distance, here + distance) if 0 <= value <= teachers]
        sensitivity[distance] = max((local[value] for value in reached), default=0.0)
    return sensitivity


def lnmax_local_sensitivity(
    counts: np.ndarray, *, scale: float, order: float, integer_noise: bool = True
) -> np.ndarray:
    """Sensitivity of the moment (order - 1) * bound of one LNMax answer at each distance (Papernot et al. 2017).

    Votes move from the leader to the runner-up; where no gap is left the bound is data-independent and flat.
    """
    votes = np.sort(np.asarray(counts, dtype=float))[::-1]
    distances = np.arange(int(max(votes)) + 2)
    table = np.repeat(votes[None, :], len(distances), axis=0)
    table[:, 0] -= distances
    table[:, 1] += distances
    log_q = lnmax_log_q(table, scale, integer_noise=integer_noise)
    moment = (order - 1) * lnmax_of_log_q(log_q, HISTOGRAM_L1_SENSITIVITY / scale, [order])[:, 0]
    steps = np.diff(moment)
    open_gap = votes[0] >= votes[1] + distances[:-1]
    return np.where(open_gap, steps, 0.0)


def smooth(local_sensitivity: np.ndarray, beta: float) -> float:
    """beta-smooth upper bound: the largest e^(-beta d) LS(d)."""
    positive(beta=beta)
    return float(np.max(local_sensitivity * np.exp(-beta * np.arange(len(local_sensitivity)))))


def require_conditions(curve: GnmaxCurve) -> None:
    """Refuse to go on where Appendix B does not apply."""
    c5, c6 = curve.conditions()
    if not (c5 and c6):
        failed = " and ".join(name for name, holds in (("C5", c5), ("C6", c6)) if not holds)
        raise BadInput(
            f"condition {failed} fails at sigma {curve.sigma}, {curve.classes} classes, order {curve.order}",
            why="the smooth sensitivity of the data-dependent bound is not proven there",
            mend="choose another order, or publish the data-independent epsilon",
        )
