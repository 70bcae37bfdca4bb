"""What adds noise to vote histograms: LNMax, GNMax, ConfidentGNMax, InteractiveGNMax, and what releases them whole.

A mechanism works in two steps, so that the ledger can charge before each of them draws anything:

1. `check`: for every query *asked*, may it be answered? Costs `check_event()` a query (None: there is no check).
2. `answer`: for every query that passed, the index of the largest noisy count. Costs `answer_event()` a query.
   Where `releases_histograms` is true, `noisy_histograms` itself is released for that price, and the label with it.

Neighbours differ in one record, hence in one teacher's vote: two counts move by one. The histogram then has L1
sensitivity 2 and squared L2 sensitivity 2, its largest count has sensitivity 1.

Noise is integer and comes from a `Noise` (see `noise`). All coordinates are always drawn. Ties in the noisy counts go
to the lowest class index: a public rule, never teacher order and never floating-point jitter. `ABSTAINED` (-1) is the
label of a query without an answer.

>>> mechanism = ConfidentGNMax(threshold=200, sigma1=150, sigma2=40)
>>> mechanism.check_event().nano_rho(), mechanism.answer_event().nano_rho()
(22223, 625000)

Papernot et al. 2017 (arXiv 1610.05755) for LNMax; Papernot et al. 2018 (arXiv 1802.08908) for the others that answer with
labels. GaussianHistogram is the Gaussian mechanism of Dwork & Roth 2014 (Appendix A) on the counts. GNMax is what it releases,
post-processed: without looking at the votes, both cost the same. The data-dependent bounds in `rdp` hold for labels only.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from ..errors import BadInput
from .events import Event, GaussianEvent, PureDpEvent
from .noise import Noise
from .validate import finite, integer_array, moderate, non_negative, positive_int

ABSTAINED = -1

# One changed vote: one count falls by 1, another rises by 1.
HISTOGRAM_L1_SENSITIVITY = 2
HISTOGRAM_SQUARED_L2_SENSITIVITY = 2
LARGEST_COUNT_SENSITIVITY = 1


class Decision(IntEnum):
    """What the check says about one query."""

    ABSTAIN = 0
    ANSWER = 1
    REINFORCE = 2  # the student's own confident label stands; costs nothing beyond the check


@runtime_checkable
class Mechanism(Protocol):
    """A way to release labels, or noisy counts, from vote histograms."""

    name: ClassVar[str]
    needs_student: ClassVar[bool]
    releases_histograms: ClassVar[bool]

    def check_event(self) -> Event | None:
        """What each asked query costs; None where there is no check."""

    def answer_event(self) -> Event:
        """What each answered query costs on top: for its label, or for all its noisy counts."""

    def check(
        self, histograms: np.ndarray, noise: Noise, *, teachers: int, student: np.ndarray | None = None
    ) -> np.ndarray:
        """A `Decision` (int8) for each of Q histograms of shape (Q, K)."""

    def answer(self, histograms: np.ndarray, noise: Noise) -> np.ndarray:
        """A noisy label (int64) for each of Q histograms of shape (Q, K)."""

    def noisy_histograms(self, histograms: np.ndarray, noise: Noise) -> np.ndarray:
        """Noisy counts (Q, K) int64; they leave the aggregator only where `releases_histograms` is true."""

    def to_json(self) -> dict[str, Any]:
        """Name and settings."""

    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON: equal settings, equal fingerprint."""


def plurality(counts: np.ndarray) -> np.ndarray:
    """The index (Q,) int64 of the largest of the counts (Q, K), ties to the lowest."""
    return np.argmax(counts, axis=1).astype(np.int64)


def _histograms(histograms: np.ndarray, teachers: int | None = None) -> np.ndarray:
    """Checked vote counts. A missing vote is an abstention: sums may be smaller than `teachers`, not larger."""
    integer_array(histograms=histograms)
    if histograms.ndim != 2 or histograms.shape[1] < 2:
        raise BadInput("histograms must have the shape (queries, classes) with at least 2 classes")
    counts = histograms.astype(np.int64)
    if counts.size and counts.min() < 0:
        raise BadInput("a histogram holds a negative count")
    if teachers is not None:
        positive_int(teachers=teachers)
        if counts.size and counts.sum(axis=1).max() > teachers:
            raise BadInput(
                "a histogram holds more votes than there are teachers", why="each teacher has one vote a query"
            )
    return counts


class _Mechanism:
    """What the frozen dataclasses below share: labels out of noisy counts, JSON form, fingerprint."""

    name: ClassVar[str]
    needs_student: ClassVar[bool] = False
    releases_histograms: ClassVar[bool] = False

    def noisy_histograms(self, histograms: np.ndarray, noise: Noise) -> np.ndarray:
        """Noisy counts (Q, K) int64."""
        raise NotImplementedError

    def answer(self, histograms: np.ndarray, noise: Noise) -> np.ndarray:
        """Noisy argmax, ties to the lowest index."""
        return plurality(self.noisy_histograms(histograms, noise))

    def to_json(self) -> dict[str, Any]:
        """Name and settings, every number as a float so that 40 and 40.0 are the same mechanism."""
        return {"name": self.name, **{field.name: float(getattr(self, field.name)) for field in fields(self)}}  # type: ignore[arg-type]

    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()


class _NoCheck(_Mechanism):
    """Mechanisms that answer everything they are asked."""

    def check_event(self) -> Event | None:
        """None: nothing is drawn, nothing is charged."""
        return None

    def check(
        self, histograms: np.ndarray, noise: Noise, *, teachers: int, student: np.ndarray | None = None
    ) -> np.ndarray:
        """ANSWER for every query."""
        counts = _histograms(histograms, teachers)
        return np.full(len(counts), Decision.ANSWER, dtype=np.int8)


@dataclass(frozen=True)
class LNMax(_NoCheck):
    """Report the class with the largest count plus Laplace noise of this scale; (2/scale)-DP a query."""

    scale: float

    name: ClassVar[str] = "lnmax"

    def __post_init__(self) -> None:
        moderate(scale=self.scale)

    def answer_event(self) -> Event:
        """Pure DP: L1 sensitivity 2 over the scale."""
        return PureDpEvent(HISTOGRAM_L1_SENSITIVITY / float(self.scale))

    def noisy_histograms(self, histograms: np.ndarray, noise: Noise) -> np.ndarray:
        """Counts with Laplace noise."""
        counts = _histograms(histograms)
        return counts + noise.laplace(self.scale, counts.shape)


class _Gaussian(_NoCheck):
    """Gaussian noise of standard deviation sigma on every count; rho = 1/sigma^2."""

    sigma: float

    def answer_event(self) -> Event:
        """Gaussian with squared L2 sensitivity 2."""
        return GaussianEvent(float(self.sigma), HISTOGRAM_SQUARED_L2_SENSITIVITY)

    def noisy_histograms(self, histograms: np.ndarray, noise: Noise) -> np.ndarray:
        """Counts with Gaussian noise."""
        counts = _histograms(histograms)
        return counts + noise.gaussian(self.sigma, counts.shape)


@dataclass(frozen=True)
class GNMax(_Gaussian):
    """Report the class with the largest count plus Gaussian noise of standard deviation sigma; rho = 1/sigma^2."""

    sigma: float

    name: ClassVar[str] = "gnmax"

    def __post_init__(self) -> None:
        moderate(sigma=self.sigma)


# Not a GNMax, though it costs the same: the data-dependent bound of GNMax holds for a label and not for the counts.
@dataclass(frozen=True)
class GaussianHistogram(_Gaussian):
    """Report all counts plus Gaussian noise of standard deviation sigma, n + N(0, sigma^2 I); rho = 1/sigma^2."""

    sigma: float

    name: ClassVar[str] = "histogram"
    releases_histograms: ClassVar[bool] = True

    def __post_init__(self) -> None:
        moderate(sigma=self.sigma)


class _Thresholded(_Mechanism):
    """The two-step Gaussian mechanisms: a noisy threshold on agreement, then GNMax or all noisy counts."""

    threshold: float
    sigma1: float
    sigma2: float

    def check_event(self) -> Event | None:
        """Gaussian with sensitivity 1, for every query asked, answered or not."""
        return GaussianEvent(float(self.sigma1), LARGEST_COUNT_SENSITIVITY)

    def answer_event(self) -> Event:
        """Gaussian with squared L2 sensitivity 2, for the answered ones."""
        return GaussianEvent(float(self.sigma2), HISTOGRAM_SQUARED_L2_SENSITIVITY)

    def noisy_histograms(self, histograms: np.ndarray, noise: Noise) -> np.ndarray:
        """Counts with Gaussian noise of standard deviation sigma2."""
        return GNMax(self.sigma2).noisy_histograms(histograms, noise)

    def _passes(self, agreement: np.ndarray, noise: Noise) -> np.ndarray:
        # Whole numbers on both sides: the noisy agreement is an integer, so it reaches T exactly if it reaches ceil(T).
        return agreement + noise.gaussian(self.sigma1, agreement.shape) >= math.ceil(self.threshold)


class _Confident(_Thresholded):
    """Answer only if the largest count plus N(0, sigma1^2) reaches the threshold."""

    def __post_init__(self) -> None:
        non_negative(threshold=self.threshold)
        moderate(sigma1=self.sigma1, sigma2=self.sigma2)

    def check(
        self, histograms: np.ndarray, noise: Noise, *, teachers: int, student: np.ndarray | None = None
    ) -> np.ndarray:
        """ANSWER where the noisy largest count reaches the threshold, else ABSTAIN."""
        counts = _histograms(histograms, teachers)
        passes = self._passes(counts.max(axis=1), noise)
        return np.where(passes, Decision.ANSWER, Decision.ABSTAIN).astype(np.int8)


@dataclass(frozen=True)
class ConfidentGNMax(_Confident):
    """Answer by GNMax(sigma2) only if the largest count plus N(0, sigma1^2) reaches the threshold."""

    threshold: float
    sigma1: float
    sigma2: float

    name: ClassVar[str] = "confident_gnmax"


@dataclass(frozen=True)
class ConfidentHistogram(_Confident):
    """Release all counts plus N(0, sigma2^2 I) only if the largest count plus N(0, sigma1^2) reaches the threshold."""

    threshold: float
    sigma1: float
    sigma2: float

    name: ClassVar[str] = "confident_histogram"
    releases_histograms: ClassVar[bool] = True


@dataclass(frozen=True)
class InteractiveGNMax(_Thresholded):
    """Answer where the teachers disagree with the student; where they do not, let a confident student reinforce itself.

    The check compares the counts with what the student's probabilities predict, max_j (n_j - round(N p_j)). The
    prediction is public (the student saw only earlier releases) and rounded, so that integer noise stays exact.
    """

    threshold: float
    sigma1: float
    sigma2: float
    confidence: float

    name: ClassVar[str] = "interactive_gnmax"
    needs_student: ClassVar[bool] = True

    def __post_init__(self) -> None:
        finite(threshold=self.threshold)
        moderate(sigma1=self.sigma1, sigma2=self.sigma2)
        non_negative(confidence=self.confidence)
        if self.confidence > 1:
            raise BadInput(f"confidence must be at most 1, not {self.confidence!r}")

    def check(
        self, histograms: np.ndarray, noise: Noise, *, teachers: int, student: np.ndarray | None = None
    ) -> np.ndarray:
        """ANSWER on enough disagreement, else REINFORCE a student more certain than `confidence`, else ABSTAIN."""
        counts = _histograms(histograms, teachers)
        probabilities = _student(student, counts.shape)
        expected = np.rint(teachers * probabilities).astype(np.int64)
        passes = self._passes((counts - expected).max(axis=1), noise)
        certain = probabilities.max(axis=1) > self.confidence
        otherwise = np.where(certain, Decision.REINFORCE, Decision.ABSTAIN)
        return np.where(passes, Decision.ANSWER, otherwise).astype(np.int8)

    def reinforce(self, student: np.ndarray) -> np.ndarray:
        """The student's own labels, for the queries whose decision is REINFORCE."""
        return np.argmax(student, axis=1).astype(np.int64)


def _student(student: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    if student is None:
        raise BadInput("interactive_gnmax needs the student's probabilities", mend="pass `student` of shape (Q, K)")
    probabilities = np.asarray(student, dtype=float)
    if probabilities.shape != shape:
        raise BadInput("the student's probabilities differ in shape from the histograms")
    near_one = np.abs(probabilities.sum(axis=1) - 1) < 1e-3
    if not (np.all(probabilities >= 0) and np.all(near_one)):
        raise BadInput("the student's rows are no probabilities", why="each must be non-negative and sum to 1")
    return probabilities


_Kind = (
    type[LNMax]
    | type[GNMax]
    | type[ConfidentGNMax]
    | type[InteractiveGNMax]
    | type[GaussianHistogram]
    | type[ConfidentHistogram]
)
MECHANISMS: dict[str, _Kind] = {
    kind.name: kind for kind in (LNMax, GNMax, ConfidentGNMax, InteractiveGNMax, GaussianHistogram, ConfidentHistogram)
}


def mechanism_from_json(data: Mapping[str, Any]) -> Mechanism:
    """The mechanism that `to_json` described; anything unknown is refused."""
    if not isinstance(data, Mapping):
        raise BadInput(f"a mechanism must be a JSON object, not {type(data).__name__}")
    settings = dict(data)
    name = settings.pop("name", None)
    if not isinstance(name, str) or name not in MECHANISMS:
        raise BadInput(f"unknown mechanism {name!r}", why=f"known mechanisms are {', '.join(sorted(MECHANISMS))}")
    try:
        return MECHANISMS[name](**settings)
    except TypeError as error:
        raise BadInput(f"mechanism {name!r} with wrong settings", why=str(error).split("__init__() ")[-1]) from None
