"""Private hyperparameter search: try configurations at random, release the best one, pay for little more than one run.

A grid of 16 runs that are looked at one by one costs 16 runs. If instead the *number* of runs K is random, every run takes a
configuration at random, and **only the best run is released**, the whole search costs about twice the epsilon of one run, and
little more for 64 runs than for 16 (Liu & Talwar 2019; Papernot & Steinke 2022):

>>> run = GaussianEvent(sigma=3.7306316)
>>> round(plain_epsilon(run, 1, 1e-5), 3), round(plain_epsilon(run, 16, 1e-5), 3)
(1.0, 4.746)
>>> search = selection_event(run, mean=16.0, shape=0.0)
>>> round(selection_epsilon(search, 1e-5), 3)
2.002

The order of things: charge the search, then draw, then run.

    search = selection_event(capped_run(...), mean=16.0)
    ledger.charge(dataset, key=..., event=search, purpose=...)
    for _ in range(search.trials.draw()):
        candidate = candidates[draw_candidate(len(candidates))]
        ...

**What the caller owes.** The price is a theorem about the whole procedure. Each of these breaks it, and no code here can see it:

- *A grid instead of draws.* Every trial draws its candidate anew with `draw_candidate`, and its seeds, from a list that was
  fixed without looking at the data. Trials are independent and alike; none is left out because it was tried before.
- *K becomes known.* K is drawn with `search.trials.draw()` after the charge and goes nowhere: no log line, no progress count,
  no file name, no number of folders left behind. The time that a search takes tells something of K; it is inside the theorem
  only for who cannot watch the clock.
- *A search cut short by its results.* It makes all K trials. It does not stop at a good score, nor on a bad one; a trial that
  fails or has no finite score counts as the worst and is not made again; that it failed is part of what it releases, so a run may
  not fail because of a record unless its price covers that. A search that is broken off releases nothing, its
  charge stands, and another one is another charge.
- *More than the best is told.* Not the runner-up, not the scores, not an average or a plot over trials. Ties go by the order of
  drawing, never by another look at the data.
- *A score that was not paid for.* Whatever a trial's score is computed from is public, or its release is part of `base`.
- *K = 0*, which the Poisson law gives: what is released then is a default that was fixed beforehand.
- *A run that spends more than `base`.* Each trial has a ledger of its own with the budget that `capped_run` was told, and is
  refused beyond it; `base` is the worst over all candidates (`worst_of`), under the neighbouring relation of the search's ledger.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import BadInput
from .accounting import PATE_ORDERS, plan_epsilon, rdp_epsilon
from .budget import BudgetKind, budget_cap
from .curve_events import CurveEvent, ZcdpEvent
from .events import NANO, Event, GaussianEvent
from .neighbours import Relation, relation_of
from .selection_event import SelectionEvent
from .trials import PoissonTrials, TrialCount, TruncatedNegativeBinomial, draw_candidate, draw_error
from .validate import positive_int

__all__ = [
    "SELECTION_ORDERS",
    "CurveEvent",
    "GaussianEvent",
    "PoissonTrials",
    "SelectionEvent",
    "TrialCount",
    "TruncatedNegativeBinomial",
    "ZcdpEvent",
    "best_order",
    "capped_run",
    "draw_candidate",
    "draw_error",
    "plain_epsilon",
    "selection_epsilon",
    "selection_event",
    "worst_of",
]

# Fixed, so that an event made anywhere says the same. From one to the next at most a tenth more, where a curve's best pair
# of orders is flat enough to lose less than one part in a hundred.
SELECTION_ORDERS: tuple[float, ...] = tuple(
    float(order)
    for start, stop, step in (
        (1.5, 10, 0.5),
        (10, 20, 1),
        (20, 40, 2),
        (40, 80, 4),
        (80, 160, 8),
        (160, 320, 16),
        (320, 641, 32),
    )
    for order in np.arange(start, stop, step)
)


def selection_event(base: Event, *, mean: float, shape: float | None = 0.0) -> SelectionEvent:
    """The search over runs of `base` with `mean` trials expected, and the orders at which its bound looks at the base.

    `shape` 0 (logarithmic) is the cheapest of those whose K is never 0 and varies most; 1 is geometric; None is Poisson,
    whose K varies least, for bases of small epsilon only.
    """
    orders = base.orders if isinstance(base, CurveEvent) else SELECTION_ORDERS
    return SelectionEvent(base, float(mean), None if shape is None else float(shape), orders=orders)


def capped_run(
    kind: BudgetKind, *, epsilon: float, delta: float, orders: Sequence[float] = (), neighbouring: str
) -> CurveEvent | ZcdpEvent:
    """Any run that a ledger holds under the budget of these terms, whatever it does with it.

    Its curve is the budget's own cap: order times rho for the kinds `gaussian` and `zcdp`, else the cap at each order.

    Raises:
        BadInput: terms that no budget can have, or an unknown neighbouring relation.
    """
    relation = relation_of(neighbouring)
    if relation is None:
        raise BadInput(f"unknown neighbouring relation {neighbouring!r}", why=f"known ones are {', '.join(Relation)}")
    cap = budget_cap(kind, epsilon=epsilon, delta=delta, orders=orders)
    if BudgetKind(kind) is not BudgetKind.RDP:
        return ZcdpEvent(cap[0], (relation,))
    known = sorted(zip(map(float, orders), cap, strict=True))
    return CurveEvent(tuple(order for order, _ in known), tuple(limit / NANO for _, limit in known), (relation,))


def worst_of(runs: Sequence[Event], orders: Sequence[float] = SELECTION_ORDERS) -> Event:
    """An event that costs at least as much as each of these at each of `orders`, for a search among unlike candidates.

    Raises:
        BadInput: no runs, no neighbouring relation that holds for all of them, or no order at which all are finite.
    """
    if not runs:
        raise BadInput("nothing to search among", why="at least one run is needed")
    if all(run == runs[0] for run in runs):
        return runs[0]
    relations = frozenset.intersection(*(run.relations for run in runs))
    if not relations:
        raise BadInput(
            "no neighbouring relation holds for all of these runs", why="their epsilons are about other things"
        )
    grid = np.unique(np.concatenate([orders, *(run.orders for run in runs if isinstance(run, CurveEvent))]))
    worst = np.max([run.rdp(grid) for run in runs], axis=0)
    known = np.isfinite(worst)
    if not np.any(known):
        raise BadInput("these runs have no order in common at which all of them have a bound")
    return CurveEvent(tuple(grid[known]), tuple(worst[known]), tuple(relations))


def selection_epsilon(
    search: SelectionEvent, delta: float, *, orders: Sequence[float] | np.ndarray | None = None
) -> float:
    """Epsilon of the whole search, by the tight conversion at the best of `orders` (default: the event's own)."""
    return _converted(search, delta, orders)[0]


def best_order(search: SelectionEvent, delta: float) -> float:
    """The Renyi order that gives `selection_epsilon`: the one to grant a budget of kind `rdp` at, if it is for this search.

    A search's curve is nearly flat and falls towards higher orders at first, so a budget that also has low orders refuses it.
    """
    return _converted(search, delta, None)[1]


def plain_epsilon(
    run: Event, runs: int, delta: float, *, orders: Sequence[float] | np.ndarray = SELECTION_ORDERS
) -> float:
    """Epsilon of `runs` runs that are all looked at: what a search of so many costs without random K and secrecy."""
    positive_int(runs=runs)
    return plan_epsilon([run.times(runs)], delta, orders=orders)


def _converted(
    search: SelectionEvent, delta: float, orders: Sequence[float] | np.ndarray | None
) -> tuple[float, float]:
    grid = np.asarray(search.orders or PATE_ORDERS if orders is None else orders, dtype=float)
    return rdp_epsilon(grid, search.rdp(grid), delta)
