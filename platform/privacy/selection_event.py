"""The event of a private search, and the bound on what it costs.

The best of K runs of one mechanism is released, K drawn from a law of `trials`, and nothing else. With the Renyi curve
eps(a) of one run (Papernot & Steinke 2022):

- truncated negative binomial of shape h (Theorem 2): for every order b,
  eps'(a) = eps(a) + (1 + h) [(1 - 1/b) eps(b) + ln(1/gamma) / b] + ln(E K) / (a - 1);
- Poisson (Theorem 6): eps'(a) = eps(a) + E K d + ln(E K) / (a - 1), where one run is (e, d)-DP for e = ln(1 + 1/(a - 1)).

What a caller owes for this to hold is said in `selection`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..errors import BadInput
from .curve_events import fixed_orders
from .neighbours import Relation
from .trials import PoissonTrials, TruncatedNegativeBinomial
from .validate import positive_int, renyi_orders

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from .events import Event


@dataclass(frozen=True)
class SelectionEvent:
    """The best of K runs of `base`, K drawn at random with this mean, configurations drawn with replacement.

    `shape` is that of the truncated negative binomial (0 logarithmic, 1 geometric; above -1); None means Poisson. Only the
    best run is released, and its score counts as part of the base. The bound looks at the base's curve at several orders:
    those it is asked for and `orders`, which are fixed when the event is made. `selection.selection_event` chooses them.
    """

    base: Event
    mean: float
    shape: float | None = None
    count: int = 1
    orders: tuple[float, ...] = ()

    kind: ClassVar[str] = "selection"
    gaussian: ClassVar[bool] = False

    def __post_init__(self) -> None:
        positive_int(count=self.count)
        object.__setattr__(self, "orders", fixed_orders(self.orders) if len(self.orders) else ())
        _ = self.trials  # checks mean and shape

    @property
    def trials(self) -> TruncatedNegativeBinomial | PoissonTrials:
        """The law that the bound is about: K has to be drawn from this one."""
        if self.shape is None:
            return PoissonTrials(self.mean)
        return TruncatedNegativeBinomial.of_mean(self.mean, self.shape)

    @property
    def relations(self) -> frozenset[Relation]:
        """Those of the base."""
        return self.base.relations

    def nano_rho(self) -> None:
        """None: such an event needs a budget of Renyi curves."""
        return

    def rdp(self, orders: Sequence[float] | np.ndarray) -> np.ndarray:
        """The bound of the paper, for each of the `count` searches; infinite where the base's curve is."""
        asked = renyi_orders(orders)
        grid = np.concatenate((asked, self.orders))
        return self.count * selected_curve(grid, self.base.rdp(grid), self.trials)[: len(asked)]

    def times(self, n: int) -> SelectionEvent:
        """The same search, n times as often."""
        positive_int(n=n)
        return replace(self, count=self.count * int(n))

    def to_json(self) -> dict[str, Any]:
        """A JSON object that holds the base's."""
        shape = None if self.shape is None else float(self.shape)
        return {
            "kind": self.kind,
            "base": self.base.to_json(),
            "mean": float(self.mean),
            "shape": shape,
            "count": int(self.count),
            # Left out where there are none, so that what an older ledger holds is still what the same event says.
            **({"orders": list(self.orders)} if self.orders else {}),
        }

    def dp_event(self) -> DpEvent:
        """(Self-composed) RepeatAndSelect, where dp-accounting has a word for the base and the law."""
        from dp_accounting import dp_event

        if self.shape is not None and self.shape < 0:
            raise BadInput("a selection of negative shape has no dp-accounting event", mend="use its `rdp` curve")
        shape = math.inf if self.shape is None else self.shape
        event = dp_event.RepeatAndSelectDpEvent(self.base.dp_event(), self.mean, shape)
        return event if self.count == 1 else dp_event.SelfComposedDpEvent(event, self.count)


def selected_curve(
    orders: np.ndarray, base: np.ndarray, trials: TruncatedNegativeBinomial | PoissonTrials
) -> np.ndarray:
    """The curve of the best of K runs from the curve of one, both at the same `orders`; more orders make it tighter."""
    to_mean = math.log(trials.mean) / (orders - 1)
    if isinstance(trials, PoissonTrials):
        deltas = [trials.mean * least_delta(orders, base, math.log1p(1 / (order - 1))) for order in orders]
        return base + deltas + to_mean
    pairs = (1 - 1 / orders) * base - math.log(trials.gamma) / orders
    curve = base + (1 + trials.shape) * np.min(pairs) + to_mean
    # A Renyi divergence never falls as its order grows, so a bound at one order holds at all lower ones.
    rising = np.argsort(orders)
    curve[rising] = np.minimum.accumulate(curve[rising][::-1])[::-1]
    return curve


def least_delta(orders: np.ndarray, curve: np.ndarray, epsilon: float) -> float:
    """The smallest delta at which the curve proves (epsilon, delta)-DP.

    The better of Canonne, Kamath & Steinke 2020, Proposition 12, and the total variation bound sqrt(1 - exp(-KL)).
    """
    with np.errstate(divide="ignore"):
        log_variation = np.log(-np.expm1(-curve)) / 2
    log_delta = (orders - 1) * (curve - epsilon + np.log1p(-1 / orders)) - np.log(orders)
    return min(1.0, math.exp(min(np.min(log_variation), np.min(log_delta))))
