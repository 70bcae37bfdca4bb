"""Silos that answer with vectors: what leaves them, what an error says, how a repeated batch is answered, the loop."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from stillhouse.platform.aggregator.client import VectorQuery
from stillhouse.platform.aggregator.vector_batches import VectorQuestion
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.errors import BadInput, Unreachable
from stillhouse.platform.privacy.vector_mean import VectorMean
from stillhouse.platform.silo.host import SiloHost, VotingFailed
from stillhouse.platform.silo.loop import VotingLoop
from stillhouse.platform.silo.scatter_ridge import ScatterRidge
from stillhouse.platform.silo.shard import write_shard
from stillhouse.platform.silo.teachers import TEACHER_KINDS, VECTORS

SECRET = "record 17 is 0.25 0.75"
WIDTH = 64
MECHANISM = VectorMean(clip=1.0, noise_multiplier=1.0)
GRID = MECHANISM.grid(WIDTH)


@dataclass(frozen=True)
class MeanKind:
    """A teacher that answers with the mean of its shard, and with more of it at every question."""

    name: ClassVar[str] = "mean"
    answers: ClassVar[tuple[str, ...]] = (VECTORS,)
    fails: bool = False

    def fit(
        self, shards: Sequence[ImageData], seeds: Sequence[int], *, device: str = "cpu", progress: Callable[[int], None]
    ) -> Means:
        return Means([{"mean": torch.tensor(s.images / 255.0).mean(0).flatten()} for s in shards], self.fails)

    def load(self, states: Sequence[dict[str, torch.Tensor]], **_: Any) -> Means:
        return Means(list(states), self.fails)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name}


@dataclass
class Means:
    states: list[dict[str, torch.Tensor]]
    fails: bool
    asked: int = 0

    def vote(self, images: np.ndarray) -> np.ndarray:
        raise BadInput("means do not vote")

    def vectors(self, index: int, task: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        if self.fails and index == 1:
            raise ZeroDivisionError(SECRET)
        self.asked += 1
        return np.tile(self.states[index]["mean"].numpy() * self.asked, (len(inputs["x"]), 1)).astype(np.float32)

    def state(self, index: int) -> dict[str, torch.Tensor]:
        return self.states[index]


@pytest.fixture
def folders(tmp_path: Path, shards: list[ImageData]) -> list[Path]:
    places = [tmp_path / name for name in "abc"]
    for place, shard in zip(places, shards, strict=False):
        write_shard(place, shard)
    return places


def host_of(folders: list[Path], *, fails: bool = False) -> SiloHost:
    host = SiloHost(folders, MeanKind(fails))
    host.train()
    return host


def question(rows: int = 2, first: float = 0.0) -> VectorQuestion:
    return VectorQuestion("targets", {"x": np.full((rows, 1, 8, 8), first, np.float32)}, WIDTH)


def vectors(host: SiloHost, batch: str, rows: int = 2) -> dict[str, np.ndarray]:
    return dict(host.vectors(batch, "targets", question(rows).inputs, GRID))


def test_only_short_whole_numbers_leave(folders: list[Path], shards: list[ImageData]) -> None:
    found = vectors(host_of(folders), "one")
    assert list(found) == ["a", "b", "c"]
    for units, shard in zip(found.values(), shards, strict=False):
        assert units.dtype == np.int16 and units.base is None and units.shape == (2, WIDTH)
        GRID.check(units, 2)
        mean = (shard.images / 255.0).mean(0).ravel()
        assert np.linalg.norm(mean) > 1, "the test means little if nothing is clipped"
        cosine = units[0] @ mean / np.linalg.norm(units[0]) / np.linalg.norm(mean)
        assert cosine > 0.999


def test_the_same_batch_gets_the_same_vectors_though_teachers_move_on(folders: list[Path]) -> None:
    host = host_of(folders)
    first = vectors(host, "one")
    again = vectors(host, "one")
    assert all(np.array_equal(first[name], again[name]) for name in first)
    first["a"][:] = 0  # what was handed out is not what is kept
    assert vectors(host, "one")["a"].any()
    host = host_of(folders)
    host._teachers.asked = 0  # type: ignore[union-attr]
    next(host.vectors("one", "targets", question().inputs, GRID))
    assert host._teachers.asked == 1, "silo by silo: nothing is computed ahead"  # type: ignore[union-attr]


def test_one_record_moves_one_silos_vectors(folders: list[Path], shards: list[ImageData], tmp_path: Path) -> None:
    before = vectors(host_of(folders), "one")
    images = shards[1].images.copy()
    images[3] = 255 - images[3]
    others = [tmp_path / "else" / f.name for f in folders]
    for place, shard in zip(others, [shards[0], ImageData(images, shards[1].labels, 10, "x"), shards[2]], strict=True):
        write_shard(place, shard)
    after = vectors(host_of(others), "one")
    moved = {name: after[name].astype(int) - before[name] for name in before}
    assert not moved["a"].any() and not moved["c"].any() and moved["b"].any()
    assert (moved["b"] ** 2).sum(axis=1).max() <= (2 * GRID.bound) ** 2


def test_an_error_says_its_type_and_nothing_else(folders: list[Path]) -> None:
    with pytest.raises(VotingFailed, match="ZeroDivisionError") as caught:
        vectors(host_of(folders, fails=True), "one")
    assert caught.value.__context__ is None and caught.value.__cause__ is None
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_who_cannot_answer_says_so(folders: list[Path]) -> None:
    with pytest.raises(BadInput, match="train first"):
        vectors(SiloHost(folders, MeanKind()), "one")
    host = SiloHost(folders, ScatterRidge())
    host.train()
    assert host.describe()["answers"] == ["votes"] and host_of(folders).describe()["answers"] == ["vectors"]
    with pytest.raises(BadInput, match="labels only"):
        vectors(host, "one")


@dataclass
class Client:
    """Hands out what it is given; refuses as it is told, in order."""

    offers: list[Any]
    refusals: list[Exception | None] = field(default_factory=list)
    sent: list[tuple[str, str, np.ndarray]] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    joined: list[dict[str, Any]] = field(default_factory=list)

    def join(self, description: dict[str, Any]) -> None:
        self.joined.append(description)

    def next_batch(self, wait_seconds: float) -> Any:
        return self.offers.pop(0)

    def send_votes(self, batch: Any, silos: Sequence[str], votes: np.ndarray) -> None:
        raise AssertionError("these silos do not vote")

    def send_vectors(self, batch: Any, silo: str, vectors: np.ndarray) -> None:
        refusal = self.refusals.pop(0) if self.refusals else None
        if refusal is not None:
            raise refusal
        self.sent.append((batch.id, silo, vectors))

    def report_failure(self, batch_id: str, kind: str) -> None:
        self.failures.append((batch_id, kind))


def offer(name: str) -> VectorQuery:
    asked = question(first=float(len(name)))
    return VectorQuery(name, asked.content, asked, MECHANISM)


def test_the_loop_sends_silo_by_silo(folders: list[Path]) -> None:
    client = Client([None, offer("one"), offer("three")])
    assert VotingLoop(host_of(folders), client).run(threading.Event(), max_batches=2) == 2
    assert [(batch, silo) for batch, silo, _ in client.sent] == [(b, s) for b in ("one", "three") for s in "abc"]
    assert client.joined[0]["answers"] == ["vectors"]


def test_one_silos_refusal_does_not_stop_the_others(folders: list[Path]) -> None:
    client = Client([offer("one")], [BadInput("too late")])
    assert VotingLoop(host_of(folders), client).run(threading.Event(), max_batches=1) == 1
    assert [silo for _, silo, _ in client.sent] == ["b", "c"]


def test_after_a_lost_connection_the_same_vectors_are_sent(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stillhouse.platform.silo.loop.FIRST_PAUSE", 0.001)
    client = Client([offer("one"), offer("one")], [None, Unreachable("gone")])
    assert VotingLoop(host_of(folders), client).run(threading.Event(), max_batches=1) == 1
    assert [silo for _, silo, _ in client.sent] == ["a", "a", "b", "c"]
    assert np.array_equal(client.sent[0][2], client.sent[1][2]) and len(client.joined) == 2


def test_a_failure_is_reported_by_its_type(folders: list[Path]) -> None:
    stop = threading.Event()
    client = Client([offer("one")])

    def last(wait_seconds: float) -> Any:
        if client.offers:
            return client.offers.pop(0)
        stop.set()
        return None

    client.next_batch = last  # type: ignore[method-assign]
    assert VotingLoop(host_of(folders, fails=True), client).run(stop) == 0
    assert client.failures == [("one", "ZeroDivisionError")]


def test_the_diffusion_kind_is_named_and_does_not_vote() -> None:
    kind = TEACHER_KINDS["diffusion"](steps=3, hidden=8)
    assert kind.to_json()["name"] == "diffusion" and kind.answers == (VECTORS,)
    with pytest.raises(BadInput, match="do not vote"):
        kind.load([], shape=(1, 8, 8), classes=10).vote(np.zeros((1, 1, 8, 8), np.uint8))
