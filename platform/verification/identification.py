"""Who is on a picture, out of a gallery: ranks where the person is enrolled (closed set), refusals where it may not be (open set).

>>> gallery, probes = np.eye(3), np.array([[1.0, 0.2, 0.0], [0.0, 0.1, 0.9], [0.9, 0.8, 0.0]])
>>> found = identify(gallery, np.array([0, 1, 2]), probes, np.array([0, 2, 1]))
>>> found.ranks.tolist(), round(found.rate(1), 3), found.rate(5)
([1, 1, 2], 0.667, 1.0)

Distractors are pictures of people nobody asks for, as in TinyFace: they stand in the gallery and can only be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..errors import BadInput
from ..privacy.validate import positive_int
from .roc import LEAST_ACCEPTED, negatives_needed, share
from .scores import BLOCK, check_labels, unit

Entry = Literal["person", "picture"]
TIE = 1e-12  # cosines of equal embeddings differ by rounding, with their place in a matrix product


@dataclass(frozen=True, eq=False)
class Identification:
    """Closed set: the rank (m,) of the right person for each probe, 1 the best, among `entries` of the gallery."""

    ranks: np.ndarray
    entries: int

    def rate(self, rank: int) -> float:
        """Share of probes whose person is among the first `rank` entries."""
        positive_int(rank=rank)
        return float(np.mean(self.ranks <= rank))

    def cmc(self, most: int = 20) -> np.ndarray:
        """The rates at ranks 1 .. most (or the number of entries, if that is less): the cumulative match characteristic."""
        positive_int(most=most)
        counts = np.bincount(self.ranks, minlength=self.entries + 1)
        return np.cumsum(counts)[1 : most + 1] / len(self.ranks)


@dataclass(frozen=True)
class OpenSetPoint:
    """Open set, at one threshold.

    Args:
        far: the share of unknown probes that was allowed to find somebody (false positive identification rate).
        threshold: at or above it a probe's best entry is believed.
        detected: known probes that found the right person, at the rank asked for, at or above the threshold.
        false_alarms: unknown probes whose best entry is at or above it.
    """

    far: float
    threshold: float
    detected: int
    false_alarms: int
    known: int
    unknown: int

    @property
    def dir(self) -> float:
        """Detection and identification rate."""
        return self.detected / self.known


@dataclass(frozen=True, eq=False)
class _Gallery:
    """Unit embeddings, sorted by entry, so that an entry is a run of rows; distractors come last, an entry each."""

    rows: np.ndarray
    starts: np.ndarray
    people: np.ndarray

    @property
    def entries(self) -> int:
        return len(self.starts)


def identify(
    gallery: Any,
    gallery_people: Any,
    probes: Any,
    probe_people: Any,
    *,
    distractors: Any = None,
    entry: Entry = "person",
) -> Identification:
    """Rank the gallery by cosine for every probe.

    Args:
        gallery: embeddings (g, d) of the enrolled, and `gallery_people` (g,), whole numbers.
        probes: embeddings (m, d), and `probe_people` (m,).
        distractors: embeddings (k, d) of other people, or None.
        entry: what a rank counts: "person" (several pictures of one make one entry, at the best of their scores) or "picture"
            (each picture is one, the probe's person is found at the first of its own: how TinyFace counts).

    Equal scores count against the probe: a network that says the same of everybody finds nobody.

    Raises:
        BadInput: other shapes, embeddings without direction, or a probe whose person is not in the gallery.
    """
    enrolled, queries, people = _sides(gallery, gallery_people, probes, probe_people, distractors)
    missing = int(np.count_nonzero(~np.isin(people, enrolled.people)))
    if missing:
        raise BadInput(
            f"the people of {missing} of {len(people)} probes are not in the gallery",
            why="in a closed set everybody is enrolled",
            mend="leave them out, or use the open set",
        )
    ranks, _, _ = _match(enrolled, queries, people, entry)
    return Identification(ranks, enrolled.entries if entry == "person" else len(enrolled.rows))


def open_set(
    gallery: Any,
    gallery_people: Any,
    probes: Any,
    probe_people: Any,
    fars: tuple[float, ...],
    *,
    rank: int = 1,
    distractors: Any = None,
) -> tuple[OpenSetPoint, ...]:
    """Detection and identification rate at each FAR; probes whose person is not in the gallery are the unknown ones.

    The threshold stands just above the score of the unknown probe that may no longer pass.

    Raises:
        BadInput: as `identify`; no known probes; or fewer than 10/far unknown ones.
    """
    positive_int(rank=rank)
    enrolled, queries, people = _sides(gallery, gallery_people, probes, probe_people, distractors)
    known = np.isin(people, enrolled.people)
    unknown = int(np.count_nonzero(~known))
    if not known.any():
        raise BadInput("no probe's person is in the gallery", why="there is nobody to be found")
    for far in fars:
        needed = negatives_needed(far)
        if unknown < needed:
            raise BadInput(
                f"DIR at FAR {far:g} from {unknown:,} unknown probes",
                why=f"fewer than {LEAST_ACCEPTED} of them may find somebody, so the figure would hang on a handful of pictures",
                mend=f"give at least {needed:,} probes of people who are not in the gallery",
            )
    ranks, own, best = _match(enrolled, queries, people, "person")
    strangers = np.sort(best[~known])[::-1]
    right = own[known & (ranks <= rank)]
    points = []
    for far in fars:
        threshold = float(strangers[share(far, unknown)]) + TIE
        points.append(
            OpenSetPoint(
                far,
                threshold,
                int(np.count_nonzero(right >= threshold)),
                int(np.count_nonzero(strangers >= threshold)),
                int(np.count_nonzero(known)),
                unknown,
            )
        )
    return tuple(points)


def _sides(
    gallery: Any, gallery_people: Any, probes: Any, probe_people: Any, distractors: Any
) -> tuple[_Gallery, np.ndarray, np.ndarray]:
    rows, queries = unit(gallery, "embeddings of the gallery"), unit(probes, "embeddings of the probes")
    people = check_labels(gallery_people, len(rows), "people of the gallery")
    asked = check_labels(probe_people, len(queries), "people of the probes")
    others = np.empty((0, rows.shape[1])) if distractors is None else unit(distractors, "embeddings of the distractors")
    if not rows.shape[1] == queries.shape[1] == others.shape[1]:
        raise BadInput(
            f"embeddings of length {rows.shape[1]}, {queries.shape[1]} and {others.shape[1]}",
            mend="embed gallery, probes and distractors by one network",
        )
    order = np.argsort(people, kind="stable")
    enrolled, starts = np.unique(people[order], return_index=True)
    starts = np.concatenate([starts, len(rows) + np.arange(len(others))])
    return _Gallery(np.concatenate([rows[order], others]), starts, enrolled), queries, asked


def _match(gallery: _Gallery, probes: np.ndarray, people: np.ndarray, entry: Entry) -> tuple[np.ndarray, ...]:
    """Each probe's rank of its person, that person's score (meaningless if not enrolled), and the best score of any entry."""
    ranks = np.empty(len(probes), dtype=np.int64)
    own, best = np.empty(len(probes)), np.empty(len(probes))
    places = np.minimum(np.searchsorted(gallery.people, people), len(gallery.people) - 1)
    ends = np.append(gallery.starts[1:], len(gallery.rows))
    rows = np.arange(len(gallery.rows))
    step = max(1, BLOCK // len(gallery.rows))
    for start in range(0, len(probes), step):
        here = slice(start, start + step)
        scores = probes[here] @ gallery.rows.T
        by_entry = np.maximum.reduceat(scores, gallery.starts, axis=1)
        place = places[here]
        own[here] = np.take_along_axis(by_entry, place[:, None], axis=1)[:, 0]
        best[here] = by_entry.max(axis=1)
        level = own[here, None] - TIE
        if entry == "person":
            ranks[here] = np.count_nonzero(by_entry >= level, axis=1)  # itself among them
        else:
            others = (rows < gallery.starts[place][:, None]) | (rows >= ends[place][:, None])
            ranks[here] = 1 + np.count_nonzero((scores >= level) & others, axis=1)
    return ranks, own, best
