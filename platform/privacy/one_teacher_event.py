"""The event of asking one of K teachers, drawn uniformly and in secret, for several rows at once.

Given the teacher, its B clipped rows and their noise are one Gaussian release of multiplier sigma / sqrt(B): the rows share the draw,
so they are composed *first*, and the step is amplified afterwards by q = 1/K. (Amplifying each row and adding up B of them would give
each row a draw of its own, and counts too little.) A record is in one shard, and shards are cut by places, which are public. So
neighbours differ in one of K components, whose rows may be any within the bound on both sides: whether the record is another one or is
not there makes no difference, and the event holds under either relation. Both are mixtures: the bound for the Poisson-sampled Gaussian,
one of whose sides is no mixture, does not apply. What does is the general one for sampling one of K teachers without replacement (Wang,
Balle & Kasiviswanathan, AISTATS 2019, arXiv 1808.00087, Theorem 9). With e(j) = j B / (2 sigma^2), at whole orders a,

    RDP(a) <= 1/(a-1) ln(1 + q^2 C(a,2) min(4 (e^e(2) - 1), 2 e^e(2)) + sum_{j=3..a} 2 q^j C(a,j) e^((j-1) e(j))),

and never above e(a), which needs no secrecy. Between whole orders (a - 1) RDP(a) is convex, so the chord bounds it (Corollary 10).

>>> step = OneTeacherEvent(noise_multiplier=20.0, rows=32, teachers=100)
>>> [round(float(bound), 6) for bound in step.rdp([2, 8])]
[3.3e-05, 0.000154]
>>> round(float(OneTeacherEvent(20.0, 32, 1).rdp([2])[0]), 6)
0.08
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.special import gammaln

from .neighbours import EVERY_RELATION, Relation
from .validate import moderate, positive_int, renyi_orders

if TYPE_CHECKING:
    from dp_accounting import DpEvent

_LARGEST = 4096  # above, the plain bound is all that is given: nothing is gained there, and sums grow long


@dataclass(frozen=True)
class OneTeacherEvent:
    """`count` steps, each of `rows` rows with noise `noise_multiplier` times their sensitivity, from one of `teachers` teachers."""

    noise_multiplier: float
    rows: int
    teachers: int
    count: int = 1

    kind: ClassVar[str] = "one_teacher"
    gaussian: ClassVar[bool] = False
    relations: ClassVar[frozenset[Relation]] = EVERY_RELATION

    def __post_init__(self) -> None:
        moderate(noise_multiplier=self.noise_multiplier)
        positive_int(rows=self.rows, teachers=self.teachers, count=self.count)

    def nano_rho(self) -> None:
        """None: subsampling has no useful zCDP bound; such an event needs a budget of Renyi curves."""
        return

    def rdp(self, orders: Sequence[float] | np.ndarray) -> np.ndarray:
        """The bound of the module's text at each order, for all steps."""
        rate = self.rows / (2 * float(self.noise_multiplier) ** 2)
        return self.count * _bounds(renyi_orders(orders), rate, int(self.teachers))

    def times(self, n: int) -> OneTeacherEvent:
        """The same step, n times as often."""
        positive_int(n=n)
        return replace(self, count=self.count * int(n))

    def to_json(self) -> dict[str, Any]:
        """A flat JSON object."""
        return {
            "kind": self.kind,
            "noise_multiplier": float(self.noise_multiplier),
            "rows": int(self.rows),
            "teachers": int(self.teachers),
            "count": int(self.count),
        }

    def dp_event(self) -> DpEvent:
        """Gaussian on one of K without replacement, self-composed."""
        from dp_accounting import dp_event

        step = dp_event.GaussianDpEvent(self.noise_multiplier / math.sqrt(self.rows))
        if self.teachers > 1:
            step = dp_event.SampledWithoutReplacementDpEvent(self.teachers, 1, step)
        return step if self.count == 1 else dp_event.SelfComposedDpEvent(step, self.count)


def _bounds(orders: np.ndarray, rate: float, teachers: int) -> np.ndarray:
    """The bound at each order; e(j) = j * rate."""
    plain = orders * rate
    inside = orders <= _LARGEST
    if teachers == 1 or not inside.any():
        return plain
    within = orders[inside]
    below, above = np.floor(within), np.ceil(within)
    whole, place = np.unique(np.concatenate((below, above)), return_inverse=True)
    moments = np.concatenate([_log_moments(part, rate, teachers) for part in np.array_split(whole, _parts(whole))])
    at_below, at_above = moments[place[: len(within)]], moments[place[len(within) :]]
    chord = at_below + (within - below) * (at_above - at_below)
    amplified = plain.copy()
    amplified[inside] = chord / (within - 1)
    return np.minimum(plain, amplified)


def _parts(orders: np.ndarray) -> int:
    """So many that none has more than some million terms."""
    return max(1, math.ceil(len(orders) * float(orders.max()) / 2**20))


def _log_moments(orders: np.ndarray, rate: float, teachers: int) -> np.ndarray:
    """(a - 1) times the bound at whole orders, from 1 on."""
    a, j = orders[:, None], np.arange(2.0, max(2.0, float(orders.max())) + 1)
    log_choose = gammaln(a + 1) - gammaln(j + 1) - gammaln(np.maximum(a - j, 0.0) + 1)
    weight = math.log(2) + (j - 1) * j * rate
    # ln(4 (e^x - 1)) at x = e(2), without overflow.
    weight[0] = min(weight[0], math.log(4) + 2 * rate + math.log(-math.expm1(-2 * rate)))
    terms = np.where(j <= a, log_choose - j * math.log(teachers) + weight, -np.inf)
    top = np.maximum(terms.max(axis=1), 0.0)
    return top + np.log(np.exp(-top) + np.exp(terms - top[:, None]).sum(axis=1))
