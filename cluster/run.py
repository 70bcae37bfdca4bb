"""One run from a checked configuration to an outcome and its report: what `stillhouse run` does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..platform.ledger.ledger import Ledger
from ..platform.ledger.records import Budget
from ..platform.privacy.statement import epsilon_up
from ..platform.report.report import Report
from ..platform.training.event_log import EventLog
from ..platform.training.outcome import Outcome
from ..platform.training.precision import check_precision
from ..platform.training.run import LocalRun
from . import budget
from . import train as ray_train
from .carrier import check_carrier
from .config.compose import Resolved
from .direct import direct_ground
from .labelled import labelled_ground
from .record import add_to_record, write_record
from .reporting import Told, report_of
from .secured import secured
from .simulation import naming_key
from .transfer import transfer_ground


class Ground(Protocol):
    """What a method works on, and what the end of its run is told from."""

    @property
    def data(self) -> Any:
        """The data, as the method takes them."""

    def told(self, outcome: Outcome) -> Told:
        """What the report shows of the end."""


Opened = Callable[[Resolved, Any, LocalRun, str], AbstractContextManager[Ground]]
# By the word that a method says itself (`works_on`).
GROUNDS: dict[str, Opened] = {
    "ensemble": transfer_ground, "labelled": labelled_ground, "crowd": direct_ground, "multilabel": direct_ground,
    "faces": direct_ground, "videos": direct_ground,
}  # fmt: skip


@dataclass(frozen=True)
class Finished:
    """A finished run: its folder, its outcome, what the report shows."""

    folder: Path
    outcome: Outcome
    report: Report


def run(resolved: Resolved) -> Finished:
    """Run the configured method; stages that an earlier start finished are found, not repeated."""
    check_carrier(resolved)
    resolved = secured(resolved)
    config, events = resolved.config, EventLog.begin(resolved.folder)
    about = {"method": resolved.plain["method_name"], "data": config.data.name, "seed": config.seed}
    with events.around("run", **about, workers=config.cluster.workers):
        return _run(resolved, events)


def _run(resolved: Resolved, events: EventLog) -> Finished:
    config = resolved.config
    source = config.data.load(seed=config.seed, key=naming_key(Path(config.root)))
    events.write("data.loaded", data=config.data.name)
    folder = resolved.folder
    precision = check_precision(config.cluster.precision)
    local = LocalRun(folder, seed=config.seed, precision=precision, events=events)
    write_record(folder, resolved)
    ledger_url = budget.ledger_url(resolved)
    before = _spent(ledger_url, resolved)
    with GROUNDS[resolved.method.works_on](resolved, source, local, ledger_url) as ground:
        outcome = ray_train.fit(
            resolved.method, ground.data, folder=folder, seed=config.seed, workers=config.cluster.workers,
            use_gpu=config.cluster.use_gpu, cpus_per_worker=config.cluster.cpus_per_worker,
            label_selector=config.cluster.label_selector, address=config.cluster.address,
            max_failures=config.cluster.max_failures, autoscaling=config.cluster.autoscaling, precision=precision,
            events=events,
        )  # fmt: skip
        told = ground.told(outcome)
    after = _spent(ledger_url, resolved)
    report = report_of(
        resolved, outcome, told, protocol=ground.data.protocol, position=after.position,
        cap=after.cap_at(config.privacy.target_delta), this_start=_this_start(resolved, local, before, after),
    )  # fmt: skip
    add_to_record(folder, ledger=after.position)
    # Plots are drawn at the end; their library takes a while to import.
    from ..platform.report.html import write_report

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
    stands = f"{epsilon_up(after.epsilon, cap=after.budget.epsilon)} of {budget.in_words(after.budget)}"
    if after.epsilon == before.epsilon:
        lines.append(f"this start spent nothing; the data set stands at epsilon {stands}")
    else:
        lines.append(f"this start moved the data set from epsilon {epsilon_up(before.epsilon)} to {stands}")
    return tuple(lines)


def _exists(url: str) -> bool:
    """Whether there is a ledger to look at; only SQLite's absence can be seen without opening it."""
    return not url.startswith("sqlite:///") or Path(url.removeprefix("sqlite:///")).exists()


def summary(finished: Finished) -> dict[str, Any]:
    """Return the JSON form that `--json` prints."""
    return {"folder": str(finished.folder), "report": str(finished.folder / "report.html"), **finished.report.to_json()}
