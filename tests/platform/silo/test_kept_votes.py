"""Votes once cast are cast again, whatever happens in between; another teacher's or torn ones never are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.silo.host import SiloHost
from stillhouse.platform.silo.kept_votes import FOLDER, KeptVotes
from stillhouse.platform.silo.scatter_ridge import RidgeTeachers, ScatterRidge
from stillhouse.platform.silo.shard import write_shard

VOTES = np.array([3, 0, 9, 1])


@pytest.fixture
def folders(tmp_path: Path, shards: list[ImageData]) -> list[Path]:
    places = [tmp_path / "a", tmp_path / "b"]
    for place, shard in zip(places, shards, strict=False):
        write_shard(place, shard)
    return places


def trained(folders: list[Path], **settings: float) -> SiloHost:
    host = SiloHost(folders, ScatterRidge(**settings))  # type: ignore[arg-type]
    host.train()
    return host


def test_what_is_kept_comes_back_to_its_teacher_batch_and_length_only(tmp_path: Path) -> None:
    KeptVotes(tmp_path, "t1").put("batch", VOTES)
    assert np.array_equal(KeptVotes(tmp_path, "t1").get("batch", 4), VOTES)  # type: ignore[arg-type]
    for teacher, batch, queries in (("t2", "batch", 4), ("t1", "other", 4), ("t1", "batch", 5)):
        assert KeptVotes(tmp_path, teacher).get(batch, queries) is None


@pytest.mark.parametrize(
    "damage", [lambda r: r[:-1], lambda r: bytes(len(r)), lambda r: r[:-4] + b"\1\0\0\0", lambda r: b""]
)
def test_torn_votes_are_not_used(tmp_path: Path, damage: object) -> None:
    kept = KeptVotes(tmp_path, "t")
    kept.put("batch", np.array([3, 0, 9, 0]))
    (path,) = (tmp_path / FOLDER).iterdir()
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    assert kept.get("batch", 4) is None


def test_the_oldest_go_first(tmp_path: Path) -> None:
    kept = KeptVotes(tmp_path, "t", limit=2)
    for turn, batch in enumerate(("one", "two", "three")):
        kept.put(batch, VOTES)
        os.utime(kept._path(batch), ns=(turn, turn))
    kept.put("four", VOTES)
    assert [kept.get(b, 4) is None for b in ("one", "two", "three", "four")] == [True, True, False, False]


def test_a_restarted_host_repeats_its_votes_without_its_teacher(
    folders: list[Path], queries: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = trained(folders).vote(queries)
    second = trained(folders)

    def refuse(self: RidgeTeachers, images: np.ndarray) -> np.ndarray:
        raise AssertionError("asked again")

    monkeypatch.setattr(RidgeTeachers, "vote", refuse)
    assert np.array_equal(second.vote(queries), first)


def test_one_silo_without_its_votes_gets_its_own_again(folders: list[Path], queries: np.ndarray) -> None:
    first = trained(folders).vote(queries)
    for entry in (folders[1] / FOLDER).iterdir():
        entry.unlink()
    assert np.array_equal(trained(folders).vote(queries), first)


def test_another_teacher_casts_its_own_votes(folders: list[Path], queries: np.ndarray) -> None:
    first = trained(folders).vote(queries)
    other = trained(folders, penalty=1e6).vote(queries)
    assert not np.array_equal(first, other)
    assert np.array_equal(trained(folders).vote(queries), first)
