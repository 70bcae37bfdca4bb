"""An engine for vectors on a fresh ledger, silos' vectors by number, and a process that can be killed at a step."""

from __future__ import annotations

import os
import signal
from collections import Counter
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from stillhouse.platform.aggregator.store import BatchStore
from stillhouse.platform.aggregator.vector_batches import VectorBatch, VectorQuestion, VectorResult
from stillhouse.platform.aggregator.vector_engine import VectorEngine
from stillhouse.platform.aggregator.vector_rounds import VectorRound, Vectors
from stillhouse.platform.aggregator.vector_store import VectorStore
from stillhouse.platform.ledger import AnswerStore, Ledger
from stillhouse.platform.privacy.noise import Noise, SystemNoise
from stillhouse.platform.privacy.vector_mean import ONE, VectorMean

from .engine_house import ChargesLate, House
from .noise import ZeroNoise

TEACHERS, ROWS, WIDTH = 4, 3, 16
ROSTER = tuple(f"silo-{i}" for i in range(TEACHERS))


def question(number: int = 0, *, rows: int = ROWS, **options: Any) -> VectorQuestion:
    inputs = {"x": np.full((rows, 1, 4, 4), number, np.float32), "step": np.arange(rows)}
    return VectorQuestion(**{"task": "targets", "inputs": inputs, "width": WIDTH, **options})


def vector_batch(name: str, mechanism: VectorMean, asked: VectorQuestion, **options: Any) -> VectorBatch:
    settings = {"dataset": "scans", "ensemble": "first", "deadline": 0.0, **options}
    return VectorBatch(id=name, mechanism=mechanism, question=asked, **settings)


def silo_vectors(place: int, asked: VectorQuestion) -> np.ndarray:
    """What the silo at this place answers: multiples of its place, 0.1 times the first input, on every coordinate."""
    first = float(asked.inputs["x"].flat[0])
    return np.full((asked.rows, asked.width), 0.01 * (place + 1) + 0.1 * first, np.float32)


def gathered(batch: VectorBatch, places: Any = range(TEACHERS)) -> Vectors:
    """What a round makes of the silos at these places."""
    grid = batch.mechanism.grid(batch.question.width)
    round_ = VectorRound(ROSTER, 1, batch.question.rows, grid, keep=batch.mechanism.draw == ONE)
    for place in places:
        round_.add(ROSTER[place], grid.put(silo_vectors(place, batch.question), batch.question.centre))
    return round_.table()


def vector_engine(
    house: House, noise: Noise | None = None, *, ledger: Ledger | None = None, answers: Any = None, **options: Any
) -> VectorEngine:
    books = ledger or house.ledger()
    settings = {"dataset": "scans", "ensemble": "first", "teachers": TEACHERS, **options}
    store = VectorStore(books.engine, BatchStore(books.engine))
    return VectorEngine(books, answers or AnswerStore(books.engine), store, noise or ZeroNoise(), **settings)


def ask_vectors(engine: VectorEngine, batch: VectorBatch) -> VectorResult:
    """Submit and, if silos are needed, evaluate."""
    return engine.submit(batch) or engine.evaluate(batch.id, gathered(batch))


def start(house: House, mechanism: VectorMean, *names: str, kill_at: str = "", charge_late: bool = False) -> Any:
    """Ask one question under each of these names in a process of its own. It waits for the file "go"."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["stillhouse.platform.aggregator.engine"])
    process = context.Process(target=live, args=(house.folder, mechanism, names, kill_at, charge_late))
    process.start()
    return process


def live(folder: Path, mechanism: VectorMean, names: tuple[str, ...], kill_at: str, charge_late: bool) -> None:
    """One process; each answer is released into a file (synced) once it has returned. It may kill itself at a step."""
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
        engine = vector_engine(house, SystemNoise(), ledger=books, answers=Answers(ledger.engine), on_step=on_step)
        (folder / f"ready.{os.getpid()}").touch()
        house._until((folder / "go").exists)
        for name in names:
            result = ask_vectors(engine, vector_batch(name, mechanism, question()))
            if result.noisy is not None:
                release(folder, result.noisy)
            on_step("released")


def release(folder: Path, noisy: np.ndarray) -> None:
    with (folder / "released").open("a") as file:
        file.write(" ".join(map(str, noisy.reshape(-1).tolist())) + "\n")
        file.flush()
        os.fsync(file.fileno())


def released(folder: Path) -> list[np.ndarray]:
    """What the world outside has seen."""
    file = folder / "released"
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    return [np.array([int(word) for word in line.split()]).reshape(ROWS, WIDTH) for line in lines]
