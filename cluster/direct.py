"""What a method works on directly: the data as their kind loads them, a crowd's answers for example. No ledger, no silos."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..platform.errors import BadInput
from ..platform.training.outcome import Outcome
from ..platform.training.run import LocalRun
from .config.compose import Resolved
from .reporting import Told, tell_direct


@dataclass(frozen=True, eq=False)
class DirectGround:
    """The data, and what the run's end is told from."""

    resolved: Resolved
    data: Any

    def told(self, outcome: Outcome) -> Told:
        """What the report shows of it."""
        return tell_direct(self.resolved, outcome)


@contextmanager
def direct_ground(resolved: Resolved, source: Any, local: LocalRun, ledger_url: str) -> Iterator[DirectGround]:
    """Yield the data."""
    if resolved.config.silos.address:
        raise BadInput(
            f"silos.address is set, and {resolved.plain['method_name']} works on the data themselves",
            why="only votes leave a silo", mend="leave silos.address out, or use a method of knowledge transfer",
        )  # fmt: skip
    yield DirectGround(resolved, source)
