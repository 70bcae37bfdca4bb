"""Rows whose given label is believed to be right: for each class and each given value, those with a small loss.

The losses of the rows with one given value of one class are a mixture of two Gaussians, right ones at the lower mean (Li et al.,
NeurIPS 2022, section 3.3; Li, Socher & Hoi, DivideMix, ICLR 2020). Positive and negative rows are judged apart, since their losses
have different scales.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from ....platform.errors import BadInput

KNOWN_ZERO = ("none", "false_positive", "false_negative")


@dataclass(frozen=True)
class Mixture:
    """Settings of the selection.

    Args:
        threshold: posterior of the low-loss component above which a row is selected.
        gate: where the components are less than this apart, (mean - mean) / (sd + sd), all rows of that class and value are selected;
            None: no gate. A hypothesis of ours: it recovers a rate that is zero on some data and does harm on others.
        iterations, tolerance, least_variance: of scikit-learn's GaussianMixture (the authors' values).
    """

    threshold: float = 0.5
    gate: float | None = None
    iterations: int = 10
    tolerance: float = 1e-2
    least_variance: float = 5e-4

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise BadInput(f"threshold is {self.threshold!r}", why="it must lie strictly between 0 and 1")
        if self.gate is not None and self.gate <= 0:
            raise BadInput(f"gate is {self.gate!r}", mend="give a number above 0, or null for none")


def scaled_losses(losses: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Losses (N, q) scaled to [0, 1] within each class and given value, so that epochs can be averaged."""
    scaled = np.zeros_like(losses)
    for value in (0, 1):
        mine = labels == value
        low = np.where(mine, losses, np.inf).min(0)
        high = np.where(mine, losses, -np.inf).max(0)
        span = np.where(high > low, high - low, 1.0)
        scaled = np.where(mine, (losses - low) / span, scaled)
    return scaled


def select_small_losses(losses: np.ndarray, labels: np.ndarray, settings: Mixture, *, seed: int) -> np.ndarray:
    """(N, q): whether row n is selected for class j.

    Args:
        losses: (N, q), scaled and averaged over epochs.
        labels: given labels (N, q).
        settings: of the mixture.
        seed: of its starts.
    """
    selected = np.zeros(labels.shape, dtype=bool)
    for j in range(labels.shape[1]):
        for value in (0, 1):
            rows = np.flatnonzero(labels[:, j] == value)
            selected[rows, j] = _small(losses[rows, j], settings, seed + 2 * j + value)
    return selected


def select_right(labels: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """The rows whose given label is right, by the true labels: what a perfect selection would be (a reference)."""
    return labels == clean


def with_known_zero(selected: np.ndarray, labels: np.ndarray, known_zero: str) -> np.ndarray:
    """Select all rows whose given label cannot be wrong, because whoever set `known_zero` says that this rate is 0."""
    if known_zero == "false_positive":
        return selected | (labels == 1)
    if known_zero == "false_negative":
        return selected | (labels == 0)
    return selected


def _small(losses: np.ndarray, settings: Mixture, seed: int) -> np.ndarray:
    if len(losses) < 2 or np.ptp(losses) == 0:  # Nothing tells one row from another, so none is known to be right.
        return np.zeros(len(losses), dtype=bool)
    mixture = GaussianMixture(
        2,
        max_iter=settings.iterations,
        tol=settings.tolerance,
        reg_covar=settings.least_variance,
        random_state=seed % 2**32,
    )
    column = losses[:, None].astype(np.float64)
    with warnings.catch_warnings():
        # Ten iterations are the published setting; that they do not always converge is part of it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        posterior = mixture.fit(column).predict_proba(column)
    means, deviations = mixture.means_[:, 0], np.sqrt(mixture.covariances_[:, 0, 0])
    low = int(means.argmin())
    if settings.gate is not None and np.ptp(means) / deviations.sum() < settings.gate:
        return np.ones(len(losses), dtype=bool)
    return posterior[:, low] > settings.threshold
