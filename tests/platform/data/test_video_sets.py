"""Kinds of video sets: what a configuration says is what is loaded, the protocol tells it, and nobody is in two parts."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from stillhouse.platform.data.video_crops import CropSettings
from stillhouse.platform.data.video_families import Forging
from stillhouse.platform.data.video_own_sets import VideosFolder, VideosProcedural
from stillhouse.platform.data.video_public_sets import (
    CelebDf,
    DeeperForensics,
    DeepfakeBench,
    Dfdc,
    FaceForensics,
    VoxCeleb2,
)
from stillhouse.platform.data.video_set import VideoKind
from stillhouse.platform.data.video_sets import VIDEO_KINDS
from stillhouse.platform.data.video_writing import write_video
from stillhouse.platform.data.videos import VideoData, tracks_hash
from stillhouse.platform.errors import BadInput
from support.video_files import noise, small_video

CONFIGS = Path(__file__).parents[3] / "configs" / "data"
CROPS = CropSettings(side=16, shortest=4, points="none")
NESTED = {"crop": CropSettings, "forging": Forging}


def load(settings: VideoKind, seed: int = 0) -> VideoData:
    return settings.load(seed=seed, key=b"")


def video_configs() -> list[Path]:
    return [f for f in sorted(CONFIGS.glob("*.yaml")) if yaml.safe_load(f.read_text()).get("kind") in VIDEO_KINDS]


@pytest.mark.parametrize("file", video_configs(), ids=lambda f: f.stem)
def test_shipped_settings_are_settings(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    held = yaml.safe_load(file.read_text())
    kind = VIDEO_KINDS[held.pop("kind")]
    settings = kind(**{key: NESTED[key](**value) if key in NESTED else value for key, value in held.items()})
    assert held["name"] == settings.name == file.stem and kind.provides == "videos"
    assert file.read_text().splitlines()[0].startswith(f"# stillhouse run method=naco data={file.stem}")
    if kind is not VideosProcedural:
        with pytest.raises(BadInput, match=r"has no (root|faceforensics)"):
            load(settings)
        assert not (tmp_path / "cache").exists()


def test_all_kinds_are_shipped() -> None:
    assert {yaml.safe_load(f.read_text())["kind"] for f in video_configs()} == set(VIDEO_KINDS)


def test_kinds_are_known_without_torch_or_a_decoder() -> None:
    slow = {"torch", "av", "scipy.spatial", "scipy.stats"}
    script = f"import sys, stillhouse.platform.data.video_sets\nprint(sorted({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


SMALL: dict[str, Any] = {"side": 32, "frames": 16, "train_people": 3, "validation_people": 2, "test_people": 2}


def test_drawn_heads() -> None:
    settings = VideosProcedural(**SMALL, forging=Forging(("FS",), ("SHUF", "HOLD")))
    data = load(settings)
    assert data.held_out == ("HOLD", "SHUF") and data.train.forgeries == data.validation.forgeries == ("FS",)
    assert [len(part) for part in data.parts().values()] == [6, 4, 8] and data.test.tracks.frames(0) == 16
    assert "not how it does on people" in data.protocol
    assert "test: 2 real and 6 forged tracks of 2 identities" in data.protocol
    assert load(settings, seed=5).content_hash() == data.content_hash()
    assert data.preprocessing["side"] == 32


def test_drawn_heads_are_kept_where_a_folder_is_given(tmp_path: Path) -> None:
    settings = VideosProcedural(**SMALL, forging=Forging(("SHUF",), ()), cache=str(tmp_path))
    first, again = load(settings), load(settings)
    assert first.content_hash() == again.content_hash() and first.held_out == ()
    assert "14 were made" in first.protocol and "14 were found in the cache and 0 were made" in again.protocol
    plain = load(VideosProcedural(**SMALL, forging=Forging(("SHUF",), ())))
    for part, same in zip(first.parts().values(), plain.parts().values(), strict=True):
        for number in range(len(part)):
            np.testing.assert_array_equal(part.tracks.read(number, range(16)), same.tracks.read(number, range(16)))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"forging": Forging((), ())}, "no family of forgeries"), ({"held_out": ("FS",)}, "held_out is given"),
        ({"train_people": 2_000_000}, "too many"), ({"frames": 0}, "frames"),
    ],
)  # fmt: skip
def test_drawn_heads_that_do_not_fit(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        VideosProcedural(**{**SMALL, **changed})


def write_own(root: Path, people: int = 8) -> None:
    for number in range(people):
        small_video(root / "real" / f"p{number}.mp4", seed=number)
        small_video(root / "fake" / "SWAP" / f"p{number}.mp4", seed=100 + number)
    small_video(root / "real" / "p0_again.mp4", seed=50)
    small_video(root / "real" / "brief.mp4", 2)
    lines = [f"p{number}.mp4,person{number}" for number in range(people)]
    (root / "who.csv").write_text(
        "\n".join(["file,identity", *lines, "p0_again.mp4,person0", "brief.mp4,person1"]) + "\n"
    )


def test_folders_of_ones_own(tmp_path: Path) -> None:
    write_own(tmp_path)
    settings = VideosFolder(root=str(tmp_path), identities="who.csv", crop=CROPS, cache=str(tmp_path / "cache"))
    data = load(settings)
    names = {part: set(videos.names) for part, videos in data.parts().items()}
    assert sum(map(len, names.values())) == 17 and "1 videos are left out: 1 x is too short." in data.protocol
    for part in names.values():
        assert ("real/p0.mp4" in part) == ("real/p0_again.mp4" in part) == ("fake/SWAP/p0.mp4" in part)
    test = data.test
    for number in np.flatnonzero(test.forged):
        assert test.names[test.source[number]] == test.names[number].replace("fake/SWAP", "real")
    assert data.held_out == () and data.preprocessing == CROPS.to_json()
    assert "it is not known who is on them" not in data.protocol
    again = load(settings)
    assert (
        "17 were found in the cache and 0 were made" in again.protocol and again.content_hash() == data.content_hash()
    )

    (tmp_path / "who.csv").write_text(
        "file,identity\n" + "".join(f"p{number}.mp4,person{number}\n" for number in range(6))
    )
    assert "Of 4 of 10 real videos it is not known who is on them" in load(settings).protocol


def test_a_table_with_its_own_splits(tmp_path: Path) -> None:
    rows = ["path,label,identity,method,split"]
    for number, split in enumerate(["train", "validation", "test", "test"]):
        for label, method in (("real", ""), ("fake", "A"), ("fake", "B")):
            name = f"{label}{method}{number}.mp4"
            small_video(tmp_path / name, seed=len(rows))
            rows.append(f"{name},{label},person{number},{method},{split}")
    (tmp_path / "videos.csv").write_text("\n".join(rows))
    common: dict[str, Any] = {
        "root": str(tmp_path),
        "table": "videos.csv",
        "crop": CROPS,
        "cache": str(tmp_path / "cache"),
    }
    data = load(VideosFolder(**common))
    assert [len(part) for part in data.parts().values()] == [
        3,
        3,
        6,
    ] and "Splits are those of the list" in data.protocol
    held = load(VideosFolder(**common, held_out=("B",)))
    assert held.held_out == ("B",) and held.train.forgeries == ("A",) and held.test.forgeries == ("A", "B")
    with pytest.raises(BadInput, match="families C are held out, and no video is of them"):
        load(VideosFolder(**common, held_out=("C",)))
    (tmp_path / "videos.csv").write_text(
        "\n".join(row for row in rows if "realtest" not in row and not row.startswith("real3"))
    )
    (tmp_path / "real2.mp4").unlink()
    with pytest.raises(BadInput, match="test part of 'face_videos' has 0 real and 4 forged"):
        load(VideosFolder(**common))


def write_faceforensics(root: Path) -> None:
    pairs = {"train": [["000", "003"]], "val": [["020", "021"]], "test": [["030", "031"]]}
    for split, listed in pairs.items():
        root.mkdir(exist_ok=True)
        (root / f"{split}.json").write_text(json.dumps(listed))
        for one, other in listed:
            for name in (one, other):
                small_video(root / "original_sequences/youtube/c23/videos" / f"{name}.mp4", seed=int(name))
            for family in ("Deepfakes", "FaceSwap"):
                small_video(
                    root / "manipulated_sequences" / family / "c23/videos" / f"{one}_{other}.mp4", seed=int(one) + 500
                )


def test_faceforensics_with_a_family_left_out(tmp_path: Path) -> None:
    write_faceforensics(tmp_path / "ff")
    settings = FaceForensics(
        root=str(tmp_path / "ff"),
        families=("Deepfakes", "FaceSwap"),
        held_out=("FaceSwap",),
        crop=CROPS,
        cache=str(tmp_path / "cache"),
    )
    data = load(settings)
    assert data.held_out == ("FaceSwap",) and data.train.forgeries == ("Deepfakes",) and len(data.test) == 4
    assert "Held out, in the test part only: FaceSwap" in data.protocol
    with pytest.raises(BadInput, match="arrangement"):
        FaceForensics(arrangement="own")


def test_across_data(tmp_path: Path) -> None:
    write_faceforensics(tmp_path / "ff")
    common: dict[str, Any] = {
        "faceforensics": str(tmp_path / "ff"), "families": ("Deepfakes",), "crop": CROPS, "cache": str(tmp_path / "cache"),
    }  # fmt: skip
    celeb = tmp_path / "celeb"
    for name in (
        "Celeb-real/id0_0000",
        "YouTube-real/00007",
        "Celeb-synthesis/id0_id1_0000",
        "Celeb-synthesis/id5_id1_0000",
    ):
        small_video(celeb / f"{name}.mp4")
    (celeb / "List_of_testing_videos.txt").write_text(
        "1 Celeb-real/id0_0000.mp4\n1 YouTube-real/00007.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n"
    )
    data = load(CelebDf(root=str(celeb), **common))
    assert data.held_out == ("Celeb-synthesis",) and len(data.test) == 3 and data.train.forgeries == ("Deepfakes",)
    assert data.test.source.tolist() == [-1, -1, 0] and len(np.unique(data.test.identities)) == 2

    dfdc = tmp_path / "dfdc"
    for name in ("a", "b"):
        small_video(dfdc / f"{name}.mp4")
    told = {"a.mp4": {"label": "REAL"}, "b.mp4": {"label": "FAKE", "original": "a.mp4", "split": "train"}}
    (dfdc / "metadata.json").write_text(json.dumps(told))
    data = load(Dfdc(root=str(dfdc), **common))
    assert data.held_out == ("DFDC",) and data.test.source.tolist() == [-1, 0]
    assert data.test.identities[0] == data.test.identities[1]

    deeper = tmp_path / "deeper"
    small_video(deeper / "manipulated_videos/end_to_end/030_M101.mp4")
    data = load(DeeperForensics(root=str(deeper), **common))
    assert data.held_out == ("DeeperForensics",) and data.test.names == ("real/030", "real/031", "end_to_end/030_M101")

    vox = tmp_path / "vox"
    for name in ("id1/a/0", "id1/a/1", "id2/a/0"):
        small_video(vox / f"{name}.mp4")
    data = load(VoxCeleb2(root=str(vox), most_each=1, **common))
    assert data.held_out == () and len(data.train) == 3 + 2 and (~data.train.forged).sum() == 4
    with pytest.raises(BadInput, match="has no faceforensics"):
        load(CelebDf(root=str(celeb), crop=CROPS, cache=str(tmp_path / "cache")))


def test_deepfakebench(tmp_path: Path) -> None:
    held: dict[str, Any] = {"FF-real": {}, "FF-DF": {}}
    for split, name in (("train", "000"), ("val", "005"), ("test", "009")):
        for label, video in (("FF-real", name), ("FF-DF", f"{name}_{int(name) + 1:03d}")):
            folder = tmp_path / label / video
            folder.mkdir(parents=True)
            for number, frame in enumerate(noise(6, 20, 20)):
                Image.fromarray(frame).save(folder / f"{number}.png")
            held[label][split] = {
                "c23": {video: {"label": label, "frames": [f"{label}/{video}/{k}.png" for k in range(6)]}}
            }
    (tmp_path / "list.json").write_text(json.dumps({"FaceForensics++": held}))
    data = load(DeepfakeBench(root=str(tmp_path), lists=("list.json",), crop=CROPS, cache=str(tmp_path / "cache")))
    assert [part.names for part in data.parts().values()] == [
        ("FF-real/000", "FF-DF/000_001"), ("FF-real/005", "FF-DF/005_006"), ("FF-real/009", "FF-DF/009_010"),
    ]  # fmt: skip
    assert all(part.source.tolist() == [-1, 0] for part in data.parts().values())

    # Other lists with videos of the first one, or with a forgery of what the first one learns from.
    def scored(*rows: tuple[str, str, str, str]) -> DeepfakeBench:
        told: dict[str, Any] = {}
        for label, split, video, folder in rows:
            told.setdefault(label, {})[split] = {video: {"frames": [f"{folder}/{video}/{k}.png" for k in range(6)]}}
        (tmp_path / "other.json").write_text(json.dumps({"Other": told}))
        return DeepfakeBench(
            root=str(tmp_path),
            lists=("list.json",),
            test_lists=("other.json",),
            crop=CROPS,
            cache=str(tmp_path / "cache"),
        )

    swapped = ("FF-FH", "test", "009_010", "FF-DF")
    assert load(scored(swapped)).held_out == ("FF-FH",)
    for rows, words in (
        ([swapped, ("FF-real", "test", "009", "FF-real")], r"FF-real/009 is named by list\.json \(test\)"),
        ([("FF-DF", "test", "000_001", "FF-DF")], r"FF-DF/000_001 is named by list\.json \(train\)"),
        (
            [("FF-FH", "test", "000_001", "FF-DF"), ("FF-real", "train", "000", "FF-real")],
            r"FF-real/000 is named by list\.json \(train\) and by other\.json \(test\)",
        ),
    ):
        with pytest.raises(BadInput, match=words):
            load(scored(*rows))


def test_forgeries_are_made_from_videos_of_ones_own(tmp_path: Path) -> None:
    from stillhouse.platform.data.procedural_heads import draw_heads

    heads, every = draw_heads(5, frames=16, side=96, seed=1), range(16)
    for folder in ("landmarks/real", "real", "fake/DF"):
        (tmp_path / folder).mkdir(parents=True)
    for number in range(5):
        frames = heads.tracks.read(number, every).transpose(0, 2, 3, 1)
        write_video(tmp_path / "real" / f"{number}.mkv", frames, codec="ffv1")
        mesh = _mesh_of(heads.tracks.landmarks(number, every))  # type: ignore[attr-defined]
        # Known forgeries of the same names, which are cut by the landmarks of their source.
        write_video(tmp_path / "fake" / "DF" / f"{number}.mkv", np.ascontiguousarray(frames[::-1]), codec="ffv1")
        np.savez(tmp_path / "landmarks" / "real" / f"{number}.mkv.npz", lm16=np.rint((mesh + 0.5) * 8).astype(np.int16))
    small_video(tmp_path / "fake" / "WILD" / "w.mp4", 16)
    np.savez(tmp_path / "landmarks" / "w.mp4.npz", lm16=np.rint((mesh / 3) * 8).astype(np.int16))
    settings = VideosFolder(
        root=str(tmp_path), landmarks="landmarks", forging=Forging(("SHUF",), ("SBI",)), forging_side=72, test=0.4, validation=0.2,
        crop=CropSettings(side=32, shortest=8), cache=str(tmp_path / "cache"),
    )  # fmt: skip
    data = load(settings)
    assert data.train.forgeries == ("DF", "SHUF") and data.train.tracks.side == 32
    for part in data.parts().values():
        for number in np.flatnonzero(np.array(part.families) == "DF"):
            assert part.names[part.source[number]] == part.names[number].replace("fake/DF", "real")
    assert "H.264 at CRF 23" in data.protocol and data.held_out == ("SBI", "WILD")
    assert data.test.names[-1] == "fake/WILD/w.mp4" and data.test.source[-1] == -1
    again = load(settings)
    assert again.content_hash() == data.content_hash() and " and 0 were made" in again.protocol
    # What is learned from real videos alone hangs on them and on their places: neither on the families that are made beside them.
    other = load(replace(settings, forging=Forging(("SBI",), ("SHUF",)))).train
    real, same = (np.flatnonzero(~one.forged) for one in (data.train, other))
    assert real.tolist() == same.tolist()
    assert tracks_hash(data.train.take(real).tracks) == tracks_hash(other.take(same).tracks)
    with pytest.raises(BadInput, match="families SHUF are held out, and no video that was read"):
        load(replace(settings, held_out=("SHUF", "WILD")))


def _mesh_of(points: np.ndarray) -> np.ndarray:
    """A mesh of 478 points with the outlines of a drawn head where MediaPipe has them; the others about the middle of the face."""
    from stillhouse.platform.data.forgery_points import PARTS, face_points

    drawn, mesh = face_points(127), face_points(478)
    rng = np.random.default_rng(0)
    middle = points.mean(1, keepdims=True)
    found = middle + rng.uniform(-12, 12, (1, 478, 2)) + np.zeros((len(points), 1, 1))
    for part in PARTS:
        own, its = drawn.parts[part], mesh.parts[part]
        at = np.linspace(0, len(own), len(its), endpoint=False).astype(int)
        found[:, list(its)] = points[:, [own[k] for k in at]]
    return found


@pytest.mark.shared_data
@pytest.mark.slow
def test_forgeries_of_real_clips(shared_data: Path, tmp_path: Path) -> None:
    settings = VideosFolder(
        root=str(shared_data / "video"),
        identities="PROVENANCE.md",
        landmarks="landmarks",
        crop=CropSettings(side=48, most=16),
        forging=Forging(("SHUF",), ("HOLD",)),
        cache=str(tmp_path),
    )
    data = load(settings)
    assert "The 39 groups of people were shuffled by seed 7" in data.protocol and "left out" not in data.protocol
    counts = {
        part: (int((~videos.forged).sum()), len(np.unique(videos.identities))) for part, videos in data.parts().items()
    }
    assert sum(real for real, _ in counts.values()) == 41 and sum(people for _, people in counts.values()) == 39
    assert data.held_out == ("HOLD",)
    for part in data.parts().values():
        frames = np.concatenate([part.tracks.read(number, [0, 15]) for number in range(len(part))])
        assert frames.std() > 30  # pictures, not flat crops
