"""What a method of knowledge transfer works on: public images, an ensemble that answers questions, and a set to be scored on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..platform.data.images import ImageData
from ..platform.privacy.budget import BudgetKind
from ..platform.privacy.mechanisms import Mechanism
from .private import Curator

# The stage in which a method of knowledge transfer keeps the labels it bought.
LABELS = "labels"
# What that stage holds where nothing was asked.
NOTHING_BOUGHT: Mapping[str, Any] = {
    "labels": np.zeros((0,), np.int64),
    "statuses": [],
    "ledger_epsilon": 0.0,
    "from_store": 0,
}


class Answered(Protocol):
    """What came back for Q questions."""

    @property
    def labels(self) -> np.ndarray:
        """Labels (Q,), -1 where there is none."""

    @property
    def statuses(self) -> Any:
        """One word a question: answered, abstained, reinforced, budget."""

    @property
    def from_store(self) -> np.ndarray:
        """(Q,) true where the answer had been paid for before."""

    @property
    def histograms(self) -> np.ndarray | None:
        """Noisy counts (Q, K) int64, zeros where there is no answer; None for mechanisms that release labels."""

    @property
    def cost_nano_rho(self) -> int:
        """What was charged for these questions now."""

    @property
    def spent_epsilon(self) -> float:
        """What the data set has spent in all, at the budget's delta."""


class Ensemble(Protocol):
    """Teachers behind an aggregator: only noisy, charged answers come out."""

    def ask(self, images: np.ndarray, mechanism: Mechanism, *, student: np.ndarray | None = None) -> Answered:
        """Ask for labels of `images`, uint8 (Q, c, h, w); `student`: its probabilities (Q, K), for mechanisms that want them."""


@dataclass(frozen=True)
class BudgetTerms:
    """The kind of budget that a method's accounting needs, its Renyi orders (kind rdp) and its neighbouring relation."""

    kind: BudgetKind
    orders: tuple[float, ...]
    neighbouring: str


@dataclass(frozen=True)
class TransferData:
    """A public unlabelled pool, an ensemble to ask, and a labelled set that is only scored on.

    The pool comes without its labels, so that no method can look at them. `epsilon` and `delta` are what the whole run may cost;
    `curator` owns all private records, for methods that do more with them than ask (None where the silos are elsewhere). `teacher` is
    what the silos' teachers say of themselves, kind and settings, which is public; None where it is not known here.
    """

    pool: np.ndarray
    score: ImageData
    ensemble: Ensemble
    ensemble_id: str
    mechanism: Mechanism
    delta: float
    protocol: str
    epsilon: float = float("inf")
    curator: Curator | None = None
    teacher: Mapping[str, Any] | None = None

    @property
    def classes(self) -> int:
        """Number of classes K."""
        return self.score.classes
