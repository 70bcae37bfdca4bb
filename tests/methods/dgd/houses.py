"""An ensemble and a curator in this process, for tests of the method alone: real votes and noise, no services."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from stillhouse.methods.dgd import Dgd
from stillhouse.methods.dgd.baseline import Baseline
from stillhouse.methods.dgd.generation import Generation
from stillhouse.methods.dgd.regulariser import Regulariser
from stillhouse.methods.dgd.student import StudentSettings
from stillhouse.methods.dgd.vae import VaeSettings
from stillhouse.methods.federated import Federation
from stillhouse.methods.private import PrivateWork
from stillhouse.methods.transfer import TransferData
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.data.partition import Manifest
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BudgetExhausted
from stillhouse.platform.privacy.events import Event
from stillhouse.platform.privacy.mechanisms import GNMax, Mechanism
from stillhouse.platform.privacy.noise import SystemNoise
from stillhouse.platform.silo.scatter_ridge import ScatterRidge
from stillhouse.platform.training.dpsgd import DpSgd
from stillhouse.platform.training.fedavg import FedAvg
from stillhouse.platform.training.local_sgd import LocalSgd
from stillhouse.platform.training.run import Run

TEACHERS = 10
DPSGD = DpSgd(batch_size=200, steps=40, learning_rate=20.0)
FEDERATION = Federation(FedAvg(rounds=3, clip_norm=5.0), LocalSgd(epochs=2, learning_rate=3.0))
SMALL = Dgd(
    queries=40, synthetic=200, federation=FEDERATION,
    baseline=Baseline(components=40, dpsgd=DPSGD, epochs=20),
    generation=Generation(steps=80, batch_size=16, latent=8, width=8, learning_rate=1e-2),
    vae=VaeSettings(latent=6, width=8, epochs=2, batch_size=50),
    student=StudentSettings(
        components=40, hidden=64, steps=60, learning_rate=1e-2, unlabelled_batch=64, batch_size=16, procedural=100, regulariser_batch=4,
        regulariser=replace(Regulariser.named("tnar"), chunk=4),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Reply:
    labels: np.ndarray
    statuses: tuple[str, ...]
    from_store: np.ndarray
    cost_nano_rho: int
    spent_epsilon: float
    histograms: np.ndarray | None = None


@dataclass
class House:
    """Teachers on disjoint shards of digits, and the owner of all of them. Counts what it was asked."""

    private: ImageData
    sigma: float = 0.0
    teachers: Any = None
    asked: list[np.ndarray] = field(default_factory=list)
    released: list[PrivateWork] = field(default_factory=list)
    planned: list[tuple[str, Event]] = field(default_factory=list)
    affordable: bool = True
    silent: bool = False
    partition: Manifest | None = None

    def __post_init__(self) -> None:
        self.partition = Manifest.make(len(self.private), TEACHERS, key="test")
        shards = [self.private.take(self.partition.indices(i)) for i in range(TEACHERS)]
        self.teachers = ScatterRidge().fit(shards, list(range(TEACHERS)))

    @property
    def records(self) -> int:
        return len(self.private)

    def ask(self, images: np.ndarray, mechanism: Mechanism, *, student: np.ndarray | None = None) -> Reply:
        self.asked.append(images)
        votes = self.teachers.vote(images)
        counts = np.stack([(votes == k).sum(0) for k in range(self.private.classes)], axis=1)
        labels = mechanism.answer(counts, SystemNoise())
        if self.silent:
            labels = np.full(len(images), -1)
        status = "abstained" if self.silent else "answered"
        return Reply(labels, (status,) * len(images), np.zeros(len(images), bool), 1, 1.0)

    def refuse_unless_affordable(self, events: Sequence[tuple[str, Event]], *, mend: str) -> None:
        self.planned += events
        if not self.affordable:
            raise BudgetExhausted("it does not fit", mend=mend)

    def release(self, work: PrivateWork, run: Run) -> Any:
        self.released.append(work)
        return work.compute(self.private, run)


def house(*, records: int = 300, changed: bool = False) -> House:
    """Digits; `changed` replaces one record."""
    private = load("digits").private.take(range(records))
    if changed:
        images, labels = private.images.copy(), private.labels.copy()
        images[7], labels[7] = 255 - images[7], (labels[7] + 1) % 10
        private = ImageData(images, labels, private.classes, private.name)
    return House(private)


def transfer_data(home: House, *, epsilon: float = 50.0, mechanism: Mechanism | None = None) -> TransferData:
    source = load("digits")
    return TransferData(
        pool=source.pool.images, score=source.score, ensemble=home, ensemble_id="digits-test",
        mechanism=mechanism or GNMax(5.0), delta=1e-5, protocol="test", epsilon=epsilon, curator=home,
    )  # fmt: skip
