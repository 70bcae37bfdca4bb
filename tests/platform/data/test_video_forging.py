"""Sets with forgeries made here: every real track once by each family, the same way of storing for all, and the same again by seed."""

from __future__ import annotations

import weakref
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from stillhouse.platform.data import forgery_codecs
from stillhouse.platform.data.forgery_codecs import FaceCodes
from stillhouse.platform.data.forgery_points import MarkedTrack
from stillhouse.platform.data.procedural_heads import draw_heads
from stillhouse.platform.data.video_cache import VideoCache
from stillhouse.platform.data.video_crops import FaceTrack
from stillhouse.platform.data.video_families import Forging
from stillhouse.platform.data.video_forging import Codes, Finish, Given, Held, Subject, forged_set
from stillhouse.platform.data.videos import VideoSet
from stillhouse.platform.errors import BadInput

FRAMES, SIDE = 16, 32
PLAIN = Finish(SIDE)


@pytest.fixture(scope="module")
def subjects() -> list[Subject]:
    drawn = draw_heads(2, videos=2, frames=FRAMES, side=SIDE, seed=3)
    every = range(FRAMES)

    def one(number: int) -> Subject:
        track = FaceTrack(drawn.tracks.read(number, every), 25.0, drawn.tracks.landmarks(number, every), 0)  # type: ignore[attr-defined]
        return Subject(f"key{number}", drawn.names[number], int(drawn.identities[number]), FRAMES, lambda: track)

    return [one(number) for number in range(4)]


def made(
    subjects: list[Subject], *families: str, seed: int = 0, finish: Finish = PLAIN, keeps: object = None
) -> VideoSet:
    keeps = Held() if keeps is None else keeps
    return forged_set(subjects, families, seed=seed, finish=finish, keeps=keeps, codes=Codes(subjects, seed))  # type: ignore[arg-type]


def frames(videos: VideoSet, number: int) -> np.ndarray:
    return videos.tracks.read(number, range(videos.tracks.frames(number)))


def test_each_real_track_is_forged_once_by_each_family(subjects: list[Subject]) -> None:
    videos = made(subjects, "SHUF", "FS")
    assert videos.families == ("real",) * 4 + ("SHUF",) * 4 + ("FS",) * 4
    assert videos.source.tolist() == [-1] * 4 + [0, 1, 2, 3] * 2 and videos.identities.tolist() == [0, 0, 1, 1] * 3
    assert videos.names[5] == f"{videos.names[1]}.SHUF"
    for number, subject in enumerate(subjects):
        np.testing.assert_array_equal(frames(videos, number), subject.load().frames)
        shuffled, real = frames(videos, 4 + number), frames(videos, number)
        assert (shuffled != real).any()
        assert sorted(frame.tobytes() for frame in shuffled) == sorted(frame.tobytes() for frame in real)


def test_the_same_again_by_seed(subjects: list[Subject]) -> None:
    one, again, other = (made(subjects, "LOCAL", "FS", seed=seed) for seed in (0, 0, 1))
    assert one.content_hash() == again.content_hash() != other.content_hash()
    # A track is forged in the same way whoever else is there.
    few = made(subjects[:1], "LOCAL")
    np.testing.assert_array_equal(frames(few, 1), frames(one, 4))


def test_a_face_comes_from_someone_else(subjects: list[Subject]) -> None:
    with pytest.raises(BadInput, match="one person only"):
        made(subjects[:2], "FS")


def test_real_and_forged_tracks_are_stored_alike(subjects: list[Subject]) -> None:
    finish = Finish(12, 24, 30)
    videos = made(subjects[:1], "SHUF", finish=finish)
    plain = Finish(12, 24)(subjects[0].load())
    assert videos.tracks.side == 12
    real, forged = frames(videos, 0), frames(videos, 1)
    # Both bear the encoder's traces: neither holds the frames as they were.
    for found in (real, forged):
        assert not {frame.tobytes() for frame in found} & {frame.tobytes() for frame in plain.frames}
    assert np.abs(real.astype(int) - plain.frames).mean() < 12


def test_finishing_moves_landmarks_with_the_picture() -> None:
    pictures = np.zeros((1, 3, 36, 36), np.uint8)
    pictures[:, :, 20:22, 10:12] = 240
    points = np.array([[[10.5, 20.5]]], np.float32)
    done = Finish(16, 32)(FaceTrack(pictures, 25.0, points, 0))
    assert done.points is not None
    np.testing.assert_allclose(done.points, [[[4.0, 9.0]]])
    assert np.argwhere(done.frames[0, 0] == done.frames.max()).tolist() == [[9, 4]]
    with pytest.raises(BadInput, match="crf is 52"):
        Finish(16, crf=52)


def test_what_is_made_is_found_on_disk(subjects: list[Subject], tmp_path: Path) -> None:
    first = VideoCache(tmp_path)
    one = made(subjects, "SHUF", keeps=first)
    second = VideoCache(tmp_path)

    def never() -> FaceTrack:
        raise AssertionError("it is on disk already")

    asleep = [Subject(one.key, one.name, one.identity, one.frames, never) for one in subjects]
    again = made(asleep, "SHUF", keeps=second)
    assert (first.made, second.found, second.made) == (8, 8, 0) and again.content_hash() == one.content_hash()
    other = VideoCache(tmp_path)
    made(subjects, "SHUF", seed=1, keeps=other)
    assert (other.found, other.made) == (4, 4)
    np.testing.assert_array_equal(frames(one, 5), frames(made(subjects, "SHUF"), 5))


def test_tracks_that_were_forged_elsewhere_join(subjects: list[Subject]) -> None:
    videos = forged_set(
        subjects[:2],
        (),
        seed=0,
        finish=Finish(SIDE),
        keeps=Held(),
        codes=Codes(subjects, 0),
        forged=[
            Given(subjects[3], "WILD"),
            Given(replace(subjects[2], name="swapped"), "DF", subjects[1].name),
            Given(replace(subjects[2], name="driven"), "F2F", "gone"),
        ],
    )
    assert videos.families == ("real", "real", "WILD", "DF", "F2F") and videos.source.tolist() == [-1, -1, -1, 1, -1]
    assert videos.identities.tolist() == [0, 0, 1, 1, 1]


def test_forgeries_need_landmarks() -> None:
    bare = Subject("k", "n", 0, 16, lambda: FaceTrack(np.zeros((16, 3, 8, 8), np.uint8), 25.0, None, 0))
    with pytest.raises(BadInput, match="n has no landmarks"):
        made([bare], "SBI")


def test_codes_are_learnt_from_the_tracks_given(subjects: list[Subject]) -> None:
    videos = made(subjects[:2], "AE")
    assert videos.forgeries == ("AE",) and (frames(videos, 2) != frames(videos, 0)).any()
    assert Codes(subjects, 0).key != Codes(subjects[:2], 0).key != Codes(subjects[:2], 1).key


def test_of_long_tracks_one_is_held_at_a_time_while_codes_are_learnt(
    subjects: list[Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every third of 64 frames: six of each track, and two more in all than asked for.
    monkeypatch.setattr(forgery_codecs, "MOST", 22)
    loaded, held = list[weakref.ref[np.ndarray]](), list[int]()

    def load(subject: Subject) -> FaceTrack:
        track = subject.load()
        frames = track.frames.copy()
        loaded.append(weakref.ref(frames))
        held.append(sum(one() is not None for one in loaded))
        return FaceTrack(frames, track.fps, track.points, 0)

    found = Codes([replace(one, load=partial(load, one)) for one in subjects], 0).learnt
    assert held == [1] * len(subjects) and all(one() is None for one in loaded)
    # The same frames, and so the same codes, as when all tracks are there at once.
    tracks = [MarkedTrack(one.load().frames, one.load().points) for one in subjects]  # type: ignore[arg-type]
    same = FaceCodes.learnt(tracks, seed=0, mouth_components=16, face_components=16)
    for one, other in ((found.mouth, same.mouth), (found.face, same.face)):
        np.testing.assert_array_equal(one.mean, other.mean)
        np.testing.assert_array_equal(one.components, other.components)


@pytest.mark.parametrize(
    ("families", "held_out", "words"),
    [(("XX",), (), "'XX'"), (("FS",), ("FS",), "twice"), ((), ("FS",), "none to learn from")],
)
def test_families_that_do_not_fit(families: tuple[str, ...], held_out: tuple[str, ...], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Forging(families, held_out)
