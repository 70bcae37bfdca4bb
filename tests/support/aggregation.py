"""An aggregator without a network: a ledger in a folder, an engine on it, votes, and what must hold afterwards.

Votes are chosen so that noise cannot change what a test expects (except with odds below 1e-8): `sure` is unanimous,
`silent` is nobody, `tied` passes every check and has a label that only noise decides, `doubtful` passes half the time.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import text
from stillhouse.platform.aggregator.batches import Batch, Result
from stillhouse.platform.aggregator.engine import Engine
from stillhouse.platform.aggregator.store import BatchStore
from stillhouse.platform.errors import StillhouseError
from stillhouse.platform.ledger import AnswerStore, Ledger
from stillhouse.platform.privacy.budget import BudgetKind, spent_epsilon
from stillhouse.platform.privacy.mechanisms import ConfidentGNMax, InteractiveGNMax, Mechanism
from stillhouse.platform.privacy.noise import SystemNoise

TEACHERS, CLASSES, DELTA = 100, 3, 1e-5
CONFIDENT = ConfidentGNMax(threshold=25, sigma1=4, sigma2=4)
INTERACTIVE = InteractiveGNMax(threshold=25, sigma1=4, sigma2=4, confidence=0.8)
CHECK, ANSWER = 31_250_000, 62_500_000
STEPS = (
    "charged_check",
    "drew_check",
    "stored_decisions",
    "charged_answers",
    "drew_answers",
    "stored_answers",
    "done",
)
STEPS_WITHOUT_CHECK = ("charged_answers", "drew_answers", "stored_answers", "done")


def image(number: int) -> np.ndarray:
    """The picture of query `number`, (1, 2, 2)."""
    return np.frombuffer(int(number).to_bytes(4, "little"), np.uint8).reshape(1, 2, 2)


def batch(*numbers: int, id: str = "batch", mechanism: Mechanism = CONFIDENT, **more: Any) -> Batch:
    """A batch of these queries."""
    images = np.stack([image(n) for n in numbers])
    return Batch(id=id, dataset="scans", ensemble="e1", mechanism=mechanism, images=images, deadline=1e10, **more)


def student(*labels: int) -> np.ndarray:
    """A student that is sure of these labels; -1: of none."""
    rows = [[1 / CLASSES] * CLASSES if label < 0 else np.eye(CLASSES)[label] * 0.91 + 0.03 for label in labels]
    return np.array(rows)


def sure(label: int) -> np.ndarray:
    """All teachers agree."""
    return np.full(TEACHERS, label)


def silent() -> np.ndarray:
    """No teacher votes."""
    return np.full(TEACHERS, -1)


def tied(a: int = 0, b: int = 1) -> np.ndarray:
    """Half of the teachers each."""
    return np.repeat([a, b], TEACHERS // 2)


def doubtful(label: int = 0) -> np.ndarray:
    """Just as many votes as the check asks for."""
    return np.where(np.arange(TEACHERS) < 25, label, -1)


def votes(*columns: np.ndarray) -> np.ndarray:
    """(V, Q)."""
    return np.stack(columns, axis=1)


def epsilon_of(nano_rho: int) -> float:
    """The epsilon whose cap is this total (to within a unit of the last place)."""
    return spent_epsilon(BudgetKind.GAUSSIAN, (nano_rho,), delta=DELTA)


@dataclass
class Place:
    """Where a ledger lies, and how to open engines on it."""

    folder: Path
    opened: list[Ledger] = field(default_factory=list)

    def ledger(self) -> Ledger:
        """The ledger, opened anew."""
        self.opened.append(Ledger(f"sqlite:///{self.folder}/ledger.db", high_water=self.folder / "mark"))
        return self.opened[-1]

    def grant(self, nano_rho: int = 10**12, **more: Any) -> Place:
        """Let the data set spend this much."""
        self.ledger().grant("scans", epsilon=epsilon_of(nano_rho), delta=DELTA, by="officer", **more)
        return self

    def engine(
        self,
        noise: Any = None,
        *,
        on_step: Callable[[str], None] = lambda name: None,
        kind: type[Engine] = Engine,
        store: type[BatchStore] = BatchStore,
        answers: type[AnswerStore] = AnswerStore,
        ledger: Ledger | None = None,
        ensemble: str = "e1",
        classes: int = CLASSES,
    ) -> Engine:
        """An engine as a new process would have it."""
        ledger = ledger or self.ledger()
        return kind(
            ledger,
            answers(ledger.engine),
            store(ledger.engine),
            noise or SystemNoise(),
            dataset="scans",
            ensemble=ensemble,
            teachers=TEACHERS,
            classes=classes,
            on_step=on_step,
        )

    def close(self) -> None:
        """Let go of everything that was opened."""
        for ledger in self.opened:
            ledger.close()

    def spent(self) -> int:
        """The ledger's total."""
        return int(self.ledger().budget("scans").spent[0])

    def charges(self) -> list[tuple[str, int, float]]:
        """What was paid for, in order: (check or answer, how often, sigma)."""
        events = [(e.content["purpose"], e.content["event"]) for e in self.ledger().entries("scans") if e.key]
        return [("check" if "check" in why else "answer", made["count"], made["sigma"]) for why, made in events]

    def stored(self) -> dict[str, int]:
        """Every stored answer, markers included."""
        with self.ledger().engine.connect() as connection:
            rows = connection.execute(text("SELECT key, label FROM ledger_answers"))
            return {row.key: row.label for row in rows}


def paid(place: Place) -> tuple[int, int]:
    """How many checks and how many answers the ledger has been paid for."""
    kinds = {"check": 0, "answer": 0}
    for what, count, _ in place.charges():
        kinds[what] += count
    return kinds["check"], kinds["answer"]


def under_counted(place: Place, released: list[Result]) -> bool:
    """Whether anybody has seen, or the store holds, more than was paid for.

    For one batch of distinct queries under a mechanism with a check: its results are repeats, so they count once.
    """
    stored = place.stored()
    reinforced = sum(" " in key for key in stored)
    labels = [label for key, label in stored.items() if " " not in key]
    checks, answers = paid(place)
    told_checks = max([len(labels), *(len(result.statuses) for result in released)])
    told_answers = max(
        [sum(label >= 0 for label in labels) - reinforced, *(r.statuses.count("answered") for r in released)]
    )
    return checks < told_checks or answers < told_answers


def contradiction(results: list[Result]) -> bool:
    """Whether two results of the same batch tell different things about a query."""
    told: dict[int, tuple[str, int]] = {}
    for result in results:
        for row, said in enumerate(zip(result.statuses, result.labels.tolist(), strict=True)):
            if said[0] != "budget" and told.setdefault(row, said) != said:
                return True
    return False


class Killed(BaseException):
    """Stands for the end of a process: nothing after the step happens, nothing catches it."""


def killing(step: str) -> Callable[[str], None]:
    """An `on_step` that ends everything at this step."""

    def on_step(name: str) -> None:
        if name == step:
            raise Killed(step)

    return on_step


@contextlib.contextmanager
def killed() -> Iterator[None]:
    """Go on after the end of a process."""
    with contextlib.suppress(Killed):
        yield


def ask(engine: Engine, asked: Batch, table: np.ndarray) -> Result:
    """Submit and, if votes are needed, evaluate."""
    return engine.submit(asked) or engine.evaluate(asked.id, table)


def _life(folder: Path, asked: Batch, table: np.ndarray, kill_at: str | None, kind: type[Engine], pipe: Any) -> None:
    """One process: open everything, ask, send the result out (that is the release), end, or die at a step."""

    def on_step(name: str) -> None:
        if name == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    engine = Place(folder).engine(on_step=on_step, kind=kind)
    try:
        engine.recover()
        pipe.send(ask(engine, asked, table))
    except StillhouseError as error:
        pipe.send(error)


def life(
    folder: Path, asked: Batch, table: np.ndarray, *, kill_at: str | None = None, kind: type[Engine] = Engine
) -> tuple[int, list[Result]]:
    """Run `_life` in a process of its own; its exit code and what it released."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["stillhouse.platform.aggregator.engine", "support.aggregation"])
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_life, args=(folder, asked, table, kill_at, kind, there))
    process.start()
    there.close()
    released = []
    with contextlib.suppress(EOFError):
        while True:
            released.append(here.recv())
    process.join(30)
    errors = [r for r in released if isinstance(r, Exception)]
    if errors:
        raise errors[0]
    return process.exitcode or 0, released
