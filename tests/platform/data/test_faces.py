"""Faces, parts of them and pairs: what belongs together stays together, and what does not is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.platform.data.faces import Chosen, FaceData, FaceImages, FacePairs, InMemory
from stillhouse.platform.errors import BadInput


def some(identities: list[int], **more: object) -> FaceImages:
    """Picture i is all of value i."""
    n = len(identities)
    images = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, 3, 2, 2)).copy()
    return FaceImages(InMemory(images), np.array(identities), tuple(f"p{i}" for i in range(n)), **more)  # type: ignore[arg-type]


def pairs(first: list[int], second: list[int]) -> FacePairs:
    n = len(first)
    return FacePairs(np.array(first), np.array(second), np.arange(n) % 2 == 0, np.zeros(n, int))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_a_part_keeps_what_belongs_to_each_picture(raw: list[int], random) -> None:
    identities = np.unique(raw, return_inverse=True)[1].tolist()
    called = tuple(f"name{one}" for one in range(max(identities) + 1))
    masked = np.arange(len(raw)) % 2 == 1
    faces = some(identities, media=np.arange(len(raw)) + 100, masked=masked, people_names=called)
    numbers = random.sample(range(len(raw)), random.randint(1, len(raw)))
    part = faces.take(numbers).take(list(range(len(numbers)))[::-1])
    expected = numbers[::-1]
    assert part.read(np.arange(len(part)))[:, 0, 0, 0].tolist() == expected
    assert part.names == tuple(f"p{i}" for i in expected) and part.media.tolist() == [100 + i for i in expected]
    assert [part.people_names[one] for one in part.identities] == [f"name{identities[i]}" for i in expected]
    assert part.masked.tolist() == [bool(i % 2) for i in expected]
    assert set(part.identities.tolist()) == set(range(part.people))


def test_hashes_change_with_whatever_is_used() -> None:
    faces = some([0, 0, 1, 1])
    hashes = {faces.content_hash(), some([0, 1, 1, 1]).content_hash(), faces.take([0, 1, 3, 2]).content_hash()}
    hashes.add(replace(faces, masked=np.array([True, False, False, False])).content_hash())
    hashes.add(replace(faces, masked=np.array([False, True, False, False])).content_hash())
    changed = faces.read([0, 1, 2, 3])
    changed[3, 2, 1, 1] ^= 1
    hashes.add(replace(faces, pictures=InMemory(changed)).content_hash())
    hashes.add(replace(faces, wearers_known=False).content_hash())
    assert len(hashes) == 7
    assert faces.content_hash() == some([0, 0, 1, 1]).content_hash()
    data = FaceData(faces, faces, pairs([0, 1], [1, 2]), "few", "")
    assert data.content_hash() != replace(data, pairs=pairs([0, 1], [1, 3])).content_hash()


def test_that_nobody_knows_who_wears_a_mask_is_kept_and_contradicts_a_list_of_who_does() -> None:
    faces = some([0, 0, 1, 1], wearers_known=False)
    assert not faces.take([0, 3]).wearers_known and some([0, 0]).take([1]).wearers_known
    with pytest.raises(BadInput, match="masked tells who wears a mask"):
        replace(faces, masked=np.zeros(4, bool))


def test_a_choice_of_a_choice_reads_the_right_pictures() -> None:
    chosen = Chosen(Chosen(some([0, 0, 1, 1]).pictures, np.array([3, 1, 2])), np.array([2, 0]))
    assert len(chosen) == 2 and chosen.size == (2, 2)
    assert chosen.read([1, 0, 1])[:, 0, 0, 0].tolist() == [3, 2, 3]


@pytest.mark.parametrize("identities", [[0, 2], [1, 2], [-1, 0]])
def test_identities_have_no_gaps(identities: list[int]) -> None:
    with pytest.raises(BadInput, match="without gaps"):
        some(identities)


def test_what_does_not_fit_is_refused() -> None:
    for more in ({"media": np.zeros(3)}, {"masked": np.zeros(1, bool)}, {"people_names": ("one", "two", "three")}):
        with pytest.raises(BadInput):
            some([0, 1], **more)
    with pytest.raises(BadInput, match="channels"):
        InMemory(np.zeros((1, 1, 2, 2), np.uint8))
    with pytest.raises(BadInput, match="four arrays of one length"):
        FacePairs(np.zeros(2, int), np.zeros(1, int), np.zeros(2, bool), np.zeros(2, int))
    faces = some([0, 1])
    with pytest.raises(BadInput, match="not among the 2"):
        FaceData(faces, faces, pairs([0, 1], [1, 2]), "few", "")
    other = FaceImages(InMemory(np.zeros((2, 3, 4, 4), np.uint8)), np.array([0, 1]), ("a", "b"))
    with pytest.raises(BadInput, match="one size"):
        FaceData(faces, other, pairs([0], [1]), "few", "")
