"""GNMax and Confident-GNMax on histograms that carry their noise already, because every silo has added a share of it.

Whoever adds the silos' parts up sees the noisy histogram, all of it. GNMax costs what its noisy histogram costs, so nothing changes but
the noise. Confident-GNMax first asks whether the *largest* count, with noise, reaches a threshold; the largest is no sum, so nobody can
ask this without seeing all counts. Here therefore

1. *check*: all counts with wide noise sigma1 are released for every query asked, and cost a histogram, rho = 1 / sigma1^2, twice the
   price of one noisy number with the same noise. A query passes if the largest noisy count reaches the threshold. Of K noisy counts the
   largest is larger than a single one, so the noise must be narrower than a trusted aggregator's, or nothing is filtered.
2. *answer*: for those that pass, all counts are released again with noise sigma2, rho = 1 / sigma2^2. What was seen in the check is not
   thrown away: the label is the largest of both histograms, weighted by their precision. It is as good as GNMax with
   1 / sigma^2 = 1 / sigma1^2 + 1 / sigma2^2, and costs the same as it, check and all.

So an answered query pays nothing for its check, and one that is not answered pays 1 / sigma1^2.

>>> silos = {"silos": 250, "dropped": 25, "colluding": 5}
>>> mechanism = SharedConfidentGNMax(200.0, check=NoiseShare(80.0, **silos), answer=NoiseShare(46.188, **silos))
>>> round(mechanism.answer_sigma, 1), mechanism.check_event().nano_rho() + mechanism.answer_event().nano_rho()
(40.0, 625001)

Papernot et al. 2018 (arXiv 1802.08908) for the mechanisms; that the parts are combined is this module's own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import log_ndtr

from ..errors import BadInput
from .distributed_noise import NoiseShare, noise_share_from_json
from .events import Event
from .mechanisms import plurality
from .validate import integer_array, non_negative, positive, positive_int

CHECK, ANSWER = "check", "answer"


@dataclass(frozen=True)
class SharedGNMax:
    """Label by the largest count of a histogram whose noise came in shares."""

    answer: NoiseShare

    name: ClassVar[str] = "shared_gnmax"

    def check_event(self) -> Event | None:
        """None: there is no check."""
        return None

    def answer_event(self) -> Event:
        """A noisy histogram."""
        return self.answer.event()

    def shares(self) -> dict[str, NoiseShare]:
        """What silos add, by step."""
        return {ANSWER: self.answer}

    def labels(self, answer: np.ndarray) -> np.ndarray:
        """Labels (Q,) int64 of noisy histograms (Q, K), ties to the lowest."""
        return plurality(_noisy(answer))

    def to_json(self) -> dict[str, Any]:
        """Name and settings."""
        return {"name": self.name, "answer": self.answer.to_json()}


@dataclass(frozen=True)
class SharedConfidentGNMax:
    """Label by check and answer together, where the largest noisy count of the check reaches the threshold."""

    threshold: float
    check: NoiseShare
    answer: NoiseShare

    name: ClassVar[str] = "shared_confident_gnmax"

    def __post_init__(self) -> None:
        non_negative(threshold=self.threshold)
        object.__setattr__(self, "threshold", float(self.threshold))
        if self.check.silos != self.answer.silos:
            raise BadInput(
                "check and answer are for different numbers of silos", mend="the same silos take part in both"
            )

    @property
    def answer_sigma(self) -> float:
        """The parameter of GNMax that an answered query is worth, by the noise that is counted on."""
        return 1 / math.hypot(1 / self.check.sigma, 1 / self.answer.sigma)

    def check_event(self) -> Event:
        """A noisy histogram, for every query asked."""
        return self.check.event()

    def answer_event(self) -> Event:
        """Another one, for those that pass."""
        return self.answer.event()

    def shares(self) -> dict[str, NoiseShare]:
        """What silos add, by step."""
        return {CHECK: self.check, ANSWER: self.answer}

    def passes(self, check: np.ndarray) -> np.ndarray:
        """Which of Q queries are to be answered, by the noisy histograms (Q, K) of the check."""
        return _noisy(check).max(axis=1) >= math.ceil(self.threshold)

    def labels(self, check: np.ndarray, answer: np.ndarray, *, checked_by: int, answered_by: int) -> np.ndarray:
        """Labels (Q,) int64 from both noisy histograms (Q, K) of the same queries, and how many silos each is a sum over.

        Weights are by the noise that is there, which the numbers of silos tell. Ties go to the lowest class.
        """
        if _noisy(check).shape != _noisy(answer).shape:
            raise BadInput("check and answer hold different numbers of counts")
        first = self.check.deviation(checked_by) ** -2
        second = self.answer.deviation(answered_by) ** -2
        return np.argmax(first * check + second * answer, axis=1).astype(np.int64)

    def to_json(self) -> dict[str, Any]:
        """Name and settings."""
        return {
            "name": self.name,
            "threshold": self.threshold,
            "check": self.check.to_json(),
            "answer": self.answer.to_json(),
        }


Shared = SharedGNMax | SharedConfidentGNMax


def shared_from_json(data: Mapping[str, Any]) -> Shared:
    """The mechanism that `to_json` described; anything unknown is refused."""
    if not isinstance(data, Mapping):
        raise BadInput(f"a mechanism must be a JSON object, not {type(data).__name__}")
    settings = dict(data)
    name = settings.pop("name", None)
    kinds: dict[str, type[Any]] = {kind.name: kind for kind in (SharedGNMax, SharedConfidentGNMax)}
    if not isinstance(name, str) or name not in kinds:
        raise BadInput(f"unknown mechanism {str(name)[:40]!r}", why=f"known mechanisms are {', '.join(sorted(kinds))}")
    for step in (CHECK, ANSWER):
        if step in settings:
            settings[step] = noise_share_from_json(settings[step])
    try:
        found: Shared = kinds[name](**settings)
    except TypeError as error:
        raise BadInput(f"mechanism {name!r} with wrong settings", why=str(error).split("__init__() ")[-1]) from None
    return found


def pass_probability(counts: np.ndarray, *, threshold: float, sigma: float) -> np.ndarray:
    """The chance (Q,) that the largest of K counts (Q, K), each with noise of parameter sigma, reaches the threshold.

    For planning, on counts that may be looked at: public ones, or made-up ones. Noise counts as a rounded Gaussian.
    """
    positive(sigma=sigma)
    non_negative(threshold=threshold)
    below = log_ndtr((math.ceil(threshold) - 0.5 - np.asarray(counts, dtype=float)) / sigma).sum(axis=1)
    return -np.expm1(below)


def threshold_for(*, counts: np.ndarray, sigma: float, passing: float) -> int:
    """The least threshold at which a query with these counts (K,) passes with a chance of at most `passing`. For planning as above."""
    positive(passing=passing)
    positive_int(classes=len(counts))
    low, high = 0, 1
    row = np.asarray(counts)[None]

    def chance(threshold: int) -> float:
        return float(pass_probability(row, threshold=threshold, sigma=sigma)[0])

    while chance(high) > passing:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if chance(middle) > passing else (low, middle)
    return high if chance(low) > passing else low


def _noisy(histograms: np.ndarray) -> np.ndarray:
    integer_array(histograms=histograms)
    if histograms.ndim != 2 or histograms.shape[1] < 2:
        raise BadInput("noisy histograms must have the shape (queries, classes) with at least 2 classes")
    return histograms
