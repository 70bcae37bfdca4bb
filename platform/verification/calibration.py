"""Thresholds that hold a false match rate on pairs to come, kept with the model they were made for.

A threshold at which 1 % of the impostors of a test set pass lets more than 1 % of new ones pass half of the time. Two remedies:

- `conformal_threshold`: a new impostor passes with probability `fmr` at most, over the draw of the calibration pairs as well (split
  conformal prediction, Vovk et al. 2005: the rank of a new score among the n + 1 is uniform);
- with a `confidence`: the rate itself is at most `fmr`, except with probability 1 - confidence (it follows a beta law, Vovk 2012).

>>> impostors = np.random.default_rng(0).normal(size=9999)
>>> on_average, surely = conformal_threshold(impostors, 0.01), conformal_threshold(impostors, 0.01, confidence=0.95)
>>> on_average.rank, surely.rank, on_average.threshold < surely.threshold
(100, 84, True)

Both take the calibration pairs for drawn independently, from the same source as those to come. Pairs that share people are not
independent: take as many people as there are, and each in few pairs. Other resolutions, masks or cameras are another source:
calibrate for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import betainc

from ..errors import BadInput
from ..privacy.validate import probability
from .roc import negatives_needed, share
from .scores import check_numbers


@dataclass(frozen=True)
class Calibrated:
    """A threshold, and what it was made from. What scores at or above it is accepted.

    Args:
        fmr: the rate that is held.
        confidence: with which it is held; None: on average over calibrations.
        impostors: number of pairs it was made from; it stands just above the `rank`-th highest of their scores.
        source: which network, preprocessing, resolution and kind of pair it is for, in words or as a hash.
    """

    threshold: float
    fmr: float
    confidence: float | None
    impostors: int
    rank: int
    source: str

    def to_json(self) -> dict[str, Any]:
        """A JSON object for a model card."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibrated:
        """Read `to_json`'s form.

        Raises:
            BadInput: it has another form, or a threshold that is no number.
        """
        try:
            found = cls(
                threshold=float(data["threshold"]),
                fmr=float(data["fmr"]),
                confidence=None if data["confidence"] is None else float(data["confidence"]),
                impostors=int(data["impostors"]),
                rank=int(data["rank"]),
                source=str(data["source"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput("this is no calibrated threshold", why=type(error).__name__) from None
        if not np.isfinite(found.threshold) or not 0 < found.fmr < 1:
            raise BadInput("this is no calibrated threshold", why="its threshold or its rate is out of range")
        return found

    def accepts(self, scores: Any, source: str) -> np.ndarray:
        """Whether each of scores (n,) is accepted; `source` must be the one the threshold was made for.

        Raises:
            BadInput: another source, or scores that are not finite.
        """
        if source != self.source:
            raise BadInput(
                f"the threshold is for {self.source!r}, the scores are from {source!r}",
                why="scores of two sources are not on one scale",
                mend="calibrate on impostor pairs of that source",
            )
        return np.asarray(check_numbers(scores, "scores") >= self.threshold)


def conformal_threshold(impostors: Any, fmr: float, *, confidence: float | None = None, source: str = "") -> Calibrated:
    """The lowest threshold that holds the rate `fmr`, from scores (n,) of impostor pairs.

    Raises:
        BadInput: scores that are not finite, or fewer than 10/fmr of them.
    """
    scores = check_numbers(impostors, "scores of impostors")
    needed = negatives_needed(fmr)
    if len(scores) < needed:
        raise BadInput(
            f"a threshold for FMR {fmr:g} from {len(scores):,} impostor pairs",
            why="it would hang on a handful of pairs",
            mend=f"give at least {needed:,} impostor pairs",
        )
    # A threshold just above the k-th highest score lets a new impostor pass with probability k / (n + 1), if no two scores tie
    # (less, if they do), and its own rate follows Beta(k, n + 1 - k).
    rank = share(fmr, len(scores) + 1)
    if confidence is not None:
        probability(confidence=confidence)
        ranks = np.arange(1, rank + 1)
        held = betainc(ranks, len(scores) + 1 - ranks, fmr) >= confidence  # falls with the rank
        rank = int(np.count_nonzero(held))
        if not rank:
            raise BadInput(
                f"no threshold holds FMR {fmr:g} with confidence {confidence:g}",
                why=f"{len(scores):,} impostor pairs are too few for it",
            )
    highest_refused = float(np.partition(scores, len(scores) - rank)[len(scores) - rank])
    threshold = float(np.nextafter(highest_refused, np.inf))
    return Calibrated(threshold, float(fmr), confidence, len(scores), rank, source)
