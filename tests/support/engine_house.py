"""An ensemble's engine on a fresh ledger, distinct images by number, votes that depend on the image alone, other processes.

Processes are forked from a server that has imported what they need and nothing of gRPC, so that one costs little.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from stillhouse.platform.aggregator.batches import Batch, Result
from stillhouse.platform.aggregator.engine import Engine
from stillhouse.platform.aggregator.store import BatchStore
from stillhouse.platform.errors import TimedOut
from stillhouse.platform.ledger import AnswerStore, Ledger, Receipt
from stillhouse.platform.privacy.budget import BudgetKind, spent_epsilon
from stillhouse.platform.privacy.mechanisms import Mechanism
from stillhouse.platform.privacy.noise import Noise, SystemNoise

from .noise import ZeroNoise

CLASSES = 3
TEACHERS = 10
DELTA = 1e-5
PATIENCE = 60.0


def images(*numbers: int) -> np.ndarray:
    """One image of 2 x 2 pixels for each number, all different."""
    return np.array(numbers, dtype="<u4").view(np.uint8).reshape(-1, 1, 2, 2)


def votes(shown: np.ndarray, teachers: int = TEACHERS) -> np.ndarray:
    """All teachers but one say `number modulo 3`; for numbers divisible by 5 they disagree widely."""
    numbers = np.ascontiguousarray(shown).reshape(len(shown), 4).view("<u4")[:, 0].astype(np.int64)
    table = np.tile(numbers % CLASSES, (teachers, 1))
    table[-1] = (table[-1] + 1) % CLASSES
    table[:, numbers % 5 == 0] = np.arange(teachers)[:, None] % CLASSES
    return table


def batch(name: str, mechanism: Mechanism, *numbers: int, student: np.ndarray | None = None, **options: Any) -> Batch:
    settings = {"dataset": "scans", "ensemble": "first", "deadline": 0.0, **options}
    return Batch(id=name, mechanism=mechanism, images=images(*numbers), student=student, **settings)


def ask(engine: Engine, name: str, mechanism: Mechanism, *numbers: int, student: np.ndarray | None = None) -> Result:
    """Submit and, if votes are needed, evaluate."""
    asked = batch(name, mechanism, *numbers, student=student)
    result = engine.submit(asked)
    while result is None:
        try:
            result = engine.evaluate(asked.id, votes(asked.images))
        except TimedOut:
            continue  # another process was at it; look again
    return result


@dataclass
class House:
    """A ledger for "scans", and engines on it."""

    folder: Path
    opened: list[Ledger] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"sqlite:///{self.folder}/ledger.db"

    def grant(self, *, epsilon: float = 200.0, kind: BudgetKind = BudgetKind.ZCDP, **options: Any) -> None:
        with Ledger(self.url) as ledger:
            ledger.grant("scans", epsilon=epsilon, delta=DELTA, kind=kind, by="officer", **options)

    def grant_rho(self, nano_rho: int) -> None:
        """A budget that holds this much (and a millionth of a rho more, for the rounding of epsilon)."""
        self.grant(epsilon=spent_epsilon(BudgetKind.ZCDP, (nano_rho + 1000,), delta=DELTA))

    def ledger(self, **options: Any) -> Ledger:
        self.opened.append(Ledger(self.url, **options))
        return self.opened[-1]

    def engine(self, noise: Noise | None = None, *, ledger: Any = None, answers: Any = None, **options: Any) -> Engine:
        books = ledger if ledger is not None else self.ledger()
        settings = {"dataset": "scans", "ensemble": "first", "teachers": TEACHERS, "classes": CLASSES, **options}
        stored = answers if answers is not None else AnswerStore(books.engine)
        return Engine(books, stored, BatchStore(books.engine), noise or ZeroNoise(), **settings)

    def spent(self) -> int:
        with Ledger(self.url) as ledger:
            return ledger.budget("scans").spent[0]

    def close(self) -> None:
        for ledger in self.opened:
            ledger.close()

    def start(self, *questions: Question, **orders: Any) -> BaseProcess:
        """Ask these in a process of its own; see `live` for the orders. It waits for the file "go"."""
        context = get_context("forkserver")
        # The server does not have this folder on its path, so it is told what lies below this module.
        context.set_forkserver_preload(["stillhouse.platform.aggregator.engine"])
        process = context.Process(target=live, args=(self.folder, questions), kwargs=orders)
        process.start()
        return process

    def go(self, *processes: BaseProcess, kill_after: float | None = None) -> list[int | None]:
        """Let them begin together; their exit codes."""
        self._until(lambda: len(list(self.folder.glob("ready.*"))) == len(processes))
        (self.folder / "go").touch()
        if kill_after is not None:
            time.sleep(kill_after)
            for process in processes:
                process.kill()
        for process in processes:
            process.join(PATIENCE)
        return [process.exitcode for process in processes]

    def released(self) -> dict[int, tuple[int, str]]:
        """What the world outside has seen: number -> (label, status)."""
        file = self.folder / "released"
        lines = file.read_text().split("\n")[:-1] if file.exists() else []
        return {int(number): (int(label), status) for number, label, status in map(str.split, lines)}

    @staticmethod
    def _until(done: Any) -> None:
        end = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < end
            time.sleep(0.002)


@dataclass(frozen=True)
class Question:
    name: str
    mechanism: Mechanism
    numbers: Sequence[int]


class ChargesLate:
    """A ledger whose charges are written only when `flush` is called."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def charge(self, dataset: str, **charge: Any) -> Receipt:
        self._waiting.append((dataset, charge))
        return Receipt(0, charge["key"], (0,), False, (0,))

    def flush(self) -> None:
        for dataset, charge in self._waiting:
            self._ledger.charge(dataset, **charge)


def live(folder: Path, questions: Sequence[Question], *, kill_at: str = "", charge_late: bool = False) -> None:
    """One process: ask all questions, releasing each answer into a file (synced) once it has returned.

    kill_at: the step at which this process kills itself with SIGKILL: one of the engine's, "ledger:..." one of the
    ledger's (perhaps with "#" and which one of them), "put" the commit of answers, or "released".
    """
    seen = Counter[str]()

    def on_step(name: str) -> None:
        seen[name] += 1
        if kill_at in (name, f"{name}#{seen[name]}"):
            os.kill(os.getpid(), signal.SIGKILL)

    class Answers(AnswerStore):
        def put(self, *answers: Any) -> None:
            super().put(*answers)
            on_step("put")

    house = House(folder)
    with Ledger(house.url, on_step=lambda name: on_step(f"ledger:{name}")) as ledger:
        books: Any = ChargesLate(ledger) if charge_late else ledger
        engine = house.engine(SystemNoise(), ledger=books, answers=Answers(ledger.engine), on_step=on_step)
        (folder / f"ready.{os.getpid()}").touch()
        house._until((folder / "go").exists)
        for question in questions:
            result = ask(engine, question.name, question.mechanism, *question.numbers)
            with (folder / "released").open("a") as file:
                for number, label, status in zip(question.numbers, result.labels, result.statuses, strict=False):
                    file.write(f"{number} {label} {status}\n")
                file.flush()
                os.fsync(file.fileno())
            on_step("released")
            if charge_late:
                books.flush()
