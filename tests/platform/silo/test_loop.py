"""The voting loop against an aggregator made of lists."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pytest
from stillhouse.platform.errors import BadInput, NotAuthorised, Unreachable
from stillhouse.platform.silo import loop as module
from stillhouse.platform.silo.loop import VotingLoop


@dataclass
class Batch:
    id: str
    images: np.ndarray
    hash: str = "h"


class Host:
    silos: ClassVar[list[str]] = ["a", "b"]

    def describe(self) -> dict[str, Any]:
        return {"silos": self.silos}

    def vote(self, images: np.ndarray) -> np.ndarray:
        if images.shape[-1] == 3:
            raise ValueError(f"record 17 looks like {images}")
        return np.tile(images[:, 0, 0, 0].astype(np.int64), (2, 1))


@dataclass
class Client:
    """Hands out what it is given; an exception among it is raised."""

    offers: list[Any]
    joined: int = 0
    sent: list[tuple[str, list[str], np.ndarray]] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    refuse: Exception | None = None

    def join(self, description: dict[str, Any]) -> None:
        self.joined += 1

    def next_batch(self, wait_seconds: float) -> Any:
        offer = self.offers.pop(0)
        if isinstance(offer, Exception):
            raise offer
        return offer

    def send_votes(self, batch: Any, silos: Sequence[str], votes: np.ndarray) -> None:
        if self.refuse:
            refusal, self.refuse = self.refuse, None
            raise refusal
        self.sent.append((batch.id, list(silos), votes))

    def report_failure(self, batch_id: str, kind: str) -> None:
        self.failures.append((batch_id, kind))


def batch(name: str, side: int = 2) -> Batch:
    return Batch(name, np.full((3, 1, side, side), 7, np.uint8))


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.002)


def test_it_votes_and_counts() -> None:
    client = Client([None, batch("one"), batch("two")])
    assert VotingLoop(Host(), client).run(threading.Event(), max_batches=2) == 2  # type: ignore[arg-type]
    assert [(b, s) for b, s, _ in client.sent] == [("one", ["a", "b"]), ("two", ["a", "b"])]
    assert client.sent[0][2].tolist() == [[7, 7, 7], [7, 7, 7]]


def test_a_lost_connection_is_tried_again_and_joined_again() -> None:
    client = Client([Unreachable("gone"), Unreachable("gone"), batch("one")])
    assert VotingLoop(Host(), client).run(threading.Event(), max_batches=1) == 1  # type: ignore[arg-type]
    assert client.joined == 3


def test_a_refused_token_ends_it() -> None:
    with pytest.raises(NotAuthorised):
        VotingLoop(Host(), Client([NotAuthorised("no")])).run(threading.Event())  # type: ignore[arg-type]


def test_an_error_while_voting_is_told_by_its_type_only(caplog: pytest.LogCaptureFixture) -> None:
    client = Client([batch("bad", side=3), batch("good")])
    assert VotingLoop(Host(), client).run(threading.Event(), max_batches=1) == 1  # type: ignore[arg-type]
    assert client.failures == [("bad", "ValueError")]
    (record,) = caplog.records
    assert record.exc_info is None
    assert record.getMessage() == "voting on batch bad failed: ValueError"


def test_votes_that_come_late_do_not_end_it() -> None:
    client = Client([batch("late"), batch("good")], refuse=BadInput("the batch has ended"))
    assert VotingLoop(Host(), client).run(threading.Event(), max_batches=1) == 1  # type: ignore[arg-type]
    assert [b for b, _, _ in client.sent] == ["good"]


def test_it_stops_when_told() -> None:
    stop = threading.Event()
    stop.set()
    assert VotingLoop(Host(), Client([])).run(stop) == 0  # type: ignore[arg-type]
