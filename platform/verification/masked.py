"""Verification of masked faces: pairs without masks (U-U), with one (U-M), with two (M-M), judged by the threshold of U-U.

A threshold that was set on bare faces is what a deployed system has. Masks push the scores of genuine pairs down, so FNMR at that
threshold says what they cost; the accuracy at a threshold of their own says what could be had.

>>> mask_kinds([False, True, True], [False, False, True]).tolist()
['U-U', 'U-M', 'M-M']
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import BadInput
from .folds import Verification, check_folds, threshold_without, verify
from .roc import measurable
from .scores import check_scores, check_truths

KINDS = ("U-U", "U-M", "M-M")
MASKED_FARS = (1e-2, 1e-3)


@dataclass(frozen=True, eq=False)
class MaskedRow:
    """One kind of pair.

    Args:
        kind: "U-U", "U-M" or "M-M".
        own: verification by folds with thresholds of its own kind.
        accuracy: share judged rightly at the thresholds of U-U.
        fmr: share of its negatives accepted at them.
        fnmr: share of its positives refused at them.
        tar: TAR by FAR, at thresholds of its own, for the FARs that its negatives allow.
        not_measured: the FARs that they do not.
    """

    kind: str
    own: Verification
    accuracy: float
    fmr: float
    fnmr: float
    tar: dict[float, float]
    not_measured: tuple[float, ...]

    @property
    def pairs(self) -> int:
        """Number of pairs."""
        return len(self.own.correct)


def mask_kinds(first_masked: Any, second_masked: Any) -> np.ndarray:
    """The kind (n,) of pairs, from whether the first (n,) and the second picture (n,) wear a mask; which of them does is all one."""
    length = len(np.asarray(first_masked))
    sides = [check_truths(side, length, "masked") for side in (first_masked, second_masked)]
    return np.array(KINDS)[sides[0].astype(int) + sides[1]]


def verify_masked(
    scores: Any, same: Any, fold: Any, kind: Any, *, fars: Sequence[float] = MASKED_FARS
) -> tuple[MaskedRow, ...]:
    """One row for each kind that occurs, from scores (n,), the truth (n,), folds (n,) and kinds (n,).

    A pair in fold f is judged by the threshold that is best on the U-U pairs of the other folds, whatever its own kind.

    Raises:
        BadInput: an unknown kind, no U-U pairs (then there is no threshold), or a kind that cannot be verified by folds.
    """
    values, truth = check_scores(scores, same, what="same")
    folds = check_folds(fold, len(values))
    kinds = np.asarray(kind)
    if kinds.shape != values.shape or not np.isin(kinds, KINDS).all():
        raise BadInput(f"kinds of pairs of shape {kinds.shape}", mend=f"give one of {', '.join(KINDS)} a pair")
    bare = kinds == "U-U"
    if not bare.any():
        raise BadInput(
            "no U-U pairs", why="the threshold is set on faces without masks", mend="add pairs of bare faces"
        )
    thresholds = np.array(
        [
            threshold_without(values[bare], truth[bare], folds[bare] == number, number)
            for number in range(int(folds.max()) + 1)
        ]
    )
    accepted = values >= thresholds[folds]
    rows = []
    for name in KINDS:
        here = kinds == name
        if not here.any():
            continue
        # A kind may have no pair in some fold; its own verification numbers those that it has.
        own = verify(values[here], truth[here], np.unique(folds[here], return_inverse=True)[1])
        kept = measurable(fars, own.roc.negatives)
        rows.append(
            MaskedRow(
                name,
                own,
                accuracy=float(np.mean((accepted == truth)[here])),
                fmr=float(np.mean(accepted[here & ~truth])),
                fnmr=float(np.mean(~accepted[here & truth])),
                tar={far: own.at_far(far).tar for far in kept},
                not_measured=tuple(far for far in fars if far not in kept),
            )
        )
    return tuple(rows)
