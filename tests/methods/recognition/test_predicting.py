"""What is said of pairs and of pictures, against loops; silence where a picture is too poor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.methods.recognition.given_pictures import AS_IS, read_given
from stillhouse.methods.recognition.predicting import (
    ABSTAIN,
    UNDECIDED,
    UNKNOWN,
    Embedded,
    Limits,
    find_pairs,
    identify_pictures,
    verify_pairs,
)
from stillhouse.platform.data.landmarks import NoLandmarks
from stillhouse.platform.errors import BadInput
from support.small_recogniser import write_picture


def embedded(names: list[str], templates: np.ndarray, quality: np.ndarray | None = None) -> Embedded:
    lengths = np.linalg.norm(templates, axis=1) if quality is None else quality
    return Embedded(names, [AS_IS] * len(names), templates, lengths)


def some(seed: int, count: int, names: list[str] | None = None) -> Embedded:
    rng = np.random.default_rng(seed)
    templates = rng.normal(size=(count, 4)) * rng.uniform(0.5, 3, (count, 1))
    return embedded(names or [f"p{number}" for number in range(count)], templates)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


@given(st.integers(0, 1000), st.floats(-0.9, 0.9), st.floats(0, 3))
def test_pairs_equal_loops(seed: int, threshold: float, least: float) -> None:
    pictures = some(seed, 5)
    pairs = [(i, j, None if i else bool(j % 2)) for i in range(5) for j in range(5) if i != j]
    found = verify_pairs(pictures, pairs, Limits(threshold, least))
    assert [one.truth for one in found] == [truth for _, _, truth in pairs]
    for (i, j, _), one in zip(pairs, found, strict=True):
        assert (one.first, one.second) == (f"p{i}", f"p{j}")
        assert one.score == pytest.approx(cosine(pictures.templates[i], pictures.templates[j]))
        assert one.quality == min(pictures.quality[i], pictures.quality[j])
        wanted = ABSTAIN if one.quality < least else "same" if one.score >= threshold else "different"
        assert one.verdict == wanted


@given(st.integers(0, 1000), st.floats(-0.9, 0.9), st.floats(0, 1.5))
def test_identification_equals_loops(seed: int, threshold: float, least: float) -> None:
    pictures, names = some(seed, 4), ["ann/1", "bob/1", "ann/2", "cat/1", "bob/2", "bob/3"]
    gallery = some(seed + 1, 6, names)
    usable = [number for number in range(6) if gallery.quality[number] >= least]
    limits = Limits(threshold, least)
    if not usable:
        with pytest.raises(BadInput, match="good enough"):
            identify_pictures(pictures, gallery, limits)
        return
    for number, one in enumerate(identify_pictures(pictures, gallery, limits)):
        best: dict[str, float] = {}
        for entry in usable:
            who = names[entry].split("/")[0]
            best[who] = max(best.get(who, -2), cosine(pictures.templates[number], gallery.templates[entry]))
        order = sorted(best, key=lambda who: -best[who])
        assert one.best == order[0] and one.score == pytest.approx(best[order[0]])
        assert one.second == (order[1] if len(order) > 1 else None)
        if one.second is not None:
            assert one.second_score == pytest.approx(best[one.second])
        decided = order[0] if one.score >= threshold else UNKNOWN
        assert one.verdict == (ABSTAIN if pictures.quality[number] < least else decided)


def test_without_a_threshold_nothing_is_decided_and_without_a_face_nothing_is_said() -> None:
    pictures = embedded(["a", "b", "c"], np.eye(3), np.array([1.0, 1.0, 0.0]))
    found = verify_pairs(pictures, [(0, 1, None), (0, 2, None)], Limits(None, None))
    assert [one.verdict for one in found] == [UNDECIDED, ABSTAIN]
    found = identify_pictures(pictures, embedded(["x/1"], np.eye(3)[:1]), Limits(None, None))
    assert [one.verdict for one in found] == [UNDECIDED, UNDECIDED, ABSTAIN] and found[0].second is None


def test_a_gallery_needs_a_folder_for_each_person() -> None:
    with pytest.raises(BadInput, match="no person's folder"):
        identify_pictures(some(0, 1), some(1, 2, ["ann/1.png", "loose.png"]), Limits(0.1, None))


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    for number, name in enumerate(("ann/ann_0001", "ann/ann_0002", "bob/bob_0001", "bob b/1")):
        write_picture(folder / f"{name}.png", number)
    return folder


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("ann/ann_0001.png ann/ann_0002.png\n\nbob/bob_0001.png ann/ann_0001.png\n", [(0, 1, None), (3, 0, None)]),
        ("bob b/1.png\tann/ann_0001.png\n", [(2, 0, None)]),
        ("1 1\nann 1 2\nann 1 bob 1\n", [(0, 1, True), (0, 3, False)]),
        ("ann 1 bob 1\nann 2 1\n", [(0, 3, False), (1, 0, True)]),
        ("#first\tsecond\tsame\tfold\nbob b/1.png\tann/ann_0001.png\t0\t0\n", [(2, 0, False)]),
    ],
)
def test_pairs_of_every_form(people: Path, tmp_path: Path, text: str, wanted: list) -> None:
    given = read_given([people], side=112, finder=NoLandmarks())
    assert list(given.names) == ["ann/ann_0001.png", "ann/ann_0002.png", "bob b/1.png", "bob/bob_0001.png"]
    (tmp_path / "pairs.txt").write_text(text)
    assert find_pairs(tmp_path / "pairs.txt", given) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ann/ann_0001.png nobody.png\n", r"1 pictures that were not given.*nobody\.png"),
        ("ann 1 carl 1\nann 1 2\n", "carl"),
        ("", "names no pairs"),
        ("ann\n", "field"),
    ],
)
def test_pairs_that_cannot_be_had(people: Path, tmp_path: Path, text: str, message: str) -> None:
    given = read_given([people], side=112, finder=NoLandmarks())
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(BadInput, match=message):
        find_pairs(tmp_path / "pairs.txt", given)
    with pytest.raises(BadInput, match="cannot read"):
        find_pairs(tmp_path / "none.txt", given)
