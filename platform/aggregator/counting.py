"""Votes counted: from one label for each silo and query to a histogram for each query.

>>> count(np.array([[0, 2], [2, 2], [0, -1]]), queries=2, teachers=4, classes=3).tolist()
[[2, 0, 1], [0, 0, 2]]
"""

from __future__ import annotations

import numpy as np

from ..errors import BadInput
from ..privacy.validate import integer_array


def count(votes: np.ndarray, *, queries: int, teachers: int, classes: int) -> np.ndarray:
    """Histograms (Q, K) int64 of votes (V, Q); -1 counts nowhere, and neither do teachers without a row."""
    integer_array(votes=votes)
    if votes.ndim != 2 or votes.shape[1] != queries or len(votes) > teachers:
        raise BadInput("votes must have one row for each silo that voted and one column for each query")
    if votes.size and (votes.min() < -1 or votes.max() >= classes):
        raise BadInput("a vote lies outside of the classes")
    cells = votes.astype(np.int64) + classes * np.arange(queries, dtype=np.int64)
    return np.bincount(cells[votes >= 0], minlength=queries * classes).reshape(queries, classes)
