"""One run from a checked configuration to an outcome and its report: what `stillhouse run` does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..methods.transfer import LABELS, TransferData
from ..platform.aggregator.client import Endpoint
from ..platform.data.sources import Source, load
from ..platform.errors import BadInput
from ..platform.ledger.ledger import Ledger
from ..platform.privacy.budget import BudgetKind
from ..platform.report.report import Report
from ..platform.training.outcome import Outcome
from ..platform.training.run import LocalRun
from ..platform.training.stages import MISSING
from . import train as ray_train
from .commands.endpoint import read_token
from .config.compose import Resolved
from .diagnostics import Diagnostics, diagnose
from .federation import RemoteEnsemble, Simulation, partition, simulation
from .record import report_of, write_record
from .session import ray_session

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
    folder = resolved.folder
    local = LocalRun(folder, seed=config.seed)
    write_record(folder, resolved)
    ledger_url = config.privacy.ledger or f"sqlite:///{Path(config.root).resolve() / 'ledger.db'}"
    with ray_session(address=config.cluster.address, num_cpus=config.cluster.num_cpus):
        with _ensemble(resolved, source, local, ledger_url) as (data, simulated):
            outcome = ray_train.fit(
                resolved.method, data, folder=folder, seed=config.seed, workers=config.cluster.workers,
                use_gpu=config.cluster.use_gpu, cpus_per_worker=config.cluster.cpus_per_worker,
                label_selector=config.cluster.label_selector,
            )  # fmt: skip
            figures = _diagnostics(resolved, data, source, local, simulated)
    report = report_of(resolved, outcome, figures, _position(ledger_url, config.privacy.high_water, config.silos.address))
    (folder / "report.html").write_text(report.html(), encoding="utf-8")
    return Finished(folder, outcome, report)


@contextmanager
def _ensemble(
    resolved: Resolved, source: Source, local: LocalRun, ledger_url: str
) -> Iterator[tuple[TransferData, Simulation | None]]:
    """Yield what the method works on: simulated silos, a running aggregator elsewhere, or answers that are known."""
    config, silos = resolved.config, resolved.config.silos

    def data(ensemble: Any, identity: str) -> TransferData:
        return TransferData(
            pool=source.pool.images, score=source.score, ensemble=ensemble, ensemble_id=identity,
            mechanism=resolved.mechanism, delta=config.privacy.target_delta, protocol=source.protocol,
        )  # fmt: skip

    if silos.address:
        token = read_token(Path(silos.token_file) if silos.token_file else None)
        endpoint = Endpoint(silos.address, token, ca=Path(silos.ca_file) if silos.ca_file else None)
        name = config.data.name
        yield data(RemoteEnsemble(endpoint, name, silos.deadline_seconds + 60), name), None
        return
    roster = partition(source.private, silos, resolved.teacher, seed=config.seed, folder=local.folder)
    known = data(_Unneeded(), roster.ensemble)
    if local.find_stage(LABELS, resolved.method.question(known)) is not MISSING and (not config.diagnostics or Diagnostics.kept(local)):
        yield known, None
        return
    _grant(resolved, ledger_url, local)
    with simulation(
        roster, resolved.teacher, silos, local, dataset=config.data.name, classes=source.private.classes,
        ledger_url=ledger_url, high_water=config.privacy.high_water,
    ) as running:  # fmt: skip
        yield data(running.ensemble, roster.ensemble), running


def _grant(resolved: Resolved, ledger_url: str, local: LocalRun) -> None:
    """Grant the configured budget if the data set has none: in a simulation the officer is simulated too."""
    privacy, dataset = resolved.config.privacy, resolved.config.data.name
    Path(resolved.config.root).mkdir(parents=True, exist_ok=True)
    ledger = Ledger(ledger_url, high_water=_path(privacy.high_water), create=True)
    try:
        if ledger.has_budget(dataset):
            budget = ledger.budget(dataset)
            local.say(
                f"budget of '{dataset}': epsilon {budget.spent_epsilon:.3g} of {budget.epsilon:g} spent at delta {budget.delta:g}"
            )
            return
        ledger.grant(
            dataset, epsilon=privacy.target_epsilon, delta=privacy.target_delta, kind=BudgetKind(privacy.kind), by="simulation"
        )
        local.say(f"budget of '{dataset}': epsilon {privacy.target_epsilon:g} at delta {privacy.target_delta:g} granted (simulated officer)")
    finally:
        ledger.close()


def _diagnostics(
    resolved: Resolved, data: TransferData, source: Source, local: LocalRun, simulated: Simulation | None
) -> Diagnostics | None:
    if not resolved.config.diagnostics or resolved.config.silos.address:
        return None
    return diagnose(resolved.method, data, source.private, local, simulated)


def _position(url: str, high_water: str | None, elsewhere: str | None) -> dict[str, Any]:
    """Return where the ledger stands; with an aggregator elsewhere it is not ours to read."""
    if elsewhere:
        return {"ledger": f"kept by the aggregator at {elsewhere}"}
    ledger = Ledger(url, high_water=_path(high_water))
    try:
        sequence, head = ledger.position()
        return {"ledger": url, "entries": sequence, "head": head}
    finally:
        ledger.close()


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def summary(finished: Finished) -> dict[str, Any]:
    """Return the JSON form that `--json` prints."""
    return json.loads(
        json.dumps({"folder": str(finished.folder), "report": str(finished.folder / "report.html"), **asdict(finished.report)}, default=str)
    )
