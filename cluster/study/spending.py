"""The study's budget: one ledger for all runs, on which a simulated officer grants each run its own target as its turn comes.

One large grant for the whole study would let an arm that is over its target use up what a later arm needs, and neither would be what it
is alone. So the cap before a run is what was spent so far and what the run's own budget would hold. Epsilons grow no faster than their
sum (basic composition), so all runs together stay within the sum of their targets, or a hair above it where kinds of accounting meet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from ...methods.transfer import BudgetTerms
from ...platform.errors import BadInput
from ...platform.ledger.ledger import Ledger
from ...platform.ledger.records import Budget
from ...platform.privacy.budget import BudgetKind, budget_cap, spent_epsilon
from ...platform.privacy.statement import REPLACE_ONE
from ...platform.report.report import delta_text, epsilon_text
from ..budget import budget_terms, charges, ledger_url
from ..config.compose import Resolved

# Each holds every event that those before it hold.
_WIDER = (BudgetKind.GAUSSIAN, BudgetKind.ZCDP, BudgetKind.RDP)
# What rounding may add where a run's releases are charged on other terms than those they were fitted to: a billionth for each of them,
# at each order. A run of very many releases has cheap ones: a thousandth of its own room serves down to a thousand billionths each. The
# run is held to its own target all the same, by its plan and by the look at what it spent.
_ROUNDING, _SHARE = 64, Fraction(1, 1000)


class StudyBudget:
    """Grants for the runs of one study. `limit` caps the whole study in epsilon; None: only the runs' targets do.

    Raises:
        BadInput: no single budget can hold all runs on a data set, or the ledger has one on terms that cannot.
    """

    def __init__(self, runs: Sequence[Resolved], *, limit: float | None = None) -> None:
        self._limit = limit
        runs = [r for r in runs if charges(r)]
        self._terms: dict[str, BudgetTerms] = {}
        for dataset in dict.fromkeys(r.config.data.name for r in runs):
            here = [r for r in runs if r.config.data.name == dataset]
            total = limit or math.fsum(r.config.privacy.target_epsilon for r in here)
            self._terms[dataset] = _terms(dataset, here, total)
            for before in budgets(here[0]):
                if before.dataset == dataset:
                    self._terms[dataset] = _standing(before, self._terms[dataset])

    def grant(self, resolved: Resolved) -> None:
        """Set the cap to what was spent and the run's own target, within the limit.

        Raises:
            BadInput: more than the limit was spent already.
        """
        if not charges(resolved):
            return
        privacy, dataset = resolved.config.privacy, resolved.config.data.name
        terms = self._terms[dataset]
        Path(resolved.config.root).mkdir(parents=True, exist_ok=True)
        with Ledger(ledger_url(resolved), high_water=path_of(privacy.high_water)) as ledger:
            before = ledger.budget(dataset) if dataset in ledger.datasets() else None
            wanted = cap_for(resolved, terms, before.spent if before else None)
            ledger.grant(
                dataset,
                epsilon=min(wanted, self._limit or wanted),
                delta=privacy.target_delta,
                kind=terms.kind,
                orders=terms.orders,
                neighbouring=terms.neighbouring,
                by="simulation",
            )


def cap_for(resolved: Resolved, terms: BudgetTerms, spent: tuple[int, ...] | None) -> float:
    """Return the epsilon of a budget on `terms` that has room, beyond `spent`, for all that the run could spend alone."""
    privacy, own = resolved.config.privacy, budget_terms(resolved)
    delta, alone = privacy.target_delta, (own.orders or (1.0,))
    cap = budget_cap(own.kind, epsilon=privacy.target_epsilon, delta=delta, orders=own.orders)
    # A Renyi curve divided by its order never falls, so what fits at the run's own order fits under this line at lower ones.
    slope = max(Fraction(amount) / Fraction(order) for amount, order in zip(cap, alone, strict=True))
    other = terms.kind is BudgetKind.RDP and terms.orders != own.orders
    rounding, share = (_ROUNDING, 1 + _SHARE) if other else (0, 1)
    room = tuple(math.ceil(slope * Fraction(order) * share) + rounding for order in terms.orders or (1.0,))
    needed = tuple(map(int.__add__, spent or (0,) * len(room), room))
    epsilon = spent_epsilon(terms.kind, needed, delta=delta, orders=terms.orders)
    while any(map(int.__lt__, budget_cap(terms.kind, epsilon=epsilon, delta=delta, orders=terms.orders), needed)):
        epsilon *= 1 + 1e-6  # Rounding; with several orders the one that decides moves.
    return epsilon


def budgets(resolved: Resolved) -> list[Budget]:
    """Return where the study's ledger stands, a data set each; nothing where none was opened yet."""
    url = ledger_url(resolved)
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        return []
    with Ledger(url, high_water=path_of(resolved.config.privacy.high_water)) as ledger:
        return [ledger.budget(dataset) for dataset in ledger.datasets()]


def spending_line(budget: Budget) -> str:
    """What all runs spent on a data set, for the table's notes."""
    spent, delta = epsilon_text(budget.spent_epsilon), delta_text(budget.delta)
    return (
        f"All runs of this study together have spent epsilon {spent} at delta {delta} on \u201c{budget.dataset}\u201d "
        f"({budget.neighbouring}), by its ledger. A study on data that are really private has to pay that, whichever arm is then used."
    )


def _terms(dataset: str, runs: Sequence[Resolved], epsilon: float) -> BudgetTerms:
    """The narrowest terms that hold all runs, for a budget of `epsilon`: Renyi orders are chosen for the whole of it."""
    needed = [budget_terms(_with_target(r, epsilon)) for r in runs]
    kind = max((t.kind for t in needed), key=_WIDER.index)
    orders = sorted({order for t in needed if t.kind is BudgetKind.RDP for order in t.orders})
    # Replacing a record moves votes at least as far as adding or removing one, so votes fit both relations.
    relations = list(dict.fromkeys(t.neighbouring for t in needed if t.neighbouring != REPLACE_ONE))
    if len(relations) > 1:
        raise BadInput(
            f"arms on '{dataset}' count with different neighbours: {'; '.join(relations)}",
            why="a budget is about one relation",
            mend="compare them in two studies",
        )
    return BudgetTerms(kind, tuple(orders), (relations or [REPLACE_ONE])[0])


def _standing(before: Budget, needed: BudgetTerms) -> BudgetTerms:
    """The terms that were first granted, which stay, if they hold what is needed now."""
    holds = _WIDER.index(before.kind) >= _WIDER.index(needed.kind)
    if not holds or needed.neighbouring not in (REPLACE_ONE, before.neighbouring):
        raise BadInput(
            f"the study's ledger has a budget of kind {before.kind.value} ({before.neighbouring}) for '{before.dataset}'",
            why=f"its arms now need kind {needed.kind.value} ({needed.neighbouring}); terms stay as first granted",
            mend="start the study anew under another root=",
        )
    return BudgetTerms(before.kind, before.orders, before.neighbouring)


def _with_target(resolved: Resolved, epsilon: float) -> Resolved:
    config = resolved.config
    return replace(resolved, config=replace(config, privacy=replace(config.privacy, target_epsilon=epsilon)))


def path_of(text: str | None) -> Path | None:
    """Return the path that a configuration gives, if it gives one."""
    return Path(text) if text else None
