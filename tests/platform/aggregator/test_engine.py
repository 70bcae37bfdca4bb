"""What an engine answers, what it charges for, what it refuses: without noise, so that every label is known."""

from __future__ import annotations

import numpy as np
import pytest
from stillhouse.platform.aggregator.batches import BatchState
from stillhouse.platform.errors import BadInput
from stillhouse.platform.ledger import AnswerStore
from stillhouse.platform.privacy.budget import BudgetKind
from stillhouse.platform.privacy.mechanisms import ConfidentGNMax, GNMax, InteractiveGNMax, LNMax
from support.engine_house import ask, batch, votes
from support.noise import ZeroNoise, repeatable_noise

ARGMAX = GNMax(2.0)
CAREFUL = ConfidentGNMax(threshold=6, sigma1=4.0, sigma2=2.0)
CURIOUS = InteractiveGNMax(threshold=3, sigma1=4.0, sigma2=2.0, confidence=0.9)
ANSWER = ARGMAX.answer_event().nano_rho()
CHECK = CAREFUL.check_event().nano_rho()


class TestAnswers:
    def test_each_query_is_answered_and_charged_once(self, house):
        house.grant()
        result = ask(house.engine(), "a", ARGMAX, 1, 2, 3, 4)
        assert result.state is BatchState.DONE
        assert result.labels.tolist() == [1, 2, 0, 1]
        assert result.statuses == ("answered",) * 4 and not result.from_store.any()
        assert result.cost_nano_rho == house.spent() == 4 * ANSWER

    def test_checks_are_charged_for_all_and_answers_for_those_that_pass(self, house):
        house.grant()
        result = ask(house.engine(), "a", CAREFUL, 1, 5, 2, 10)
        assert result.statuses == ("answered", "abstained", "answered", "abstained")
        assert result.labels.tolist() == [1, -1, 2, -1]
        assert result.cost_nano_rho == house.spent() == 4 * CHECK + 2 * ANSWER

    def test_the_ledger_holds_one_entry_a_step_and_no_votes(self, house):
        house.grant()
        ask(house.engine(), "a", CAREFUL, 1, 5, 2)
        entries = house.ledger().entries("scans")[1:]
        assert [(e.content["event"]["count"], e.content["purpose"]) for e in entries] == [
            (3, "confident_gnmax: check queries"),
            (2, "confident_gnmax: answer queries"),
        ]

    def test_duplicates_in_a_batch_are_one_query(self, house):
        house.grant()
        result = ask(house.engine(), "a", CAREFUL, 7, 1, 7, 5, 5, 7)
        assert result.labels.tolist() == [1, 1, 1, -1, -1, 1]
        assert result.from_store.tolist() == [False, False, True, False, True, True]
        assert house.spent() == 3 * CHECK + 2 * ANSWER

    def test_a_student_that_agrees_is_reinforced_for_the_check_alone(self, house):
        house.grant()
        sure, unsure = [0.02, 0.96, 0.02], [0.2, 0.6, 0.2]
        student = np.array([sure, unsure, [0.96, 0.02, 0.02]])
        result = ask(house.engine(), "a", CURIOUS, 1, 4, 7, student=student)
        assert result.statuses == ("reinforced", "answered", "answered")
        assert result.labels.tolist() == [1, 1, 1]
        again = ask(house.engine(), "b", CURIOUS, 7, 4, 1, student=student[::-1])
        assert again.statuses == ("answered", "answered", "reinforced"), "a reinforced label stays told apart"
        assert house.spent() == 3 * CHECK + 2 * ANSWER

    def test_missing_votes_are_abstentions_and_nothing_is_scaled_up(self, house):
        """5 of 10 teachers, all of one mind, do not reach a threshold of 6; had they been scaled up they would."""
        house.grant()
        engine = house.engine()
        for name, voting, status in (("five", 5, "abstained"), ("seven", 7, "answered")):
            asked = batch(name, CAREFUL, 1 if voting == 5 else 2)
            assert engine.submit(asked) is None
            result = engine.evaluate(name, votes(asked.images)[:voting])
            assert result.statuses == (status,)

    def test_a_vote_of_minus_one_counts_nowhere(self, house):
        house.grant()
        engine = house.engine()
        asked = batch("a", ARGMAX, 1)
        engine.submit(asked)
        table = votes(asked.images)
        table[table == 1] = -1
        assert engine.evaluate("a", table).labels.tolist() == [2], "only the one dissenter is left"

    def test_all_noise_is_drawn_whatever_passes(self, house):
        """The amount of randomness depends on what was asked alone."""
        house.grant()
        calls = []
        for name, numbers in (("pass", (1, 2, 4)), ("fail", (5, 10, 20))):
            noise = ZeroNoise()
            ask(house.engine(noise), name, CAREFUL, *numbers)
            calls.append(noise.calls)
        assert calls[0] == calls[1]
        assert ("gaussian", 4.0, (3,)) in calls[0] and ("gaussian", 2.0, (3, 3)) in calls[0]


class TestStore:
    def test_a_repeated_batch_needs_no_votes_and_costs_nothing(self, house):
        house.grant()
        first = ask(house.engine(), "a", CAREFUL, 3, 1, 5)
        spent = house.spent()
        again = house.engine().submit(batch("b", CAREFUL, 5, 3, 1))
        assert again.state is BatchState.DONE and again.from_store.all() and again.cost_nano_rho == 0
        assert again.labels.tolist() == first.labels[[2, 0, 1]].tolist() == [-1, 0, 1]
        assert house.spent() == spent

    def test_a_repeat_is_never_drawn_anew(self, house):
        """The second ensemble of votes would say otherwise; the stored answer stands."""
        house.grant()
        engine = house.engine()
        ask(engine, "a", ARGMAX, 1)
        asked = batch("b", ARGMAX, 1, 2)
        engine.submit(asked)
        assert engine.evaluate("b", (votes(asked.images) + 1) % 3).labels.tolist() == [1, 0]

    def test_the_same_key_is_the_same_batch(self, house):
        house.grant()
        first = ask(house.engine(), "a", ARGMAX, 1, 2)
        again = house.engine().submit(batch("a", ARGMAX, 1, 2))
        assert again.labels.tolist() == first.labels.tolist() and again.statuses == first.statuses
        assert again.from_store.all() and again.cost_nano_rho == 0 and house.spent() == 2 * ANSWER
        assert house.engine().result("a").to_json() == first.to_json(), "what the batch itself had cost is kept"

    def test_the_same_key_with_other_content_is_refused(self, house):
        house.grant()
        engine = house.engine()
        ask(engine, "a", ARGMAX, 1, 2)
        for other in (batch("a", ARGMAX, 1, 3), batch("a", GNMax(3.0), 1, 2)):
            with pytest.raises(BadInput, match="other content"):
                engine.submit(other)

    @pytest.mark.parametrize("change", ["pixel", "shape", "mechanism", "ensemble"])
    def test_near_duplicates_are_new_queries_and_cost(self, house, change):
        house.grant()
        ask(house.engine(), "a", ARGMAX, 1)
        near = batch("b", GNMax(2.5) if change == "mechanism" else ARGMAX, 1)
        options = {"ensemble": "second"} if change == "ensemble" else {}
        if change == "ensemble":
            near = batch("b", ARGMAX, 1, ensemble="second")
        if change == "pixel":
            near = batch("b", ARGMAX, 1 + 2**24)
        if change == "shape":
            object.__setattr__(near, "images", near.images.reshape(1, 2, 1, 2))
        engine = house.engine(**options)
        assert engine.submit(near) is None
        engine.evaluate("b", np.ones((1, 1), np.int64))
        assert house.spent() == ANSWER + near.mechanism.answer_event().nano_rho()

    def test_another_prediction_of_the_student_is_another_query(self, house):
        house.grant()
        engine = house.engine()
        ask(engine, "a", CURIOUS, 5, student=np.array([[0.3, 0.3, 0.4]]))
        assert engine.submit(batch("b", CURIOUS, 5, student=np.array([[0.3, 0.4, 0.3]]))) is None

    def test_batches_wait_on_disk(self, house):
        house.grant()
        engine = house.engine()
        engine.submit(batch("late", ARGMAX, 1, deadline=20.0))
        engine.submit(batch("soon", CURIOUS, 2, student=np.array([[0.25, 0.5, 0.25]]), deadline=10.0))
        waiting = house.engine().recover()
        assert [b.id for b in waiting] == ["soon", "late"]
        assert waiting[1].hash == batch("late", ARGMAX, 1).hash
        assert waiting[0].student.tolist() == [[0.25, 0.5, 0.25]]
        assert house.engine(ensemble="second").recover() == []


class TestBudget:
    def test_what_fits_is_answered_in_order_and_the_rest_says_budget(self, house):
        house.grant_rho(4 * CHECK + 2 * ANSWER)
        result = ask(house.engine(), "a", CAREFUL, 5, 1, 2, 4)
        assert result.statuses == ("abstained", "answered", "answered", "budget")
        assert result.labels.tolist() == [-1, 1, 2, -1]
        assert house.spent() == 4 * CHECK + 2 * ANSWER

    def test_a_batch_whose_checks_and_one_answer_do_not_fit_is_refused_whole(self, house):
        house.grant_rho(2 * CHECK + ANSWER)
        noise = ZeroNoise()
        engine = house.engine(noise)
        result = engine.submit(batch("a", CAREFUL, 1, 2, 3))
        assert result.state is BatchState.REFUSED and "budget" in result.reason and not result.statuses
        assert house.spent() == 0
        assert ask(engine, "b", CAREFUL, 1, 2).statuses == ("answered", "budget")

    def test_stored_answers_are_given_though_nothing_new_fits(self, house):
        house.grant_rho(2 * ANSWER)
        engine = house.engine()
        ask(engine, "a", ARGMAX, 1, 2)
        result = engine.submit(batch("b", ARGMAX, 2, 3, 1))
        assert result.statuses == ("answered", "budget", "answered")
        assert result.labels.tolist() == [2, -1, 1] and result.cost_nano_rho == 0

    def test_a_larger_grant_lets_the_same_key_go_on_without_a_second_check(self, house):
        house.grant_rho(3 * CHECK + ANSWER)
        engine = house.engine()
        assert ask(engine, "a", CAREFUL, 1, 5, 2).statuses == ("answered", "abstained", "budget")
        assert engine.submit(batch("a", CAREFUL, 1, 5, 2)).statuses[2] == "budget", "still nothing left"
        house.grant()
        result = ask(house.engine(), "a", CAREFUL, 1, 5, 2)
        assert result.statuses == ("answered", "abstained", "answered")
        assert result.cost_nano_rho == ANSWER and result.from_store.tolist() == [True, True, False]
        assert house.spent() == 3 * CHECK + 2 * ANSWER

    @pytest.mark.parametrize("failed_first", [False, True], ids=["refused", "failed"])
    def test_a_batch_that_lost_the_race_for_the_last_answer_asks_the_ledger_again(self, house, failed_first):
        """Somebody else spends what was left between the look and the charge: refused, but not for ever."""
        house.grant_rho(ANSWER)
        ledger = house.ledger()
        look, raced = ledger.would_fit, []

        def spent_meanwhile(dataset, event):
            if not raced:
                raced.append(ledger.charge("scans", key="another", event=ARGMAX.answer_event(), purpose="another"))
            return look(dataset, event)

        ledger.would_fit = spent_meanwhile
        engine = house.engine(ledger=ledger)
        assert ask(engine, "a", ARGMAX, 1).state is BatchState.REFUSED and raced
        if failed_first:
            assert engine.submit(batch("a", ARGMAX, 1)) is None
            assert engine.fail("a", "quorum: 0 of 10 silos voted").state is BatchState.FAILED
        house.grant_rho(5 * ANSWER)
        result = ask(engine, "a", ARGMAX, 1)
        assert result.state is BatchState.DONE and result.labels.tolist() == [1]
        assert result.cost_nano_rho == ANSWER and house.spent() == 2 * ANSWER

    def test_a_paid_check_is_not_drawn_again_when_a_refused_batch_is_taken_up(self, house):
        """Its second attempt finds nothing left and is refused whole, as nothing of it is stored; the third goes on from the check."""
        house.grant_rho(2 * CHECK + ANSWER)
        ledger = house.ledger()
        look, raced = ledger.would_fit, []

        def spent_meanwhile(dataset, event):
            if len(raced) < 2:
                raced.append(ledger.charge("scans", key=f"other {len(raced)}", event=event, purpose="another"))
            return look(dataset, event)

        ledger.would_fit = spent_meanwhile
        noise = ZeroNoise()
        engine = house.engine(noise, ledger=ledger)
        assert ask(engine, "a", CAREFUL, 1, 2).statuses == ("budget", "budget")
        house.grant_rho(2 * CHECK + 2 * ANSWER)
        assert ask(engine, "a", CAREFUL, 1, 2).state is BatchState.REFUSED and len(raced) == 2
        house.grant()
        drawn = sum(call[:2] == ("gaussian", 4.0) and call[2] == (2,) for call in noise.calls)
        result = ask(engine, "a", CAREFUL, 1, 2)
        assert result.labels.tolist() == [1, 2] and result.cost_nano_rho == 2 * ANSWER
        assert house.spent() == 2 * CHECK + 4 * ANSWER
        # Each submission rehearses the check once, on no votes; beyond that nothing of it is drawn.
        again = sum(call[:2] == ("gaussian", 4.0) and call[2] == (2,) for call in noise.calls)
        assert again - drawn == 1

    def test_what_cannot_be_charged_is_refused_before_it_is_kept(self, house):
        house.grant(epsilon=10.0, kind=BudgetKind.GAUSSIAN)
        engine = house.engine()
        with pytest.raises(BadInput, match="PureDpEvent"):
            engine.submit(batch("a", LNMax(20.0), 1))
        assert engine.recover() == []

    def test_noise_that_is_not_gdp_needs_another_budget(self, house):
        house.grant(epsilon=10.0, kind=BudgetKind.GAUSSIAN)
        discrete = ZeroNoise()
        discrete.gdp = False
        with pytest.raises(BadInput, match="rounded Gaussian"):
            house.engine(discrete).submit(batch("a", ARGMAX, 1))

    def test_without_a_grant_nothing_is_taken(self, house):
        with pytest.raises(BadInput, match="no budget"):
            house.engine().submit(batch("a", ARGMAX, 1))

    def test_a_budget_of_renyi_curves(self, house):
        house.grant(epsilon=20.0, kind=BudgetKind.RDP, orders=(2.0, 8.0, 32.0))
        assert ask(house.engine(), "a", CAREFUL, 1, 5).statuses == ("answered", "abstained")
        assert ask(house.engine(), "b", LNMax(4.0), 1).labels.tolist() == [1]


class TestRefusals:
    def test_another_ensemble(self, house):
        house.grant()
        with pytest.raises(BadInput, match="another ensemble"):
            house.engine().submit(batch("a", ARGMAX, 1, ensemble="second"))

    @pytest.mark.parametrize("student", [np.full((1, 2), 0.5), np.array([[0.5, 0.1, 0.1]])])
    def test_a_student_that_cannot_be_used_is_refused_before_a_charge(self, house, student):
        house.grant()
        with pytest.raises(BadInput):
            house.engine().submit(batch("a", CURIOUS, 1, student=student))
        assert house.spent() == 0

    def test_noise_that_is_too_wide_is_refused_before_a_charge(self, house):
        house.grant()
        with pytest.raises(BadInput, match="too wide"):
            house.engine(repeatable_noise()).submit(batch("a", GNMax(1e6), 1))
        assert house.spent() == 0

    @pytest.mark.parametrize(
        "table",
        [
            np.zeros((11, 2), np.int64),
            np.zeros((3, 1), np.int64),
            np.full((1, 2), 3),
            np.full((1, 2), -2),
            np.zeros((1, 2)),
            np.zeros(2, np.int64),
        ],
    )
    def test_votes_that_cannot_be_counted(self, house, table):
        house.grant()
        engine = house.engine()
        engine.submit(batch("a", ARGMAX, 1, 2))
        with pytest.raises(BadInput):
            engine.evaluate("a", table)
        assert house.spent() == 0 and engine.result("a").state is BatchState.OPEN

    def test_a_batch_that_failed_cost_nothing_and_can_be_asked_again(self, house):
        house.grant()
        engine = house.engine()
        engine.submit(batch("a", ARGMAX, 1))
        failed = engine.fail("a", "quorum: 1 of 10 silos voted")
        assert failed.state is BatchState.FAILED and failed.cost_nano_rho == 0
        assert failed.reason == "quorum: 1 of 10 silos voted; nothing was charged for it"
        assert house.spent() == 0 and engine.recover() == []
        assert engine.evaluate("a", np.zeros((1, 1), np.int64)).state is BatchState.FAILED, "an end is an end"
        assert ask(engine, "a", ARGMAX, 1).labels.tolist() == [1]
        assert engine.fail("a", "too late").state is BatchState.DONE, "what is done stays done"

    @pytest.mark.parametrize(
        ("step", "paid"),
        [
            ("charged_check", 2 * CHECK),
            ("stored_decisions", 2 * CHECK),
            ("charged_answers", 2 * CHECK + ANSWER),
            ("drew_answers", 2 * CHECK + ANSWER),
        ],
    )
    def test_a_batch_that_failed_after_a_charge_says_what_it_has_paid(self, house, step, paid):
        """Paid, crashed, no quorum after the restart. The next try goes on with the same charges."""
        house.grant()

        class Crash(Exception):
            pass

        def crash(name):
            if name == step:
                raise Crash

        with pytest.raises(Crash):
            ask(house.engine(on_step=crash), "a", CAREFUL, 1, 5)
        engine = house.engine()
        assert [waiting.id for waiting in engine.recover()] == ["a"]
        failed = engine.fail("a", "quorum: 0 of 10 silos voted")
        assert failed.state is BatchState.FAILED and failed.cost_nano_rho == paid == house.spent()
        assert "was charged before and stays charged" in failed.reason and "nothing was charged" not in failed.reason
        assert engine.result("a").to_json() == failed.to_json()
        assert ask(engine, "a", CAREFUL, 1, 5).statuses == ("answered", "abstained")
        assert house.spent() == 2 * CHECK + ANSWER

    def test_a_batch_that_failed_in_its_second_attempt_has_paid_for_the_first_alone(self, house):
        """What the first attempt cost was told with its answers."""
        house.grant_rho(2 * CHECK + ANSWER)
        engine = house.engine()
        assert ask(engine, "a", CAREFUL, 1, 2).statuses == ("answered", "budget")
        house.grant()
        assert engine.submit(batch("a", CAREFUL, 1, 2)) is None
        failed = engine.fail("a", "quorum: 0 of 10 silos voted")
        assert failed.cost_nano_rho == 0 and "nothing was charged" in failed.reason

    def test_an_unknown_batch(self, house):
        house.grant()
        with pytest.raises(BadInput, match="no batch"):
            house.engine().result("nobody's")


def test_labels_of_zero_are_answers(house):
    """Class 0 is falsy; it must not be taken for a miss."""
    house.grant()
    ask(house.engine(), "a", ARGMAX, 3, 6, 9)
    assert house.engine().submit(batch("b", ARGMAX, 9, 6, 3)).labels.tolist() == [0, 0, 0]
    assert set(AnswerStore(house.ledger().engine).get([]).values()) == set()
