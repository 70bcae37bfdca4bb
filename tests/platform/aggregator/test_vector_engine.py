"""Charge, draw, store, release: for vectors, whole batches at a time, also when a process is killed in between."""

from __future__ import annotations

import inspect
import signal

import numpy as np
import pytest
from stillhouse.platform.aggregator.batches import BatchState
from stillhouse.platform.aggregator.vector_engine import VectorEngine
from stillhouse.platform.errors import BadInput
from stillhouse.platform.ledger import AnswerStore
from stillhouse.platform.privacy.budget import BudgetKind
from stillhouse.platform.privacy.events import event_from_json
from stillhouse.platform.privacy.noise import SystemNoise
from stillhouse.platform.privacy.one_teacher_event import OneTeacherEvent
from stillhouse.platform.privacy.trials import draw_candidate
from stillhouse.platform.privacy.vector_mean import VectorMean
from support.noise import ZeroNoise
from support.vector_house import (
    ROWS,
    TEACHERS,
    WIDTH,
    ask_vectors,
    gathered,
    question,
    released,
    silo_vectors,
    start,
    vector_batch,
    vector_engine,
)

# So much noise that a second draw is never like the first: were anything drawn anew after its release, it would show.
LOUD = VectorMean(clip=1.0, noise_multiplier=5.0)
ONE = VectorMean(clip=1.0, noise_multiplier=5.0, draw="one")
COST = LOUD.event(rows=ROWS, width=WIDTH, teachers=TEACHERS).nano_rho() or 0
RDP = {"kind": BudgetKind.RDP, "orders": (4.0,)}


def charges(house):
    return [entry for entry in house.ledger().entries("scans") if entry.what == "charge"]


def test_the_sum_of_all_silos_is_charged_and_released(house):
    house.grant()
    noise = ZeroNoise()
    batch = vector_batch("a", LOUD, question())
    result = ask_vectors(vector_engine(house, noise), batch)
    assert result.state is BatchState.DONE and not result.paid_before and result.voted == TEACHERS
    grid = LOUD.grid(WIDTH)
    assert np.array_equal(result.noisy, sum(grid.put(silo_vectors(i, question())).astype(int) for i in range(TEACHERS)))
    assert house.spent() == result.cost_nano_rho == COST
    [entry] = charges(house)
    assert event_from_json(entry.content["event"]) == batch.event(TEACHERS)
    drawn = [call for call in noise.calls if call[2] == (ROWS, WIDTH)]
    assert drawn, "noise on every coordinate"


def test_the_same_again_costs_nothing_and_is_the_same(house):
    house.grant()
    engine = vector_engine(house, SystemNoise())
    first = ask_vectors(engine, vector_batch("a", LOUD, question()))
    for name in ("a", "b"):  # a retry, and another analyst
        again = engine.submit(vector_batch(name, LOUD, question()))
        assert again is not None and again.paid_before and again.cost_nano_rho == 0
        assert np.array_equal(again.noisy, first.noisy)
    assert house.spent() == COST
    later = vector_engine(house, SystemNoise()).result("a")
    assert np.array_equal(later.noisy, first.noisy) and later.voted == TEACHERS


@pytest.mark.parametrize(
    "other",
    [
        {"asked": question(1)},
        {"asked": question(task="gradients")},
        {"asked": question(centre=np.zeros(WIDTH, np.float32))},
        {"mechanism": VectorMean(1.0, 5.5)},
        {"mechanism": VectorMean(1.5, 5.0)},
    ],
    ids=["inputs", "task", "centre", "multiplier", "clip"],
)
def test_another_question_is_another_charge(house, other):
    house.grant()
    engine = vector_engine(house, SystemNoise())
    ask_vectors(engine, vector_batch("a", LOUD, question()))
    batch = vector_batch("b", other.get("mechanism", LOUD), other.get("asked", question()))
    assert not ask_vectors(engine, batch).paid_before
    assert len(charges(house)) == 2
    with pytest.raises(BadInput, match="other content"):
        engine.submit(vector_batch("a", batch.mechanism, batch.question))


def test_over_budget_is_refused_before_anything_is_drawn(house):
    house.grant_rho(2 * COST - COST // 2)
    noise = ZeroNoise()
    engine = vector_engine(house, noise)
    assert ask_vectors(engine, vector_batch("a", LOUD, question())).state is BatchState.DONE
    drawn = [call for call in noise.calls if call[2] == (ROWS, WIDTH)]
    refused = engine.submit(vector_batch("b", LOUD, question(1)))
    assert refused is not None and refused.state is BatchState.REFUSED and refused.noisy is None
    assert "Nothing was drawn" in refused.reason
    assert [call for call in noise.calls if call[2] == (ROWS, WIDTH)] == drawn
    assert house.spent() == COST
    # Half of it would fit; it is all or nothing. After another grant the same batch goes on.
    house.grant()
    assert ask_vectors(engine, vector_batch("b", LOUD, question(1))).state is BatchState.DONE
    assert house.spent() == 2 * COST


def test_a_budget_that_was_spent_meanwhile_refuses_at_the_charge(house):
    house.grant_rho(COST)
    noise = ZeroNoise()
    one, two = vector_engine(house, noise), vector_engine(house)
    first, second = vector_batch("a", LOUD, question()), vector_batch("b", LOUD, question(1))
    assert one.submit(first) is None and two.submit(second) is None
    assert two.evaluate("b", gathered(second)).state is BatchState.DONE
    before = len(noise.calls)
    assert one.evaluate("a", gathered(first)).state is BatchState.REFUSED
    assert len(noise.calls) == before and house.spent() == COST


def test_a_missing_silo_counts_as_the_centre(house):
    house.grant()
    centre = np.full(WIDTH, 0.1, np.float32)
    batch = vector_batch("a", LOUD, question(centre=centre))
    engine = vector_engine(house)
    assert engine.submit(batch) is None
    result = engine.evaluate("a", gathered(batch, places=[0, 2]))
    assert result.voted == 2
    value = LOUD.value(result.noisy, teachers=TEACHERS, centre=centre)
    assert value == pytest.approx((0.01 + 0.03 + 2 * 0.1) / TEACHERS, abs=LOUD.grid(WIDTH).quantum)
    assert house.spent() == COST, "what is missing changes no cost"


def test_one_silo_is_drawn_after_the_charge_and_kept_nowhere(house):
    house.grant(**RDP)
    steps, picked = [], []

    def pick(teachers):
        picked.append((teachers, list(steps)))
        return 2

    engine = vector_engine(house, pick=pick, on_step=steps.append)
    batch = vector_batch("a", ONE, question())
    result = ask_vectors(engine, batch)
    assert np.array_equal(result.noisy, ONE.grid(WIDTH).put(silo_vectors(2, question())))
    assert [(teachers, names[-1]) for teachers, names in picked] == [(TEACHERS, "charged_answers")]
    [entry] = charges(house)
    assert event_from_json(entry.content["event"]) == OneTeacherEvent(5.0, ROWS, TEACHERS)
    assert house.spent() == house.ledger().budget("scans").spent[0] > 0
    # A silo that is drawn but missing counts as the centre, and nobody is drawn in its stead.
    batch = vector_batch("b", ONE, question(1))
    assert engine.submit(batch) is None
    assert not engine.evaluate("b", gathered(batch, places=[0, 1, 3])).noisy.any()


def test_the_draw_is_the_operating_systems():
    """Unless a test replaces it; `privacy.trials` has the tests of its uniformity."""
    assert inspect.signature(VectorEngine).parameters["pick"].default is draw_candidate
    drawn = [draw_candidate(TEACHERS) for _ in range(200)]
    assert set(drawn) == set(range(TEACHERS))  # 4 (3/4)^200 that one never is


@pytest.mark.parametrize(
    ("kind", "refused"), [(BudgetKind.GAUSSIAN, True), (BudgetKind.ZCDP, True), (BudgetKind.RDP, False)]
)
def test_a_secret_draw_needs_a_budget_of_curves(house, kind, refused):
    house.grant(**(RDP if kind is BudgetKind.RDP else {"kind": kind}))
    engine = vector_engine(house)
    if not refused:
        assert engine.submit(vector_batch("a", ONE, question())) is None
        return
    with pytest.raises(BadInput, match="rdp"):
        engine.submit(vector_batch("a", ONE, question()))


def test_noise_that_is_no_rounded_gaussian_needs_another_budget(house):
    house.grant(kind=BudgetKind.GAUSSIAN)
    noise = ZeroNoise()
    noise.gdp = False
    with pytest.raises(BadInput, match="rounded Gaussian"):
        vector_engine(house, noise).submit(vector_batch("a", LOUD, question()))


def test_other_ensembles_and_too_many_kept_vectors_are_refused(house):
    house.grant(**RDP)
    engine = vector_engine(house)
    with pytest.raises(BadInput, match="another ensemble"):
        engine.submit(vector_batch("a", LOUD, question(), ensemble="second"))
    with pytest.raises(BadInput, match="at most 16777 rows"):
        vector_engine(house, teachers=2000).submit(vector_batch("a", ONE, question(rows=100_000)))
    with pytest.raises(BadInput, match="another batch's shape"):
        engine.submit(vector_batch("a", LOUD, question()))
        engine.evaluate("a", gathered(vector_batch("b", LOUD, question(rows=1))))


def test_a_batch_that_failed_is_taken_up_again(house):
    house.grant()
    engine = vector_engine(house)
    batch = vector_batch("a", LOUD, question())
    assert engine.submit(batch) is None
    failed = engine.fail("a", "quorum: 0 of 4 silos voted")
    assert failed.state is BatchState.FAILED and "nothing was charged" in failed.reason
    assert house.spent() == failed.cost_nano_rho == 0
    assert ask_vectors(engine, batch).state is BatchState.DONE


@pytest.mark.parametrize("mechanism", [LOUD, ONE], ids=["sum", "one silo"])
def test_a_batch_that_failed_after_its_charge_says_so(house, mechanism):
    """Paid, crashed, no quorum after the restart; the next try goes on with the same charge. A curve has no rho, but was paid."""
    house.grant(**(RDP if mechanism is ONE else {}))

    class Crash(Exception):
        pass

    def crash(name):
        if name == "charged_answers":
            raise Crash

    batch = vector_batch("a", mechanism, question())
    with pytest.raises(Crash):
        ask_vectors(vector_engine(house, on_step=crash), batch)
    engine = vector_engine(house)
    failed = engine.fail("a", "quorum: 0 of 4 silos voted")
    assert failed.state is BatchState.FAILED
    assert failed.cost_nano_rho == (batch.event(TEACHERS).nano_rho() or 0)
    assert "was charged before and stays charged" in failed.reason
    assert engine.result("a").to_json() == failed.to_json()
    assert ask_vectors(engine, batch).state is BatchState.DONE and len(charges(house)) == 1


def test_a_batch_that_failed_before_the_charge_it_had_announced_paid_nothing(house):
    house.grant()

    class Crash(Exception):
        pass

    def crash(name):
        raise Crash

    with pytest.raises(Crash):
        ask_vectors(vector_engine(house, on_step=crash), vector_batch("a", LOUD, question()))
    failed = vector_engine(house).fail("a", "quorum: 0 of 4 silos voted")
    assert failed.cost_nano_rho == house.spent() == 0 and "nothing was charged" in failed.reason


BOTH = [LOUD, ONE]
STEPS = ["begin_charge", "ledger:locked#1", "ledger:before_commit#1", "ledger:committed#1", "charged_answers"]
STEPS += ["drew_answers", "put", "stored_answers", "done", "released"]
NO_SILOS_NEEDED = STEPS[STEPS.index("put") :]


# By turns: the way to the charge and from the answer is the same for both.
@pytest.mark.parametrize(("step", "mechanism"), [(step, BOTH[i % 2]) for i, step in enumerate(STEPS)], ids=STEPS)
def test_a_kill_at_a_step(house, step, mechanism):
    house.grant(**RDP)
    assert house.go(start(house, mechanism, "a", kill_at=step)) == [-signal.SIGKILL]
    paid, seen = len(charges(house)), released(house.folder)
    batch = vector_batch("a", mechanism, question())
    kept = AnswerStore(house.ledger().engine).histograms([batch.hash])
    assert paid >= len(kept) >= bool(seen), "nothing is stored that is not paid, nothing seen that is not stored"

    engine = vector_engine(house, SystemNoise())
    waiting = engine.recover()
    assert [b.id for b in waiting] == ([] if step in NO_SILOS_NEEDED else ["a"])
    for one in waiting:
        assert one.hash == batch.hash and engine.submit(batch) is None, "a retry of the request changes nothing"
        engine.evaluate(one.id, gathered(one))
    result = engine.result("a")
    assert result.state is BatchState.DONE
    assert len(charges(house)) == 1, "paid once in all"
    for answer in [noisy.reshape(-1) for noisy in seen] + list(kept.values()):
        assert np.array_equal(answer, result.noisy.reshape(-1)), "what was stored or seen stays"
    assert house.ledger().verify().ok


def test_a_mutant_that_charges_after_the_release_is_caught(house):
    """The crash test must be able to fail."""
    house.grant()
    assert house.go(start(house, LOUD, "a", kill_at="released", charge_late=True)) == [-signal.SIGKILL]
    assert len(released(house.folder)) == 1 and not charges(house)


def test_the_last_of_the_budget_is_not_lost(house):
    """Killed after the charge that used the budget up: recovery must not think that nothing fits."""
    house.grant_rho(COST)
    assert house.go(start(house, LOUD, "a", kill_at="charged_answers")) == [-signal.SIGKILL]
    engine = vector_engine(house)
    [waiting] = engine.recover()
    assert engine.evaluate(waiting.id, gathered(waiting)).state is BatchState.DONE
    assert house.spent() == COST


def test_three_processes_and_one_question(house):
    """Each asks it as a batch of its own at once; all get one answer, and it is paid once."""
    house.grant()
    codes = house.go(*(start(house, LOUD, name) for name in "abc"))
    assert codes == [0, 0, 0]
    lines = released(house.folder)
    assert len(lines) == 3 and all(np.array_equal(line, lines[0]) for line in lines)
    assert len(charges(house)) == 1
