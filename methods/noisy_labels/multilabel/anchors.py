"""Flip rates from anchor points: records of which a network that learnt the given labels is surest.

- t_max: the noisy posterior at the record with the largest probability of each value (Patrini et al., CVPR 2017);
- t_97: the same after leaving out the 3 % of the records with the largest probability;
- dual_t: a product of two matrices, the anchor's posterior and how given labels are spread among what the network predicts (Yao et al.,
  Dual T, NeurIPS 2020, arXiv 2006.07805).

All look at one label at a time.
"""

from __future__ import annotations

import numpy as np

ANCHORS = ("t_max", "t_97", "dual_t")
LEFT_OUT = 0.03
NO_PREDICTION = "the network predicts the same for all rows, so that Dual-T has no counts for the other value"


def anchor_rates(rule: str, posterior: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Rates (q, 2), false positives and false negatives, and for each class why it is refused (empty: it is not).

    Args:
        rule: one of `ANCHORS`.
        posterior: P(given label = 1 | record) by a network, (N, q).
        labels: given labels (N, q).
    """
    rates = at_anchors(posterior, LEFT_OUT if rule == "t_97" else 0.0)
    reasons = [""] * posterior.shape[1]
    if rule == "dual_t":
        rates = _dual(rates, posterior >= 0.5, labels)
        reasons = ["" if np.isfinite(pair).all() else NO_PREDICTION for pair in rates]
    return rates, reasons


def at_anchors(posterior: np.ndarray, left_out: float) -> np.ndarray:
    """The noisy posterior at the anchors of absence and presence, as rates (q, 2).

    `left_out` is the share of the surest records that is ignored on either side.
    """
    rank = round(left_out * (len(posterior) - 1))
    ordered = np.sort(posterior.astype(np.float64), axis=0)
    return np.stack([ordered[rank], 1 - ordered[len(ordered) - 1 - rank]], axis=1)


def _dual(rates: np.ndarray, predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """T = A B, A from anchors (true to predicted), B from counts (predicted to given); NaN where a value is never predicted."""
    present = labels.astype(np.float64)
    ones = predicted.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        given_one = (predicted * present).sum(0) / ones
        given_zero = (~predicted * present).sum(0) / (len(labels) - ones)
    false_positive = (1 - rates[:, 0]) * given_zero + rates[:, 0] * given_one
    false_negative = rates[:, 1] * (1 - given_zero) + (1 - rates[:, 1]) * (1 - given_one)
    return np.stack([false_positive, false_negative], axis=1)
