"""One pair of flip rates a class out of what its partners say: four rules.

- pooled: least squares over the surviving partners, in which the weight of a partner is the square of its d (our default: the variance
  of a partner's estimate goes as 1 / d^2);
- medoid: the survivor with the least sum of L1 distances to the others (Li et al., NeurIPS 2022, equation 7);
- weighted_medoid: the survivor that agrees best with all partners, rejected ones too, each weighted by |p (1 - p) d| (the rule of the
  authors' code, which is not that of the paper);
- median: of each rate by itself (of an even number of survivors the lower of the middle two, so that it is some partner's).

Every rule ends in weights of partners, so that one formula gives the intervals of all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .decomposition import Candidates, combined, rates_of
from .pair_counts import PairCounts

RULES = ("pooled", "medoid", "weighted_medoid", "median")


@dataclass(frozen=True, eq=False)
class Consensus:
    """Flip rates (q, 2), false positives and false negatives; NaN for a class without survivors.

    `weights` (2, q, q) says of each rate which partners it came from.
    """

    rates: np.ndarray
    weights: np.ndarray
    partners: np.ndarray

    @property
    def found(self) -> np.ndarray:
        """(q,) whether there is an estimate."""
        return np.isfinite(self.rates).all(1)


def agree(rule: str, candidates: Candidates, counts: PairCounts) -> Consensus:
    """Apply one of `RULES`."""
    weights = _weights(rule, candidates, counts)
    rates = np.empty((len(candidates.survives), 2))
    for column, weight in enumerate(weights):
        present, kept = combined(counts, weight)
        rates[:, column] = rates_of(present, kept, counts.frequency)[:, column]
    return Consensus(rates, weights, candidates.survives.sum(1))


def _weights(rule: str, candidates: Candidates, counts: PairCounts) -> np.ndarray:
    survives = candidates.survives
    if rule == "pooled":
        return np.stack([np.where(survives, counts.difference, 0.0)] * 2)
    rates = np.stack([candidates.false_positive, candidates.false_negative])
    if rule == "median":
        return np.stack([_one_hot(_middle(rate, survives), survives) for rate in rates])
    distances = _distances(rates, survives) if rule == "medoid" else _residuals(rates, counts, candidates)
    chosen = np.where(survives, distances, np.inf).argmin(1)
    return np.stack([_one_hot(chosen, survives)] * 2)


def _distances(rates: np.ndarray, survives: np.ndarray) -> np.ndarray:
    """Sum over surviving partners k of the L1 distance between what i and k say, (q, q)."""
    clean = np.where(survives, rates, 0.0)
    total = np.empty(survives.shape)
    for j, others in enumerate(
        survives
    ):  # Class by class: a distance for each pair of partners would take q^3 numbers.
        total[j] = np.abs(clean[:, j, :, None] - clean[:, j, None, :]).sum(0) @ others
    return total


def _residuals(rates: np.ndarray, counts: PairCounts, candidates: Candidates) -> np.ndarray:
    """Sum over all partners k of |D_k| times the L1 distance between what i and k say, (q, q).

    Written without a division by D_k = det P_k, P_k the joint probabilities of true j and given k, so that a partner with d = 0 is
    no trouble: rate * D_k is a difference of products of observed and joint probabilities E and P.
    """
    p = candidates.present
    usable: np.ndarray = np.isfinite(p)
    marginal = counts.frequency
    p11, p01 = p * counts.given_one, (1 - p) * counts.given_zero
    p10, p00 = p - p11, 1 - p - p01
    e11 = counts.together
    e10, e01 = marginal[:, None] - e11, marginal[None, :] - e11
    e00 = 1 - e11 - e10 - e01
    determinant = p00 * p11 - p01 * p10
    scaled = (p11 * e10 - p10 * e11, p00 * e01 - p01 * e00)
    total = np.zeros_like(p)
    for rate, product in zip(rates, scaled, strict=True):
        for j, others in enumerate(usable):
            total[j] += np.abs(rate[j, :, None] * determinant[j, others] - product[j, others]).sum(1)
    return total


def _middle(rate: np.ndarray, survives: np.ndarray) -> np.ndarray:
    """The partner with the lower median of the surviving rates, (q,)."""
    order = np.argsort(np.where(survives, rate, np.inf), axis=1, kind="stable")
    middle = np.maximum(survives.sum(1) - 1, 0) // 2
    return np.take_along_axis(order, middle[:, None], axis=1)[:, 0]


def _one_hot(chosen: np.ndarray, survives: np.ndarray) -> np.ndarray:
    weights = np.zeros(survives.shape)
    weights[np.arange(len(chosen)), chosen] = 1.0
    return np.where(survives.sum(1)[:, None] > 0, weights, 0.0)
