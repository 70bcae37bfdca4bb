"""A federation simulated on one cluster: the private data are partitioned, each silo gets a folder of its own, actors train in them.

`federation.simulation` does the same with Flower clients in place of the actors; what a method asks is the same.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import ray

from ..methods.transfer import Ensemble
from ..platform.aggregator.batches import STATUSES
from ..platform.aggregator.client import Analyst, Answers, Endpoint
from ..platform.aggregator.vector_batches import VectorQuestion
from ..platform.data.images import ImageData
from ..platform.data.partition import Manifest
from ..platform.errors import BadInput, BudgetExhausted
from ..platform.privacy.mechanisms import Mechanism
from ..platform.privacy.vector_mean import Draw, VectorMean
from ..platform.silo.shard import write_shard
from ..platform.silo.teachers import TeacherKind
from ..platform.training.event_log import NOWHERE, EventLog
from ..platform.training.run import LocalRun, Run
from .aggregator import Federation, aggregator_process
from .config.schema import Silos
from .fleet import SiloFleet
from .missing_votes import MissingVotes
from .session import address_for_others
from .silos import Placement, packing

MANIFEST = "manifest.json"
NAMING_KEY = "ensembles.key"
KEY_BYTES = 32
SHOWN = 10  # names of silos in one line


@dataclass(frozen=True)
class RemoteEnsemble:
    """An ensemble behind an aggregator. It holds an address, not a connection, so it can be sent to a training worker."""

    endpoint: Endpoint
    ensemble: str
    wait_seconds: float
    events: EventLog = NOWHERE
    missing: MissingVotes | None = None
    size: int | None = None

    @property
    def teachers(self) -> int:
        """How many silos there are; where that is not known here, the aggregator is asked."""
        if self.size is not None:
            return self.size
        with Analyst(self.endpoint) as analyst:
            return analyst.ensemble().teachers

    def ask(self, images: np.ndarray, mechanism: Mechanism, *, student: np.ndarray | None = None) -> Answers:
        """Ask for labels of uint8 images (Q, c, h, w)."""
        try:
            with Analyst(self.endpoint) as analyst:
                answers = analyst.ask(
                    images, mechanism, ensemble=self.ensemble, student=student, wait_seconds=self.wait_seconds
                )
        except BudgetExhausted:
            self.events.warn("ensemble.refused", queries=len(images))
            raise
        statuses = Counter(answers.statuses)
        self.events.write(
            "ensemble.answered", queries=len(images), **{status: statuses[status] for status in STATUSES},
            from_store=int(answers.from_store.sum()), cost_nano_rho=answers.cost_nano_rho,
            spent_epsilon=answers.spent_epsilon,
        )  # fmt: skip
        if self.missing is not None:
            self.missing.note(images, mechanism, answers.voted)
        return answers

    def ask_vectors(
        self, task: str, inputs: Mapping[str, np.ndarray], *, clip: float, noise_multiplier: float,
        centre: np.ndarray | None, draw: Draw, run: Run,
    ) -> np.ndarray:  # fmt: skip
        """Ask the teachers for vectors as wide as a row of `inputs["x"]`; float32 (B, d), see `platform.privacy.vector_mean`.

        The batch is charged whole before anything is drawn. The same question again is answered from the store, so a run that is
        killed and put again asks, and pays, nothing twice.

        Raises:
            BudgetExhausted: the batch does not fit into the budget; nothing was drawn.
        """
        question = VectorQuestion(task, inputs, int(np.prod(inputs["x"].shape[1:])), centre)
        mechanism = VectorMean(clip, noise_multiplier, draw)
        try:
            with Analyst(self.endpoint) as analyst:
                answers = analyst.ask_vectors(
                    question, mechanism, ensemble=self.ensemble, wait_seconds=self.wait_seconds
                )
        except BudgetExhausted:
            self.events.warn("ensemble.refused", queries=question.rows)
            raise
        self.events.write(
            "ensemble.answered", queries=question.rows, answered=question.rows, voted=answers.voted,
            teachers=answers.teachers, from_store=question.rows if answers.from_store else 0,
            cost_nano_rho=answers.cost_nano_rho, spent_epsilon=answers.spent_epsilon,
        )  # fmt: skip
        if self.missing is not None:
            asked = np.frombuffer(bytes.fromhex(question.content), np.uint8)
            self.missing.note(asked, mechanism, [answers.voted] * question.rows)
        return answers.vectors


@dataclass(frozen=True)
class Roster:
    """The silos of a simulated federation: their folders, the name of the ensemble that they make, and which record lies where."""

    folders: tuple[Path, ...]
    ensemble: str
    manifest: Manifest | None = field(default=None, compare=False)  # The ensemble's name depends on it.

    @property
    def names(self) -> list[str]:
        """The silos' names."""
        return [f.name for f in self.folders]


def naming_key(root: Path) -> bytes:
    """Return the secret under which this root's ensembles are named, made once.

    The same data and teachers must get the same name, or paid answers would not be found again. But the name is in the ledger and
    the aggregator's log: a plain hash of private records would tell a guessed data set from its neighbour.
    """
    path, aside = root / NAMING_KEY, root / f"{NAMING_KEY}.{os.getpid()}"
    if not path.exists():
        root.mkdir(parents=True, exist_ok=True)
        aside.touch(mode=0o600)
        aside.write_bytes(os.urandom(KEY_BYTES))
        with suppress(FileExistsError):  # another run was first: its key is the key
            os.link(aside, path)
        aside.unlink()
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise BadInput(
            f"{path} is damaged", mend="restore it; without it, answers that were paid for are not found again"
        )
    return key


def partition(private: ImageData, silos: Silos, kind: TeacherKind, *, seed: int, folder: Path, key: bytes) -> Roster:
    """Write each silo's shard into a folder of its own and the manifest beside them; existing ones are kept.

    The assignment depends on record numbers and the seed only, never on what a record holds. `key` is that of `naming_key`.

    Raises:
        BadInput: the folder holds shards of other data, or cut otherwise.
    """
    manifest = Manifest.make(len(private), silos.teachers, key=f"stillhouse-partition-{private.name}-{seed}")
    identity = json.dumps([private.name, private.content_hash(), manifest.hash, kind.to_json(), seed], sort_keys=True)
    ensemble = hmac.new(key, identity.encode(), hashlib.sha256).hexdigest()[:16]
    home = folder / "silos"
    width = len(str(silos.teachers - 1))
    folders = tuple(home / f"silo-{i:0{width}d}" for i in range(silos.teachers))
    written = json.dumps({"partition": manifest.to_json(), "data": private.content_hash()})
    if not (home / MANIFEST).exists():
        for i, silo in enumerate(folders):
            write_shard(silo, private.take(manifest.indices(i)))
        (home / MANIFEST).write_text(written, encoding="utf-8")
    elif (home / MANIFEST).read_text(encoding="utf-8") != written:
        raise BadInput(
            f"the private data of '{private.name}' are not those that {home} was cut from",
            why="the files of the data set have changed since",
            mend="give the run another name= (or remove its folder)",
        )
    return Roster(folders, ensemble, manifest)


class Fleet(Protocol):
    """The silos of a simulation, as its diagnostics see them."""

    def vote(self, images: np.ndarray) -> np.ndarray:
        """Return the votes (N, Q) of the silos that are there."""


@dataclass(frozen=True)
class Simulation:
    """A running federation: what the method asks, and the silos behind it (for diagnostics)."""

    ensemble: Ensemble
    fleet: Fleet
    trained: dict[str, int]


@contextmanager
def simulation(
    roster: Roster,
    kind: TeacherKind,
    silos: Silos,
    run: LocalRun,
    *,
    dataset: str,
    classes: int,
    ledger_url: str,
    high_water: str | None,
    kept: Mapping[str, float],
    grows: bool = False,
) -> Iterator[Simulation]:
    """Start the aggregator and the silo actors, train, and end them all afterwards.

    `kept` are the cluster's resources that the actors leave to the method's training; `grows`: the cluster gets more by itself.

    Raises:
        TimedOut: too few silos are there for a quorum.
    """
    federation = federation_of(
        roster, silos, dataset=dataset, classes=classes, ledger_url=ledger_url, high_water=high_water
    )
    placement = Placement(silos.cpus_per_actor, silos.gpus_per_actor, silos.label)
    per_actor = packing(
        len(roster.names), placement, silos.per_actor, cluster=ray.cluster_resources(), kept=kept, grows=grows
    )
    host = address_for_others(grows=grows)
    with aggregator_process(federation, run.folder / "aggregator", host=host) as running:
        fleet = SiloFleet(
            roster.folders, kind, seed=run.seed, endpoint=running.silos, per_actor=per_actor, placement=placement,
            quorum=federation.quorum, start_seconds=silos.start_seconds, lost_seconds=silos.lost_seconds,
        )  # fmt: skip
        try:
            trained = _train(fleet, len(roster.folders), run, silos.training_seconds)
            wait = silos.deadline_seconds + 60
            missing = missing_votes(run, roster)
            asked = RemoteEnsemble(running.analyst, roster.ensemble, wait, run.events, missing, len(roster.names))
            yield Simulation(asked, fleet, trained)
        finally:
            fleet.close()


def federation_of(
    roster: Roster, silos: Silos, *, dataset: str, classes: int, ledger_url: str, high_water: str | None
) -> Federation:
    """What the aggregator of simulated silos is told; without a quorum it waits for all."""
    return Federation(
        dataset=dataset, ensemble=roster.ensemble, silos=roster.names, classes=classes,
        quorum=len(roster.names) if silos.quorum is None else silos.quorum, deadline_seconds=silos.deadline_seconds,
        ledger_url=ledger_url, high_water=high_water,
    )  # fmt: skip


def missing_votes(run: LocalRun, roster: Roster) -> MissingVotes:
    """Where a run notes which answers were decided without some of its silos."""
    return MissingVotes(run.folder.absolute(), roster.ensemble, len(roster.names))


def _train(fleet: SiloFleet, teachers: int, run: LocalRun, seconds: float) -> dict[str, int]:
    with run.progress(teachers, "training teachers") as bar:
        ready = 0

        def advance(now: int) -> None:
            nonlocal ready
            if now > ready:  # It falls when an actor is started again, until it has found its teachers.
                bar.advance(now - ready)
                ready = now

        trained = fleet.train(advance, timeout_seconds=seconds)
        advance(teachers - len(fleet.missing))
    say_trained(run, teachers, reused=trained["reused"], missing=fleet.missing)
    return trained


def say_trained(run: LocalRun, teachers: int, *, reused: int, missing: Sequence[str]) -> None:
    """Say how many of the teachers were found, and which silos are not there."""
    if reused:
        run.say(f"teachers: {reused} of {teachers} found trained in their folders")
    if missing:
        run.say(f"teachers: going on without {len(missing)} of {teachers} silos: {', '.join(missing[:SHOWN])}")
