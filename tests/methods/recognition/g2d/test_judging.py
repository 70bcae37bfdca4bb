"""Judging: scores and ranks of embeddings that are made up, so that the answers are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from stillhouse.methods.recognition.g2d.judging import COLUMNS, judge_real, judge_synthetic, ranks
from stillhouse.platform.data.faces import FaceData, FaceImages, FacePairs, InMemory
from stillhouse.platform.errors import BadInput

PEOPLE, EACH = 6, 4


@pytest.fixture
def data() -> FaceData:
    count = PEOPLE * EACH
    identities = np.repeat(np.arange(PEOPLE), EACH)
    images = FaceImages(
        InMemory(np.zeros((count, 3, 16, 16), np.uint8)), identities, tuple(map(str, range(count))),
        media=np.arange(count) // 2,
    )  # fmt: skip
    first, second = np.triu_indices(count, 1)
    same = identities[first] == identities[second]
    fold = np.random.default_rng(0).integers(0, 2, len(first))
    return FaceData(images, images, FacePairs(first, second, same, fold), "made up", "made up")


def embedded(data: FaceData, noise: float, seed: int = 0) -> np.ndarray:
    vectors = np.eye(PEOPLE)[data.test.identities] + noise * np.random.default_rng(seed).normal(
        size=(PEOPLE * EACH, PEOPLE)
    )
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_perfect_embeddings_are_perfect_and_masks_that_hide_all_are_chance(data: FaceData) -> None:
    bare = embedded(data, 0.01)
    judged = judge_synthetic(data, bare, bare)
    assert [row.kind for row in judged.rows] == ["U-U", "U-M", "M-M"]
    assert all(row.own.mean == 1.0 and row.fnmr == row.fmr == 0.0 for row in judged.rows)
    assert judged.ranks == {1: 1.0, 5: 1.0}
    hidden = embedded(data, 50.0, seed=1)
    judged = judge_synthetic(data, bare, hidden)
    bare_row, mixed, both = judged.rows
    assert bare_row.own.mean == 1.0
    # At the threshold of bare pairs nearly everybody behind a mask is refused.
    assert mixed.fnmr > 0.5
    assert both.fnmr > 0.5
    assert judged.ranks[1] < 0.6
    assert judged.metrics()["bare_masked_fnmr"].value == mixed.fnmr


def test_the_enrolled_side_is_bare_and_the_other_wears_the_mask(data: FaceData) -> None:
    """Two embeddings that agree between bare and masked only when they are taken in this order."""
    bare, masked = embedded(data, 0.0), embedded(data, 0.0)
    pairs = data.pairs
    judged = judge_synthetic(replace(data, pairs=pairs), bare, masked)
    scores = (bare[pairs.first] * masked[pairs.second]).sum(1)
    assert set(np.round(scores, 6)) == {0.0, 1.0}
    assert judged.rows[1].pairs == len(pairs)


def test_ranks_leave_out_the_enrolled_picture_and_its_medium(data: FaceData) -> None:
    everything = np.ones(PEOPLE * EACH, bool)
    vectors = embedded(data, 0.0)
    found = ranks(data.test, vectors, vectors, gallery=everything, probes=everything)
    assert found == {1: 1.0, 5: 1.0}
    # The second picture of each person shares the medium of the enrolled first: spoilt, it must not matter.
    spoilt = vectors.copy()
    spoilt[1::EACH] = np.roll(spoilt[1::EACH], 1, axis=0)
    assert ranks(data.test, vectors, spoilt, gallery=everything, probes=everything) == {1: 1.0, 5: 1.0}
    spoilt[2::EACH] = np.roll(spoilt[2::EACH], 1, axis=0)
    assert ranks(data.test, vectors, spoilt, gallery=everything, probes=everything)[1] == 0.5
    nobody = np.zeros(PEOPLE * EACH, bool)
    assert ranks(data.test, vectors, vectors, gallery=nobody, probes=everything) == {}
    assert ranks(data.test, vectors, vectors, gallery=everything, probes=nobody) == {}


def test_real_masks_make_kinds_of_pairs(data: FaceData) -> None:
    masked = np.arange(PEOPLE * EACH) % 2 == 1
    real = replace(data, test=replace(data.test, masked=masked))
    vectors = embedded(data, 0.05)
    judged = judge_real(real, vectors)
    assert judged.whole is not None
    assert judged.whole.mean == 1.0
    counts = {row.kind: row.pairs for row in judged.rows}
    side = masked[data.pairs.first].astype(int) + masked[data.pairs.second]
    assert counts == {kind: int((side == number).sum()) for number, kind in enumerate(("U-U", "U-M", "M-M"))}
    assert judged.metrics()["accuracy"].value == 1.0
    assert all(len(line) == len(COLUMNS) for line in judged.table("ours"))
    # Synthetic masks are put on the bare faces only.
    assert judge_synthetic(real, vectors, vectors).rows[0].pairs == counts["U-U"]


def test_what_cannot_be_told_apart_by_kind_is_said(data: FaceData) -> None:
    masked = np.ones(PEOPLE * EACH, bool)
    real = replace(data, test=replace(data.test, masked=masked))
    vectors = embedded(data, 0.05)
    judged = judge_real(real, vectors)
    assert judged.rows == ()
    assert "no U-U pairs" in judged.without_rows
    assert set(judged.metrics()) == {"accuracy"}
    with pytest.raises(BadInput, match="no pair of bare faces"):
        judge_synthetic(real, vectors, vectors)


def test_where_nobody_knows_who_wears_a_mask_there_are_no_kinds_and_no_ranks(data: FaceData) -> None:
    vectors = embedded(data, 0.05)
    judged = judge_real(replace(data, test=replace(data.test, wearers_known=False)), vectors)
    assert judged.rows == () and judged.ranks == {} and judged.without_rows == ""
    assert set(judged.metrics()) == {"accuracy"}
    (line,) = judged.table("ours")
    assert line[:4] == ["ours", "all", str(len(data.pairs)), "100.00"] and len(line) == len(COLUMNS)


def test_every_pair_is_kept_with_its_score_by_kind(data: FaceData) -> None:
    masked = np.arange(PEOPLE * EACH) % 4 == 3
    real, pairs = replace(data, test=replace(data.test, masked=masked)), data.pairs
    bare, behind = embedded(data, 0.3), embedded(data, 0.5, seed=1)
    judged = judge_synthetic(real, bare, behind)
    assert set(judged.scored) == {"bare", "bare_masked", "masked"}
    numbers = np.flatnonzero(~masked[pairs.first] & ~masked[pairs.second])
    found = judged.scored["bare_masked"]
    assert found.numbers.tolist() == numbers.tolist()
    assert np.allclose(found.scores, (bare[pairs.first] * behind[pairs.second]).sum(1)[numbers])
    assert found.verification is judged.rows[1].own
    assert judge_real(real, bare).scored["all"].numbers.tolist() == list(range(len(pairs)))


def test_a_rank_is_told_where_more_people_are_enrolled() -> None:
    people = 21
    identities = np.repeat(np.arange(people), 2)
    pictures = InMemory(np.zeros((2 * people, 3, 4, 4), np.uint8))
    faces = FaceImages(pictures, identities, tuple(map(str, range(2 * people))))
    everything = np.ones(2 * people, bool)
    rows = np.eye(people)[identities]
    assert set(ranks(faces, rows, rows, gallery=everything, probes=everything)) == {1, 5, 20}
    fewer = faces.take(np.arange(40))
    assert set(ranks(fewer, rows[:40], rows[:40], gallery=everything[:40], probes=everything[:40])) == {1, 5}
