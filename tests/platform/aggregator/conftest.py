"""An ensemble's engine on a fresh ledger, distinct images by number, and votes that depend on the image alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stillhouse.platform.aggregator.batches import Batch
from stillhouse.platform.aggregator.engine import Engine
from stillhouse.platform.aggregator.store import BatchStore
from stillhouse.platform.ledger import AnswerStore, Ledger
from stillhouse.platform.privacy.budget import BudgetKind, spent_epsilon
from stillhouse.platform.privacy.mechanisms import Mechanism
from stillhouse.platform.privacy.noise import Noise
from support.noise import ZeroNoise

CLASSES = 3
TEACHERS = 10
DELTA = 1e-5


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

    def start(self, **orders: Any) -> subprocess.Popen[str]:
        """Another process with an engine on the same ledger; see engine_worker.py for what it understands."""
        script = Path(__file__).with_name("engine_worker.py")
        return subprocess.Popen(
            [sys.executable, str(script), json.dumps({"folder": str(self.folder), **orders})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def batch(name: str, mechanism: Mechanism, *numbers: int, student: np.ndarray | None = None, **options: Any) -> Batch:
    settings = {"dataset": "scans", "ensemble": "first", "deadline": 0.0, **options}
    return Batch(id=name, mechanism=mechanism, images=images(*numbers), student=student, **settings)


@dataclass(frozen=True)
class Helpers:
    """What tests use from here: in importlib mode a conftest cannot be imported."""

    images: Any = staticmethod(images)
    votes: Any = staticmethod(votes)
    batch: Any = staticmethod(batch)

    @staticmethod
    def ask(engine: Engine, name: str, mechanism: Mechanism, *numbers: int, student: np.ndarray | None = None) -> Any:
        asked = batch(name, mechanism, *numbers, student=student)
        return engine.submit(asked) or engine.evaluate(asked.id, votes(asked.images))


@pytest.fixture(scope="session")
def make() -> Helpers:
    return Helpers()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Without a grant."""
    found = House(tmp_path)
    yield found
    for ledger in found.opened:
        ledger.close()
