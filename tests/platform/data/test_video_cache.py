"""Cut-out faces on disk: found again, told apart by what made them, and made again where they were damaged."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from stillhouse.platform.data.video_cache import CachedTracks, VideoCache, entry_key, file_state, usual_cache
from stillhouse.platform.data.video_crops import FaceTrack
from stillhouse.platform.data.videos import tracks_hash
from stillhouse.platform.errors import BadInput


def track(seed: int = 0, frames: int = 9, points: bool = True) -> FaceTrack:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (frames, 3, 16, 16), dtype=np.uint8)
    return FaceTrack(pixels, 25.0, rng.random((frames, 5, 2)).astype(np.float32) if points else None, 1)


def never() -> FaceTrack:
    raise AssertionError("it is there already")


def test_an_entry_is_made_once(tmp_path: Path) -> None:
    made, cache = track(), VideoCache(tmp_path / "cache")
    first = cache.get("k", lambda: made)
    again = VideoCache(tmp_path / "cache")
    entry = again.get("k", never)
    assert entry == first and (again.found, again.made, again.mended) == (1, 0, 0)
    np.testing.assert_array_equal(entry.read([8, 0, 0]), made.frames[[8, 0, 0]])
    assert made.points is not None and (entry.frames, entry.side, entry.fps, entry.missing) == (9, 16, 25.0, 1)
    np.testing.assert_array_equal(entry.landmarks([3]), made.points[[3]])
    with pytest.raises(BadInput, match="asked of a track of 9"):
        entry.read([9])


def flip(path: Path) -> None:
    held = bytearray(path.read_bytes())
    held[-7] ^= 1
    path.write_bytes(held)


@pytest.mark.parametrize("part", ["k.npy", "k.points.npy", "k.json"])
@pytest.mark.parametrize(
    "damage",
    [flip, lambda path: path.write_bytes(path.read_bytes()[:-40]), lambda path: path.write_bytes(b"")],
    ids=["flipped", "cut", "empty"],
)
def test_a_damaged_entry_is_made_again(tmp_path: Path, part: str, damage: Callable[[Path], object]) -> None:
    VideoCache(tmp_path).get("k", track)
    damage(tmp_path / part)
    cache = VideoCache(tmp_path)
    entry = cache.get("k", track)
    np.testing.assert_array_equal(entry.read(range(9)), track().frames)
    assert (cache.found, cache.made, cache.mended) == (0, 1, 1) and "1 of them because" in cache.in_words()
    assert VideoCache(tmp_path).get("k", never) == entry


def test_a_file_that_is_gone_is_made_again(tmp_path: Path) -> None:
    VideoCache(tmp_path, verify=False).get("k", track)
    (tmp_path / "k.npy").unlink()
    cache = VideoCache(tmp_path, verify=False)
    assert cache.get("k", track).frames == 9 and cache.mended == 1


def test_an_entry_damaged_while_it_is_used_is_refused(tmp_path: Path) -> None:
    entry = VideoCache(tmp_path).get("k", track)
    (tmp_path / "k.npy").write_bytes(b"nothing")
    with pytest.raises(BadInput, match="can no longer be read"):
        entry.read([0])


def test_whatever_decides_the_pixels_decides_the_key(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"one")
    keys = {entry_key(video=file_state(file), side=88), entry_key(video=file_state(file), side=96)}
    file.write_bytes(b"another")
    keys.add(entry_key(video=file_state(file), side=88))
    assert len(keys) == 3


def test_tracks_on_disk_are_those_in_memory(tmp_path: Path) -> None:
    cache = VideoCache(tmp_path)
    entries = [cache.get(str(seed), lambda seed=seed: track(seed, 5 + seed)) for seed in range(3)]  # type: ignore[misc]
    tracks = CachedTracks(entries)
    assert (len(tracks), tracks.side, [tracks.frames(k) for k in range(3)], tracks.fps(2)) == (3, 16, [5, 6, 7], 25.0)
    np.testing.assert_array_equal(tracks.read(1, [5, 2]), track(1, 6).frames[[5, 2]])
    sent = pickle.loads(pickle.dumps(tracks))
    np.testing.assert_array_equal(sent.read(2, [0]), track(2, 7).frames[:1])
    assert tracks_hash(sent) == tracks_hash(tracks) != tracks_hash(CachedTracks(entries[:2]))
    assert sent.landmarks(0, [0, 1]).shape == (2, 5, 2)


def test_tracks_of_two_sizes_and_without_points(tmp_path: Path) -> None:
    cache = VideoCache(tmp_path)
    one = cache.get("a", lambda: track(points=False))
    with pytest.raises(BadInput, match="has no landmarks"):
        one.landmarks([0])
    other = cache.get("b", lambda: FaceTrack(np.zeros((2, 3, 8, 8), np.uint8), 25.0, None, 0))
    with pytest.raises(BadInput, match="sides"):
        CachedTracks([one, other])


def test_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert usual_cache() == tmp_path / "stillhouse" / "videos"
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInput, match="cannot be made"):
        VideoCache(tmp_path / "file")
