"""Scores of pairs: cosines of embeddings, and what every figure here asks of scores before it is computed.

>>> embeddings = np.array([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
>>> pair_scores(embeddings, np.array([0, 0]), np.array([1, 2])).round(4).tolist()
[0.0, 0.7071]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import BadInput

BLOCK = 2**22  # numbers held at a time: 32 MiB


def check_scores(scores: Any, positive: Any, *, what: str = "positive") -> tuple[np.ndarray, np.ndarray]:
    """Scores (n,) as float64 and the truth (n,) as booleans; there is at least one positive and one negative.

    Raises:
        BadInput: other shapes, scores that are not finite numbers, truths other than true and false, or of one kind only.
    """
    values = check_numbers(scores, "scores")
    truth = check_truths(positive, len(values), what)
    positives = int(np.count_nonzero(truth))
    if not 0 < positives < len(values):
        raise BadInput(
            f"{positives} positives and {len(values) - positives} negatives",
            why="what separates the two cannot be told without both",
        )
    return values, truth


def check_numbers(values: Any, what: str) -> np.ndarray:
    """A list of finite numbers, as float64 (n,), not empty."""
    given = np.asarray(values)
    if given.ndim != 1 or not given.size or given.dtype.kind not in "fiu":
        raise BadInput(
            f"{what} are {given.dtype} of shape {given.shape}", mend="give a list of numbers that is not empty"
        )
    numbers = given.astype(np.float64)
    strange = int(np.count_nonzero(~np.isfinite(numbers)))
    if strange:
        raise BadInput(
            f"{strange} of {len(numbers)} {what} are not finite",
            mend="find out which pictures they come from; a network that overflows gives NaN",
        )
    return numbers


def check_truths(truths: Any, length: int, what: str) -> np.ndarray:
    """A list of `length` booleans (zeros and ones pass for them)."""
    given = np.asarray(truths)
    if given.shape != (length,):
        raise BadInput(f"{what} of shape {given.shape} for {length} entries", mend="give one truth an entry")
    if given.dtype.kind != "b" and (given.dtype.kind not in "iu" or ((given != 0) & (given != 1)).any()):
        raise BadInput(f"{what} are {given.dtype} other than 0 and 1", mend="give booleans")
    return given.astype(bool)


def check_labels(labels: Any, length: int, what: str) -> np.ndarray:
    """A list of `length` whole numbers, as int64."""
    given = np.asarray(labels)
    if given.shape != (length,) or given.dtype.kind not in "iu":
        raise BadInput(
            f"{what} are {given.dtype} of shape {given.shape} for {length} entries",
            mend="give one whole number an entry",
        )
    return given.astype(np.int64)


def check_embeddings(embeddings: Any, what: str = "embeddings") -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (n, d) as float64 and their lengths (n,), all finite."""
    rows = np.asarray(embeddings)
    if rows.ndim != 2 or not rows.size or rows.dtype.kind not in "fiu":
        raise BadInput(
            f"{what} are {rows.dtype} of shape {rows.shape}", mend="give numbers of shape (pictures, length)"
        )
    rows = rows.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1)
    strange = int(np.count_nonzero(~np.isfinite(lengths)))
    if strange:
        raise BadInput(f"{strange} of {len(rows)} {what} are not finite")
    return rows, lengths


def unit(embeddings: Any, what: str = "embeddings") -> np.ndarray:
    """Embeddings (n, d) scaled to length 1, as float64.

    Raises:
        BadInput: one is not finite, or has no direction because it is nil.
    """
    rows, lengths = check_embeddings(embeddings, what)
    nil = int(np.count_nonzero(lengths == 0))
    if nil:
        raise BadInput(f"{nil} of {len(rows)} {what} are nil", why="they point nowhere, so no cosine is defined")
    return rows / lengths[:, None]


def pair_scores(embeddings: Any, first: Any, second: Any) -> np.ndarray:
    """Cosine (m,) of embeddings `first[k]` and `second[k]`, which are rows of `embeddings` (n, d).

    Raises:
        BadInput: embeddings without direction, or a number that is no row.
    """
    rows = unit(embeddings)
    pairs = np.asarray(first).shape
    numbers = [check_labels(given, pairs[0] if pairs else 0, "the pairs' numbers") for given in (first, second)]
    if any(given.size and not (given.min() >= 0 and given.max() < len(rows)) for given in numbers):
        raise BadInput(f"a pair names a picture beyond the {len(rows)} that there are")
    step = max(1, BLOCK // rows.shape[1])
    scores = np.empty(pairs)
    for start in range(0, len(scores), step):
        here = slice(start, start + step)
        scores[here] = np.einsum("md,md->m", rows[numbers[0][here]], rows[numbers[1][here]])
    return scores
