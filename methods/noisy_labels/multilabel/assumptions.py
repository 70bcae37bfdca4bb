"""What must hold for a class's flip rates to be found, tested; a class that fails is refused with the reason.

- Enough rows: P(given i | true j) is counted among the rows selected for class j.
- A2, P(given i | true j = 1) is not P(given i | true j = 0) for some partner i: a label that goes with no other tells nothing.
- Some partner survives the rejection rules of `decomposition`.
- A1, the rates add up to less than 1: the covariance of true and given label, as all partners together have it, is surely above 0.

What cannot be tested: if the rates truly add up to more than 1, exchanging "true" and "false" explains the same given labels as well
(the rates 1 - fn and 1 - fp), and a selection that trusts the majority finds that twin. Neither can be seen whether noise depends on
the record; the test of over-identification (`intervals.contradiction`) responds to some of that, and is reported for each class.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from .consensus import Consensus
from .decomposition import Candidates
from .intervals import partner_scores
from .pair_counts import PairCounts


def refusals(
    counts: PairCounts, candidates: Candidates, agreed: Consensus, covariance: tuple[np.ndarray, np.ndarray], *,
    least_selected: int, significance: float, confidence: float,
) -> list[str]:  # fmt: skip
    """Why each class is refused; an empty text for those that are not.

    Args:
        counts, candidates, agreed: of the estimate.
        covariance: of true and given label, and its standard deviation, (q,) each.
        least_selected: rows that must be selected of each given value.
        significance: of the test of A2, over all partners of a class together (Bonferroni).
        confidence: with which the rates must add up to less than 1.
    """
    scores = np.abs(partner_scores(counts))
    np.fill_diagonal(scores, 0.0)
    strongest = np.nan_to_num(scores, nan=0.0, posinf=np.inf).max(1)
    partners = max(len(scores) - 1, 1)
    found: list[str] = []
    for j, strength in enumerate(strongest):
        few = min(counts.ones[j], counts.zeros[j])
        if few < least_selected:
            found.append(
                f"only {int(counts.ones[j])} positive and {int(counts.zeros[j])} negative rows were selected, of which "
                f"{least_selected} are needed"
            )
        elif 2 * norm.sf(strength) * partners > significance:
            found.append("assumption A2: no other label goes with this one more than chance would have it")
        elif not covariance[0][j] - norm.ppf(confidence) * covariance[1][j] > 0:
            found.append(
                f"assumption A1: the covariance of true and given label is {covariance[0][j]:.2g} with a standard deviation of "
                f"{covariance[1][j]:.2g}, not surely above 0, so the rates may add up to 1 or more"
            )
        elif not agreed.found[j]:
            found.append(_no_survivor(candidates, j))
        else:
            found.append("")
    return found


def _no_survivor(candidates: Candidates, j: int) -> str:
    usable = np.isfinite(candidates.present[j])
    with np.errstate(invalid="ignore"):
        high = usable & (candidates.false_positive[j] + candidates.false_negative[j] >= 1)
    text = f"no partner of {int(usable.sum())} gives rates that are possible"
    if high.any():
        text += f"; by {int(high.sum())} they add up to 1 or more (assumption A1)"
    return text
