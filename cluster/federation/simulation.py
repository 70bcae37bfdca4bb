"""A federation simulated on this machine with Flower: every silo a client, the relay their server, the aggregator a process."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...platform.errors import TimedOut
from ...platform.silo.host import SiloHost
from ...platform.silo.teachers import TeacherKind
from ...platform.training.run import LocalRun
from ..aggregator import Running, aggregator_process
from ..config.schema import Silos
from ..session import terminated_like_interrupted
from ..simulation import RemoteEnsemble, Roster, Simulation, federation_of, missing_votes, say_trained
from .flower import Setting
from .local import FlowerRun, flower_run
from .standing import VOTING, read_standing

POLL_SECONDS = 0.3
START_MARGIN = 120.0
TOKEN, STATE = "relay.token", "state.json"


@dataclass(frozen=True)
class KeptTeachers:
    """The trained teachers of a simulation, read from their folders. For diagnostics: the relay tells votes to the aggregator alone."""

    folders: Sequence[Path]
    kind: TeacherKind
    seed: int

    def vote(self, images: np.ndarray) -> np.ndarray:
        """Return the votes (N, Q) of public images, in the order of the folders."""
        host = SiloHost(self.folders, self.kind, seed=self.seed)
        host.train()
        return host.vote(images)


@contextmanager
def flower_simulation(
    roster: Roster,
    kind: TeacherKind,
    silos: Silos,
    run: LocalRun,
    *,
    dataset: str,
    classes: int,
    ledger_url: str,
    high_water: str | None,
) -> Iterator[Simulation]:
    """Start the aggregator and Flower, have the teachers trained, and end everything afterwards.

    Raises:
        TimedOut: too few silos are there for a quorum.
        RunFailed: Flower ended by itself.
    """
    federation = federation_of(
        roster, silos, dataset=dataset, classes=classes, ledger_url=ledger_url, high_water=high_water
    )
    folder = run.folder / "aggregator"
    home = roster.folders[0].parent
    with terminated_like_interrupted(), aggregator_process(federation, folder) as aggregator:
        state = folder / STATE
        state.unlink(missing_ok=True)
        config = _relay_config(silos, kind, len(roster.names), federation.quorum, run.seed, aggregator, folder)
        with flower_run(
            len(roster.names), config, run.folder, home, cpus=silos.cpus_per_actor, gpus=silos.gpus_per_actor
        ) as flower:
            teachers, trained = wait_trained(flower, state, roster, kind, run, silos)
            asked = RemoteEnsemble(
                aggregator.analyst, roster.ensemble, silos.deadline_seconds + 60, run.events,
                missing_votes(run, roster), len(roster.names),
            )  # fmt: skip
            yield Simulation(asked, teachers, trained)


def _relay_config(
    silos: Silos, kind: TeacherKind, teachers: int, quorum: int, seed: int, aggregator: Running, folder: Path
) -> dict[str, Setting]:
    token = (folder / TOKEN).absolute()
    token.unlink(missing_ok=True)
    token.touch(mode=0o600)
    token.write_text(aggregator.silos.token, encoding="utf-8")
    return {
        "task": "votes", "address": aggregator.silos.address, "token-file": str(token), "silos": teachers, "quorum": quorum,
        "start-seconds": float(silos.start_seconds), "training-seconds": float(silos.training_seconds),
        "deadline-seconds": float(silos.deadline_seconds), "teacher": json.dumps(kind.to_json()), "seed": seed,
        "state-file": str((folder / STATE).absolute()),
    }  # fmt: skip


def wait_trained(
    flower: FlowerRun, state: Path, roster: Roster, kind: TeacherKind, run: LocalRun, silos: Silos
) -> tuple[KeptTeachers, dict[str, int]]:
    """Show how training goes until the relay votes; return the teachers that are there, how many were trained and how many found."""
    teachers = len(roster.names)
    end = time.monotonic() + silos.start_seconds + silos.training_seconds + START_MARGIN
    with run.progress(teachers, "training teachers") as bar:
        shown = 0
        while (told := read_standing(state)).get("state") != VOTING:
            bar.advance(max(0, told.get("ready", 0) - shown))
            shown = max(shown, told.get("ready", 0))
            flower.check()
            if time.monotonic() > end:
                raise TimedOut("the silos are not ready in time", mend=f"look into {flower.home}")
            time.sleep(POLL_SECONDS)
        bar.advance(max(0, told["ready"] - shown))
    there = [folder for folder in roster.folders if folder.name in set(told["silos"])]
    trained = {"trained": int(told["trained"]), "reused": int(told["reused"])}
    say_trained(run, teachers, reused=trained["reused"], missing=[f.name for f in roster.folders if f not in there])
    return KeptTeachers(there, kind, run.seed), trained
