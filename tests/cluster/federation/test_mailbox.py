"""Questions and answers as files: what was raised is raised, a dead server is noticed, a stale answer is not taken."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from stillhouse.cluster.federation.mailbox import Mailbox
from stillhouse.platform.errors import BudgetExhausted, RunFailed, TimedOut
from stillhouse.platform.ledger.records import Budget
from stillhouse.platform.privacy.budget import BudgetKind
from stillhouse.platform.secure.stored import Served
from stillhouse.platform.training import files

IMAGES = np.arange(3 * 4, dtype=np.uint8).reshape(3, 1, 2, 2)
BUDGET = Budget("d", 2.0, 1e-5, BudgetKind.ZCDP, (), (10,), (4,), 1, "replace-one")


@contextmanager
def served(folder: Path, answer: object) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=Mailbox(folder).serve, args=(answer, lambda: BUDGET, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_an_answer_comes_back_whole(tmp_path: Path) -> None:
    asked: list[np.ndarray] = []

    def answer(images: np.ndarray) -> Served:
        asked.append(images)
        return Served(np.array([2, -1, 0]), np.array([False, False, True]), 7, {"check": 5, "answer": 4})

    with served(tmp_path, answer):
        found = Mailbox(tmp_path).ask(IMAGES, seconds=20)
    assert np.array_equal(asked[0], IMAGES) and found.labels.tolist() == [2, -1, 0]
    assert found.statuses == ("answered", "abstained", "answered") and found.voted == (4, 4, 0)
    assert (found.cost_nano_rho, found.epsilon_cap, found.delta) == (7, 2.0, 1e-5)
    assert not list(tmp_path.glob("questions/*"))


def test_what_the_server_raises_is_raised_here_and_asked_again_next_time(tmp_path: Path) -> None:
    outcomes: Iterator[object] = iter([BudgetExhausted("spent"), Served(np.array([1]), np.array([True]), 0, {})])

    def answer(images: np.ndarray) -> Served:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome  # type: ignore[return-value]

    with served(tmp_path, answer):
        with pytest.raises(BudgetExhausted, match="spent"):
            Mailbox(tmp_path).ask(IMAGES[:1], seconds=20)
        assert Mailbox(tmp_path).ask(IMAGES[:1], seconds=20).labels.tolist() == [1]


def test_a_question_that_is_put_again_at_once_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is slow to keep an answer that can be read already: whoever has read it asks again meanwhile."""

    def sync(folder: Path) -> None:
        if folder.name == "answers":
            time.sleep(0.7)

    monkeypatch.setattr(files, "sync_folder", sync)
    with served(tmp_path, lambda images: Served(np.array([1]), np.array([True]), 0, {})):
        for _ in range(3):
            assert Mailbox(tmp_path).ask(IMAGES[:1], seconds=20).labels.tolist() == [1]


def test_a_server_that_is_not_there_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(TimedOut, match="no answer to 3 queries"):
        Mailbox(tmp_path).ask(IMAGES, seconds=0.3)

    def gone() -> None:
        raise RunFailed("the Flower run has ended")

    with pytest.raises(RunFailed, match="has ended"):
        Mailbox(tmp_path).ask(IMAGES, seconds=20, check=gone)
