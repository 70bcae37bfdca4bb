"""SIGKILL to a real process at every step: never under-counted, never answered twice differently, and recovery finishes."""

from __future__ import annotations

import signal
import time

import pytest
from stillhouse.platform.aggregator.batches import BatchState
from stillhouse.platform.ledger import AnswerStore
from stillhouse.platform.privacy.mechanisms import ABSTAINED, ConfidentGNMax, GNMax
from stillhouse.platform.privacy.noise import SystemNoise

# So much noise that a second draw is seldom like the first: were anything drawn anew after its release, it would show.
LOUD = ConfidentGNMax(threshold=6, sigma1=8.0, sigma2=20.0)
CHECK, ANSWER = LOUD.check_event().nano_rho(), LOUD.answer_event().nano_rho()
NUMBERS = tuple(range(1, 25))
ORDER = {"id": "a", "mechanism": LOUD.to_json(), "numbers": NUMBERS}
STEPS = [
    *("ledger:locked#1", "ledger:before_commit#1", "ledger:committed#1", "ledger:marked#1"),
    *("charged_check", "drew_check", "stored_decisions"),
    *("ledger:before_commit#2", "ledger:committed#2", "charged_answers", "drew_answers", "put", "stored_answers"),
    *("done", "released"),
]


def released(house):
    """What the world outside has seen: number -> (label, status)."""
    file = house.folder / "released"
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    return {int(number): (int(label), status) for number, label, status in map(str.split, lines)}


def stored(house, make, numbers=NUMBERS):
    """The answers that are kept: number -> label."""
    batch = make.batch("look", LOUD, *numbers)
    found = AnswerStore(house.ledger().engine).get(batch.keys.values())
    named = zip(numbers, batch.contents, strict=True)
    return {number: found[batch.keys[content]] for number, content in named if batch.keys[content] in found}


def under_counted(house, make):
    """Whether more was seen or stored than was paid for: one check a query, one answer a label."""
    labels = {**stored(house, make), **{number: label for number, (label, _) in released(house).items()}}
    bought = sum(label != ABSTAINED for label in labels.values())
    return house.spent() < len(labels) * CHECK + bought * ANSWER


def kill(house, step, **orders):
    worker = house.start(batches=[ORDER], kill_at=step, **orders)
    worker.communicate(timeout=60)
    assert worker.returncode == -signal.SIGKILL


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step(house, make, step):
    house.grant()
    kill(house, step)
    assert not under_counted(house, make)
    seen, kept = released(house), stored(house, make)

    engine = house.engine(SystemNoise())
    waiting = engine.recover()
    assert [b.id for b in waiting] == ([] if step in ("put", "stored_answers", "done", "released") else ["a"])
    for batch in waiting:
        engine.evaluate(batch.id, make.votes(batch.images))
    result = engine.result("a")
    assert result.state is BatchState.DONE
    labels = dict(zip(NUMBERS, result.labels.tolist(), strict=True))
    assert labels == stored(house, make)
    assert {**labels, **kept} == labels, "what was stored before the end stays"
    assert all(labels[number] == label for number, (label, _) in seen.items()), "what was seen stays"
    bought = sum(label != ABSTAINED for label in labels.values())
    assert 0 < bought < len(NUMBERS), "the test means little when nothing or everything passes"
    assert house.spent() == result.cost_nano_rho == len(NUMBERS) * CHECK + bought * ANSWER, "paid once in all"
    assert house.ledger().verify().ok


def test_decisions_are_drawn_once(house, make):
    """After `stored_decisions` the decisions stand, whatever another draw would say."""
    house.grant()
    kill(house, "stored_decisions")
    first = house.engine().recover()
    decided = house.engine()._store.progress(first[0].id).decisions
    engine = house.engine(SystemNoise())
    result = engine.evaluate("a", make.votes(first[0].images))
    passed = [status == "answered" for status in result.statuses]
    assert passed == [decided[content] == 1 for content in first[0].contents]


def test_a_batch_whose_votes_never_come_back_keeps_what_it_paid(house, make):
    """Paid, killed, no quorum afterwards: nothing is refunded, and the same question goes on without a second check."""
    house.grant()
    kill(house, "charged_check")
    engine = house.engine(SystemNoise())
    engine.recover()
    engine.fail("a", "quorum: 0 of 10 silos voted")
    assert house.spent() == len(NUMBERS) * CHECK
    result = make.ask(engine, "a", LOUD, *NUMBERS)
    bought = sum(status == "answered" for status in result.statuses)
    assert house.spent() == len(NUMBERS) * CHECK + bought * ANSWER


def test_a_kill_between_two_that_share_a_question(house, make):
    """Another batch answers what the killed one had paid for: its answer stands for both."""
    house.grant()
    kill(house, "charged_answers")
    engine = house.engine(SystemNoise())
    other = make.ask(engine, "b", LOUD, *NUMBERS[:10])
    first = engine.evaluate("a", make.votes(make.images(*NUMBERS)))
    assert first.labels[:10].tolist() == other.labels.tolist()
    assert not under_counted(house, make)


def test_the_last_of_the_budget_is_not_lost_in_a_crash(house, make):
    """Killed after the charge that used the budget up: recovery must not think that nothing fits."""
    house.grant_rho(len(NUMBERS) * CHECK + 2 * ANSWER)
    kill(house, "charged_answers")
    engine = house.engine(SystemNoise())
    [batch] = engine.recover()
    result = engine.evaluate("a", make.votes(batch.images))
    assert result.statuses.count("answered") == 2
    assert house.spent() == len(NUMBERS) * CHECK + 2 * ANSWER


def test_the_last_check_is_not_lost_in_a_crash(house, make):
    house.grant_rho(len(NUMBERS) * CHECK + ANSWER)
    kill(house, "charged_check")
    engine = house.engine(SystemNoise())
    [batch] = engine.recover()
    assert engine.submit(make.batch("a", LOUD, *NUMBERS)) is None, "a retry of the request changes nothing"
    assert engine.evaluate("a", make.votes(batch.images)).statuses.count("answered") == 1


@pytest.mark.parametrize("milliseconds", [5, 15, 40])
def test_a_kill_at_any_moment(house, make, milliseconds):
    house.grant(epsilon=2000.0)
    orders = [{"id": str(n), "mechanism": LOUD.to_json(), "numbers": list(range(6 * n, 6 * n + 6))} for n in range(60)]
    worker = house.start(batches=orders, wait=True)
    assert worker.stdout.readline() == "ready\n"
    worker.stdin.write("go\n")
    worker.stdin.flush()
    time.sleep(milliseconds / 1000)
    worker.kill()
    worker.communicate(timeout=60)
    seen, numbers = released(house), range(360)
    labels = stored(house, make, numbers)
    assert all(labels[number] == label for number, (label, _) in seen.items())
    spent = sum(CHECK + (label != ABSTAINED) * ANSWER for label in labels.values())
    assert spent <= house.spent() <= spent + 6 * (CHECK + ANSWER), "at most the batch in work is paid and not stored"


def test_two_processes_and_one_last_answer(house, make):
    """Both ask other questions at once; exactly one of them is answered."""
    mechanism = GNMax(20.0)
    house.grant_rho(mechanism.answer_event().nano_rho())
    workers = [
        house.start(batches=[{"id": str(n), "mechanism": mechanism.to_json(), "numbers": [n]}], wait=True)
        for n in range(3)
    ]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    outputs = [worker.communicate(timeout=60)[0] for worker in workers]
    assert sum('"done"' in out for out in outputs) == 1 and sum('"refused"' in out for out in outputs) == 2
    assert house.spent() == mechanism.answer_event().nano_rho()


def test_a_mutant_that_charges_after_the_release_is_caught(house, make):
    """The crash test must be able to fail."""
    house.grant()
    kill(house, "released", mutant="charge_late")
    assert released(house)
    assert under_counted(house, make)
