"""Folders and tables of one's own, DeepfakeBench's lists, and who is who."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from stillhouse.platform.data.video_landmarks import LandmarkFiles, read_points
from stillhouse.platform.data.video_listing import groups
from stillhouse.platform.data.video_reading import UnusableVideo, VideoFile
from stillhouse.platform.data.video_tables import read_csv, read_deepfakebench, read_identities, read_real_and_fake
from stillhouse.platform.errors import BadInput


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_folders_of_real_and_forged_videos(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.mp4", "real/b.mpg", "fake/a.mp4", "fake/SWAP/b.mp4", "fake/SWAP/z.mp4")
    listing = read_real_and_fake(tmp_path, identities={"a.mp4": "ann", "b.mpg": "bob"})
    assert {video.name: (video.family, video.people, video.source) for video in listing.videos} == {
        "real/a.mp4": ("real", ("ann",), ""), "real/b.mpg": ("real", ("bob",), ""),
        "fake/a.mp4": ("fake", ("ann",), "real/a.mp4"), "fake/SWAP/b.mp4": ("SWAP", (), "real/b.mpg"),
        "fake/SWAP/z.mp4": ("SWAP", (), ""),
    }  # fmt: skip
    groups_of = dict(zip([video.name for video in listing.videos], groups(listing.videos).tolist(), strict=True))
    assert groups_of["fake/SWAP/b.mp4"] == groups_of["real/b.mpg"] != groups_of["real/a.mp4"] == groups_of["fake/a.mp4"]
    with pytest.raises(BadInput, match="names none of the videos"):
        read_real_and_fake(tmp_path, identities={"other.mp4": "ann"})
    with pytest.raises(BadInput, match="holds no real videos"):
        read_real_and_fake(tmp_path / "fake")
    touch(tmp_path, "fake/real/c.mp4")
    with pytest.raises(BadInput, match="family called real"):
        read_real_and_fake(tmp_path)


def test_a_forgery_that_is_called_after_two_real_videos_shows_both(tmp_path: Path) -> None:
    touch(tmp_path, *(f"real/{name}.mp4" for name in ("000", "003", "a_b", "c", "x/7", "y/7")))
    names = ("000_003", "a_b_c", "c_a_b", "000_7", "000_999", "wild")
    touch(tmp_path, *(f"fake/DF/{name}.mp4" for name in names))
    listing = read_real_and_fake(tmp_path)
    told = {video.name: video for video in listing.videos}
    group = dict(zip(told, groups(listing.videos).tolist(), strict=True))
    for name, first, second in (("000_003", "000", "003"), ("a_b_c", "a_b", "c"), ("c_a_b", "c", "a_b")):
        forged = told[f"fake/DF/{name}.mp4"]
        assert forged.source == f"real/{first}.mp4" and len(forged.people) == 2
        assert group[forged.name] == group[f"real/{first}.mp4"] == group[f"real/{second}.mp4"]
    assert len(set(group.values())) == 7  # 000 and 003, a_b and c, x/7, y/7, and three of nobody known
    for name in ("000_7", "000_999", "wild"):
        assert (told[f"fake/DF/{name}.mp4"].people, told[f"fake/DF/{name}.mp4"].source) == ((), "")

    known = {"000": "ann", "003.mp4": "bob", "000_999.mp4": "ann+cy"}
    told = {video.name: video for video in read_real_and_fake(tmp_path, identities=known).videos}
    assert told["fake/DF/000_003.mp4"].people == ("ann", "bob")
    assert told["fake/DF/000_999.mp4"].people == ("ann+cy",) and told["real/c.mp4"].people != ()


def test_a_table_of_videos(tmp_path: Path) -> None:
    touch(tmp_path, "v/a.mp4", "v/b.mp4", "frames/c/0.png")
    table = tmp_path / "videos.csv"
    table.write_text(
        "path,label,video_id,identity,method,split,source\nv/a.mp4,real,a,ann,,train,\nv/b.mp4,FAKE,b,ann+bob,swap,val,a\n"
        "frames/c,0,,cy,,test,\nv/gone.mp4,1,,dan,,test,\n"
    )
    listing = read_csv(table)
    told = [(one.name, one.family, one.people, one.split, one.source) for one in listing.videos]
    assert told == [
        ("a", "real", ("ann",), "train", ""), ("b", "swap", ("ann", "bob"), "validation", "a"),
        ("frames/c", "real", ("cy",), "test", ""),
    ]  # fmt: skip
    assert listing.left_out == {"the file is not there": 1} and groups(listing.videos).tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no list of videos"), ("path,kind\na,real\n", "is no list of videos"),
        ("path,label,colour\na,real,red\n", "unknown columns: colour"), ("path,label\na,real\nb,maybe\n", "line 3"),
        ("path,label,split\na,real,early\n", "line 2"), ("path,label\n,real\n", "line 2"),
        ("path,label,method\na,fake,real\n", "method is 'real'"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_understood(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(BadInput, match=words):
        read_csv(tmp_path / "t.csv")


def test_who_is_who_in_a_csv_file_and_in_a_markdown_table(tmp_path: Path) -> None:
    (tmp_path / "who.csv").write_text("file,identity,note\nreal/a.mp4,ann,x\nb.mp4,bob,y\n")
    (tmp_path / "who.md").write_text(
        "# Clips\n\n| a | b |\n| - | - |\n| 1 | 2 |\n\n| file | identity | size |\n| --- | :-: | ---: |\n| a.mp4 | ann | 1x1 |\n"
        "| b.mp4 | bob | 2x2 |\n\nMore words.\n| c.mp4 | cy | 3x3 |\n"
    )
    assert (
        read_identities(tmp_path / "who.csv")
        == read_identities(tmp_path / "who.md")
        == {"a.mp4": "ann", "b.mp4": "bob"}
    )
    for text, words in (
        ("file,name\na,b\n", "no table of identities"),
        ("file,identity\na,x\na,y\n", "two for one file"),
    ):
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(BadInput, match=words):
            read_identities(tmp_path / "bad.csv")
    with pytest.raises(BadInput, match="cannot read"):
        read_identities(tmp_path / "absent.md")


def frames(tmp_path: Path, folder: str) -> list[str]:
    touch(tmp_path, *(f"{folder}/{number}.png" for number in (10, 2, 0)))
    return [f"{folder}\\10.png", f"{folder}/2.png", f"{folder}/0.png"]


def test_lists_of_deepfakebench(tmp_path: Path) -> None:
    held = {
        "FaceForensics++": {
            "FF-real": {
                "train": {"c23": {"000": {"label": "FF-real", "frames": frames(tmp_path, "ff/c23/000")}}, "c40": {}},
                "val": {"c23": {"005": {"label": "FF-real", "frames": frames(tmp_path, "ff/c23/005")}}},
                "test": {"c23": {"005": {"label": "FF-real", "frames": frames(tmp_path, "ff/c23/005")}}},
            },
            "FF-DF": {"train": {"c23": {"000_003": {"label": "FF-DF", "frames": frames(tmp_path, "ff/c23/000_003")},
                                        "009_001": {"label": "FF-DF", "frames": ["ff/gone/0.png"]}}}, "val": {}},
        }
    }  # fmt: skip
    path = tmp_path / "FaceForensics++.json"
    path.write_text(json.dumps(held))
    listing = read_deepfakebench(path, tmp_path)
    told = {one.name: (one.family, one.split, one.people, one.source) for one in listing.videos}
    assert told == {
        "FF-real/000": ("real", "train", ("000",), ""), "FF-real/005": ("real", "test", ("005",), ""),
        "FF-DF/000_003": ("FF-DF", "train", ("000", "003"), "FF-real/000"),
    }  # fmt: skip
    assert listing.left_out == {"in a later split too": 1, "the file is not there": 1}
    assert [file.name for file in listing.videos[0].footage.paths] == ["0.png", "2.png", "10.png"]  # type: ignore[union-attr]
    path.write_text(
        json.dumps({"Celeb-DF-v2": {"CelebDFv2_fake": {"test": {"id0_id12_0000": {"frames": frames(tmp_path, "c")}}}}})
    )
    (one,) = read_deepfakebench(path, tmp_path).videos
    assert one.people == ("id0", "id12") and one.family == "CelebDFv2_fake" and one.split == "test"
    for text in ("[]", "{", '{"a": {"b": {"early": {"c": {"frames": []}}}}}'):
        path.write_text(text)
        with pytest.raises(BadInput, match="not a list of DeepfakeBench"):
            read_deepfakebench(path, tmp_path)


def test_landmark_files_are_found_by_path_or_by_a_name_that_is_unique(tmp_path: Path) -> None:
    videos = [VideoFile(tmp_path / "v" / name) for name in ("x/a.mp4", "y/a.mp4", "x/b.mp4", "x/c.mp4")]
    folder = touch(tmp_path / "l", "x/a.mp4.npz", "a.mp4.npz", "b.mp4.npz", "x/b.npz", "c.npz")
    files = LandmarkFiles(folder, tmp_path / "v", videos)
    found = [files.find(video) for video in videos]
    assert [one and one.relative_to(folder).as_posix() for one in found] == ["x/a.mp4.npz", None, "x/b.npz", "c.npz"]
    with pytest.raises(BadInput, match="is not there"):
        LandmarkFiles(tmp_path / "absent", tmp_path)


def test_landmarks_in_files(tmp_path: Path) -> None:
    mesh = np.arange(2 * 478 * 2).reshape(2, 478, 2)
    np.savez(tmp_path / "mesh.npz", lm16=mesh.astype(np.int16), fps=25.0)
    np.testing.assert_allclose(read_points(tmp_path / "mesh.npz"), mesh / 8 - 0.5)
    points = np.random.default_rng(0).random((3, 68, 2))
    np.savez(tmp_path / "dlib.npz", points=points)
    five = read_points(tmp_path / "dlib.npz")
    np.testing.assert_allclose(five[:, 0], (points[:, 36] + points[:, 39]) / 2)
    np.testing.assert_allclose(five[:, 2:], points[:, [30, 48, 54]])
    np.savez(tmp_path / "other.npz", points=np.zeros((3, 7, 2)))
    np.savez(tmp_path / "none.npz", x=points)
    (tmp_path / "text.npz").write_text("no points")
    whole = (tmp_path / "mesh.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    np.savez_compressed(tmp_path / "bent.npz", points=points)
    bent = bytearray((tmp_path / "bent.npz").read_bytes())
    bent[200:260] = bytes(60)
    (tmp_path / "bent.npz").write_bytes(bent)
    with (tmp_path / "single.npz").open("wb") as file:
        np.save(file, points)
    for name, words in (
        ("other", "holds no landmarks"), ("none", "holds no landmarks"), ("text", "cannot read"), ("cut", "cannot read"),
        ("bent", "cannot read"), ("single", "cannot read"),
    ):  # fmt: skip
        with pytest.raises(UnusableVideo, match=words):
            read_points(tmp_path / f"{name}.npz")
