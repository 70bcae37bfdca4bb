"""One run from a checked configuration to an outcome and its report: what `stillhouse run` does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..platform.data.sources import Source, load, whole_test_set
from ..platform.errors import BadInput
from ..platform.ledger.ledger import Ledger
from ..platform.ledger.records import Budget
from ..platform.report.html import write_report
from ..platform.report.report import Report
from ..platform.training.outcome import Outcome
from ..platform.training.run import LocalRun
from . import budget
from . import train as ray_train
from .config.compose import Resolved
from .labelled import labelled_ground
from .record import add_to_record, write_record
from .reporting import Told, report_of
from .transfer import transfer_ground

SCORES = ("protocol", "test")


class Ground(Protocol):
    """What a method works on, and what the end of its run is told from."""

    @property
    def data(self) -> Any:
        """The data, as the method takes them."""

    def told(self, outcome: Outcome) -> Told:
        """What the report shows of the end."""


Opened = Callable[[Resolved, Source, LocalRun, str], AbstractContextManager[Ground]]
# By the word that a method says itself (`works_on`).
GROUNDS: dict[str, Opened] = {"ensemble": transfer_ground, "labelled": labelled_ground}


@dataclass(frozen=True)
class Finished:
    """A finished run: its folder, its outcome, what the report shows."""

    folder: Path
    outcome: Outcome
    report: Report


def run(resolved: Resolved) -> Finished:
    """Run the configured method; stages that an earlier start finished are found, not repeated."""
    config = resolved.config
    source = load(config.data.name, root=config.data.root, download=config.data.download)
    if config.data.score not in SCORES:
        raise BadInput(f"data.score is {config.data.score!r}", mend=f"use one of {', '.join(SCORES)}")
    if config.data.score == "test":
        source = whole_test_set(source)
    folder = resolved.folder
    local = LocalRun(folder, seed=config.seed)
    write_record(folder, resolved)
    ledger_url = budget.ledger_url(resolved)
    before = _spent(ledger_url, resolved)
    with GROUNDS[resolved.method.works_on](resolved, source, local, ledger_url) as ground:
        outcome = ray_train.fit(
            resolved.method, ground.data, folder=folder, seed=config.seed, workers=config.cluster.workers,
            use_gpu=config.cluster.use_gpu, cpus_per_worker=config.cluster.cpus_per_worker,
            label_selector=config.cluster.label_selector, address=config.cluster.address,
        )  # fmt: skip
        told = ground.told(outcome)
    after = _spent(ledger_url, resolved)
    report = report_of(
        resolved, outcome, told, protocol=ground.data.protocol, position=after.position,
        cap=after.cap_at(config.privacy.target_delta), this_start=_this_start(resolved, local, before, after),
    )  # fmt: skip
    add_to_record(folder, ledger=after.position)
    write_report(report, folder)
    return Finished(folder, outcome, report)


@dataclass(frozen=True)
class _Spent:
    """Where the ledger of a run stands; nothing of it is known where an aggregator elsewhere keeps it."""

    position: tuple[int, str] | None = None
    budget: Budget | None = None

    @property
    def epsilon(self) -> float:
        """What the data set has spent, at its budget's delta."""
        return self.budget.spent_epsilon if self.budget else 0.0

    def cap_at(self, delta: float) -> float | None:
        """The cap, if it was granted for this delta; figures at another delta cannot be held against it."""
        return self.budget.epsilon if self.budget and self.budget.delta == delta else None


def _spent(url: str, resolved: Resolved) -> _Spent:
    if resolved.config.silos.address or not budget.charges(resolved) or not _exists(url):
        return _Spent()
    mark = resolved.config.privacy.high_water
    ledger = Ledger(url, high_water=Path(mark) if mark else None)
    try:
        position = ledger.position()
        if resolved.config.data.name not in ledger.datasets():
            return _Spent(position)
        return _Spent(position, ledger.budget(resolved.config.data.name))
    finally:
        ledger.close()


def _this_start(resolved: Resolved, local: LocalRun, before: _Spent, after: _Spent) -> tuple[str, ...]:
    lines = []
    if local.reused:
        lines.append(f"found from an earlier start, not run again: {', '.join(dict.fromkeys(local.reused))}")
    if not budget.charges(resolved):
        return (*lines, "this method charges no ledger: it promises no epsilon")
    if after.budget is None:
        return (*lines, "the ledger is kept by the aggregator")
    stands = f"{after.epsilon:.4g} of {budget.in_words(after.budget)}"
    if after.epsilon == before.epsilon:
        lines.append(f"this start spent nothing; the data set stands at epsilon {stands}")
    else:
        lines.append(f"this start moved the data set from epsilon {before.epsilon:.4g} to {stands}")
    return tuple(lines)


def _exists(url: str) -> bool:
    """Whether there is a ledger to look at; only SQLite's absence can be seen without opening it."""
    return not url.startswith("sqlite:///") or Path(url.removeprefix("sqlite:///")).exists()


def summary(finished: Finished) -> dict[str, Any]:
    """Return the JSON form that `--json` prints."""
    return {"folder": str(finished.folder), "report": str(finished.folder / "report.html"), **finished.report.to_json()}
