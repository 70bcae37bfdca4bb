"""SIGKILL to a real process in the middle of writes, and what else must survive an end: the last of the budget, shared questions."""

from __future__ import annotations

import signal

import pytest
from stillhouse.platform.aggregator.batches import BatchState
from stillhouse.platform.ledger import AnswerStore
from stillhouse.platform.privacy.mechanisms import ABSTAINED, ConfidentGNMax, GNMax
from stillhouse.platform.privacy.noise import SystemNoise
from support.engine_house import Question, ask, batch, images, votes

# So much noise that a second draw is seldom like the first: were anything drawn anew after its release, it would show.
LOUD = ConfidentGNMax(threshold=6, sigma1=8.0, sigma2=20.0)
CHECK, ANSWER = LOUD.check_event().nano_rho(), LOUD.answer_event().nano_rho()
NUMBERS = tuple(range(1, 41))
QUESTION = Question("a", LOUD, NUMBERS)
STEPS = [
    *("ledger:locked#1", "ledger:before_commit#1", "ledger:committed#1", "ledger:marked#1", "charged_check"),
    *("stored_decisions", "ledger:before_commit#2", "ledger:committed#2", "drew_answers", "put", "done", "released"),
]
NO_VOTES_NEEDED = ("put", "done", "released")


def stored(house, numbers=NUMBERS):
    """The answers that are kept: number -> label."""
    look = batch("look", LOUD, *numbers)
    found = AnswerStore(house.ledger().engine).get(look.keys.values())
    named = zip(numbers, look.contents, strict=True)
    return {number: found[look.keys[content]] for number, content in named if look.keys[content] in found}


def under_counted(house):
    """Whether more was seen or stored than was paid for: one check a query, one answer a label."""
    labels = {**stored(house), **{number: label for number, (label, _) in house.released().items()}}
    bought = sum(label != ABSTAINED for label in labels.values())
    return house.spent() < len(labels) * CHECK + bought * ANSWER


def kill(house, step, **orders):
    assert house.go(house.start(QUESTION, kill_at=step, **orders)) == [-signal.SIGKILL]


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_a_step(house, step):
    house.grant()
    kill(house, step)
    assert not under_counted(house)
    seen, kept = house.released(), stored(house)

    engine = house.engine(SystemNoise())
    waiting = engine.recover()
    assert [b.id for b in waiting] == ([] if step in NO_VOTES_NEEDED else ["a"])
    for one in waiting:
        engine.evaluate(one.id, votes(one.images))
    result = engine.result("a")
    assert result.state is BatchState.DONE
    labels = dict(zip(NUMBERS, result.labels.tolist(), strict=True))
    assert labels == stored(house)
    assert {**labels, **kept} == labels, "what was stored before the end stays"
    assert all(labels[number] == label for number, (label, _) in seen.items()), "what was seen stays"
    bought = sum(label != ABSTAINED for label in labels.values())
    assert 0 < bought < len(NUMBERS), "the test means little when nothing or everything passes"
    assert house.spent() == result.cost_nano_rho == len(NUMBERS) * CHECK + bought * ANSWER, "paid once in all"
    assert house.ledger().verify().ok


def test_decisions_are_drawn_once(house):
    """After `stored_decisions` the decisions stand, whatever another draw would say."""
    house.grant()
    kill(house, "stored_decisions")
    engine = house.engine(SystemNoise())
    [waiting] = engine.recover()
    decided = engine._store.progress("a").decisions
    result = engine.evaluate("a", votes(waiting.images))
    passed = [status == "answered" for status in result.statuses]
    assert passed == [decided[content] == 1 for content in waiting.contents]


def test_a_batch_whose_votes_never_come_back_keeps_what_it_paid(house):
    """Paid, killed, no quorum afterwards: nothing is refunded, and the same question goes on without a second check."""
    house.grant()
    kill(house, "charged_check")
    engine = house.engine(SystemNoise())
    engine.recover()
    engine.fail("a", "quorum: 0 of 10 silos voted")
    assert house.spent() == len(NUMBERS) * CHECK
    result = ask(engine, "a", LOUD, *NUMBERS)
    assert house.spent() == len(NUMBERS) * CHECK + result.statuses.count("answered") * ANSWER


def test_a_kill_between_two_that_share_a_question(house):
    """Another batch answers what the killed one had paid for: its answer stands for both."""
    house.grant()
    kill(house, "charged_answers")
    engine = house.engine(SystemNoise())
    other = ask(engine, "b", LOUD, *NUMBERS[:10])
    first = engine.evaluate("a", votes(images(*NUMBERS)))
    assert first.labels[:10].tolist() == other.labels.tolist()
    assert not under_counted(house)


def test_the_last_of_the_budget_is_not_lost(house):
    """Killed after the charge that used the budget up: recovery must not think that nothing fits."""
    house.grant_rho(len(NUMBERS) * CHECK + 2 * ANSWER)
    kill(house, "charged_answers")
    engine = house.engine(SystemNoise())
    [waiting] = engine.recover()
    result = engine.evaluate("a", votes(waiting.images))
    assert result.statuses.count("answered") == 2
    assert house.spent() == len(NUMBERS) * CHECK + 2 * ANSWER


def test_the_last_checks_are_not_lost(house):
    house.grant_rho(len(NUMBERS) * CHECK + ANSWER)
    kill(house, "charged_check")
    engine = house.engine(SystemNoise())
    [waiting] = engine.recover()
    assert engine.submit(batch("a", LOUD, *NUMBERS)) is None, "a retry of the request changes nothing"
    assert engine.evaluate("a", votes(waiting.images)).statuses.count("answered") == 1


@pytest.mark.parametrize("milliseconds", [5, 20, 60])
def test_a_kill_at_any_moment(house, milliseconds):
    house.grant(epsilon=2000.0)
    questions = [Question(str(n), LOUD, range(6 * n, 6 * n + 6)) for n in range(60)]
    house.go(house.start(*questions), kill_after=milliseconds / 1000)
    labels = stored(house, range(360))
    assert all(labels[number] == label for number, (label, _) in house.released().items())
    spent = sum(CHECK + (label != ABSTAINED) * ANSWER for label in labels.values())
    assert spent <= house.spent() <= spent + 6 * (CHECK + ANSWER), "at most the batch in work is paid and not stored"


def test_three_processes_and_one_last_answer(house):
    """They ask different questions at once; exactly one of them is answered."""
    mechanism = GNMax(20.0)
    house.grant_rho(mechanism.answer_event().nano_rho())
    house.go(*(house.start(Question(str(n), mechanism, [n])) for n in range(3)))
    assert [status for _, status in house.released().values()] == ["answered"]
    assert house.spent() == mechanism.answer_event().nano_rho()


def test_three_processes_and_one_question(house):
    """Each asks it as a batch of its own at once; all get one answer, and at most each has paid for it."""
    house.grant()
    house.go(*(house.start(Question(str(n), LOUD, NUMBERS)) for n in range(3)))
    lines = (house.folder / "released").read_text().split("\n")[:-1]
    assert len(lines) == 3 * len(NUMBERS) and len(set(lines)) == len(NUMBERS)
    assert not under_counted(house)


def test_a_mutant_that_charges_after_the_release_is_caught(house):
    """The crash test must be able to fail."""
    house.grant()
    kill(house, "released", charge_late=True)
    assert house.released()
    assert under_counted(house)
