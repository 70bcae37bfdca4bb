"""Ranks and open sets against plain loops; ties, distractors, blocks, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.errors import BadInput
from stillhouse.platform.verification import identification
from stillhouse.platform.verification.identification import Entry, identify, open_set


def drawn(seed: int, *, strangers: int = 0) -> dict[str, Any]:
    """Twelve pictures of five people, nine probes of them, others beside; coordinates so coarse that cosines tie."""
    random = np.random.default_rng(seed)
    people = np.concatenate([np.arange(5), random.integers(0, 5, size=7)]) * 3 - 2  # numbers with gaps, one below zero

    def embed(count: int) -> np.ndarray:
        rows = random.integers(-1, 2, size=(count, 4)).astype(float)
        rows[~rows.any(axis=1)] = 1
        return rows

    probe_people = np.concatenate([random.integers(0, 5, size=9) * 3 - 2, np.full(strangers, 99)])
    return {
        "gallery": embed(12),
        "gallery_people": people,
        "probes": embed(9 + strangers),
        "probe_people": probe_people,
        "distractors": embed(6),
    }


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return round(float(one @ other / np.sqrt(one @ one) / np.sqrt(other @ other)), 9)


def scores_by_entry(sides: dict[str, Any], probe: np.ndarray, entry: Entry) -> list[tuple[float, int | None]]:
    """Score and person (None for a distractor) of each entry."""
    single = [(cosine(probe, row), int(p)) for row, p in zip(sides["gallery"], sides["gallery_people"], strict=True)]
    others: list[tuple[float, int | None]] = [(cosine(probe, row), None) for row in sides["distractors"]]
    if entry == "picture":
        return [*single, *others]
    return [*((max(s for s, q in single if q == p), p) for p in {q for _, q in single}), *others]


@given(st.integers(0, 10_000), st.sampled_from(["person", "picture"]))
@settings(max_examples=40)
def test_ranks_are_counted(seed: int, entry: Entry) -> None:
    sides = drawn(seed)
    found = identify(**sides, entry=entry)
    expected = []
    for probe, person in zip(sides["probes"], sides["probe_people"], strict=True):
        entries = scores_by_entry(sides, probe, entry)
        own = max(score for score, whose in entries if whose == person)
        expected.append(1 + sum(score >= own for score, whose in entries if whose != person))
    assert found.ranks.tolist() == expected
    assert found.entries == (5 + 6 if entry == "person" else 12 + 6)
    for rank in (1, 5, 20):
        assert found.rate(rank) == np.mean(np.array(expected) <= rank)
    assert found.cmc(20).tolist() == [found.rate(rank) for rank in range(1, found.entries + 1)][:20]
    assert (np.diff(found.cmc(4)) >= 0).all() and found.rate(found.entries) == 1


@given(st.integers(0, 10_000))
@settings(max_examples=40)
def test_open_sets_are_counted(seed: int) -> None:
    sides = drawn(seed, strangers=101)
    points = open_set(**sides, fars=(0.1, 0.5), rank=1 + seed % 2)
    best, right = [], []
    for probe, person in zip(sides["probes"], sides["probe_people"], strict=True):
        entries = scores_by_entry(sides, probe, "person")
        own = [score for score, whose in entries if whose == person]
        if not own:
            best.append(max(score for score, _ in entries))
        elif sum(score >= own[0] for score, _ in entries) <= 1 + seed % 2:
            right.append(own[0])
    for point, far in zip(points, (0.1, 0.5), strict=True):
        assert (point.known, point.unknown, point.far) == (9, 101, far)
        # The best rate over all thresholds that keep the FAR; a threshold between scores serves as well as one at a score.
        kept = [t for t in sorted({*best, *right}) if sum(score >= t for score in best) <= far * 101]
        expected = max((sum(score >= t for score in right) for t in kept), default=0)
        assert point.detected == expected and point.dir == expected / 9
        assert point.false_alarms <= far * 101


def test_everybody_alike_is_nobody_found() -> None:
    found = identify(np.ones((50, 37)) / 3, np.arange(50), np.full((20, 37), 0.7), np.arange(20))
    assert (found.ranks == 50).all() and found.rate(1) == 0


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    sides = {
        "gallery": random.normal(size=(40, 8)), "gallery_people": random.integers(0, 9, size=40),
        "probes": random.normal(size=(33, 8)),
    }  # fmt: skip
    people = random.choice(sides["gallery_people"], size=33)
    whole = identify(**sides, probe_people=people).ranks
    monkeypatch.setattr(identification, "BLOCK", 100)  # two probes at a time
    assert np.array_equal(identify(**sides, probe_people=people).ranks, whole)


def test_a_distractor_can_only_be_wrong() -> None:
    gallery, probes = np.eye(3), np.array([[1.0, 0.1, 0.0]])
    assert identify(gallery, np.arange(3), probes, np.array([0])).ranks.tolist() == [1]
    assert identify(gallery, np.arange(3), probes, np.array([0]), distractors=probes).ranks.tolist() == [2]


def test_a_picture_behind_another_of_the_same_person_is_first_of_the_others() -> None:
    gallery = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    for entry in ("person", "picture"):
        found = identify(gallery, np.array([4, 4, 5]), np.array([[0.2, 1.0]]), np.array([4]), entry=entry)  # type: ignore[arg-type]
        assert found.ranks.tolist() == [2]


def test_what_cannot_be_identified_is_refused() -> None:
    faces = np.eye(3)
    with pytest.raises(BadInput, match="2 of 3 probes are not in the gallery"):
        identify(faces, np.arange(3), faces, np.array([2, 7, 9]))
    with pytest.raises(BadInput, match="length 3, 2 and 3"):
        identify(faces, np.arange(3), np.eye(2), np.arange(2))
    with pytest.raises(BadInput, match="people of the gallery"):
        identify(faces, np.arange(2), faces, np.arange(3))
    with pytest.raises(BadInput, match="distractors are nil"):
        identify(faces, np.arange(3), faces, np.arange(3), distractors=np.zeros((1, 3)))
    with pytest.raises(BadInput, match="no probe's person"):
        open_set(faces, np.arange(3), faces, np.array([7, 8, 9]), (0.1,))
    with pytest.raises(BadInput, match=r"from 2 unknown probes.*at least 100 probes"):
        open_set(faces, np.arange(3), faces, np.array([0, 8, 9]), (0.1,))
    with pytest.raises(BadInput, match="rank must"):
        identify(faces, np.arange(3), faces, np.arange(3)).rate(0)
