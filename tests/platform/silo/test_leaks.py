"""What can be got out of a silo by its public surface: public facts and votes, whatever is called and whatever fails."""

from __future__ import annotations

import dataclasses
import json
import pickle
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.data.partition import Manifest
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.vector_mean import Grid
from stillhouse.platform.silo.cnn_teacher import CnnTeacher
from stillhouse.platform.silo.host import TEACHER, SiloHost, VotingFailed
from stillhouse.platform.silo.scatter_ridge import RidgeTeachers, ScatterRidge
from stillhouse.platform.silo.shard import write_shard
from stillhouse.platform.silo.teachers import TeacherKind

SECRET = "record 17 is 0.25 0.75"


@pytest.fixture
def folders(tmp_path: Path, shards: list[ImageData]) -> list[Path]:
    places = [tmp_path / "a", tmp_path / "b"]
    for place, shard in zip(places, shards, strict=False):
        write_shard(place, shard)
    return places


def walk(host: SiloHost, queries: np.ndarray) -> dict[str, Any]:
    """What every public name gives when it is read or called."""
    calls = {
        "train": lambda: host.train(), "vote": lambda: host.vote(queries), "describe": lambda: host.describe(),
        "vectors": lambda: refusal(host),
    }  # fmt: skip
    public = [name for name in dir(host) if not name.startswith("_")]
    return {name: calls[name]() if callable(getattr(host, name)) else getattr(host, name) for name in public}


def refusal(host: SiloHost) -> str:
    """What teachers that vote say when they are asked for vectors; see `test_vectors` for the others."""
    with pytest.raises(BadInput) as caught:
        list(host.vectors("batch", "targets", {"x": np.zeros((1, 1), np.float32)}, Grid.of(1.0, 4)))
    return str(caught.value)


def plain(value: Any) -> bool:
    """Texts, single numbers, and lists and tables of them: nothing that could hold a tensor or an object of ours."""
    if isinstance(value, dict):
        return all(plain(k) and plain(v) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return all(plain(v) for v in value)
    return value is None or type(value) in (str, int, float, bool)


@pytest.mark.parametrize("kind", [ScatterRidge(), CnnTeacher(epochs=2, width=4, hidden=8)], ids=["ridge", "cnn"])
def test_no_record_and_no_weight_is_in_anything_public(
    kind: TeacherKind, folders: list[Path], queries: np.ndarray, shards: list[ImageData]
) -> None:
    found = walk(SiloHost(folders, kind), queries)
    assert set(found) == {"silos", "train", "vote", "vectors", "describe"}
    votes = found.pop("vote")
    assert type(votes) is np.ndarray and votes.base is None
    assert votes.dtype == np.int64 and votes.shape == (2, len(queries)) and votes.min() >= 0 and votes.max() < 10
    assert plain({name: dataclasses.asdict(v) if dataclasses.is_dataclass(v) else v for name, v in found.items()})
    out = pickle.dumps([found, votes])
    for shard in shards[:2]:
        assert not any(image.tobytes() in out for image in shard.images)
        assert shard.content_hash().encode() not in out
    for folder in folders:
        weights = (folder / TEACHER).read_bytes()[-64:]
        assert weights not in out


def test_public_facts_do_not_depend_on_the_records(
    folders: list[Path], queries: np.ndarray, tmp_path: Path, shards: list[ImageData]
) -> None:
    others = [tmp_path / "else" / f.name for f in folders]
    for place, shard in zip(others, shards, strict=False):
        write_shard(place, ImageData(255 - shard.images[:9], shard.labels[:9] * 0, shard.classes, "x"))
    said = []
    for places in (folders, others):
        host = SiloHost(places, ScatterRidge())
        report = dataclasses.asdict(host.train())
        report.pop("seconds")
        said.append(json.dumps([report, host.describe(), host.silos]))
    assert said[0] == said[1]


def test_an_error_while_voting_says_its_type_and_nothing_else(
    folders: list[Path], queries: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = SiloHost(folders, ScatterRidge())
    host.train()

    def fail(self: RidgeTeachers, images: np.ndarray) -> np.ndarray:
        raise ZeroDivisionError(SECRET)

    monkeypatch.setattr(RidgeTeachers, "vote", fail)
    with pytest.raises(VotingFailed, match="ZeroDivisionError") as caught:
        host.vote(queries)
    assert caught.value.__context__ is None and caught.value.__cause__ is None
    said = "".join(traceback.format_exception(caught.value)) + repr(caught.value.args)
    assert SECRET not in said
    assert SECRET.encode() not in pickle.dumps(caught.value)


@settings(max_examples=12, deadline=None)
@given(record=st.integers(0, 199), change=st.sampled_from(["replaced", "relabelled", "removed"]))
def test_one_record_moves_one_vote_of_each_histogram(record: int, change: str) -> None:
    """The sensitivity that every noise scale rests on: L1 <= 2, L2 <= sqrt 2, the largest count <= 1."""
    data = load("digits")
    private, queries = data.private.take(np.arange(200)), data.pool.images[:60]
    manifest = Manifest.make(len(private), 8, key="sensitivity")
    images, labels = private.images.copy(), private.labels.copy()
    if change == "replaced":
        images[record] = 255 - images[record]
    labels[record] = (labels[record] + 3) % 10
    other = ImageData(images, labels, private.classes, private.name)
    # A removed record leaves a hole: the others keep their numbers, hence their shards.
    gone = {record} if change == "removed" else set()
    parts = [manifest.indices(s) for s in range(8)]
    before = ScatterRidge().fit([private.take(p) for p in parts], [0] * 8).vote(queries)
    after = ScatterRidge().fit([other.take([i for i in p if i not in gone]) for p in parts], [0] * 8).vote(queries)
    assert set(np.flatnonzero((before != after).any(1))) <= {manifest.assignment[record]}
    one, two = (np.stack([(votes == label).sum(0) for label in range(10)], axis=1) for votes in (before, after))
    assert np.abs(one - two).sum(1).max() <= 2 and ((one - two) ** 2).sum(1).max() <= 2
    assert np.abs(one.max(1) - two.max(1)).max() <= 1
