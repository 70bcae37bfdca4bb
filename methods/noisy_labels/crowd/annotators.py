"""What a crowd's answers tell of each annotator, and of groups large enough to hide one.

The class of an item is not known but estimated (`posteriors`), so that accuracies are expected ones: the chance that the annotator's
label is the item's class, averaged over the annotator's answers. The intervals reckon with few answers, not with wrong posteriors.

Annotators are people. A report of single ones is for those who may see it; `grouped` makes one that may go further. It merges what
is too small, and leaves nobody out beside a group. It does not hide a member who gave most of a group's answers.

>>> [round(end, 3) for end in wilson_interval(8.0, 10.0)]
[0.49, 0.943]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....platform.data.crowd import CrowdAnswers
from ....platform.errors import BadInput
from ....platform.privacy.validate import positive, positive_int

CONFIDENCE_95 = 1.959963984540054  # of the standard normal distribution, its 97.5 % point
UNSEEN = -1  # the group of annotators without answers
OTHER = "other"


@dataclass(frozen=True, eq=False)
class AnnotatorReport:
    """One entry an annotator, in the crowd's order.

    Args:
        names: pseudonyms.
        answers: how many each gave, int64 (R,).
        accuracy: expected share of right answers, float64 (R,); NaN without answers.
        interval: Wilson's 95 % interval of it, float64 (R, 2); NaN without answers.
        expected_counts: how often each gave each label to items of each class, expected, (R, C, C), rows the class.
        confusion: posterior mean of the confusion matrix, (R, C, C), rows sum to 1.
        confusion_sd: posterior standard deviation of each cell, (R, C, C).
        groups: int64 (R,), 0 the group with the highest accuracy; -1 without answers.
        strength: of the Dirichlet prior in each cell.
    """

    names: tuple[str, ...]
    answers: np.ndarray
    accuracy: np.ndarray
    interval: np.ndarray
    expected_counts: np.ndarray
    confusion: np.ndarray
    confusion_sd: np.ndarray
    groups: np.ndarray
    strength: float

    def rows(self) -> list[dict[str, Any]]:
        """A table for people: annotator, answers, accuracy, low, high, group; None where there is nothing to say."""
        return [
            {
                "annotator": name,
                "answers": int(given),
                "accuracy": float(accuracy) if given else None,
                "low": float(low) if given else None,
                "high": float(high) if given else None,
                "group": int(group) if given else None,
            }
            for name, given, accuracy, (low, high), group in zip(
                self.names, self.answers, self.accuracy, self.interval, self.groups, strict=True
            )
        ]


@dataclass(frozen=True, eq=False)
class GroupEntry:
    """A group of annotators, its answers taken together.

    Args:
        name: "group 1" and on, by accuracy, or "other".
        annotators: how many.
        answers: of all of them.
        accuracy: expected share of right ones.
        interval: Wilson's 95 % interval, as if the answers were one person's.
        confusion: posterior mean, (C, C).
        confusion_sd: posterior standard deviation, (C, C).
    """

    name: str
    annotators: int
    answers: int
    accuracy: float
    interval: tuple[float, float]
    confusion: np.ndarray
    confusion_sd: np.ndarray


@dataclass(frozen=True)
class GroupReport:
    """Groups of at least `smallest` annotators each.

    Args:
        groups: by falling accuracy, "other" last.
        smallest: the least size.
        left_out: annotators who gave answers, where all of them together are too few to make a group.
        without_answers: annotators who gave none.
    """

    groups: tuple[GroupEntry, ...]
    smallest: int
    left_out: int
    without_answers: int


def annotator_report(
    answers: CrowdAnswers,
    posteriors: np.ndarray,
    *,
    names: Sequence[str],
    groups: int,
    seed: int,
    strength: float = 1.0,
) -> AnnotatorReport:
    """Describe every annotator.

    Args:
        answers: of the crowd.
        posteriors: probability of each class for each item, (n_items, classes); from aggregation or from a classifier.
        names: pseudonyms of the annotators.
        groups: most groups, by K-means on the posterior mean confusions, weighted by the number of answers.
        seed: of K-means.
        strength: Dirichlet parameter in each cell of each row before the answers are seen; 1: uniform.
    """
    positive_int(groups=groups)
    positive(strength=strength)
    posteriors = _checked(posteriors, answers)
    if len(names) != answers.n_annotators:
        raise BadInput(f"{len(names)} names for {answers.n_annotators} annotators", mend="give one for each")
    given = answers.answers_per_annotator()
    right = np.bincount(
        answers.annotators, weights=posteriors[answers.items, answers.labels], minlength=answers.n_annotators
    )
    with np.errstate(invalid="ignore"):
        accuracy = right / given
    interval = np.array(
        [wilson_interval(r, n) if n else (np.nan, np.nan) for r, n in zip(right.tolist(), given.tolist(), strict=True)]
    )
    counts = answers.confusion_counts(posteriors)
    mean, deviation = dirichlet_moments(counts, strength)
    return AnnotatorReport(
        names=tuple(names),
        answers=given,
        accuracy=accuracy,
        interval=interval,
        expected_counts=counts,
        confusion=mean,
        confusion_sd=deviation,
        groups=_groups(mean, given, accuracy, groups, seed),
        strength=strength,
    )


def wilson_interval(right: float, given: float) -> tuple[float, float]:
    """Wilson's (1927) 95 % interval of a probability from `right` of `given` trials; `right` may be a fraction (expected counts)."""
    share, squared = right / given, CONFIDENCE_95**2 / given
    centre = (share + squared / 2) / (1 + squared)
    half = CONFIDENCE_95 / (1 + squared) * np.sqrt(share * (1 - share) / given + squared / given / 4)
    return float(max(centre - half, 0.0)), float(min(centre + half, 1.0))


def dirichlet_moments(counts: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each cell of rows (..., C) with these counts under a Dirichlet prior, `strength` in each cell."""
    parameters = counts + strength
    total = parameters.sum(axis=-1, keepdims=True)
    mean = parameters / total
    return mean, np.sqrt(mean * (1 - mean) / (total + 1))


def grouped(report: AnnotatorReport, *, smallest: int = 5) -> GroupReport:
    """Aggregate a report to groups of at least `smallest` annotators.

    Smaller groups become "other". If that is too small as well, the smallest of the groups (the last of equals) goes there too: whoever
    knows a total over all annotators could subtract the groups from it and find those left out. Where there is no group at all,
    everybody is left out and counted: publish no total over the annotators then.
    """
    positive_int(smallest=smallest)
    sizes = np.bincount(report.groups[report.groups != UNSEEN])
    kept = [group for group, size in enumerate(sizes) if size >= smallest]
    rest = int(sizes.sum() - sizes[kept].sum())
    if kept and 0 < rest < smallest:
        kept.remove(min(reversed(kept), key=lambda group: sizes[group]))
    entries = [_entry(f"group {n}", report, report.groups == group) for n, group in enumerate(kept, 1)]
    others = (report.groups != UNSEEN) & ~np.isin(report.groups, kept)
    left_out = int(others.sum())
    if left_out >= smallest:
        entries.append(_entry(OTHER, report, others))
        left_out = 0
    return GroupReport(tuple(entries), smallest, left_out, int((report.groups == UNSEEN).sum()))


def _entry(name: str, report: AnnotatorReport, members: np.ndarray) -> GroupEntry:
    counts = report.expected_counts[members].sum(axis=0)
    given, right = int(report.answers[members].sum()), float(np.trace(counts))
    mean, deviation = dirichlet_moments(counts, report.strength)
    return GroupEntry(name, int(members.sum()), given, right / given, wilson_interval(right, given), mean, deviation)


def _groups(confusion: np.ndarray, given: np.ndarray, accuracy: np.ndarray, groups: int, seed: int) -> np.ndarray:
    """K-means on those with answers, numbered by falling accuracy of all their answers together."""
    from sklearn.cluster import KMeans

    seen = np.flatnonzero(given)
    points = confusion[seen].reshape(len(seen), -1)
    # More clusters than different points would stay empty.
    count = min(groups, len(np.unique(points.round(12), axis=0)))
    means = KMeans(count, n_init=10, random_state=seed % 2**32)
    found = means.fit(points, sample_weight=given[seen].astype(np.float64)).labels_
    weights = np.bincount(found, weights=given[seen], minlength=count)
    rates = np.bincount(found, weights=given[seen] * accuracy[seen], minlength=count) / np.maximum(weights, 1)
    rank = np.empty(count, dtype=np.int64)
    rank[np.argsort(-rates, kind="stable")] = np.arange(count)
    result = np.full(len(given), UNSEEN, dtype=np.int64)
    result[seen] = rank[found]
    return result


def _checked(posteriors: np.ndarray, answers: CrowdAnswers) -> np.ndarray:
    array = np.asarray(posteriors, dtype=np.float64)
    if array.shape != (answers.n_items, answers.classes):
        raise BadInput(
            f"posteriors of shape {array.shape} for {answers.n_items} items and {answers.classes} classes",
            mend="give one row for each item",
        )
    if not (np.isfinite(array).all() and (array >= 0).all() and np.allclose(array.sum(axis=1), 1.0, atol=1e-5)):
        raise BadInput("posteriors are no probabilities", why="rows are not negative and sum to 1")
    return array
