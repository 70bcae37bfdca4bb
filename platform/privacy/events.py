"""What was done to private data, as small immutable values that a ledger can keep.

An event says which noise of which size was used, and how often. It knows its own cost: `nano_rho()` in whole
billionths of zero-concentrated privacy (rounded up, exact rational arithmetic) and `rdp(orders)` as a Renyi curve.
Events have a stable JSON form, so an entry written today can be priced again years later.

A Gaussian argmax over votes with sigma 40: one teacher changes one vote, so two counts move by one and the squared
L2 sensitivity is 2. Its cost is rho = 2 / (2 * 40^2) = 0.000625, that is 625,000 nano-rho:

>>> GaussianEvent(sigma=40.0, squared_sensitivity=2).nano_rho()
625000
>>> GaussianEvent(sigma=40.0, squared_sensitivity=2).times(286).nano_rho()
178750000
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from ..errors import BadInput
from .curve_events import CurveEvent, ZcdpEvent
from .distributed_event import DistributedGaussianEvent, SkellamEvent
from .neighbours import EVERY_RELATION, Relation, relations_of
from .one_teacher_event import OneTeacherEvent
from .poisson_curve import poisson_gaussian_rdp
from .sampled_silos_event import SampledSilosEvent
from .selection_event import SelectionEvent
from .validate import finite, moderate, non_negative, positive, positive_int, probability, renyi_orders

if TYPE_CHECKING:
    from dp_accounting import DpEvent

NANO = 10**9


@runtime_checkable
class Event(Protocol):
    """One kind of access to private data, `count` times."""

    @property
    def count(self) -> int:
        """How often."""

    @property
    def gaussian(self) -> bool:
        """Whether the release is a post-processed Gaussian mechanism, so that the exact GDP conversion holds."""

    @property
    def relations(self) -> frozenset[Relation]:
        """The neighbouring relations for which its cost is proven. The JSON names them where they do not follow from the kind."""

    def nano_rho(self) -> int | None:
        """Cost in billionths of rho (zCDP), rounded up; None where the event has no useful zCDP bound."""

    def rdp(self, orders: Sequence[float] | np.ndarray) -> np.ndarray:
        """Renyi divergence bound at each order, data-independent."""

    def times(self, n: int) -> Event:
        """The same event, n times as often."""

    def to_json(self) -> dict[str, Any]:
        """A flat JSON object from which `event_from_json` makes an equal event."""

    def dp_event(self) -> DpEvent:
        """The same thing in dp-accounting's words."""


@dataclass(frozen=True)
class GaussianEvent:
    """Gaussian noise of standard deviation `sigma` on a value whose squared L2 sensitivity is a whole number.

    `holds_for` names the neighbouring relations under which the sensitivity is that. A vote moves alike under all; a sum over
    records moves further where one is replaced than where one comes or goes.
    """

    sigma: float
    squared_sensitivity: int = 1
    count: int = 1
    holds_for: tuple[Relation, ...] = tuple(Relation)

    kind: ClassVar[str] = "gaussian"
    gaussian: ClassVar[bool] = True

    def __post_init__(self) -> None:
        moderate(sigma=self.sigma)
        positive_int(squared_sensitivity=self.squared_sensitivity, count=self.count)
        finite(rho=self.rho())
        object.__setattr__(self, "holds_for", relations_of(self.holds_for))

    @property
    def relations(self) -> frozenset[Relation]:
        """Those it was made for."""
        return frozenset(self.holds_for)

    def rho(self) -> Fraction:
        """Exact cost of one unit: sensitivity^2 / (2 sigma^2)."""
        return Fraction(self.squared_sensitivity) / (2 * Fraction(self.sigma) ** 2)

    def nano_rho(self) -> int:
        """Rounded up per unit, so that the cost of n units is n times the cost of one."""
        return self.count * math.ceil(self.rho() * NANO)

    def rdp(self, orders: Sequence[float] | np.ndarray) -> np.ndarray:
        """Order times rho, exact for the Gaussian mechanism."""
        return renyi_orders(orders) * (float(self.rho()) * self.count)

    def times(self, n: int) -> GaussianEvent:
        """The same event, n times as often."""
        positive_int(n=n)
        return replace(self, count=self.count * int(n))

    def to_json(self) -> dict[str, Any]:
        """A flat JSON object."""
        return {
            "kind": self.kind,
            "sigma": float(self.sigma),
            "squared_sensitivity": int(self.squared_sensitivity),
            "count": int(self.count),
            # Left out where it holds for all, so that what an older ledger holds is still what the same event says.
            **({"holds_for": [r.value for r in self.holds_for]} if self.relations != EVERY_RELATION else {}),
        }

    def dp_event(self) -> DpEvent:
        """A (self-composed) GaussianDpEvent with noise multiplier sigma / sensitivity."""
        from dp_accounting import dp_event

        return _composed(dp_event.GaussianDpEvent(self.sigma / math.sqrt(self.squared_sensitivity)), self.count)


@dataclass(frozen=True)
class PureDpEvent:
    """Any `epsilon`-DP mechanism, whatever its noise. LNMax is one: its output is no Laplace value but an argmax."""

    epsilon: float
    count: int = 1

    kind: ClassVar[str] = "pure_dp"
    gaussian: ClassVar[bool] = False
    relations: ClassVar[frozenset[Relation]] = EVERY_RELATION

    def __post_init__(self) -> None:
        positive(epsilon=self.epsilon)
        finite(epsilon_squared=Fraction(self.epsilon) ** 2)
        positive_int(count=self.count)

    def nano_rho(self) -> int:
        """Rounded up: epsilon-DP implies epsilon^2/2-zCDP (Bun & Steinke 2016, Proposition 1.4)."""
        return self.count * math.ceil(Fraction(self.epsilon) ** 2 / 2 * NANO)

    def rdp(self, orders: Sequence[float] | np.ndarray) -> np.ndarray:
        """The curve of randomised response, the worst epsilon-DP mechanism at every order (Bun & Steinke 2016, 3.3)."""
        a = renyi_orders(orders)
        log_p = -math.log1p(math.exp(-self.epsilon))
        log_q = log_p - self.epsilon
        curve = np.logaddexp(a * log_p + (1 - a) * log_q, a * log_q + (1 - a) * log_p) / (a - 1)
        # For tiny epsilon the log of a sum near 1 loses digits; both classic bounds are proven, so cap by them.
        return self.count * np.minimum(np.maximum(curve, 0.0), np.minimum(a * self.epsilon**2 / 2, self.epsilon))

    def times(self, n: int) -> PureDpEvent:
        """The same event, n times as often."""
        positive_int(n=n)
        return replace(self, count=self.count * int(n))

    def to_json(self) -> dict[str, Any]:
        """A flat JSON object."""
        return {"kind": self.kind, "epsilon": float(self.epsilon), "count": int(self.count)}

    def dp_event(self) -> DpEvent:
        """Randomised response with the same epsilon, which dominates every epsilon-DP mechanism."""
        from dp_accounting import dp_event

        flip = 2 / (1 + math.exp(self.epsilon))
        return _composed(dp_event.RandomizedResponseDpEvent(noise_parameter=flip, num_buckets=2), self.count)


@dataclass(frozen=True)
class SubsampledGaussianEvent:
    """DP-SGD: `steps` Gaussian releases, each on a Poisson sample; neighbouring relation add-or-remove-one record."""

    noise_multiplier: float
    sample_rate: float
    steps: int
    count: int = 1

    kind: ClassVar[str] = "subsampled_gaussian"
    gaussian: ClassVar[bool] = False
    # Replacing a record moves the sum of clipped gradients twice as far, and its curve is another one.
    relations: ClassVar[frozenset[Relation]] = frozenset({Relation.ADD_OR_REMOVE_ONE})

    def __post_init__(self) -> None:
        moderate(noise_multiplier=self.noise_multiplier)
        probability(sample_rate=self.sample_rate)
        positive_int(steps=self.steps, count=self.count)

    def nano_rho(self) -> None:
        """None: subsampling has no useful zCDP bound; such an event needs a budget of Renyi curves."""
        return

    def rdp(self, orders: Sequence[float] | np.ndarray) -> np.ndarray:
        """The curve that dp-accounting computes."""
        return poisson_gaussian_rdp(self.noise_multiplier, self.sample_rate, self.steps * self.count, orders)

    def times(self, n: int) -> SubsampledGaussianEvent:
        """The same run, n times as often."""
        positive_int(n=n)
        return replace(self, count=self.count * int(n))

    def to_json(self) -> dict[str, Any]:
        """A flat JSON object."""
        return {
            "kind": self.kind,
            "noise_multiplier": float(self.noise_multiplier),
            "sample_rate": float(self.sample_rate),
            "steps": int(self.steps),
            "count": int(self.count),
        }

    def dp_event(self) -> DpEvent:
        """Self-composed Poisson-sampled Gaussian."""
        from dp_accounting import dp_event

        step = dp_event.PoissonSampledDpEvent(self.sample_rate, dp_event.GaussianDpEvent(self.noise_multiplier))
        return _composed(step, self.steps * self.count)


@dataclass(frozen=True)
class SmoothSensitivityEvent:
    """A data-dependent bound released with Gaussian noise of `sigma` times its `beta`-smooth sensitivity (GNSS)."""

    beta: float
    sigma: float
    count: int = 1

    kind: ClassVar[str] = "smooth_sensitivity"
    gaussian: ClassVar[bool] = False
    relations: ClassVar[frozenset[Relation]] = EVERY_RELATION

    def __post_init__(self) -> None:
        non_negative(beta=self.beta)
        moderate(sigma=self.sigma)
        positive_int(count=self.count)

    def nano_rho(self) -> None:
        """None: nothing is proven for orders of 1/(2 beta) and above."""
        return

    def rdp(self, orders: Sequence[float] | np.ndarray) -> np.ndarray:
        """Papernot et al. 2018, Theorem 23; infinite from order 1/(2 beta) on."""
        a = renyi_orders(orders)
        inside = 2 * a * self.beta < 1
        curve = np.full_like(a, np.inf)
        if not inside.any():
            return curve
        a = a[inside]
        shift = (self.beta * a - np.log1p(-2 * a * self.beta) / 2) / (a - 1)
        curve[inside] = self.count * (a * math.exp(2 * self.beta) / self.sigma**2 + shift)
        return curve

    def times(self, n: int) -> SmoothSensitivityEvent:
        """The same release, n times as often."""
        positive_int(n=n)
        return replace(self, count=self.count * int(n))

    def to_json(self) -> dict[str, Any]:
        """A flat JSON object."""
        return {"kind": self.kind, "beta": float(self.beta), "sigma": float(self.sigma), "count": int(self.count)}

    def dp_event(self) -> DpEvent:
        """dp-accounting has no word for it."""
        raise BadInput("a smooth-sensitivity release has no dp-accounting event", mend="use its `rdp` curve")


def _composed(event: DpEvent, count: int) -> DpEvent:
    from dp_accounting import dp_event

    return event if count == 1 else dp_event.SelfComposedDpEvent(event, count)


_KINDS = (
    GaussianEvent,
    PureDpEvent,
    SubsampledGaussianEvent,
    SmoothSensitivityEvent,
    CurveEvent,
    ZcdpEvent,
    SelectionEvent,
    OneTeacherEvent,
    SampledSilosEvent,
    DistributedGaussianEvent,
    SkellamEvent,
)
EVENT_KINDS: dict[str, type[Any]] = {kind.kind: kind for kind in _KINDS}


def event_from_json(data: Mapping[str, Any]) -> Event:
    """The event that `to_json` described; anything unknown is refused rather than ignored."""
    if not isinstance(data, Mapping):
        raise BadInput(f"an event must be a JSON object, not {type(data).__name__}")
    fields = dict(data)
    kind = fields.pop("kind", None)
    if not isinstance(kind, str) or kind not in EVENT_KINDS:
        raise BadInput(f"unknown kind of event {kind!r}", why=f"known kinds are {', '.join(sorted(EVENT_KINDS))}")
    if kind == SelectionEvent.kind and "base" in fields:
        fields["base"] = event_from_json(fields["base"])
    try:
        event: Event = EVENT_KINDS[kind](**fields)
    except TypeError as error:
        why = str(error).split("__init__() ")[-1]
        raise BadInput(f"an event of kind {kind!r} with wrong fields", why=why) from None
    return event
