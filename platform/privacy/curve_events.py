"""Events of which only a bound is known: a Renyi curve at some orders, or a total of zero-concentrated privacy.

They stand for a whole run that is held under a budget, whatever it does with it, so that a search over such runs can be
priced before the first one starts.

>>> run = CurveEvent(orders=(4.0, 8.0), values=(0.2, 0.5))
>>> run.rdp([2.0, 4.0, 6.0, 16.0]).tolist()
[0.2, 0.2, 0.5, inf]
>>> ZcdpEvent(nano=125_000_000).rdp([2.0, 8.0]).tolist()
[0.25, 1.0]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..errors import BadInput
from .neighbours import Relation, relations_of
from .validate import non_negative, positive, positive_int, renyi_orders

if TYPE_CHECKING:
    from dp_accounting import DpEvent

_BILLIONTH = Fraction(1, 10**9)


@dataclass(frozen=True)
class CurveEvent:
    """Any mechanism whose Renyi divergence is at most `values[i]` at order `orders[i]`, under each relation of `holds_for`.

    Nothing is read into the curve but that a Renyi divergence never falls as its order grows: at an order that is not
    listed the bound is that of the next higher one, and above the largest it is infinite.
    """

    orders: tuple[float, ...]
    values: tuple[float, ...]
    holds_for: tuple[Relation, ...] = tuple(Relation)
    count: int = 1

    kind: ClassVar[str] = "renyi_curve"
    gaussian: ClassVar[bool] = False

    def __post_init__(self) -> None:
        grid, values = fixed_orders(self.orders), list(self.values)
        positive_int(count=self.count)
        if len(values) != len(grid):
            raise BadInput("the curve and its orders differ in length")
        if np.any(np.diff(grid) <= 0):
            raise BadInput("the orders of a curve must grow from one to the next")
        for value in values:
            non_negative(values=value)
        if not any(values):
            raise BadInput("a curve of zeros is no access to private data", mend="leave it out")
        object.__setattr__(self, "orders", grid)
        object.__setattr__(self, "values", tuple(map(float, values)))
        object.__setattr__(self, "holds_for", relations_of(self.holds_for))

    @property
    def relations(self) -> frozenset[Relation]:
        """Those it was made for; a curve does not tell by itself, so its JSON holds them."""
        return frozenset(self.holds_for)

    def nano_rho(self) -> None:
        """None: a bound at some orders says nothing of the larger ones."""
        return

    def rdp(self, orders: Sequence[float] | np.ndarray) -> np.ndarray:
        """The least value at an order that is not below; infinite above the largest."""
        least = np.minimum.accumulate([*self.values, np.inf][::-1])[::-1]
        return self.count * least[np.searchsorted(self.orders, renyi_orders(orders))]

    def times(self, n: int) -> CurveEvent:
        """The same event, n times as often."""
        positive_int(n=n)
        return replace(self, count=self.count * int(n))

    def to_json(self) -> dict[str, Any]:
        """A JSON object with two lists of numbers."""
        return {
            "kind": self.kind,
            "orders": list(self.orders),
            "values": list(self.values),
            "holds_for": [relation.value for relation in self.holds_for],
            "count": int(self.count),
        }

    def dp_event(self) -> DpEvent:
        """dp-accounting has no word for it."""
        raise BadInput("a bare Renyi curve has no dp-accounting event", mend="use its `rdp` curve")


@dataclass(frozen=True)
class ZcdpEvent:
    """Any mechanism that is rho-zCDP with rho = `nano` billionths: its Renyi divergence is at most order times rho."""

    nano: int
    holds_for: tuple[Relation, ...] = tuple(Relation)
    count: int = 1

    kind: ClassVar[str] = "zcdp"
    gaussian: ClassVar[bool] = False

    def __post_init__(self) -> None:
        positive_int(nano=self.nano, count=self.count)
        object.__setattr__(self, "nano", int(self.nano))
        object.__setattr__(self, "holds_for", relations_of(self.holds_for))

    @property
    def relations(self) -> frozenset[Relation]:
        """Those it was made for."""
        return frozenset(self.holds_for)

    def nano_rho(self) -> int:
        """As it says."""
        return self.count * self.nano

    def rdp(self, orders: Sequence[float] | np.ndarray) -> np.ndarray:
        """Order times rho."""
        return renyi_orders(orders) * float(self.nano_rho() * _BILLIONTH)

    def times(self, n: int) -> ZcdpEvent:
        """The same event, n times as often."""
        positive_int(n=n)
        return replace(self, count=self.count * int(n))

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "kind": self.kind,
            "nano": self.nano,
            "holds_for": [relation.value for relation in self.holds_for],
            "count": int(self.count),
        }

    def dp_event(self) -> DpEvent:
        """A ZCDpEvent of the whole."""
        from dp_accounting import dp_event

        return dp_event.ZCDpEvent(float(self.nano_rho() * _BILLIONTH))


def fixed_orders(orders: Sequence[float]) -> tuple[float, ...]:
    """The orders that an event keeps: numbers above 1, and no text that could be read as one."""
    for order in orders:
        positive(orders=order)
    return tuple(renyi_orders(orders).tolist())
