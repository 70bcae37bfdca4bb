"""What a method of knowledge transfer works on: simulated silos, a running aggregator elsewhere, or answers that are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..methods.transfer import LABELS, TransferData
from ..platform.aggregator.client import Endpoint
from ..platform.data.images import ImageData
from ..platform.data.partition import Manifest
from ..platform.data.sources import Source
from ..platform.errors import BadInput
from ..platform.training.outcome import Outcome
from ..platform.training.progress import Silent
from ..platform.training.run import LocalRun
from ..platform.training.stages import MISSING
from . import budget
from . import train as ray_train
from .carrier import FLOWER
from .commands.endpoint import read_token
from .config.compose import Resolved
from .curation import LedgerCurator
from .diagnostics import Diagnostics, diagnose, diagnosed
from .missing_votes import MissingVotes
from .reporting import Told, tell_transfer
from .session import ray_session
from .simulation import RemoteEnsemble, Simulation, naming_key, partition, simulation

NEVER_ASKED = "this ensemble is only for answers that are found in the run folder"


class _Unneeded:
    """Stands where an ensemble would, when every answer is known to lie in the run folder already."""

    def ask(self, *_: Any, **__: Any) -> Any:
        raise BadInput(NEVER_ASKED, mend="remove the run folder's `stages` and start again")

    ask_vectors = ask


@dataclass(frozen=True, eq=False)
class TransferGround:
    """The data, and what the run's end is told from."""

    resolved: Resolved
    data: TransferData
    source: Source
    local: LocalRun
    simulated: Simulation | None

    def told(self, outcome: Outcome) -> Told:
        """What the report shows of it."""
        # Read by a silent run: what this start made itself is not "found from an earlier start".
        local = self.local
        silent = LocalRun(local.folder, seed=local.seed, reporter=Silent(), precision=local.precision)
        labels = silent.find_stage(LABELS, self.resolved.method.question(self.data))
        told = tell_transfer(self.resolved, outcome, labels, self._diagnostics(labels))
        if self.resolved.config.silos.address:
            return told
        missing = MissingVotes(local.folder, self.data.ensemble_id, self.resolved.config.silos.teachers)
        return replace(told, notes=(*told.notes, *missing.told(self.data.mechanism)))

    def _diagnostics(self, labels: Mapping[str, Any]) -> Diagnostics | None:
        config, method = self.resolved.config, self.resolved.method
        if not config.diagnostics or config.silos.address or not diagnosed(method):
            return None
        return diagnose(method, self.data, self.source.private, self.local, self.simulated, labels)


@contextmanager
def transfer_ground(resolved: Resolved, source: Source, local: LocalRun, ledger_url: str) -> Iterator[TransferGround]:
    """Yield what the method works on, with the silos running where they are needed."""
    config, silos = resolved.config, resolved.config.silos

    def ground(
        ensemble: Any, identity: str, curator: LedgerCurator | None = None, simulated: Simulation | None = None
    ) -> TransferGround:
        data = TransferData(
            pool=source.pool.images, score=source.score, ensemble=ensemble, ensemble_id=identity,
            mechanism=resolved.mechanism, delta=config.privacy.target_delta, protocol=source.protocol,
            epsilon=config.privacy.target_epsilon, curator=curator,
            teacher=None if silos.address else resolved.teacher.to_json(),
        )  # fmt: skip
        return TransferGround(resolved, data, source, local, simulated)

    if silos.address:
        token = read_token(Path(silos.token_file) if silos.token_file else None)
        endpoint = Endpoint(silos.address, token, ca=Path(silos.ca_file) if silos.ca_file else None)
        name = config.data.name
        yield ground(RemoteEnsemble(endpoint, name, silos.deadline_seconds + 60, local.events), name)
        return
    key = naming_key(Path(config.root))
    curated, taught = _records(resolved, source.private)
    high_water = Path(config.privacy.high_water) if config.privacy.high_water else None
    roster = partition(taught, silos, resolved.teacher, seed=config.seed, folder=local.folder, key=key)
    shared = roster.manifest if curated is taught else None
    curator = LedgerCurator(curated, config.data.name, ledger_url, high_water, shared)
    known = ground(_Unneeded(), roster.ensemble, curator)
    if not getattr(resolved.method, "asks", True):
        budget.grant(resolved, ledger_url, local.say, records=len(curated))
        yield known
        return
    if local.find_stage(LABELS, resolved.method.question(known.data)) is not MISSING and (
        not config.diagnostics or not diagnosed(resolved.method) or Diagnostics.kept(resolved.method, known.data, local)
    ):
        yield known
        return
    budget.grant(resolved, ledger_url, local.say, records=len(curated))
    budget.refuse_hopeless(resolved, ledger_url)
    cluster = config.cluster
    if cluster.carrier == FLOWER:
        # Flower takes a while to import.
        from .federation.secure_simulation import secure_simulation
        from .federation.simulation import flower_simulation

        where: dict[str, Any] = {
            "dataset": config.data.name, "classes": source.private.classes, "ledger_url": ledger_url,
            "high_water": config.privacy.high_water,
        }  # fmt: skip
        with (
            secure_simulation(roster, resolved.teacher, silos, local, resolved.mechanism, **where)
            if silos.secure
            else flower_simulation(roster, resolved.teacher, silos, local, **where)
        ) as running:
            yield ground(running.ensemble, roster.ensemble, curator, running)
        return
    kept = ray_train.room(cluster.workers, cpus_per_worker=cluster.cpus_per_worker, use_gpu=cluster.use_gpu)
    with ray_session(address=cluster.address, num_cpus=cluster.num_cpus, say=local.say), simulation(
        roster, resolved.teacher, silos, local, dataset=config.data.name, classes=source.private.classes,
        ledger_url=ledger_url, high_water=config.privacy.high_water, kept=kept, grows=cluster.autoscaling,
    ) as running:  # fmt: skip
        yield ground(running.ensemble, roster.ensemble, curator, running)


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
