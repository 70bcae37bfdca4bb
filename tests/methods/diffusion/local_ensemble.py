"""Teachers in this process behind the mechanism for vectors: what the aggregator does over the wire, with a list for a ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from stillhouse.methods.private import PrivateWork
from stillhouse.methods.transfer import TransferData
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.data.sources import load
from stillhouse.platform.diffusion.teacher import DiffusionTeacher, State
from stillhouse.platform.errors import BudgetExhausted
from stillhouse.platform.privacy.events import Event
from stillhouse.platform.privacy.mechanisms import GNMax
from stillhouse.platform.privacy.noise import Noise
from stillhouse.platform.privacy.vector_mean import Draw, VectorMean
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun, Run
from support.noise import repeatable_noise

Asked = Mapping[str, np.ndarray]


@dataclass
class LocalEnsemble:
    """K teachers with their states. `charges` holds (draw, rows, noise multiplier) of every batch, in order."""

    settings: DiffusionTeacher
    states: list[State]
    noise: Noise = field(default_factory=repeatable_noise)
    most_rows: int | None = None
    charges: list[tuple[Draw, int, float]] = field(default_factory=list)
    asked: list[tuple[str, Asked]] = field(default_factory=list)
    drawn: list[int] = field(default_factory=list)
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    @classmethod
    def trained(
        cls, settings: DiffusionTeacher, shards: Sequence[ImageData], *, noise: Noise | None = None
    ) -> LocalEnsemble:
        """Train a teacher on each shard, each from its own number."""
        states = [settings.train(shard, seed) for seed, shard in enumerate(shards)]
        return cls(settings, states, noise or repeatable_noise())

    @property
    def teachers(self) -> int:
        """K."""
        return len(self.states)

    @property
    def rows(self) -> int:
        """Rows charged for."""
        return sum(rows for _, rows, _ in self.charges)

    def ask_vectors(
        self, task: str, inputs: Asked, *, clip: float, noise_multiplier: float, centre: np.ndarray | None, draw: Draw,
        run: Run,
    ) -> np.ndarray:  # fmt: skip
        """As the Protocol says."""
        rows = len(inputs["x"])
        if self.most_rows is not None and self.rows + rows > self.most_rows:
            raise BudgetExhausted("nothing is left")
        told = inputs if centre is None else inputs | {"centre": centre}  # type: ignore[operator]
        self.asked.append((task, {name: np.array(value) for name, value in told.items()}))
        mechanism = VectorMean(clip, noise_multiplier, draw)
        grid, units = mechanism.grid(inputs["x"][0].size), []
        for number, state in enumerate(self.states):
            answer, self.states[number] = self.settings.answer(state, task, inputs)
            units.append(grid.put(answer, centre).astype(np.int64))
            grid.check(units[-1], rows)
        # As the aggregator does: once the silos have answered, before anything is drawn.
        self.charges.append((draw, rows, noise_multiplier))
        if draw == "one":
            self.drawn.append(int(self.generator.integers(self.teachers)))
            units = [units[self.drawn[-1]]]
        noisy = mechanism.noisy(np.sum(units, axis=0), self.noise)
        return mechanism.value(noisy, teachers=self.teachers, centre=centre)


class LocalCurator:
    """Holds records, and keeps what was charged, and what was asked about beforehand."""

    partition = None

    def __init__(self, private: ImageData, *, affordable: bool = True) -> None:
        self.private, self.affordable = private, affordable
        self.charges: list[tuple[str, Event]] = []
        self.planned: list[tuple[str, Event]] = []

    @property
    def records(self) -> int:
        """Their number."""
        return len(self.private)

    def refuse_unless_affordable(self, events: Sequence[tuple[str, Event]], *, mend: str) -> None:
        """Everything is, or nothing."""
        self.planned = list(events)
        if not self.affordable:
            raise BudgetExhausted("the whole plan does not fit", mend=mend)

    def release(self, work: PrivateWork, run: Run) -> object:
        """Charge, compute."""
        self.charges += work.events(self.records)
        return work.compute(self.private, run)


def few_digits(count: int, *, start: int = 0) -> ImageData:
    """Some of the private digits."""
    return load("digits").private.take(range(start, start + count))


def transfer_data(
    ensemble: LocalEnsemble, *, epsilon: float = 10.0, delta: float = 1e-4, score: int = 100
) -> TransferData:
    """Digits to be scored on, and an ensemble to ask."""
    source = load("digits")
    teachers: object = ensemble
    return TransferData(
        pool=source.pool.images, score=source.score.take(range(score)), ensemble=teachers, ensemble_id="local",  # type: ignore[arg-type]
        mechanism=GNMax(40.0), delta=delta, protocol="", epsilon=epsilon,
    )  # fmt: skip


def silent_run(folder: Path, seed: int = 0) -> LocalRun:
    """A run that says nothing."""
    return LocalRun(folder, seed=seed, reporter=Silent())
