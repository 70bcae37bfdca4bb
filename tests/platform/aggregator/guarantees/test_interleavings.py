"""Two aggregators on one ledger, stopped at every pair of steps: each runs up to its own step, then the first goes on
to its end, then the second. Whatever they do to each other, nobody sees what was not paid for, and nobody sees two
answers to one query. An error is a fair outcome for the loser of a race; a released contradiction is not.
"""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from stillhouse.platform.aggregator.batches import Batch, BatchState, Result
from stillhouse.platform.errors import StillhouseError, TimedOut
from support.aggregation import (
    ANSWER,
    CHECK,
    STEPS,
    Place,
    ask,
    batch,
    contradiction,
    doubtful,
    paid,
    sure,
    tied,
    under_counted,
    votes,
)


class Pause:
    """An `on_step` that waits at one step until it is let go."""

    def __init__(self, step: str) -> None:
        self.step, self.reached, self.go = step, threading.Event(), threading.Event()

    def __call__(self, name: str) -> None:
        if name == self.step:
            self.reached.set()
            assert self.go.wait(30)


def race(
    place: Place, steps: tuple[str, str], asked: tuple[Batch, Batch], table: np.ndarray
) -> list[Result | StillhouseError]:
    """What the two aggregators release, the one that pauses at `steps[0]` first."""
    pauses = [Pause(step) for step in steps]
    engines = [place.engine(on_step=pause) for pause in pauses]

    def run(turn: int) -> Result | StillhouseError:
        try:
            return ask(engines[turn], asked[turn], table)
        except StillhouseError as error:
            return error
        finally:
            pauses[turn].reached.set()

    with ThreadPoolExecutor(2) as pool:
        runs = []
        for turn in (0, 1):
            runs.append(pool.submit(run, turn))
            assert pauses[turn].reached.wait(30)
        for turn in (0, 1):
            pauses[turn].go.set()
            runs[turn].result(30)
        return [run.result() for run in runs]


# Where the two meet: every step of the first against these of the second, and in the long suite against every other.
MEETINGS = [
    *itertools.product(STEPS, ["drew_check", "charged_answers"]),
    *(
        pytest.param(first, second, marks=pytest.mark.slow)
        for first, second in itertools.product(
            STEPS, ["charged_check", "stored_decisions", "drew_answers", "stored_answers", "done"]
        )
    ),
]


@pytest.mark.parametrize(("first", "second"), MEETINGS)
def test_two_aggregators_on_one_batch(place, first, second):
    """Both charge under the batch's own keys, so both together pay once; what either draws, only one is released."""
    table = votes(*[doubtful()] * 6, *[tied()] * 4)
    asked = batch(*range(10))
    outcomes = race(place.grant(), (first, second), (asked, asked), table)
    results = [outcome for outcome in outcomes if isinstance(outcome, Result)]
    results.append(ask(place.engine(), asked, table))
    assert results[-1].state is BatchState.DONE
    assert not contradiction(results)
    assert not under_counted(place, results)
    assert [what for what, _, _ in place.charges()] == ["check", "answer"]
    losers = [outcome for outcome in outcomes if isinstance(outcome, StillhouseError)]
    assert all(isinstance(error, TimedOut) for error in losers), "who loses is told to ask again"


@pytest.mark.parametrize(("first", "second"), MEETINGS)
def test_two_batches_that_share_queries(place, first, second):
    """Each pays for itself, but a query that both ask has one answer."""
    table = votes(*[doubtful()] * 4, *[tied()] * 2)
    asked = (batch(0, 1, 2, 3, 4, 5, id="one"), batch(4, 5, 6, 7, 0, 1, id="two"))
    outcomes = race(place.grant(), (first, second), asked, table)
    told: dict[str, set[tuple[str, int]]] = {}
    for question, result in zip(asked, outcomes, strict=True):
        assert isinstance(result, Result), result
        for seen in (result, place.engine().submit(question)):
            for content, *said in zip(question.contents, seen.statuses, seen.labels.tolist(), strict=True):
                told.setdefault(content, set()).add(tuple(said))
    assert len(told) == 8 and all(len(said) == 1 for said in told.values())
    answered = sum(label >= 0 for label in place.stored().values())
    assert paid(place)[0] >= 8 and paid(place)[1] >= answered


@pytest.mark.parametrize(
    "steps",
    [("charged_check", "charged_check"), ("stored_decisions", "stored_decisions"), ("done", "charged_answers")],
)
def test_the_last_unit_goes_to_one(place, steps):
    """Two aggregators, room for the checks of both but for one answer: exactly one query is answered."""
    place.grant(2 * CHECK + ANSWER)
    outcomes = race(place, steps, (batch(1, id="one"), batch(2, id="two")), votes(sure(0)))
    said = sorted(status for outcome in outcomes for status in outcome.statuses or (outcome.state.value,))
    assert said in (["answered", "budget"], ["answered", "refused"])
    assert paid(place)[1] == 1
    budget = place.ledger().budget("scans")
    assert 0 <= budget.remaining[0] < ANSWER


def test_engines_that_race_freely_lose_and_overspend_nothing(place):
    """Eight threads, eight engines, the budget of a few: the ledger's cap holds and every answer was paid for."""
    place.grant(40 * CHECK + 10 * ANSWER)
    engines = [place.engine() for _ in range(8)]

    def run(turn: int) -> list[Result]:
        results = []
        for round_ in range(3):
            numbers = [(turn * 3 + round_ * 5 + n) % 30 for n in range(4)]
            asked = batch(*numbers, id=f"{turn} {round_}")
            results.append(ask(engines[turn], asked, votes(*[tied()] * 4)))
        return results

    with ThreadPoolExecutor(8) as pool:
        results = [result for results in pool.map(run, range(8)) for result in results]
    checks, answers = paid(place)
    stored = place.stored()
    assert len(results) == 24 and checks * CHECK + answers * ANSWER == place.spent()
    assert place.ledger().budget("scans").remaining[0] >= 0
    assert checks >= len(stored) > 0 and answers >= sum(label >= 0 for label in stored.values()) > 0
