"""Kinds of face sets: what a configuration says is what is loaded, the protocol tells it, and settings that do not fit are refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import yaml
from stillhouse.platform.data.face_folder import read_faces
from stillhouse.platform.data.face_set import FaceSet, PairSettings
from stillhouse.platform.data.face_sets import FACE_KINDS, CelebA, FacesBin, FacesFolder, FacesProcedural, Lfw
from stillhouse.platform.data.faces import FaceData
from stillhouse.platform.data.insightface_bin import PackedPairs, write_bin
from stillhouse.platform.data.picture_files import Exact
from stillhouse.platform.errors import BadInput
from support.face_files import PEOPLE, packed, write_celeba, write_lfw_like

CONFIGS = Path(__file__).parents[3] / "configs" / "data"
FEW = PairSettings(folds=1, genuine=3, impostor=3)


def load(settings: FaceSet, seed: int = 0) -> FaceData:
    return settings.load(seed=seed, key=b"")


def face_configs() -> list[Path]:
    return [f for f in sorted(CONFIGS.glob("*.yaml")) if yaml.safe_load(f.read_text()).get("kind") in FACE_KINDS]


@pytest.mark.parametrize("file", face_configs(), ids=lambda f: f.stem)
def test_shipped_settings_are_settings(file: Path) -> None:
    held = yaml.safe_load(file.read_text())
    kind = FACE_KINDS[held.pop("kind")]
    assert held["name"] == file.stem and kind.provides == "faces"
    draw = {"draw": PairSettings(**held.pop("draw"))} if "draw" in held else {}
    assert kind(**held, **draw).name == file.stem
    assert (
        file.read_text().startswith("# stillhouse run method=")
        and f" data={file.stem}" in file.read_text().splitlines()[0]
    )


def test_all_kinds_are_shipped() -> None:
    assert {yaml.safe_load(f.read_text())["kind"] for f in face_configs()} == set(FACE_KINDS)
    assert all(dataclasses.is_dataclass(kind) for kind in FACE_KINDS.values())


def test_people_of_both_parts_are_refused_unless_they_are_meant(tmp_path: Path) -> None:
    write_lfw_like(tmp_path / "train", 4, PEOPLE[:4])
    write_lfw_like(tmp_path / "test", 3, PEOPLE[3:])
    settings = FacesFolder(root=str(tmp_path), train="train", test="test", size=12, draw=FEW)
    with pytest.raises(BadInput, match=r"1 people .* both parts.*data\.shared_names=allow") as refused:
        load(settings)
    assert PEOPLE[3] not in str(refused.value)
    data = load(dataclasses.replace(settings, shared_names="allow"))
    assert data.train.people == 4 and "By their names, 1 people are in both parts." in data.protocol
    # Who is left out of the training part is not learnt from.
    for number in (2, 3, 4):
        (tmp_path / "train" / PEOPLE[3] / f"{PEOPLE[3]}_{number:04d}.png").unlink()
    assert "in both parts" not in load(settings).protocol


@pytest.mark.parametrize("shared", ["refuse", "allow"])
def test_the_same_pictures_are_never_learnt_from_and_tested(tmp_path: Path, shared: str) -> None:
    write_lfw_like(tmp_path / "faces")
    packed(tmp_path / "faces", tmp_path / "copy.tar")
    for test in ("faces", "copy.tar"):
        settings = FacesFolder(root=str(tmp_path), train="faces", test=test, size=12, draw=FEW, shared_names=shared)
        with pytest.raises(BadInput, match="same 24 pictures"):
            load(settings)


def test_a_set_whose_people_are_in_both_parts_says_so_in_its_configuration() -> None:
    """UCCS is a closed set: everybody who is tested is learnt from."""
    allowed = {f.stem for f in face_configs() if yaml.safe_load(f.read_text()).get("shared_names") == "allow"}
    assert allowed == {"uccs"}


@pytest.mark.parametrize("stored", ["folder", "tar"])
def test_one_folder_is_split_by_people(tmp_path: Path, stored: str) -> None:
    write_lfw_like(tmp_path / "faces")
    packed(tmp_path / "faces", tmp_path / "faces.tar")
    faces = "faces" if stored == "folder" else "faces.tar"
    settings = FacesFolder(root=str(tmp_path), faces=faces, test_people=2, size=12, draw=FEW)
    data = load(settings)
    assert data.train.people == 4 and data.test.people == 2 and len(data.pairs) == 6
    assert not set(data.train.people_names) & set(data.test.people_names)
    for words in (
        "24 pictures of 6 people",
        "shuffled by seed 7",
        "16 pictures of 4 people are learnt from",
        "1 folds of different",
    ):
        assert words in data.protocol
    # The run's seed draws nothing; the protocol's does.
    assert load(settings, seed=5).content_hash() == data.content_hash()
    assert load(dataclasses.replace(settings, protocol_seed=8)).content_hash() != data.content_hash()


def test_two_folders_and_a_file_of_pairs(tmp_path: Path) -> None:
    write_lfw_like(tmp_path / "train", 3, (*PEOPLE[:3], "Gauss"))
    write_lfw_like(tmp_path / "test", 3, PEOPLE[2:])
    (tmp_path / "train" / "Gauss" / "Gauss_0002.png").unlink()
    (tmp_path / "train" / "Gauss" / "Gauss_0003.png").unlink()
    (tmp_path / "train" / "Ada_Lovelace" / "Ada_Lovelace_0002.png").write_bytes(b"")
    (tmp_path / "pairs.txt").write_text("Dido 1 2\nDido 1 Fermat 2\nFermat 1 3\nFermat 9 2\n")
    settings = FacesFolder(
        root=str(tmp_path), train="train", test="test", pairs="pairs.txt", size=12, damaged="leave_out", missing="leave_out",
        draw=PairSettings(folds=2), shared_names="allow",
    )  # fmt: skip
    data = load(settings)
    assert data.train.people_names == PEOPLE[:3] and len(data.train) == 8 and len(data.pairs) == 3
    for words in (
        "Left out of train: 1 damaged", "1 people with fewer than 2 pictures", "1 of them are left out", "people may be in several",
        "1 people are in both parts", "2 genuine and 1 impostor pairs",
    ):  # fmt: skip
        assert words in data.protocol
    assert load(dataclasses.replace(settings, fewest=1)).train.people == 4
    with pytest.raises(BadInput, match=r"1 of 10 pictures .*Ada_Lovelace_0002\.png"):
        load(dataclasses.replace(settings, damaged="refuse"))
    with pytest.raises(BadInput, match=r"Fermat 9 \(line 4\)"):
        load(dataclasses.replace(settings, missing="refuse"))


def test_pictures_of_another_size_are_refused_or_resized(tmp_path: Path) -> None:
    write_lfw_like(tmp_path / "faces", 4)
    settings = FacesFolder(root=str(tmp_path), faces="faces", test_people=2, draw=FEW)
    with pytest.raises(
        BadInput, match=r"24 of 24 pictures .* is 12 x 12 pixels instead of 112 x 112.*data\.fit=resize"
    ):
        load(settings)
    data = load(dataclasses.replace(settings, size=16, fit="resize", crop=0.9))
    assert data.train.size == data.test.size == (16, 16)


def test_masks_are_told_by_names_or_by_a_list(tmp_path: Path) -> None:
    write_lfw_like(tmp_path / "faces", 4)
    settings = FacesFolder(root=str(tmp_path), faces="faces", test_people=2, size=12, draw=FEW, mask_pattern="_000[12]")
    assert load(settings).test.masked.tolist() == [True, True, False, False] * 2
    labels = [f"{name}, {i}, {'cloth' if i == 4 else 'no-mask'}" for name in PEOPLE for i in range(1, 5)]
    (tmp_path / "labels.txt").write_text("\n".join(labels))
    listed = dataclasses.replace(settings, mask_pattern="", mask_labels="labels.txt")
    assert load(listed).test.masked.tolist() == [False, False, False, True] * 2


def test_where_nothing_tells_who_wears_a_mask_the_settings_say_whether_all_are_bare(tmp_path: Path) -> None:
    write_lfw_like(tmp_path / "faces", 4)
    settings = FacesFolder(root=str(tmp_path), faces="faces", test_people=2, size=12, draw=FEW)
    unknown = dataclasses.replace(settings, wearers="unknown")
    assert load(settings).test.wearers_known
    found = load(unknown)
    assert not found.test.wearers_known and found.test.masked is None and found.train.wearers_known
    assert "Who of the tested wears a mask is not known." in found.protocol
    # What tells of every picture leaves nothing for the setting to say.
    told = load(dataclasses.replace(unknown, mask_pattern="_0001")).test
    assert told.wearers_known and told.masked.tolist() == [True, False, False, False] * 2
    labels = [f"{name}, {i}, no-mask" for name in PEOPLE for i in range(1, 5)]
    (tmp_path / "labels.txt").write_text("\n".join(labels))
    assert load(dataclasses.replace(unknown, mask_labels="labels.txt")).test.wearers_known
    with pytest.raises(BadInput, match=r"masked is 0\.5, and wearers is unknown"):
        dataclasses.replace(unknown, masked=0.5)
    assert dataclasses.replace(unknown, masked=0.5, mask_pattern="_0001").masked == 0.5


def test_mfr2_without_its_labels_knows_no_wearer() -> None:
    held = yaml.safe_load((CONFIGS / "mfr2.yaml").read_text())
    assert held["mask_labels"] is None and held["wearers"] == "unknown"


def test_a_bin_file_is_scored_and_a_folder_learnt_from(tmp_path: Path) -> None:
    faces, _ = read_faces(write_lfw_like(tmp_path / "train", 2), prepare=Exact(12))
    raw = [faces.pictures.files.raw(i) for i in range(8)]
    write_bin(tmp_path / "x.bin", PackedPairs(tuple(raw), np.array([True, True, False, False])))
    settings = FacesBin(root=str(tmp_path), bin="x.bin", train="train", size=12)
    data = load(settings)
    assert (
        data.train.people == 6 and not data.test.identified and data.pairs.same.tolist() == [True, True, False, False]
    )
    assert "8 pictures are tested, in 2 genuine and 2 impostor pairs (4 folds)" in data.protocol
    with pytest.raises(BadInput, match=r"no faces to learn from.*data\.train=PATH"):
        load(dataclasses.replace(settings, train=None))


def test_lfw_and_celeba(tmp_path: Path) -> None:
    write_lfw_like(tmp_path / "lfw" / "lfw-deepfunneled", 4, side=20)
    (tmp_path / "lfw" / "pairs.txt").write_text("1\t1\nDido\t1\t2\nDido\t1\tFermat\t2\n")
    write_lfw_like(tmp_path / "own", 2, ("x", "y"), side=30)
    lfw = Lfw(root=str(tmp_path / "lfw"), train=str(tmp_path / "own"), size=10, fit="resize", crop=0.5)
    data = load(lfw)
    assert len(data.test) == 24 and data.train.people == 2 and len(data.pairs) == 2
    assert "LFW (deepfunneled), the middle 50% of each picture, resized" in data.protocol
    people, parts = (1, 1, 2, 2, 3, 3, 3, 4, 4, 4), (0,) * 4 + (2,) * 6
    data = load(CelebA(root=str(write_celeba(tmp_path / "c", people, parts)), draw=FEW))
    assert data.train.people == 2 and data.test.people == 2 and data.test.size == (112, 112)
    assert "aligned by the published landmarks" in data.protocol


def test_drawn_faces_are_of_different_people_and_need_nothing() -> None:
    settings = FacesProcedural(train_people=3, test_people=4, sessions=2, frames=2, size=16, draw=FEW)
    data = load(settings)
    assert (data.train.people, data.test.people, len(data.train), len(data.test)) == (3, 4, 12, 16)
    assert not set(data.train.people_names) & set(data.test.people_names)
    genuine = data.pairs.same
    media = data.test.media
    assert (media[data.pairs.first[genuine]] != media[data.pairs.second[genuine]]).all()
    assert "people who do not exist" in data.protocol and "of two media" in data.protocol
    assert load(settings, seed=9).content_hash() == data.content_hash()


def test_test_faces_can_be_given_synthetic_masks() -> None:
    settings = FacesProcedural(train_people=2, test_people=4, sessions=2, frames=2, draw=FEW)
    bare, masked = load(settings), load(dataclasses.replace(settings, masked=0.5))
    assert masked.test.masked.sum() == 8 and "50% of the bare test faces were given a synthetic mask" in masked.protocol
    assert bare.test.masked is None and masked.train.content_hash() == bare.train.content_hash()
    assert (bare.masks_put, masked.masks_put) == (0.0, 0.5)
    same = [(bare.test.read([i]) == masked.test.read([i])).all() for i in range(16)]
    assert (np.array(same) == ~masked.test.masked).all()


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        (FacesFolder, {"fit": "squeeze"}, "fit is 'squeeze'"),
        (FacesFolder, {"wearers": "some"}, "wearers is 'some'"),
        (FacesFolder, {"damaged": "ignore"}, "damaged is"),
        (FacesFolder, {"missing": "ignore"}, "missing is"),
        (FacesFolder, {"check": "nothing"}, "check is"),
        (FacesFolder, {"shared_names": "ignore"}, "shared_names is"),
        (FacesFolder, {"crop": 0.5}, "crop is given, and fit is exact"),
        (FacesFolder, {"crop": 1.5, "fit": "resize"}, "fraction"),
        (FacesFolder, {"masked": 1.5}, "masked is 1.5"),
        (FacesFolder, {"media": "("}, "no regular expression"),
        (FacesFolder, {"faces": "a", "test": "b"}, "split into both"),
        (FacesFolder, {"test_people": 0}, "test_people"),
        (FacesFolder, {"size": 0}, "size"),
        (Lfw, {"missing": "ignore"}, "missing is"),
        (CelebA, {"size": 64}, "alignment makes pictures of 112 x 112"),
        (CelebA, {"check": "nothing"}, "check is"),
        (FacesProcedural, {"fit": "resize"}, "not resized"),
        (FacesProcedural, {"train_people": 2_000_000}, "at most 1,000,000"),
    ],
)
def test_settings_that_do_not_fit_are_refused(kind: type[FaceSet], wrong: dict, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        kind(**wrong)


def test_a_set_without_folders_says_which_to_give(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"names no folder.*data\.faces=PATH"):
        load(FacesFolder(root=str(tmp_path)))
    write_lfw_like(tmp_path / "test", 2)
    with pytest.raises(BadInput, match=r"no faces to learn from"):
        load(FacesFolder(root=str(tmp_path), test="test", size=12))
    with pytest.raises(BadInput, match="genuine must be"):
        PairSettings(genuine=0)


@pytest.mark.shared_data
def test_the_protocol_of_ytf347(shared_data: Path) -> None:
    """247 people with 4,100 frames to learn from, 100 others, 3,000 pairs in folds of different people, genuine ones of two videos."""
    held = yaml.safe_load((CONFIGS / "ytf347.yaml").read_text())
    del held["kind"]
    settings = FacesFolder(
        **{**held, "root": str(shared_data / "faces"), "draw": PairSettings(**held["draw"]), "check": "headers"}
    )
    data = load(settings)
    assert (data.train.people, len(data.train), data.test.people, len(data.test)) == (247, 4100, 100, 1670)
    pairs, test = data.pairs, data.test
    assert len(pairs) == 3000 and pairs.folds == 10
    assert (np.bincount(pairs.fold, weights=pairs.same) == 150).all() and (np.bincount(pairs.fold) == 300).all()
    videos = np.array([name.split("/")[-1].split("_")[0] for name in test.names])
    genuine = pairs.same
    who = test.identities
    assert (genuine == (who[pairs.first] == who[pairs.second])).all()
    assert (videos[pairs.first[genuine]] != videos[pairs.second[genuine]]).all()
    fold_of = [set(pairs.fold[(who[pairs.first] == one) | (who[pairs.second] == one)].tolist()) for one in range(100)]
    assert {len(folds) for folds in fold_of} == {1}
