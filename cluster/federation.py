"""A federation simulated on one cluster: the private data are partitioned, each silo gets a folder of its own, actors train in them."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import ray

from ..platform.aggregator.client import Analyst, Answers, Endpoint
from ..platform.data.images import ImageData
from ..platform.data.partition import Manifest
from ..platform.errors import BadInput
from ..platform.privacy.mechanisms import Mechanism
from ..platform.silo.shard import write_shard
from ..platform.silo.teachers import TeacherKind
from ..platform.training.run import LocalRun
from .aggregator import Federation, aggregator_process
from .config.schema import Silos
from .silos import Placement, SiloFleet, packing

MANIFEST = "manifest.json"
NAMING_KEY = "ensembles.key"
KEY_BYTES = 32


@dataclass(frozen=True)
class RemoteEnsemble:
    """An ensemble behind an aggregator. It holds an address, not a connection, so it can be sent to a training worker."""

    endpoint: Endpoint
    ensemble: str
    wait_seconds: float

    def ask(self, images: np.ndarray, mechanism: Mechanism, *, student: np.ndarray | None = None) -> Answers:
        """Ask for labels of uint8 images (Q, c, h, w)."""
        with Analyst(self.endpoint) as analyst:
            return analyst.ask(
                images, mechanism, ensemble=self.ensemble, student=student, wait_seconds=self.wait_seconds
            )


@dataclass(frozen=True)
class Roster:
    """The silos of a simulated federation: their folders, and the name of the ensemble that they make."""

    folders: tuple[Path, ...]
    ensemble: str

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
    return Roster(folders, ensemble)


@dataclass(frozen=True)
class Simulation:
    """A running federation: what the method asks, and the actors behind it (for diagnostics)."""

    ensemble: RemoteEnsemble
    fleet: SiloFleet
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
) -> Iterator[Simulation]:
    """Start the aggregator and the silo actors, train, and end them all afterwards.

    `kept` are the cluster's resources that the actors leave to the method's training.
    """
    federation = Federation(
        dataset=dataset, ensemble=roster.ensemble, silos=roster.names, classes=classes,
        quorum=silos.quorum or len(roster.names), deadline_seconds=silos.deadline_seconds,
        ledger_url=ledger_url, high_water=high_water,
    )  # fmt: skip
    placement = Placement(silos.cpus_per_actor, silos.gpus_per_actor, silos.label)
    per_actor = packing(len(roster.names), placement, silos.per_actor, cluster=ray.cluster_resources(), kept=kept)
    with aggregator_process(federation, run.folder / "aggregator") as running:
        fleet = SiloFleet(
            roster.folders, kind, seed=run.seed, endpoint=running.silos, per_actor=per_actor, placement=placement
        )  # fmt: skip
        try:
            trained = _train(fleet, len(roster.folders), run)
            wait = silos.deadline_seconds + 60
            yield Simulation(RemoteEnsemble(running.analyst, roster.ensemble, wait), fleet, trained)
        finally:
            fleet.close()


def _train(fleet: SiloFleet, teachers: int, run: LocalRun) -> dict[str, int]:
    with run.progress(teachers, "training teachers") as bar:
        ready = 0

        def advance(now: int) -> None:
            nonlocal ready
            bar.advance(now - ready)
            ready = now

        trained = fleet.train(advance)
        advance(teachers)
    if trained["reused"]:
        run.say(f"teachers: {trained['reused']} of {teachers} found trained in their folders")
    return trained
