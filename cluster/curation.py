"""The curator of a simulation: owner of all private records, who charges the ledger and then computes.

Where silos are separate owners there is no such party, and methods that need one say so.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..methods.private import PrivateWork
from ..platform.data.images import ImageData
from ..platform.data.partition import Manifest
from ..platform.errors import BudgetExhausted
from ..platform.ledger.ledger import Ledger
from ..platform.ledger.records import Charge
from ..platform.privacy.accounting import plan_epsilon
from ..platform.privacy.events import Event
from ..platform.privacy.statement import epsilon_up
from ..platform.training.event_log import NOWHERE
from ..platform.training.run import LocalRun, Run


@dataclass(frozen=True, eq=False)
class LedgerCurator:
    """Holds the records and the ledger's address (not a connection), so it can be sent to a training worker of its own trust domain."""

    private: ImageData
    dataset: str
    ledger_url: str
    high_water: Path | None
    partition: Manifest | None = None

    @property
    def records(self) -> int:
        """Their number."""
        return len(self.private)

    def refuse_unless_affordable(self, events: Sequence[tuple[str, Event]], *, mend: str) -> None:
        """See whether all events together fit into what is left; nothing is spent."""
        with Ledger(self.ledger_url, high_water=self.high_water) as ledger:
            if ledger.fits(self.dataset, [event for _, event in events]):
                return
            budget = ledger.budget(self.dataset)
        costs = "; ".join(
            f"{name}: epsilon {epsilon_up(plan_epsilon([event], budget.delta), digits=3)} alone"
            for name, event in events
        )
        raise BudgetExhausted(
            f"the whole plan does not fit into what is left of the budget of '{self.dataset}': "
            f"{epsilon_up(budget.spent_epsilon, cap=budget.epsilon)} of {budget.epsilon:g} at delta "
            f"{budget.delta:g} ({budget.neighbouring}) is spent",
            why=f"it would charge {costs}; nothing was spent now",
            mend=mend,
        )

    def release(self, work: PrivateWork, run: Run) -> Any:
        """Charge under a key of its own, then compute in one process. A crash before the result is kept means to pay again."""
        events, log = work.events(self.records), getattr(run, "events", NOWHERE)
        if events:
            draw = secrets.token_hex(16)
            with Ledger(self.ledger_url, high_water=self.high_water) as ledger:
                receipts = ledger.charge_all(
                    [
                        Charge(self.dataset, f"{draw}/{i}", event, name, run.folder.name)
                        for i, (name, event) in enumerate(events)
                    ]
                )
            for (name, _), receipt in zip(events, receipts, strict=True):
                log.write("ledger.charged", dataset=self.dataset, purpose=name, entry=receipt.seq)
        else:
            run.say(f"{work.purpose}: not covered by any epsilon ({work.uncovered})")
        # Other processes of the run wait for this one: the work must not ask them for anything.
        alone = LocalRun(
            run.folder, seed=run.seed, device=run.device, reporter=getattr(run, "reporter", None), precision=run.precision, events=log
        )  # fmt: skip
        return work.compute(self.private, alone)
