"""The event of adding up what a Poisson sample of silos sends, where one silo's vector may be any within the clipping ball.

In DP-SGD a record that is not there adds nothing, so neighbours differ by a clipped gradient against zero. In federated averaging a
silo stays when one of its records is replaced, or taken out, and its update may turn round: from u to any u' of length at most C. For
one round, z the noise in units of C, sampling rate q, and given who else was sampled, the two outputs are mixtures

    P = (1-q) N(0, z^2) + q N(u, z^2),    Q = (1-q) N(0, z^2) + q N(u', z^2),    |u|, |u'| <= 1,

and neither is the pure normal that the bound of the Poisson-sampled Gaussian needs. Three steps give a bound that is nearly as sharp:

1. Let v, v' be orthogonal and of length sqrt 2. The Gram matrix of (v, v') less that of (u, u') is positive semidefinite (its
   diagonal is at least 1, its off-diagonal entry at most 1 in size), so a linear contraction takes v to u and v' to u'; with noise
   that fills the normal part up again it takes N(v), N(v') and N(0) to N(u), N(u') and N(0). Post-processing: the divergence for u,
   u' is at most that for v, v'.
2. For orthogonal v, v' the likelihood ratios to N(0) are independent under N(0), hence E[(P/Q)^a] under Q is a product:
   E[(1-q+q L)^a] E[(1-q+q L)^(1-a)], L the ratio of N(v) to N(0).
3. The first is that of the Poisson-sampled Gaussian with noise multiplier z / sqrt 2. The second belongs to the reverse divergence,
   which is not larger (Mironov, Talwar & Zhang 2019, arXiv 1908.10530).

So RDP(a) <= 2 S(a; z / sqrt 2, q), S the curve of the Poisson-sampled Gaussian. At q = 1 that is 2 a / z^2, exactly what a shift by
2 C costs. It holds whatever becomes of the silo's records, one or all of them, replaced or taken out, as long as the number of
places is fixed.

>>> step = SampledSilosEvent(noise_multiplier=4.0, sample_rate=0.1, rounds=1)
>>> [round(float(bound), 6) for bound in step.rdp([2, 8])]
[0.002661, 0.011519]
>>> round(float(SampledSilosEvent(4.0, 0.999999, 1).rdp([2])[0]), 4)
0.25
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .neighbours import EVERY_RELATION, Relation
from .poisson_curve import poisson_gaussian_rdp
from .validate import moderate, positive_int, probability

if TYPE_CHECKING:
    from dp_accounting import DpEvent


@dataclass(frozen=True)
class SampledSilosEvent:
    """`rounds` noisy sums over Poisson samples of silos; a silo's vector may change at will within the clipping norm, the noise's
    unit."""

    noise_multiplier: float
    sample_rate: float
    rounds: int
    count: int = 1

    kind: ClassVar[str] = "sampled_silos"
    gaussian: ClassVar[bool] = False
    relations: ClassVar[frozenset[Relation]] = EVERY_RELATION

    def __post_init__(self) -> None:
        moderate(noise_multiplier=self.noise_multiplier)
        probability(sample_rate=self.sample_rate)
        positive_int(rounds=self.rounds, count=self.count)

    def nano_rho(self) -> None:
        """None: subsampling has no useful zCDP bound; such an event needs a budget of Renyi curves."""
        return

    def rdp(self, orders: Sequence[float] | np.ndarray) -> np.ndarray:
        """The bound of the module's text at each order, for all rounds."""
        releases = 2 * self.rounds * self.count
        return poisson_gaussian_rdp(self.noise_multiplier / math.sqrt(2), self.sample_rate, releases, orders)

    def times(self, n: int) -> SampledSilosEvent:
        """The same rounds, n times as often."""
        positive_int(n=n)
        return replace(self, count=self.count * int(n))

    def to_json(self) -> dict[str, Any]:
        """A flat JSON object."""
        return {
            "kind": self.kind,
            "noise_multiplier": float(self.noise_multiplier),
            "sample_rate": float(self.sample_rate),
            "rounds": int(self.rounds),
            "count": int(self.count),
        }

    def dp_event(self) -> DpEvent:
        """Twice as many Poisson-sampled Gaussians with the noise divided by sqrt 2: an event that costs at least as much."""
        from dp_accounting import dp_event

        step = dp_event.PoissonSampledDpEvent(
            self.sample_rate, dp_event.GaussianDpEvent(self.noise_multiplier / math.sqrt(2))
        )
        return dp_event.SelfComposedDpEvent(step, 2 * self.rounds * self.count)
