"""Faults that such services have had, each put into an engine through its own parts, and caught by the checks that the
honest engine passes: nothing unpaid was seen or stored (at every kill), and a repeat is free and the same.

Halved noise, shared noise and a check without noise are caught in test_blackbox.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pytest
from stillhouse.platform.aggregator.batches import Batch, Result
from stillhouse.platform.errors import StillhouseError
from stillhouse.platform.ledger import AnswerStore, Ledger, Receipt
from stillhouse.platform.privacy.events import Event
from support.aggregation import (
    INTERACTIVE,
    STEPS,
    Place,
    ask,
    batch,
    contradiction,
    image,
    killed,
    killing,
    paid,
    silent,
    student,
    sure,
    tied,
    under_counted,
    votes,
)

TABLE = votes(sure(0), silent(), tied(), sure(2))


class Books:
    """A ledger as an engine sees it; the faults are in `charge`."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.late: list[dict[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ledger, name)

    def charge(self, dataset: str, *, key: str, event: Event, purpose: str, run: str = "") -> Receipt:
        return self.ledger.charge(dataset, key=key, event=event, purpose=purpose, run=run)

    def pay_late(self) -> None:
        for charge in self.late:
            self.ledger.charge(**charge)
        self.late.clear()

    def step(self, name: str) -> None:
        """Told of every step, before the kill."""


class ChargesAfterRelease(Books):
    """Draw, store, show, and write it into the ledger at the end."""

    def charge(self, dataset: str, *, key: str, event: Event, purpose: str, run: str = "") -> Receipt:
        self.late.append({"dataset": dataset, "key": key, "event": event, "purpose": purpose, "run": run})
        return Receipt(0, key, (0,), False, (0,))


class ChargesWithTheAnswers(ChargesAfterRelease):
    """Write all charges when the answers have been drawn."""

    def step(self, name: str) -> None:
        if name == "drew_answers":
            self.pay_late()


class SkipsChecks(Books):
    """Only answers are charged: an abstention seems to cost nothing."""

    def charge(self, dataset: str, *, key: str, event: Event, purpose: str, run: str = "") -> Receipt:
        if "check" in purpose:
            return Receipt(0, key, (0,), True, (0,))
        return super().charge(dataset, key=key, event=event, purpose=purpose, run=run)


class ChargesOneForAll(Books):
    """Forgets how many queries a batch holds."""

    def charge(self, dataset: str, *, key: str, event: Event, purpose: str, run: str = "") -> Receipt:
        return super().charge(dataset, key=key, event=type(event)(**{**vars(event), "count": 1}), purpose=purpose)


class PaysForEachTry(Books):
    """A new key for each try, so that a retry after a crash pays again."""

    def charge(self, dataset: str, *, key: str, event: Event, purpose: str, run: str = "") -> Receipt:
        return super().charge(
            dataset, key=f"{key} {id(self)} {self.ledger.position()[0]}", event=event, purpose=purpose
        )


UNPAID_CHECK = "a check was drawn or shown before it was paid"
UNPAID_ANSWER = "an answer was drawn or shown before it was paid"
UNPAID_STORE = "an answer was stored before it was paid"
OTHER_CHARGES = "the charges are not those of an undisturbed run"
CHANGED = "a query was answered twice differently"


def crash_problems(place: Place, kind: type[Books]) -> set[str]:
    """What the checks of the crash matrix say about an engine with these books, killed at each step and retried."""
    problems = set()
    for number, step in enumerate([*STEPS, "released"]):
        asked = batch(*range(4 * number, 4 * number + 4), id=f"killed at {step}")
        before, stored_before = paid(place), len(place.stored())

        def paid_since(before: tuple[int, int] = before) -> tuple[int, int]:
            checks, answers = paid(place)
            return checks - before[0], answers - before[1]

        results: list[Result] = []
        books = kind(place.ledger())
        with killed():
            kill = killing(step)

            def on_step(name: str, books: Books = books, kill: Callable[[str], None] = kill) -> None:
                books.step(name)
                kill(name)

            results.append(ask(place.engine(on_step=on_step, ledger=books), asked, TABLE))
            kill("released")
        checks, answers = paid_since()
        if checks < 4:
            problems.add(UNPAID_CHECK)
        if step not in STEPS[: STEPS.index("charged_answers")] and answers < 3:
            problems.add(UNPAID_ANSWER)
        if len(place.stored()) - stored_before > checks:
            problems.add(UNPAID_STORE)
        books = kind(place.ledger())
        results += [ask(place.engine(ledger=books), asked, TABLE) for _ in range(2)]
        books.pay_late()
        if paid_since() != (4, 3):
            problems.add(OTHER_CHARGES)
        if contradiction(results):
            problems.add(CHANGED)
    return problems


@pytest.mark.parametrize(
    ("books", "problems"),
    [
        (Books, set()),
        (ChargesAfterRelease, {UNPAID_CHECK, UNPAID_ANSWER, UNPAID_STORE}),
        (ChargesWithTheAnswers, {UNPAID_CHECK}),
        (SkipsChecks, {UNPAID_CHECK, OTHER_CHARGES}),
        (ChargesOneForAll, {UNPAID_CHECK, UNPAID_ANSWER, OTHER_CHARGES}),
        (PaysForEachTry, {OTHER_CHARGES}),
    ],
)
def test_mutants_of_the_charges(place, books, problems):
    found = crash_problems(place.grant(), books)
    assert problems <= found and (problems or not found)


def test_skipped_checks_are_seen_from_one_quiet_run(place):
    place.grant()
    released = [ask(place.engine(ledger=SkipsChecks(place.ledger())), batch(1, 2, 3, 4), TABLE)]
    assert under_counted(place, released)


class TakesZeroForAMiss(AnswerStore):
    """`if answer:` where `if key in answers` was meant."""

    def get(self, keys: Iterable[str]) -> dict[str, int]:
        return {key: label for key, label in super().get(keys).items() if label}


class TakesAbstentionsForAMiss(AnswerStore):
    """Keeps labels only, so a query that was not answered is checked again and again."""

    def get(self, keys: Iterable[str]) -> dict[str, int]:
        return {key: label for key, label in super().get(keys).items() if label >= 0}


class Overwrites(AnswerStore):
    """Keeps nothing at all."""

    def get(self, keys: Iterable[str]) -> dict[str, int]:
        return {}


@dataclass(frozen=True, eq=False)
class KeyedByFloatBytes(Batch):
    """The key of a query is the memory of its floats, as they came."""

    raw: np.ndarray | None = None

    @cached_property
    def contents(self) -> tuple[str, ...]:
        raw = self.images if self.raw is None else self.raw
        return tuple(hashlib.sha256(row.tobytes()).hexdigest() for row in raw)


def repeats_are_free(place: Place, first: Batch, second: Batch, table: np.ndarray, answers: type[AnswerStore]) -> bool:
    """The check for all of these: asked again under another key, the same answers come and nothing is charged."""
    engine = place.engine(answers=answers)
    said = ask(engine, first, table)
    spent = place.spent()
    try:
        again = engine.submit(second)
    except StillhouseError:
        return False
    if again is None or place.spent() != spent:
        return False
    return bool(
        np.array_equal(again.labels, said.labels) and again.statuses == said.statuses and again.from_store.all()
    )


@pytest.mark.parametrize(
    ("answers", "free"),
    [(AnswerStore, True), (TakesZeroForAMiss, False), (TakesAbstentionsForAMiss, False), (Overwrites, False)],
)
def test_mutants_of_the_cache(place, answers, free):
    first, second = batch(1, 2, 3, 4), batch(1, 2, 3, 4, id="again")
    assert repeats_are_free(place.grant(), first, second, TABLE, answers) is free


def predictions() -> tuple[np.ndarray, np.ndarray]:
    """One student's prediction, in 32 and in 64 bits."""
    narrow = student(0, 1, -1, 2).astype(np.float32)
    return narrow, narrow.astype(np.float64)


@pytest.mark.parametrize(("kind", "free"), [(Batch, True), (KeyedByFloatBytes, False)])
def test_one_prediction_has_one_key_however_its_floats_are_stored(place, kind, free):
    asked = []
    for name, prediction in zip(("narrow", "wide"), predictions(), strict=True):
        more = {"raw": prediction} if kind is KeyedByFloatBytes else {}
        images = np.stack([image(n) for n in range(4)])
        asked.append(kind(name, "scans", "e1", INTERACTIVE, images, 1e10, student=prediction, **more))
    assert repeats_are_free(place.grant(), asked[0], asked[1], TABLE, AnswerStore) is free


def test_a_stored_zero_is_served_to_every_later_asker(place):
    place.grant()
    engine = place.engine()
    first = ask(engine, batch(1, 2), votes(sure(0), sure(0)))
    spent = place.spent()
    for number in range(3):
        result = engine.submit(batch(2, 1, id=f"again {number}"))
        assert result is not None and result.labels.tolist() == first.labels.tolist() == [0, 0]
    assert place.spent() == spent
