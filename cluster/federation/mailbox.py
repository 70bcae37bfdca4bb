"""Questions to a server that runs elsewhere on this machine, and its answers, as files: `questions/NAME.npz`, `answers/NAME.json`.

A question is named by its content, so that a repeated one is the same one. It goes before its answer is there: whoever reads an answer
may put the same question again at once. A server that ends between the two leaves neither, and is noticed by who waits.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...platform.aggregator.asking import Answers
from ...platform.aggregator.batches import ABSTAINED, ANSWERED, contents_of
from ...platform.aggregator.wire import read_error, write_error
from ...platform.errors import RunFailed, StillhouseError, TimedOut
from ...platform.ledger.records import Budget
from ...platform.secure.stored import Served
from ...platform.training.files import read_json, replace, write_json

POLL_SECONDS = 0.2


class Mailbox:
    """Both ends of it. One asks at a time."""

    def __init__(self, folder: Path) -> None:
        self._questions, self._answers = folder / "questions", folder / "answers"

    def ask(self, images: np.ndarray, *, seconds: float, check: Callable[[], None] = lambda: None) -> Answers:
        """Put a question, uint8 (Q, c, h, w), and wait for its answer; `check` raises where there will be none.

        Raises:
            StillhouseError: what the server raised.
            TimedOut: there is no answer in time.
        """
        name = _name(images)
        told = self._answers / f"{name}.json"
        told.unlink(missing_ok=True)

        def fill(aside: Path) -> None:
            with aside.open("wb") as file:
                np.savez(file, images=images)

        replace(self._questions / f"{name}.npz", fill)
        end = time.monotonic() + seconds
        while not told.exists():
            check()
            if time.monotonic() > end:
                raise TimedOut(
                    f"no answer to {len(images)} queries after {seconds:.0f} s", mend="look into the server's log"
                )
            time.sleep(POLL_SECONDS)
        return _answers(read_json(told))

    def serve(
        self, answer: Callable[[np.ndarray], Served], budget: Callable[[], Budget], stop: threading.Event
    ) -> None:
        """Answer questions as they come until told to stop; whatever `answer` raises is an answer as well."""
        self._questions.mkdir(parents=True, exist_ok=True)
        while not stop.is_set():
            for path in sorted(self._questions.glob("*.npz")):
                with np.load(path, allow_pickle=False) as file:
                    images = file["images"]
                try:
                    told = _told(answer(images), budget())
                except StillhouseError as error:
                    told = {"error": write_error(error).decode()}
                path.unlink()
                write_json(self._answers / f"{path.stem}.json", told)
            stop.wait(POLL_SECONDS)


def _name(images: np.ndarray) -> str:
    return hashlib.sha256("".join(contents_of(images)).encode()).hexdigest()


def _told(served: Served, budget: Budget) -> dict[str, Any]:
    return {
        "labels": served.labels.tolist(), "from_store": served.from_store.tolist(), "cost_nano_rho": served.cost_nano_rho,
        "voted": min(served.voted.values(), default=0), "spent_epsilon": budget.spent_epsilon, "epsilon_cap": budget.epsilon,
        "delta": budget.delta, "neighbouring": budget.neighbouring,
    }  # fmt: skip


def _answers(told: dict[str, Any]) -> Answers:
    if "error" in told:
        raise read_error(told["error"].encode()) or RunFailed("the server could not answer", mend="look into its log")
    labels = np.array(told.pop("labels"), dtype=np.int64)
    from_store, voted = np.array(told.pop("from_store"), dtype=bool), told.pop("voted")
    statuses = tuple(ABSTAINED if label < 0 else ANSWERED for label in labels)
    return Answers(labels, statuses, from_store, voted=tuple(0 if stored else voted for stored in from_store), **told)
