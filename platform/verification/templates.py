"""Verification of templates: a person's several pictures and video frames as one embedding (the protocol of IJB-B and IJB-C).

Frames of one medium (a video) are averaged first, then the media, so that a long video does not outvote the stills.

>>> embeddings = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
>>> made = templates(embeddings, template=np.array([7, 7, 7, 9]), media=np.array([0, 0, 1, 2]))
>>> made.numbers.tolist(), made.embeddings.round(4).tolist()
([7, 9], [[0.7071, 0.7071], [0.0, 1.0]])
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..errors import BadInput
from .roc import Roc, roc
from .scores import check_embeddings, check_labels, pair_scores, unit

TEMPLATE_FARS = (
    1e-6,
    1e-5,
    1e-4,
    1e-3,
    1e-2,
    1e-1,
)  # what tables of IJB print; ask `measurable` which ones a set allows


@dataclass(frozen=True, eq=False)
class Templates:
    """Numbers of the templates (t,), rising, and their embeddings (t, d), of length 1."""

    numbers: np.ndarray
    embeddings: np.ndarray

    def rows(self, numbers: Any) -> np.ndarray:
        """Where templates with these numbers stand.

        Raises:
            BadInput: one is unknown.
        """
        asked = check_labels(numbers, len(np.asarray(numbers)), "numbers of templates")
        rows = np.minimum(np.searchsorted(self.numbers, asked), len(self.numbers) - 1)
        unknown = int(np.count_nonzero(self.numbers[rows] != asked))
        if unknown:
            raise BadInput(f"{unknown} of {len(asked)} pairs name a template that has no picture")
        return rows


def templates(
    embeddings: Any, template: Any, media: Any, *, weighting: Literal["equal", "norm"] = "equal"
) -> Templates:
    """Average embeddings (n, d) within each medium of a template, then over its media; scale to length 1.

    Args:
        embeddings: as the network gives them, not normalised.
        template: whole numbers (n,), which template a picture belongs to.
        media: whole numbers (n,); a number may occur in several templates.
        weighting: "equal" (all pictures are scaled to length 1 first) or "norm" (a picture counts by the length of its embedding,
            which tells its quality for networks trained with a softmax).

    Raises:
        BadInput: other shapes, embeddings without direction, or a template whose pictures cancel out.
    """
    rows = unit(embeddings) if weighting == "equal" else check_embeddings(embeddings)[0]
    groups = np.stack(
        [check_labels(template, len(rows), "numbers of templates"), check_labels(media, len(rows), "media")], axis=1
    )
    pairs, medium, sizes = np.unique(groups, axis=0, return_inverse=True, return_counts=True)
    by_medium = _sums(rows, medium.reshape(-1), len(pairs)) / sizes[:, None]
    numbers, which, media_each = np.unique(pairs[:, 0], return_inverse=True, return_counts=True)
    averages = _sums(by_medium, which, len(numbers)) / media_each[:, None]
    return Templates(numbers, unit(averages, "averages of templates"))


def verify_templates(made: Templates, first: Any, second: Any, same: Any) -> Roc:
    """The curve of pairs of templates, given by their numbers (m,) and the truth (m,); ask it for `at_far`.

    Raises:
        BadInput: a number is unknown, or positives or negatives are missing.
    """
    return roc(pair_scores(made.embeddings, made.rows(first), made.rows(second)), same)


def _sums(rows: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """Sums of rows (n, d) by group (n,), every group occurring."""
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(groups))
    return np.asarray(np.add.reduceat(rows[order], starts, axis=0))
