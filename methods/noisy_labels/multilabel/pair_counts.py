"""How labels go together in pairs, with noise and behind it: all pairs of classes at once, by two matrix products and one more.

Class j is the one whose flip rates are wanted, class i its partner. Rows selected for j are those whose given label j is believed to be
right; among them P(given i | true j) can be counted.

Li, Xia, Zhang, Zhan, Ge & Liu, Estimating Noise Transition Matrix with Label Correlations for Noisy Multi-Label Learning, NeurIPS 2022,
section 3.2 and equations 3 to 6.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....platform.errors import BadInput

# Sums of ones are exact in float32 up to here; float32 products take half the time and memory.
EXACT_IN_FLOAT32 = 2**24


@dataclass(frozen=True, eq=False)
class PairCounts:
    """Probabilities of pairs of given labels, counted; entry [j, i] is about class j and its partner i.

    Args:
        together: (q, q), P(given j = 1, given i = 1); the diagonal is P(given j = 1).
        given_one: (q, q), M1 = P(given i = 1 | true j = 1), among the rows selected for j with label 1; NaN where there are none.
        given_zero: (q, q), M0 = P(given i = 1 | true j = 0), likewise.
        ones, zeros: (q,), rows selected for j with given label 1 and 0.
        rows: N.
    """

    together: np.ndarray
    given_one: np.ndarray
    given_zero: np.ndarray
    ones: np.ndarray
    zeros: np.ndarray
    rows: int

    @property
    def frequency(self) -> np.ndarray:
        """P(given j = 1), (q,)."""
        return np.diagonal(self.together)

    @property
    def difference(self) -> np.ndarray:
        """M1 - M0, (q, q): how much more often partner i is given where class j is true."""
        return self.given_one - self.given_zero


def count_pairs(labels: np.ndarray, selected: np.ndarray) -> PairCounts:
    """Count all pairs.

    Args:
        labels: given labels (N, q) of 0 and 1.
        selected: (N, q), whether row n is selected for class j.

    Raises:
        BadInput: the shapes differ.
    """
    if labels.shape != selected.shape or labels.ndim != 2:
        raise BadInput(f"labels of shape {labels.shape}, and a selection of shape {selected.shape}")
    rows = len(labels)
    kind = np.float32 if rows <= EXACT_IN_FLOAT32 else np.float64
    present: np.ndarray = labels.astype(kind)
    right_one: np.ndarray = present * selected
    right_zero: np.ndarray = selected.astype(kind) - right_one
    ones, zeros = (part.sum(0, dtype=np.float64) for part in (right_one, right_zero))
    together, with_one, with_zero = ((left.T @ present).astype(np.float64) for left in (present, right_one, right_zero))
    with np.errstate(invalid="ignore"):  # No selected row gives 0 / 0 = NaN, as documented.
        return PairCounts(together / rows, with_one / ones[:, None], with_zero / zeros[:, None], ones, zeros, rows)
