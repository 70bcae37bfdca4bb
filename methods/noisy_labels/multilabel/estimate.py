"""From what a first network learnt to the flip rates: one function for the pair estimator, the anchors, and the true rates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....platform.errors import BadInput
from . import assumptions
from .anchors import ANCHORS, anchor_rates
from .consensus import agree
from .decomposition import combined, decompose
from .intervals import contradiction, deviations, influences, interval, true_covariance
from .pair_counts import count_pairs
from .selection import select_right, select_small_losses, with_known_zero
from .settings import Estimator
from .transition import Transition


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the first network says of the rows that it learnt: their given labels, losses and posteriors, (N, q) each.

    `losses` are scaled and averaged over epochs; `posterior` is of each class's best epoch. `clean` are true labels for gold selection.
    """

    labels: np.ndarray
    losses: np.ndarray
    posterior: np.ndarray
    clean: np.ndarray | None


def estimate(settings: Estimator, evidence: Evidence, true_rates: np.ndarray | None, *, seed: int) -> Transition:
    """Estimate by `settings.kind`. True rates are looked at for the kind "oracle" only, true labels for gold selection only.

    Raises:
        BadInput: the kind asks for what the data do not have.
    """
    if settings.kind == "oracle":
        if true_rates is None:
            raise BadInput(
                "the true flip rates of these data are not known",
                mend="use another method.estimator.kind, or synthetic noise",
            )
        return Transition.plain(true_rates, [""] * len(true_rates))
    if settings.kind in ANCHORS:
        rates, reasons = anchor_rates(settings.kind, evidence.posterior, evidence.labels)
        return Transition.plain(_zeroed(rates, settings.known_zero), reasons)
    return from_pairs(settings, evidence.labels, _selection(settings, evidence, seed))


def from_pairs(settings: Estimator, labels: np.ndarray, selected: np.ndarray) -> Transition:
    """Estimate from pair counts: given labels and the selection, (N, q) each."""
    selected = with_known_zero(selected, labels, settings.known_zero)
    counts = count_pairs(labels, selected)
    candidates = decompose(counts)
    agreed = agree(settings.consensus, candidates, counts)
    deviation = deviations(influences(labels, selected, counts, agreed))
    reasons = assumptions.refusals(
        counts, candidates, agreed, true_covariance(labels, selected, counts), least_selected=settings.least_selected,
        significance=settings.significance, confidence=settings.confidence,
    )  # fmt: skip
    refused = np.array([bool(reason) for reason in reasons])
    present, kept = combined(counts, agreed.weights[1])
    tests = np.full((len(refused), 3), np.nan)
    for j in np.flatnonzero(~refused).tolist():
        found = contradiction(
            labels, selected, counts, j, kept=(present[j], kept[j]), partners=settings.tested_partners
        )
        if found is not None:
            tests[j] = found.statistic, found.freedom, found.probability
            if settings.refuse_contradiction and found.probability < settings.significance:
                reasons[j] = (
                    f"partners contradict each other: chi-square {found.statistic:.1f} with {found.freedom} degrees of freedom"
                )
    refused = np.array([bool(reason) for reason in reasons])
    rates = np.where(refused[:, None], np.nan, _zeroed(agreed.rates, settings.known_zero))
    ends = interval(rates, deviation, settings.confidence)
    return Transition(
        rates, np.where(refused[:, None, None], np.nan, ends), agreed.partners, tests[:, 0], tests[:, 1], tests[:, 2], reasons,
        np.stack([counts.zeros, counts.ones], axis=1).astype(np.int64),
    )  # fmt: skip


def _selection(settings: Estimator, evidence: Evidence, seed: int) -> np.ndarray:
    if settings.selection == "gold":
        if evidence.clean is None:
            raise BadInput(
                "gold selection needs the true labels of the training records",
                mend="use method.estimator.selection=mixture, or data whose clean labels are known",
            )
        return select_right(evidence.labels, evidence.clean)
    return select_small_losses(evidence.losses, evidence.labels, settings.mixture, seed=seed)


def _zeroed(rates: np.ndarray, known_zero: str) -> np.ndarray:
    if known_zero == "none":
        return rates
    out = rates.copy()
    out[:, 0 if known_zero == "false_positive" else 1] = 0.0
    return out
