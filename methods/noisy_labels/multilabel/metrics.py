"""Scores of multi-label predictions: mean average precision, and F1 over all labels and by class.

The definitions of Li et al. (NeurIPS 2022), section 4: a label is predicted where its probability is at least one half;
OF1 from precision and recall over all labels together, CF1 from their means over classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score

from ....platform.errors import BadInput


@dataclass(frozen=True)
class Scores:
    """Fractions in [0, 1]. `classes` is how many classes have a positive in the score set, and so count in `map` and recall."""

    map: float
    of1: float
    cf1: float
    classes: int


def score(probability: np.ndarray, labels: np.ndarray) -> Scores:
    """Score probabilities (n, q) against true labels (n, q).

    Raises:
        BadInput: no class has a positive.
    """
    positives = labels.sum(0, dtype=np.int64)
    scored = positives > 0
    if not scored.any():
        raise BadInput("no label of the score set is ever present", why="precision and recall are undefined")
    precisions = [average_precision_score(labels[:, j], probability[:, j]) for j in np.flatnonzero(scored)]
    predicted = probability >= 0.5
    right = (predicted & (labels == 1)).sum(0, dtype=np.int64)
    count = predicted.sum(0, dtype=np.int64)
    overall = _f1(right.sum() / max(count.sum(), 1), right.sum() / positives.sum())
    by_class = _f1(
        float((right / np.maximum(count, 1))[scored].mean()), float((right[scored] / positives[scored]).mean())
    )
    return Scores(float(np.mean(precisions)), overall, by_class, int(scored.sum()))


def _f1(precision: float, recall: float) -> float:
    return float(2 * precision * recall / (precision + recall)) if precision + recall > 0 else 0.0
