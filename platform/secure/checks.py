"""The checks that queries have passed: kept, so that the next try of their answers does not pay for them again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import BadInput
from ..privacy.events import NANO


@dataclass(frozen=True)
class Checked:
    """What a check that was paid for has shown of one query: noisy counts (K,) int64, summed over so many silos."""

    noisy: np.ndarray = field(repr=False)
    voted: int


# Told what a check that was just paid for has shown of the rows that pass it, and which rows do not.
Keep = Callable[[Mapping[int, Checked], Sequence[int]], object]


def known(kept: Mapping[int, Checked], rows: Sequence[int], *, classes: int) -> dict[int, Checked]:
    """Those of these rows that have passed a check before.

    Raises:
        BadInput: their counts are of another number of classes.
    """
    found = {row: kept[row] for row in rows if row in kept}
    if any(check.noisy.shape != (classes,) for check in found.values()):
        raise BadInput(
            "some of these queries were checked with another number of classes",
            why=f"this ballot has {classes}, and a check that was paid for is not drawn again",
            mend="ask with the classes as they were, or the silos as another ensemble",
        )
    return found


def about_check(*, charged: bool, cost: int, kept: bool) -> str:
    """A sentence on a check whose answers do not come; `cost` in billionths of rho, 0 for a charge that has none.

    >>> about_check(charged=True, cost=2_500_000, kept=True)
    'The check cost rho 0.0025 and is kept: asking again does not pay for it again'
    """
    what = f"The check cost rho {cost / NANO:g}" if cost else "The check was charged"
    if not charged:
        what = "The check had been paid for before"
    return f"{what} and is kept: asking again does not pay for it again" if kept else what
