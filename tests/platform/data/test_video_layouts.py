"""Published layouts, each on a small tree of empty files: splits, families, people, sources, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from stillhouse.platform.data.video_layouts import (
    read_celeb_df,
    read_deeperforensics,
    read_dfdc,
    read_faceforensics,
    read_forensics_folders,
    read_voxceleb2,
)
from stillhouse.platform.data.video_listing import NO_SPLIT, Listed, Listing, groups
from stillhouse.platform.errors import BadInput

PAIRS = {"train": [["000", "003"], ["010", "011"]], "val": [["020", "021"]], "test": [["030", "031"]]}


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def write_pairs(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for split, pairs in PAIRS.items():
        (folder / f"{split}.json").write_text(json.dumps(pairs))


def by_name(listing: Listing) -> dict[str, Listed]:
    return {video.name: video for video in listing.videos}


def write_faceforensics(root: Path, compression: str = "c23") -> None:
    names = [name for pairs in PAIRS.values() for pair in pairs for name in pair]
    touch(root, *(f"original_sequences/youtube/{compression}/videos/{name}.mp4" for name in (*names, "099")))
    forged = [f"{a}_{b}" for pairs in PAIRS.values() for one, other in pairs for a, b in ((one, other), (other, one))]
    for family in ("Deepfakes", "FaceSwap"):
        touch(
            root, *(f"manipulated_sequences/{family}/{compression}/videos/{name}.mp4" for name in (*forged, "000_010"))
        )


@pytest.mark.parametrize("compression", ["c0", "c23", "c40"])
@pytest.mark.parametrize("splits", ["", "splits"])
def test_faceforensics(tmp_path: Path, compression: str, splits: str) -> None:
    write_faceforensics(tmp_path, compression)
    write_pairs(tmp_path / splits)
    listing = read_faceforensics(tmp_path, compression=compression, families=("Deepfakes", "FaceSwap"))
    found = by_name(listing)
    # A real video of no pair, and in both families a forgery of two videos that are no pair.
    assert listing.left_out == {NO_SPLIT: 3} and len(found) == 8 + 2 * 8
    forged = found["FaceSwap/011_010"]
    assert (forged.family, forged.split, forged.people, forged.source) == (
        "FaceSwap",
        "train",
        ("011", "010"),
        "real/011",
    )
    assert found["real/021"].split == "validation" and found["Deepfakes/030_031"].split == "test"
    numbers = dict(zip(found, groups(listing.videos).tolist(), strict=True))
    assert len(set(numbers.values())) == 4 and numbers["real/000"] == numbers["real/003"] == numbers["FaceSwap/003_000"]


def test_faceforensics_that_is_not_whole(tmp_path: Path) -> None:
    write_faceforensics(tmp_path)
    with pytest.raises(BadInput, match=r"lacks train\.json"):
        read_faceforensics(tmp_path)
    write_pairs(tmp_path)
    with pytest.raises(BadInput, match="Face2Face/c23/videos holds no videos"):
        read_faceforensics(tmp_path)
    with pytest.raises(BadInput, match="compression is 'c30'"):
        read_faceforensics(tmp_path, compression="c30")
    for content, words in (
        ("{}", "no list of pairs"),
        ("[[1]]", "no list of pairs"),
        ("[", "cannot read"),
        ('[["000","003"]]', "another list"),
        ('[["030","031"],["032","000"]]', "names video 000, which another list named"),
    ):
        (tmp_path / "test.json").write_text(content)
        with pytest.raises(BadInput, match=words):
            read_faceforensics(tmp_path, families=("Deepfakes",))


@pytest.mark.parametrize("contents", ["videos", "cropped_faces"])
@pytest.mark.parametrize("real", ["RealFF", "Real"])
def test_the_folders_of_real_forensics(tmp_path: Path, contents: str, real: str) -> None:
    write_pairs(tmp_path)
    for folder, names in ((real, ("000", "003")), ("Deepfakes", ("000_003",))):
        for name in names:
            ends = [f"{name}.mp4"] if contents == "videos" else [f"{name}/{number:04d}.png" for number in (10, 9)]
            touch(tmp_path, *(f"{folder}/c23/{contents}/{end}" for end in ends))
    found = by_name(read_forensics_folders(tmp_path, families=("Deepfakes",), contents=contents))
    assert set(found) == {"real/000", "real/003", "Deepfakes/000_003"}
    assert found["Deepfakes/000_003"].source == "real/000" and found["real/003"].split == "train"
    if contents == "cropped_faces":
        assert [path.name for path in found["real/000"].footage.paths] == ["0009.png", "0010.png"]  # type: ignore[union-attr]


@pytest.mark.parametrize(("below", "youtube"), [("", "YouTube-real"), ("videos/", "Youtube-real")])
def test_celeb_df(tmp_path: Path, below: str, youtube: str) -> None:
    touch(
        tmp_path, f"Celeb-real/{below}id0_0000.mp4", f"Celeb-real/{below}id1_0002.mp4", f"{youtube}/{below}00007.mp4",
        f"Celeb-synthesis/{below}id0_id1_0000.mp4", f"Celeb-synthesis/{below}id1_id0_0002.mp4",
    )  # fmt: skip
    lines = [
        "1 YouTube-real/00007.mp4",
        "1 Celeb-real/id0_0000.mp4",
        "0 Celeb-synthesis/id0_id1_0000.mp4",
        "1 Celeb-real/id9_0000.mp4",
    ]
    (tmp_path / "List_of_testing_videos.txt").write_text("\n".join(lines))
    listing = read_celeb_df(tmp_path)
    found = by_name(listing)
    assert listing.left_out == {"in the test list, but not there": 1} and len(found) == 5
    forged = found["Celeb-synthesis/id0_id1_0000"]
    assert (forged.family, forged.split, forged.people, forged.source) == (
        "Celeb-synthesis", "test", ("id0", "id1"), "Celeb-real/id0_0000",
    )  # fmt: skip
    assert sorted(video.name for video in listing.of("test").videos) == [
        "Celeb-real/id0_0000", "Celeb-synthesis/id0_id1_0000", "YouTube-real/00007",
    ]  # fmt: skip
    (tmp_path / "List_of_testing_videos.txt").write_text("0 Celeb-real/id0_0000.mp4")
    with pytest.raises(BadInput, match="the folder says the reverse"):
        read_celeb_df(tmp_path)
    (tmp_path / "List_of_testing_videos.txt").write_text("real Celeb-real/id0_0000.mp4")
    with pytest.raises(BadInput, match="not a label and a video"):
        read_celeb_df(tmp_path)


def test_dfdc(tmp_path: Path) -> None:
    part = tmp_path / "dfdc_train_part_0"
    touch(part, "a.mp4", "b.mp4", "c.mp4")
    told = {
        "a.mp4": {"label": "REAL", "split": "train"}, "b.mp4": {"label": "FAKE", "split": "train", "original": "a.mp4"},
        "c.mp4": {"is_fake": 1, "augmentations": {}}, "gone.mp4": {"label": "FAKE", "original": "a.mp4"},
    }  # fmt: skip
    (part / "metadata.json").write_text(json.dumps(told))
    listing = read_dfdc(tmp_path)
    found = by_name(listing)
    assert listing.left_out == {"named in the metadata, but not there": 1}
    assert {name: video.family for name, video in found.items()} == {
        "dfdc_train_part_0/a.mp4": "real", "dfdc_train_part_0/b.mp4": "DFDC", "dfdc_train_part_0/c.mp4": "DFDC",
    }  # fmt: skip
    assert found["dfdc_train_part_0/b.mp4"].source == "dfdc_train_part_0/a.mp4"
    assert found["dfdc_train_part_0/c.mp4"].split == "test" and groups(listing.videos).tolist() == [0, 0, 1]
    (tmp_path / "list.txt").write_text("c.mp4 0\nb.mp4\n")
    assert set(by_name(read_dfdc(tmp_path, only=tmp_path / "list.txt"))) == {
        "dfdc_train_part_0/b.mp4",
        "dfdc_train_part_0/c.mp4",
    }
    (part / "metadata.json").write_text('{"a.mp4": {"label": "maybe"}}')
    with pytest.raises(BadInput, match="neither FAKE nor REAL"):
        read_dfdc(tmp_path)
    (part / "metadata.json").unlink()
    with pytest.raises(BadInput, match="neither metadata"):
        read_dfdc(tmp_path)
    (part / "labels.csv").write_text("filename,label\na.mp4,0\nb.mp4,1\n")
    assert [video.family for video in read_dfdc(tmp_path).videos] == ["real", "DFDC"]


def test_deeperforensics(tmp_path: Path) -> None:
    write_faceforensics(tmp_path / "ff")
    write_pairs(tmp_path / "ff")
    real = read_faceforensics(tmp_path / "ff", families=("Deepfakes",))
    touch(tmp_path / "dfo" / "manipulated_videos" / "end_to_end", "030_M101.mp4", "000_W002.mp4", "777_M101.mp4")
    listing = read_deeperforensics(tmp_path / "dfo", real=real)
    found = by_name(listing)
    assert listing.left_out == {"made from a video that is not there": 1}
    forged = found["end_to_end/030_M101"]
    assert (forged.family, forged.split, forged.source, forged.people) == (
        "DeeperForensics",
        "test",
        "real/030",
        ("030",),
    )
    assert {video.name for video in listing.of("test").videos} == {"end_to_end/030_M101", "real/030", "real/031"}
    with pytest.raises(BadInput, match="holds no videos"):
        read_deeperforensics(tmp_path / "dfo", real=real, kind="reenact_postprocess")


def test_voxceleb2(tmp_path: Path) -> None:
    touch(tmp_path, "id00012/abc/00001.mp4", "id00012/abc/00002.mp4", "id00012/xyz/00001.mp4", "id00015/q/00009.mp4")
    every, few = read_voxceleb2(tmp_path), read_voxceleb2(tmp_path, most_each=1)
    assert len(every.videos) == 4 and [video.name for video in few.videos] == [
        "id00012/abc/00001.mp4",
        "id00015/q/00009.mp4",
    ]
    assert {video.family for video in every.videos} == {"real"} and groups(every.videos).tolist() == [0, 0, 0, 1]
    with pytest.raises(BadInput, match="holds no videos of people"):
        read_voxceleb2(tmp_path / "absent")
