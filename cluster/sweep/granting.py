"""What a sweep's simulated officer grants: each trial its own target on top of what the sweep has spent, within the sweep's budget.

A trial that questions an ensemble goes on asking until its budget refuses, so it gets its grant when its turn comes, and has the ledger
to itself. Methods that plan their noise to their own target can run side by side: all of them are granted room at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...platform.errors import BudgetExhausted
from ...platform.ledger.ledger import Ledger
from ...platform.ledger.records import Budget
from ...platform.privacy.budget import budget_cap
from ...platform.report.report import epsilon_text
from ..budget import charges, ledger_url
from ..config.compose import Resolved
from ..study.spending import StudyBudget, cap_for, path_of


class SweepBudget(StudyBudget):
    """Grants for the trials of one sweep. `limit` caps the whole sweep in epsilon.

    Raises:
        BadInput: no single budget can hold all trials on a data set, or the ledger has one on terms that cannot.
    """

    def grant(self, resolved: Resolved) -> None:
        """Set the cap to what was spent and the trial's own target.

        Raises:
            BudgetExhausted: the sweep's budget has no room for the trial's whole target. It does not start: cut short, it
                would not be what it is alone.
        """
        if not charges(resolved):
            return
        terms = self._terms[resolved.config.data.name]
        with opened(resolved) as ledger:
            before = standing(ledger, resolved)
            wanted = cap_for(resolved, terms, before.spent if before else None)
            if self._limit is not None and wanted > self._limit * (1 + 1e-9):
                raise self._exhausted(resolved, before)
            self._set(ledger, resolved, wanted)

    def grant_all(self, trials: Sequence[Resolved]) -> None:
        """Set the cap to what was spent and the targets of all these trials, or to the limit if that is less.

        Raises:
            BudgetExhausted: the limit is spent already.
        """
        for dataset in dict.fromkeys(r.config.data.name for r in trials if charges(r)):
            here = [r for r in trials if r.config.data.name == dataset and charges(r)]
            terms, delta = self._terms[dataset], here[0].config.privacy.target_delta
            with opened(here[0]) as ledger:
                before = standing(ledger, here[0])
                spent, epsilon = before.spent if before else None, 0.0
                for resolved in here:
                    epsilon = cap_for(resolved, terms, spent)
                    if self._limit is not None and epsilon > self._limit:
                        epsilon = self._limit
                        break
                    spent = budget_cap(terms.kind, epsilon=epsilon, delta=delta, orders=terms.orders)
                if before and before.spent_epsilon >= epsilon:
                    raise self._exhausted(here[0], before)
                self._set(ledger, here[0], epsilon)

    def _set(self, ledger: Ledger, resolved: Resolved, epsilon: float) -> None:
        dataset = resolved.config.data.name
        terms = self._terms[dataset]
        ledger.grant(
            dataset,
            epsilon=epsilon,
            delta=resolved.config.privacy.target_delta,
            kind=terms.kind,
            orders=terms.orders,
            neighbouring=terms.neighbouring,
            by="simulation",
        )

    def _exhausted(self, resolved: Resolved, before: Budget | None) -> BudgetExhausted:
        spent, target = before.spent_epsilon if before else 0.0, resolved.config.privacy.target_epsilon
        return BudgetExhausted(
            f"the sweep's budget of epsilon {self._limit:g} has no room for a trial that may spend {target:g}",
            why=f"epsilon {epsilon_text(spent)} is spent; nothing was run or spent for this trial",
            mend="raise `budget`, or the trial's privacy.target_epsilon lower",
        )


def opened(resolved: Resolved) -> Ledger:
    """The sweep's ledger, made where there is none yet. `resolved` is placed in the sweep's folder."""
    Path(resolved.config.root).mkdir(parents=True, exist_ok=True)
    return Ledger(ledger_url(resolved), high_water=path_of(resolved.config.privacy.high_water))


def standing(ledger: Ledger, resolved: Resolved) -> Budget | None:
    """Where the data set stands, if it ever had a grant."""
    return ledger.budget(resolved.config.data.name) if resolved.config.data.name in ledger.datasets() else None
