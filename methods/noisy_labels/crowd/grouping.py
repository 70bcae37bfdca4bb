"""Groups of annotators who err alike, so that people with few answers borrow from others: k-means on confusion matrices.

CCC's code clusters the raw matrices V_r, each annotator alike. Ours clusters what the matrices say, softmax(V_r), each annotator with
the weight of the answers he or she gave: the matrix of someone with one answer is still nearly where it started.
"""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans


def group(matrices: np.ndarray, answers: np.ndarray | None, *, groups: int, seed: int) -> np.ndarray:
    """Return each annotator's group, int64 (R,) in 0 .. groups - 1.

    Args:
        matrices: (R, C, C), compared by Euclidean distance.
        answers: (R,) how many answers each gave, the weights; annotators without any only join. None: all alike.
        groups: at most so many; there are never more than different matrices.
        seed: of the first centres.
    """
    vectors = matrices.reshape(len(matrices), -1).astype(np.float64)
    counted = np.ones(len(vectors)) if answers is None else answers.astype(np.float64)
    present = vectors[counted > 0]
    count = min(groups, len(np.unique(present, axis=0)))
    means = KMeans(count, n_init=1, random_state=seed % 2**32).fit(present, sample_weight=counted[counted > 0])
    return means.predict(vectors).astype(np.int64)
