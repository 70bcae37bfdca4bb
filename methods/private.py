"""Work on private records that is not a vote: what is charged for it, and who may do it.

A method never holds private records. It hands a `PrivateWork` to the `Curator`, the records' owner, who charges the ledger for what
the work says it costs, does it, and gives out the result. Work that has no guarantee says why; whatever follows from it is uncovered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ..platform.data.images import ImageData
from ..platform.data.partition import Manifest
from ..platform.privacy.events import Event
from ..platform.training.run import Run


class PrivateWork(Protocol):
    """A computation on all private records whose result leaves."""

    @property
    def purpose(self) -> str:
        """One sentence for the ledger."""

    @property
    def uncovered(self) -> str | None:
        """Why the result has no guarantee; None where its events are all it costs."""

    def events(self, records: int) -> list[tuple[str, Event]]:
        """Named events to charge, for so many records. Empty exactly where the work is uncovered."""

    def compute(self, private: ImageData, run: Run) -> Any:
        """Do the work: noise is drawn here. The result is a nested value that a stage can keep."""


class Curator(Protocol):
    """The owner of all private records: charges, computes, gives out."""

    @property
    def records(self) -> int:
        """How many records there are. Public."""

    @property
    def partition(self) -> Manifest | None:
        """Which record lies with which silo, by numbers, which is public; None where these records are not all in silos."""

    def refuse_unless_affordable(self, events: Sequence[tuple[str, Event]], *, mend: str) -> None:
        """See whether a whole plan fits into what is left of the budget. Nothing is spent.

        Raises:
            BudgetExhausted: it does not; `mend` says what would.
        """

    def release(self, work: PrivateWork, run: Run) -> Any:
        """Charge, compute, and return the result.

        Every call is a new draw and is paid for: the caller keeps the result (`run.stage`).

        Raises:
            BudgetExhausted: the budget does not hold it; nothing was computed.
        """
