"""One run from a checked configuration to an outcome and its report: what `stillhouse run` does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..methods.transfer import LABELS, TransferData
from ..platform.aggregator.client import Endpoint
from ..platform.data.images import ImageData
from ..platform.data.partition import Manifest
from ..platform.data.sources import Source, load, whole_test_set
from ..platform.errors import BadInput
from ..platform.ledger.ledger import Ledger
from ..platform.ledger.records import Budget
from ..platform.report.html import write_report
from ..platform.report.report import Report
from ..platform.training.outcome import Outcome
from ..platform.training.progress import Silent
from ..platform.training.run import LocalRun
from ..platform.training.stages import MISSING
from . import budget
from . import train as ray_train
from .commands.endpoint import read_token
from .config.compose import Resolved
from .curation import LedgerCurator
from .diagnostics import Diagnostics, diagnose
from .federation import RemoteEnsemble, Simulation, naming_key, partition, simulation
from .record import add_to_record, write_record
from .reporting import report_of
from .session import ray_session

SCORES = ("protocol", "test")
NEVER_ASKED = "this ensemble is only for answers that are found in the run folder"


@dataclass(frozen=True)
class Finished:
    """A finished run: its folder, its outcome, what the report shows."""

    folder: Path
    outcome: Outcome
    report: Report


class _Unneeded:
    """Stands where an ensemble would, when every answer is known to lie in the run folder already."""

    def ask(self, *_: Any, **__: Any) -> Any:
        raise BadInput(NEVER_ASKED, mend="remove the run folder's `stages` and start again")


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
    with _ensemble(resolved, source, local, ledger_url) as (data, simulated):
        outcome = ray_train.fit(
            resolved.method, data, folder=folder, seed=config.seed, workers=config.cluster.workers,
            use_gpu=config.cluster.use_gpu, cpus_per_worker=config.cluster.cpus_per_worker,
            label_selector=config.cluster.label_selector,
        )  # fmt: skip
        # Read by a silent run: what this start made itself is not "found from an earlier start".
        labels = LocalRun(folder, seed=config.seed, reporter=Silent()).find_stage(
            LABELS, resolved.method.question(data)
        )
        figures = _diagnostics(resolved, data, source, local, simulated, labels)
    after = _spent(ledger_url, resolved)
    report = report_of(
        resolved, outcome, labels, figures, protocol=source.protocol,
        position=after.position, cap=after.cap_at(config.privacy.target_delta), this_start=_this_start(local, outcome, before, after),
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
    if resolved.config.silos.address or not _exists(url):
        return _Spent()
    ledger = Ledger(url, high_water=_path(resolved.config.privacy.high_water))
    try:
        position = ledger.position()
        if resolved.config.data.name not in ledger.datasets():
            return _Spent(position)
        return _Spent(position, ledger.budget(resolved.config.data.name))
    finally:
        ledger.close()


def _this_start(local: LocalRun, outcome: Outcome, before: _Spent, after: _Spent) -> tuple[str, ...]:
    lines = []
    if local.reused:
        lines.append(f"found from an earlier start, not run again: {', '.join(dict.fromkeys(local.reused))}")
    if after.budget is None:
        return (*lines, "the ledger is kept by the aggregator")
    stands = f"{after.epsilon:.4g} of {budget.in_words(after.budget)}"
    if after.epsilon == before.epsilon:
        lines.append(f"this start spent nothing; the data set stands at epsilon {stands}")
    else:
        lines.append(f"this start moved the data set from epsilon {before.epsilon:.4g} to {stands}")
    return tuple(lines)


@contextmanager
def _ensemble(
    resolved: Resolved, source: Source, local: LocalRun, ledger_url: str
) -> Iterator[tuple[TransferData, Simulation | None]]:
    """Yield what the method works on: simulated silos, a running aggregator elsewhere, or answers that are known."""
    config, silos = resolved.config, resolved.config.silos

    def data(ensemble: Any, identity: str, curator: LedgerCurator | None = None) -> TransferData:
        return TransferData(
            pool=source.pool.images, score=source.score, ensemble=ensemble, ensemble_id=identity,
            mechanism=resolved.mechanism, delta=config.privacy.target_delta, protocol=source.protocol,
            epsilon=config.privacy.target_epsilon, curator=curator,
        )  # fmt: skip

    if silos.address:
        token = read_token(Path(silos.token_file) if silos.token_file else None)
        endpoint = Endpoint(silos.address, token, ca=Path(silos.ca_file) if silos.ca_file else None)
        name = config.data.name
        yield data(RemoteEnsemble(endpoint, name, silos.deadline_seconds + 60), name), None
        return
    key = naming_key(Path(config.root))
    curated, taught = _records(resolved, source.private)
    curator = LedgerCurator(curated, config.data.name, ledger_url, _path(config.privacy.high_water))
    roster = partition(taught, silos, resolved.teacher, seed=config.seed, folder=local.folder, key=key)
    known = data(_Unneeded(), roster.ensemble, curator)
    if not getattr(resolved.method, "asks", True):
        budget.grant(resolved, ledger_url, local.say)
        yield known, None
        return
    if local.find_stage(LABELS, resolved.method.question(known)) is not MISSING and (
        not config.diagnostics or Diagnostics.kept(resolved.method, known, local)
    ):
        yield known, None
        return
    budget.grant(resolved, ledger_url, local.say)
    cluster = config.cluster
    kept = ray_train.room(cluster.workers, cpus_per_worker=cluster.cpus_per_worker, use_gpu=cluster.use_gpu)
    with ray_session(address=cluster.address, num_cpus=cluster.num_cpus), simulation(
        roster, resolved.teacher, silos, local, dataset=config.data.name, classes=source.private.classes,
        ledger_url=ledger_url, high_water=config.privacy.high_water, kept=kept,
    ) as running:  # fmt: skip
        yield data(running.ensemble, roster.ensemble, curator), running


def _records(resolved: Resolved, private: ImageData) -> tuple[ImageData, ImageData]:
    """Return the curator's records and the teachers': the same, unless the method keeps a share from the teachers.

    Which share a record falls into depends on its number only, so no record moves another.
    """
    share = getattr(resolved.method, "record_split", None)
    if share is None:
        return private, private
    parts = 1000
    assigned = Manifest.make(
        len(private), parts, key=f"stillhouse-split-{private.name}-{resolved.config.seed}"
    ).assignment
    held = np.asarray(assigned) < round(share * parts)
    return private.take(np.flatnonzero(held)), private.take(np.flatnonzero(~held))


def _diagnostics(
    resolved: Resolved,
    data: TransferData,
    source: Source,
    local: LocalRun,
    simulated: Simulation | None,
    labels: Mapping[str, Any],
) -> Diagnostics | None:
    if not resolved.config.diagnostics or resolved.config.silos.address or not getattr(resolved.method, "asks", True):
        return None
    return diagnose(resolved.method, data, source.private, local, simulated, labels)


def _exists(url: str) -> bool:
    """Whether there is a ledger to look at; only SQLite's absence can be seen without opening it."""
    return not url.startswith("sqlite:///") or Path(url.removeprefix("sqlite:///")).exists()


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def summary(finished: Finished) -> dict[str, Any]:
    """Return the JSON form that `--json` prints."""
    return {"folder": str(finished.folder), "report": str(finished.folder / "report.html"), **finished.report.to_json()}
