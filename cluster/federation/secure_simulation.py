"""A federation on this machine with Flower and without an aggregator that sees votes: the server app adds them up, charges and answers.

Everything is as among separate owners but for one thing: the keys of all silos are made here, in their folders, by one process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...platform.aggregator.asking import Answers
from ...platform.errors import BadInput, BudgetExhausted
from ...platform.privacy.distributed_mechanisms import Shared
from ...platform.secure.agreement import Agreement
from ...platform.secure.folder import AGREEMENT, IDENTITY, make_identity
from ...platform.silo.teachers import TeacherKind
from ...platform.training.event_log import EventLog
from ...platform.training.run import LocalRun
from ..config.schema import Silos
from ..session import terminated_like_interrupted
from ..simulation import Roster, Simulation
from .flower import Setting
from .local import FlowerRun, flower_run
from .mailbox import Mailbox
from .simulation import STATE, wait_trained

ROUNDS = 3  # a question's, at most, with its second attempts; each of five steps


@dataclass(frozen=True, eq=False)
class SecureEnsemble:
    """Silos whose votes are added up under masks, behind a server's mailbox."""

    folder: Path
    agreed: Shared
    flower: FlowerRun
    seconds: float
    events: EventLog

    def ask(self, images: np.ndarray, mechanism: object, *, student: np.ndarray | None = None) -> Answers:
        """Ask for labels of uint8 images (Q, c, h, w) by the mechanism that the silos have agreed on."""
        if mechanism != self.agreed:
            raise BadInput("the silos have agreed on another mechanism", mend="make a new agreement")
        try:
            answers = Mailbox(self.folder).ask(images, seconds=self.seconds, check=self.flower.check)
        except BudgetExhausted:
            self.events.warn("ensemble.refused", queries=len(images))
            raise
        self.events.write(
            "ensemble.answered", queries=len(images), answered=answers.statuses.count("answered"),
            abstained=answers.statuses.count("abstained"), from_store=int(answers.from_store.sum()),
            cost_nano_rho=answers.cost_nano_rho, spent_epsilon=answers.spent_epsilon,
        )  # fmt: skip
        return answers


def agree(roster: Roster, folder: Path, mechanism: Shared, *, classes: int, dropped: int, colluding: int) -> Agreement:
    """Make a key for each silo and for the server, where there is none yet, and write the agreement into everybody's folder."""
    members = {silo.name: make_identity(silo / IDENTITY).public for silo in roster.folders}
    server = make_identity(folder / IDENTITY).public
    agreement = Agreement.of(
        members, server=server, mechanism=mechanism, classes=classes, dropped=dropped, colluding=colluding
    )
    for place in (folder, *roster.folders):
        agreement.write(place / AGREEMENT)
    return agreement


@contextmanager
def secure_simulation(
    roster: Roster, kind: TeacherKind, silos: Silos, run: LocalRun, mechanism: Shared, *,
    dataset: str, classes: int, ledger_url: str, high_water: str | None,
) -> Iterator[Simulation]:  # fmt: skip
    """Start Flower with the secure server, have the teachers trained, and end everything afterwards.

    Raises:
        TimedOut: fewer silos are there than a sum needs.
        RunFailed: Flower ended by itself.
    """
    folder = (run.folder / "secure").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    agreement = agree(roster, folder, mechanism, classes=classes, dropped=silos.dropped, colluding=silos.colluding)
    state = folder / STATE
    state.unlink(missing_ok=True)
    config: dict[str, Setting] = {
        "task": "secure", "secure-folder": str(folder), "ledger": ledger_url, "dataset": dataset, "ensemble": roster.ensemble,
        "high-water": str(Path(high_water).absolute()) if high_water else "", "silos": len(roster.names),
        "quorum": agreement.terms.least, "start-seconds": float(silos.start_seconds), "seed": run.seed,
        "training-seconds": float(silos.training_seconds), "deadline-seconds": float(silos.deadline_seconds),
        "teacher": json.dumps(kind.to_json()), "state-file": str(state),
    }  # fmt: skip
    with (
        terminated_like_interrupted(),
        flower_run(
            len(roster.names),
            config,
            run.folder,
            roster.folders[0].parent,
            cpus=silos.cpus_per_actor,
            gpus=silos.gpus_per_actor,
        ) as flower,
    ):
        teachers, trained = wait_trained(flower, state, roster, kind, run, silos)
        wait = silos.deadline_seconds * (1 + 5 * ROUNDS) + 60
        asked = SecureEnsemble(folder, mechanism, flower, wait, run.events)
        yield Simulation(asked, teachers, trained)
