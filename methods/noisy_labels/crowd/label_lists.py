"""Lists of labels for people to act on: answers that are probably wrong, and one corrected label an item, as CSV.

The chance that an answer is wrong is 1 minus the posterior probability of its class. The posterior may have seen that answer; a
classifier's, which saw the item and not the answer, judges more sharply.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....platform.data.crowd import CrowdAnswers, CrowdData
from ....platform.errors import BadInput
from ....platform.training.files import write_text


@dataclass(frozen=True, eq=False)
class SuspiciousLabels:
    """Answers by falling probability of being wrong.

    Args:
        rows: int64 (n,), the answers' numbers in the crowd.
        wrong: float64 (n,), probability that the label is not the item's class.
        suggested: int64 (n,), the most probable class of the item.
    """

    rows: np.ndarray
    wrong: np.ndarray
    suggested: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


def suspicious_labels(
    answers: CrowdAnswers, posteriors: np.ndarray, *, above: float = 0.5, most: int | None = None
) -> SuspiciousLabels:
    """Rank the answers that are wrong with a probability above `above`; equals in the answers' order.

    Args:
        answers: of the crowd.
        posteriors: probability of each class for each item, (n_items, classes).
        above: from 0 to 1; 0 lists every answer that is not certainly right.
        most: how many at most; None: all.
    """
    if posteriors.shape != (answers.n_items, answers.classes):
        raise BadInput(
            f"posteriors of shape {posteriors.shape} for {answers.n_items} items and {answers.classes} classes"
        )
    if not 0 <= above <= 1:
        raise BadInput(f"above is {above}", why="it is a probability", mend="give 0 to 1")
    wrong = np.clip(1.0 - posteriors[answers.items, answers.labels], 0.0, 1.0)
    rows = np.flatnonzero(wrong > above)
    rows = rows[np.argsort(-wrong[rows], kind="stable")][:most]
    return SuspiciousLabels(rows, wrong[rows], posteriors[answers.items[rows]].argmax(axis=1))


def write_suspicious(
    path: Path, data: CrowdData, found: SuspiciousLabels, *, annotators: Sequence[str] | None = None
) -> None:
    """Write item, label, suggested, wrong (probability), and annotator if `annotators` names them (pseudonyms, or their groups)."""
    header = ["item", "label", "suggested", "wrong", *(["annotator"] if annotators is not None else [])]
    lines = []
    for row, wrong, suggested in zip(found.rows.tolist(), found.wrong, found.suggested, strict=True):
        line = [
            data.item_names[data.answers.items[row]],
            data.class_names[data.answers.labels[row]],
            data.class_names[suggested],
            f"{wrong:.4f}",
        ]
        if annotators is not None:
            line.append(annotators[data.answers.annotators[row]])
        lines.append(line)
    _write(path, header, lines)


def write_corrected(path: Path, data: CrowdData, posteriors: np.ndarray, *, counts: bool = True) -> None:
    """Write item, label (the most probable class), probability; if `counts`, also answers and agreeing (how many gave that label)."""
    if posteriors.shape != (data.answers.n_items, data.answers.classes):
        raise BadInput(f"posteriors of shape {posteriors.shape} for {data.answers.n_items} items")
    labels, votes = posteriors.argmax(axis=1), data.answers.vote_counts()
    lines = []
    for n, (name, label) in enumerate(zip(data.item_names, labels.tolist(), strict=True)):
        given = [str(votes[n].sum()), str(votes[n, label])] if counts else []
        lines.append([name, data.class_names[label], f"{posteriors[n, label]:.4f}", *given])
    _write(path, ["item", "label", "probability", *(["answers", "agreeing"] if counts else [])], lines)


def _write(path: Path, header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    write_text(path, out.getvalue())
