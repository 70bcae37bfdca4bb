"""A silo that cannot vote says so by a type name, and goes on with the next batch."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.errors import BadInput, NotAuthorised, StillhouseError
from stillhouse.platform.silo.host import SiloHost
from stillhouse.platform.silo.loop import VotingLoop
from stillhouse.platform.silo.scatter_ridge import RidgeTeachers, ScatterRidge
from stillhouse.platform.silo.shard import write_shard


@dataclass(frozen=True)
class Batch:
    id: str
    images: np.ndarray
    hash: str = "h"


@dataclass
class Client:
    batches: list[Batch]
    refuse_report: StillhouseError | None = None
    failures: list[tuple[str, str]] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)

    def join(self, description: dict[str, Any]) -> None:
        pass

    def next_batch(self, wait_seconds: float) -> Batch | None:
        return self.batches.pop(0)

    def send_votes(self, batch: Batch, silos: Sequence[str], votes: np.ndarray) -> None:
        self.sent.append(batch.id)

    def report_failure(self, batch_id: str, kind: str) -> None:
        self.failures.append((batch_id, kind))
        if self.refuse_report:
            raise self.refuse_report


@pytest.fixture
def host(tmp_path: Path, shards: list[ImageData], monkeypatch: pytest.MonkeyPatch) -> SiloHost:
    """A trained host whose teacher breaks on batches of three images."""
    write_shard(tmp_path / "a", shards[0])
    made = SiloHost([tmp_path / "a"], ScatterRidge())
    made.train()
    whole = RidgeTeachers.vote

    def vote(self: RidgeTeachers, images: np.ndarray) -> np.ndarray:
        if len(images) == 3:
            raise ZeroDivisionError("record 17 is 0.25")
        return whole(self, images)

    monkeypatch.setattr(RidgeTeachers, "vote", vote)
    return made


def test_the_teachers_error_type_is_told_and_the_next_batch_voted_on(
    host: SiloHost, queries: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client([Batch("bad", queries[:3]), Batch("wrong shape", queries[:2, :, :5]), Batch("good", queries[:4])])
    assert VotingLoop(host, client).run(threading.Event(), max_batches=1) == 1
    assert client.failures == [("bad", "ZeroDivisionError"), ("wrong shape", "BadInput")]
    assert client.sent == ["good"]
    assert "0.25" not in caplog.text


def test_a_report_on_an_ended_batch_does_not_end_the_loop(host: SiloHost, queries: np.ndarray) -> None:
    client = Client([Batch("bad", queries[:3]), Batch("good", queries[:4])], refuse_report=BadInput("it has ended"))
    assert VotingLoop(host, client).run(threading.Event(), max_batches=1) == 1
    assert client.sent == ["good"]


def test_a_refused_token_while_reporting_ends_it(host: SiloHost, queries: np.ndarray) -> None:
    client = Client([Batch("bad", queries[:3])], refuse_report=NotAuthorised("revoked"))
    with pytest.raises(NotAuthorised):
        VotingLoop(host, client).run(threading.Event(), max_batches=1)
