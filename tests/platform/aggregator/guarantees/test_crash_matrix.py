"""`kill -9` at every step, for every kind of mechanism, in a process of its own; another process then goes on.

What must hold: nothing that was seen or stored is unpaid, nothing is answered twice differently, and in the end the
ledger holds the very charges of a run that nobody disturbed.
"""

from __future__ import annotations

import signal

import numpy as np
import pytest
from stillhouse.platform.aggregator.batches import BatchState
from stillhouse.platform.aggregator.store import BatchStore
from stillhouse.platform.privacy.mechanisms import Decision, GNMax
from support.aggregation import (
    ANSWER,
    CHECK,
    INTERACTIVE,
    STEPS,
    STEPS_WITHOUT_CHECK,
    batch,
    contradiction,
    doubtful,
    life,
    paid,
    silent,
    student,
    sure,
    tied,
    under_counted,
    votes,
)

# What passes the check is certain here, which label it gets is not.
NUMBERS = range(6)
TABLE = votes(sure(0), silent(), tied(0, 1), tied(1, 2), silent(), sure(2))
UNDISTURBED = [("check", 6, 4.0), ("answer", 4, 4.0)]


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_of_a_mechanism_with_a_check(place, step):
    place.grant()
    asked = batch(*NUMBERS)
    code, released = life(place.folder, asked, TABLE, kill_at=step)
    assert (code, released) == (-signal.SIGKILL, [])
    assert not under_counted(place, released)
    before = STEPS.index(step)
    assert paid(place) == (6, 4 if before >= STEPS.index("charged_answers") else 0), "a charge comes before its noise"
    stored = place.stored()
    assert len(stored) == (6 if before >= STEPS.index("stored_answers") else 0)

    results = [life(place.folder, asked, TABLE)[1][0] for _ in range(2)]
    assert results[0].state is BatchState.DONE
    assert results[0].statuses == ("answered", "abstained", "answered", "answered", "abstained", "answered")
    assert results[0].labels[[0, 1, 4, 5]].tolist() == [0, -1, -1, 2]
    assert stored.items() <= place.stored().items(), "a stored answer is the answer"
    assert place.charges() == UNDISTURBED
    assert not contradiction(results) and not under_counted(place, results)
    repeat = place.engine().submit(batch(*NUMBERS, id="asked anew"))
    assert repeat is not None and repeat.labels.tolist() == results[0].labels.tolist()
    assert repeat.cost_nano_rho == 0 and place.charges() == UNDISTURBED


@pytest.mark.parametrize("step", STEPS_WITHOUT_CHECK)
def test_a_kill_at_any_step_of_a_mechanism_without_a_check(place, step):
    place.grant()
    asked = batch(1, 2, mechanism=GNMax(4.0))
    table = votes(tied(0, 1), sure(2))
    code, released = life(place.folder, asked, table, kill_at=step)
    assert (code, released, paid(place)) == (-signal.SIGKILL, [], (0, 2))
    result = life(place.folder, asked, table)[1][0]
    assert result.statuses == ("answered", "answered") and result.labels[1] == 2
    assert place.charges() == [("answer", 2, 4.0)]


@pytest.mark.parametrize("step", ["drew_check", "stored_decisions", "stored_answers"])
def test_a_kill_at_a_step_with_a_student(place, step):
    place.grant()
    asked = batch(1, 2, 3, mechanism=INTERACTIVE, student=student(0, 0, -1))
    table = votes(sure(0), sure(1), silent())
    assert life(place.folder, asked, table, kill_at=step)[0] == -signal.SIGKILL
    assert not under_counted(place, [])
    results = [life(place.folder, asked, table)[1][0] for _ in range(2)]
    assert results[0].statuses == results[1].statuses == ("reinforced", "answered", "abstained")
    assert results[0].labels.tolist() == [0, 1, -1]
    assert place.charges() == [("check", 3, 4.0), ("answer", 1, 4.0)] and not under_counted(place, results)


@pytest.mark.parametrize("step", STEPS[2:])
def test_decisions_that_were_stored_are_never_drawn_anew(place, step):
    """Every query passes its check half the time: a second draw would tell other queries apart."""
    place.grant()
    asked = batch(*range(40))
    table = votes(*[doubtful()] * 40)
    life(place.folder, asked, table, kill_at=step)
    decisions = BatchStore(place.ledger().engine).progress(asked.id).decisions
    assert {Decision.ANSWER, Decision.ABSTAIN} == set(decisions.values()), "the noise did its part"
    result = life(place.folder, asked, table)[1][0]
    passed = [decisions[content] == Decision.ANSWER for content in asked.contents]
    assert [status == "answered" for status in result.statuses] == passed
    assert place.charges() == [("check", 40, 4.0), ("answer", sum(passed), 4.0)]


def test_other_votes_after_a_restart_cannot_change_what_was_paid_for(place):
    """Silos are asked again after a restart; one may be missing. Decisions and the number of answers stay."""
    place.grant()
    asked = batch(1, 2)
    life(place.folder, asked, votes(sure(0), silent()), kill_at="charged_answers")
    result = life(place.folder, asked, votes(silent(), sure(1)))[1][0]
    assert result.statuses == ("answered", "abstained") and place.charges() == [("check", 2, 4.0), ("answer", 1, 4.0)]


def test_a_kill_after_the_decisions_and_then_no_budget_keeps_the_decisions(place):
    """What the check decided is paid for; that another process took the rest of the budget does not undo it."""
    place.grant(2 * CHECK + 2 * ANSWER)
    asked = batch(1, 2)
    life(place.folder, asked, votes(sure(0), silent()), kill_at="stored_decisions")
    other = life(place.folder, batch(3, 4, id="other", mechanism=GNMax(4.0)), votes(sure(0), sure(0)))[1][0]
    assert other.statuses == ("answered", "answered")
    result = life(place.folder, asked, votes(sure(0), silent()))[1][0]
    assert result.state is BatchState.DONE and result.statuses == ("budget", "abstained")
    assert np.array_equal(result.labels, [-1, -1])


@pytest.mark.parametrize("step", ["stored_decisions", "charged_answers", "drew_answers", "stored_answers"])
def test_a_kill_where_the_budget_holds_only_some_of_the_answers(place, step):
    place.grant(3 * CHECK + 2 * ANSWER)
    asked = batch(1, 2, 3)
    table = votes(tied(), tied(), tied())
    life(place.folder, asked, table, kill_at=step)
    results = [life(place.folder, asked, table)[1][0] for _ in range(2)]
    assert results[0].statuses == results[1].statuses == ("answered", "answered", "budget")
    assert not contradiction(results) and paid(place) == (3, 2)
