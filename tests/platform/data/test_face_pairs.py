"""Pairs: folds of different people, pairs across media, three dialects of pairs.txt, and what is wrong in one with its line."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.data.face_folder import read_faces
from stillhouse.platform.data.face_pairs import dealt, make_pairs, read_pairs, write_pairs
from stillhouse.platform.data.faces import FaceImages, FacePairs, InMemory
from stillhouse.platform.data.picture_files import Exact
from stillhouse.platform.errors import BadInput
from support.face_files import PEOPLE, write_lfw_like


def people_of(counts: list[int], media: list[int] | None = None) -> FaceImages:
    identities = np.repeat(np.arange(len(counts)), counts)
    order = np.random.default_rng(len(counts)).permutation(len(identities))
    images = InMemory(np.zeros((len(identities), 3, 1, 1), np.uint8))
    names = tuple(f"x/{i}" for i in range(len(identities)))
    given_media = None if media is None else np.asarray(media)[order]
    return FaceImages(images, identities[order], names, media=given_media)


@given(
    counts=st.lists(st.integers(1, 7), min_size=6, max_size=16),
    folds=st.integers(1, 3),
    genuine=st.integers(1, 5),
    impostor=st.integers(1, 9),
    per_medium=st.integers(0, 3),
    seed=st.integers(0, 100),
)
def test_drawn_pairs_keep_their_promises_or_are_refused(counts, folds, genuine, impostor, per_medium, seed) -> None:
    """`per_medium` pictures of a person are of one medium; 0: media are unknown. Checked by a double loop over all pairs."""
    media = None
    if per_medium:
        media = [100 * who + i // per_medium for who, count in enumerate(counts) for i in range(count)]
    faces = people_of(counts, media)
    try:
        pairs = make_pairs(faces, folds=folds, genuine=genuine, impostor=impostor, seed=seed)
    except BadInput as error:
        # Refused only where some way to deal people out lacks pairs; at least it says how many there are.
        assert "are wanted" in error.what
        return
    assert len(pairs) == folds * (genuine + impostor) and pairs.folds == folds
    seen, where = set(), {}
    for one, two, same, fold in zip(pairs.first, pairs.second, pairs.same, pairs.fold, strict=True):
        assert one != two and frozenset((one, two)) not in seen
        seen.add(frozenset((one, two)))
        assert same == (faces.identities[one] == faces.identities[two])
        if same and faces.media is not None:
            assert faces.media[one] != faces.media[two]
        for picture in (one, two):
            assert where.setdefault(faces.identities[picture], fold) == fold
    for fold in range(folds):
        assert pairs.same[pairs.fold == fold].sum() == genuine and (pairs.fold == fold).sum() == genuine + impostor


def test_all_pairs_there_are_can_be_asked_for_and_no_more() -> None:
    faces = people_of([3, 2, 2])
    pairs = make_pairs(faces, folds=1, genuine=5, impostor=16, seed=0)
    assert len({frozenset(pair) for pair in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)}) == 21
    with pytest.raises(BadInput, match=r"fold 0 has 5 genuine pairs, 6 are wanted"):
        make_pairs(faces, folds=1, genuine=6, impostor=1, seed=0)
    with pytest.raises(BadInput, match=r"fold 0 has 16 impostor pairs, 17 are wanted"):
        make_pairs(faces, folds=1, genuine=1, impostor=17, seed=0)
    with pytest.raises(BadInput, match=r"of two media"):
        make_pairs(people_of([3, 3], [0, 0, 0, 1, 1, 1]), folds=1, genuine=1, impostor=1, seed=0)
    with pytest.raises(BadInput, match=r"whole numbers from 1"):
        make_pairs(faces, folds=0, seed=0)


def test_nobody_prevails_among_genuine_pairs_and_the_seed_decides() -> None:
    faces = people_of([40, 4, 4, 4])
    pairs = make_pairs(faces, folds=1, genuine=12, impostor=40, seed=3)
    who = faces.identities[pairs.first[pairs.same]]
    assert np.bincount(who).tolist() == [3, 3, 3, 3]
    again, other = (make_pairs(faces, folds=1, genuine=12, impostor=40, seed=seed) for seed in (3, 4))
    assert (again.first == pairs.first).all() and not (other.first == pairs.first).all()
    # Two people are drawn first, so the one with most pictures is in about half of the impostor pairs.
    with_first = (faces.identities[[pairs.first[~pairs.same], pairs.second[~pairs.same]]] == 0).any(0)
    assert 8 <= with_first.sum() <= 32


@pytest.fixture
def faces(tmp_path: Path) -> FaceImages:
    return read_faces(write_lfw_like(tmp_path / "faces"), prepare=Exact(12))[0]


def text_of(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "pairs.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


LFW = ("2\t1", "Ada_Lovelace\t1\t3", "Ada_Lovelace\t2\tDido\t4", "Fermat\t4\t1", "Carl_Gauss\t1\tFermat\t1")


def told(faces: FaceImages, pairs: FacePairs) -> list[tuple[str, str, bool]]:
    stems = [name.split("/")[1].removesuffix(".png") for name in faces.names]
    rows = zip(pairs.first.tolist(), pairs.second.tolist(), pairs.same.tolist(), strict=True)
    return [(stems[one], stems[two], same) for one, two, same in rows]


def test_lfws_dialect(tmp_path: Path, faces: FaceImages) -> None:
    read = read_pairs(text_of(tmp_path, *LFW), faces)
    assert (read.dialect, read.left_out) == ("lfw", 0) and read.pairs.fold.tolist() == [0, 0, 1, 1]
    assert told(faces, read.pairs) == [
        ("Ada_Lovelace_0001", "Ada_Lovelace_0003", True),
        ("Ada_Lovelace_0002", "Dido_0004", False),
        ("Fermat_0004", "Fermat_0001", True),
        ("Carl_Gauss_0001", "Fermat_0001", False),
    ]
    one_fold = read_pairs(text_of(tmp_path, "2", *LFW[1:]), faces)  # as in pairsDevTest.txt
    assert one_fold.pairs.fold.tolist() == [0, 0, 0, 0] and one_fold.dialect == "lfw"


def test_mfr2s_dialect_is_dealt_into_folds(tmp_path: Path, faces: FaceImages) -> None:
    lines = [f"{name} {a} {b}" for name in PEOPLE for a, b in ((1, 2), (3, 4))]
    lines += [f"{one} {i} {two} {i}" for i in (1, 2) for one, two in pairwise(PEOPLE)]
    shuffled = np.random.default_rng(0).permutation(lines).tolist()
    read = read_pairs(text_of(tmp_path, *shuffled), faces, folds=2, seed=5)
    assert read.dialect == "mfr2" and len(read.pairs) == 22
    assert [same for _, _, same in told(faces, read.pairs)] == [len(line.split()) == 3 for line in shuffled]
    for fold in range(2):
        here = read.pairs.fold == fold
        assert read.pairs.same[here].sum() == 6 and (~read.pairs.same[here]).sum() == 5
    again = read_pairs(tmp_path / "pairs.txt", faces, folds=2, seed=5)
    assert (again.pairs.fold == read.pairs.fold).all()


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 12), st.integers(0, 9))
def test_dealing_is_even(same: list[bool], folds: int, seed: int) -> None:
    fold = dealt(np.array(same), folds, seed)
    for kind in (True, False):
        counts = np.bincount(fold[np.array(same) == kind], minlength=folds)
        assert counts.max() - counts.min() <= 1 and len(counts) == folds


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["Ada_Lovelace 1"], r"line 1 of .*pairs\.txt has 2 fields.*person 1 4"),
        (["Ada_Lovelace 1 2", "", "Dido 1 2 3 4"], "line 3 of .* has 5 fields"),
        (["Ada_Lovelace 1 2", "Dido 1 two"], "line 2 of .* where the number of a picture belongs"),
        (["Ada_Lovelace 1 Dido -2"], "line 1 of .* where the number"),
        (["Ada_Lovelace 1 Ada_Lovelace 2"], "line 1 of .* names the same person twice"),
        (["Ada_Lovelace 2 2"], "line 1 of .* pairs a picture with itself"),
        (["2 2", *LFW[1:]], "names 4 pairs: its first line speaks of 2 x 2 genuine"),
        (["0 0"], "names 0 pairs"),
        (["2 1", *LFW[1:3], LFW[2], LFW[4]], "fold 1 of .* has 0 genuine pairs of 2"),
        ([], "names no pairs"),
        (["#one two"], "begins with #"),
        (["#first second same fold", "a b 1 0"], "line 2 of .* is not two paths, 0 or 1, and a fold: it has 1 fields"),
        (["#first second same fold", "a\tb\t2\t0"], "line 2"),
        (["#first second same fold", "a\tb\t1\tx"], "line 2"),
        (
            ["#first second same fold", "Dido/Dido_0001.png\tFermat/Fermat_0001.png\t1\t0"],
            "line 2 of .* says one person, the folders",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_told_with_its_line(
    tmp_path: Path, faces: FaceImages, lines: list[str], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        read_pairs(text_of(tmp_path, *lines), faces)


def test_missing_pictures_are_named_or_left_out(tmp_path: Path, faces: FaceImages) -> None:
    path = text_of(tmp_path, *LFW[1:], "Dido 7 1", "Nobody 1 Dido 7")
    with pytest.raises(BadInput) as caught:
        read_pairs(path, faces)
    text = str(caught.value)
    assert "2 pictures that are not there, in 2 of 6 pairs" in text
    assert "Dido 7 (line 5)" in text and "Nobody 1 (line 6)" in text and "data.missing=leave_out" in text
    read = read_pairs(path, faces, missing="leave_out")
    assert read.left_out == 2 and len(read.pairs) == 4
    with pytest.raises(BadInput, match=r"of the 1 pairs .* none has both"):
        read_pairs(text_of(tmp_path, "Nobody 1 2"), faces, missing="leave_out")
    with pytest.raises(BadInput, match=r"cannot read"):
        read_pairs(tmp_path / "none.txt", faces)
    # A fold whose pairs are all left out is none.
    read = read_pairs(text_of(tmp_path, "2 1", "No 1 2", "No 1 Dido 4", *LFW[3:]), faces, missing="leave_out")
    assert read.pairs.folds == 1 and read.left_out == 2


def test_a_number_that_several_pictures_end_with_is_ambiguous(tmp_path: Path) -> None:
    images = InMemory(np.zeros((3, 3, 1, 1), np.uint8))
    faces = FaceImages(images, np.array([0, 0, 0]), ("Dido/v0_1.png", "Dido/v1_1.png", "Dido/v1_2.png"))
    with pytest.raises(BadInput, match=r"several pictures of the person end with.*paths"):
        read_pairs(text_of(tmp_path, "Dido 1 2"), faces)
    read = read_pairs(text_of(tmp_path, "#first second same fold", "Dido/v0_1.png\tDido/v1_2.png\t1\t4"), faces)
    assert (read.pairs.first[0], read.pairs.second[0], read.pairs.folds) == (0, 2, 1)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    folds=st.integers(1, 3),
    each=st.integers(1, 4),
    dialect=st.sampled_from(["paths", "lfw"]),
)
def test_what_is_written_is_read_back(tmp_path_factory, seed: int, folds: int, each: int, dialect: str) -> None:
    images = InMemory(np.zeros((24, 3, 1, 1), np.uint8))
    names = tuple(f"{name}/{name}_{i:04d}.jpg" for name in PEOPLE for i in range(1, 5))
    faces = FaceImages(images, np.repeat(np.arange(6), 4), names, people_names=PEOPLE)
    pairs = make_pairs(faces, folds=folds, genuine=each, impostor=each, seed=seed)
    path = tmp_path_factory.mktemp("pairs") / "pairs.txt"
    write_pairs(path, faces, pairs, dialect=dialect)
    read = read_pairs(path, faces)
    assert read.dialect == dialect
    for name in ("first", "second", "same", "fold"):
        assert (getattr(read.pairs, name) == getattr(pairs, name)).all()


def test_lfws_dialect_cannot_say_everything(tmp_path: Path, faces: FaceImages) -> None:
    uneven = make_pairs(faces, folds=2, genuine=2, impostor=3, seed=0)
    with pytest.raises(BadInput, match=r"cannot be written in LFW's dialect.*paths"):
        write_pairs(tmp_path / "p.txt", faces, uneven, dialect="lfw")
    unnumbered = FaceImages(faces.pictures, faces.identities, tuple(f"{i}/x" for i in range(24)))
    even = make_pairs(faces, folds=2, genuine=2, impostor=2, seed=0)
    with pytest.raises(BadInput, match=r"cannot be written"):
        write_pairs(tmp_path / "p.txt", unnumbered, even, dialect="lfw")
    with pytest.raises(BadInput, match=r"unknown dialect"):
        write_pairs(tmp_path / "p.txt", faces, even, dialect="csv")


@pytest.mark.shared_data
def test_mfr2s_own_pairs(shared_data: Path) -> None:
    """848 lines, half of them of three fields; this copy lacks one picture, which seven pairs name."""
    root = shared_data / "faces" / "mfr2"
    faces, lost = read_faces(root, decode=False)
    assert (len(faces), faces.people, lost) == (268, 53, 0)
    with pytest.raises(BadInput, match=r"1 pictures that are not there, in 7 of 848 pairs: \w+ 3 \(line"):
        read_pairs(root / "pairs.txt", faces)
    read = read_pairs(root / "pairs.txt", faces, missing="leave_out")
    assert (len(read.pairs), read.left_out, read.dialect, read.pairs.folds) == (841, 7, "mfr2", 10)
    lines = [line.split() for line in (root / "pairs.txt").read_text().splitlines()]
    assert abs(int(read.pairs.same.sum()) - sum(len(line) == 3 for line in lines)) <= 7
    assert (read.pairs.same == (faces.identities[read.pairs.first] == faces.identities[read.pairs.second])).all()
