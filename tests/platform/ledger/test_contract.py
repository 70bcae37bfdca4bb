"""What every ledger does, whatever database it lives in."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy.exc import DBAPIError
from stillhouse.platform.errors import BadInput, BudgetExhausted, LedgerDoubt, TimedOut
from stillhouse.platform.ledger import AnswerStore, Charge, Verification, admission, records, rewrite_mark
from stillhouse.platform.ledger.database import writing
from stillhouse.platform.privacy.budget import BudgetKind, budget_cap, event_cost, spent_epsilon
from stillhouse.platform.privacy.events import GaussianEvent, PureDpEvent, SelectionEvent, SubsampledGaussianEvent
from stillhouse.platform.privacy.neighbours import ADD_OR_REMOVE, REPLACE_ONE, Relation

TRAINING = SubsampledGaussianEvent(noise_multiplier=2.0, sample_rate=0.01, steps=100)
CURVES = {"epsilon": 2.0, "delta": 1e-5, "kind": BudgetKind.RDP, "orders": (2.0, 4.0, 8.0, 16.0), "by": "officer"}


def epsilon_for(units: int, unit: int) -> float:
    """An epsilon whose cap holds exactly so many units and not one more."""
    return spent_epsilon(BudgetKind.GAUSSIAN, (units * unit,), delta=1e-5) + 1e-12


def grant(ledger, units=10, unit=625_000, dataset="scans"):
    return ledger.grant(dataset, epsilon=epsilon_for(units, unit), delta=1e-5, by="officer")


def charge(ledger, key, event, dataset="scans"):
    return ledger.charge(dataset, key=key, event=event, purpose="label a query", run="run 1")


def test_a_new_ledger_is_empty_and_whole(place):
    ledger = place.open()
    assert ledger.position()[0] == 0
    assert ledger.entries() == [] and ledger.datasets() == []
    assert ledger.verify() == Verification(True, 0, ())


def test_a_data_set_without_a_grant_has_no_budget(place, event):
    ledger = place.open()
    for attempt in (
        lambda: ledger.budget("scans"),
        lambda: charge(ledger, "k", event),
        lambda: ledger.would_fit("scans", event),
    ):
        with pytest.raises(BadInput, match=r"no budget.*grant"):
            attempt()
    assert ledger.position()[0] == 0


def test_a_charge_adds_its_cost_to_the_running_total(place, event, unit):
    ledger = place.open()
    budget = grant(ledger)
    assert budget.spent == (0,) and budget.spent_epsilon == 0.0 and budget.entries == 1
    receipts = [charge(ledger, f"query {i}", event) for i in range(3)]
    assert [r.cost for r in receipts] == [(unit,)] * 3
    assert [r.spent_after for r in receipts] == [(unit,), (2 * unit,), (3 * unit,)]
    assert [r.seq for r in receipts] == [2, 3, 4] and not any(r.replayed for r in receipts)
    after = ledger.budget("scans")
    assert after.spent == (3 * unit,) and after.remaining == (after.cap[0] - 3 * unit,) and after.entries == 4
    assert after.spent_epsilon == spent_epsilon(BudgetKind.GAUSSIAN, (3 * unit,), delta=1e-5)


def test_an_entry_says_what_was_bought_for_what_by_which_run(place, event, unit):
    ledger = place.open()
    grant(ledger)
    charge(ledger, "query 1", event)
    granted, charged = ledger.entries("scans")
    assert granted.content["by"] == "officer" and granted.content["kind"] == "gaussian" and granted.costs == (0,)
    assert charged.content == {"event": event.to_json(), "purpose": "label a query", "run": "run 1"}
    assert charged.key == "query 1" and charged.grant_seq == granted.seq and charged.spent_after == (unit,)
    assert charged.previous == granted.hash and ledger.position() == (2, charged.hash)


def test_a_budget_that_fits_exactly_is_spent_to_the_last_unit(place, event, unit):
    ledger = place.open()
    grant(ledger, units=3)
    assert ledger.budget("scans").cap[0] // unit == 3
    assert ledger.would_fit("scans", event) == 3
    for i in range(3):
        charge(ledger, f"{i}", event)
    assert ledger.would_fit("scans", event) == 0
    with pytest.raises(BudgetExhausted):
        charge(ledger, "one more", event)
    assert ledger.budget("scans").spent == (3 * unit,)


def test_a_cap_equal_to_the_cost_holds_it(place):
    """The very last billionth counts: an event that costs exactly the cap fits, and nothing fits after it."""
    ledger = place.open()
    cap = grant(ledger, units=1).cap[0]
    fine = GaussianEvent(sigma=22360.679774997898)  # costs 1 billionth
    assert event_cost(BudgetKind.GAUSSIAN, fine) == (1,)
    assert ledger.would_fit("scans", fine) == cap
    assert charge(ledger, "all but one", fine.times(cap - 1)).spent_after == (cap - 1,)
    assert charge(ledger, "the last", fine).spent_after == (cap,)
    assert ledger.budget("scans").remaining == (0,)
    with pytest.raises(BudgetExhausted, match="left 0,"):
        charge(ledger, "too much", fine)


def test_a_refusal_says_asked_left_and_cap_as_epsilons_and_how_to_mend(place, event, unit):
    ledger = place.open()
    cap = grant(ledger, units=2)
    charge(ledger, "1", event)
    with pytest.raises(BudgetExhausted) as caught:
        charge(ledger, "2", event.times(2))
    asked = spent_epsilon(BudgetKind.GAUSSIAN, (2 * unit,), delta=1e-5)
    left = spent_epsilon(BudgetKind.GAUSSIAN, (cap.cap[0] - unit,), delta=1e-5)
    message = str(caught.value)
    assert f"asked {asked:.6g}, left {left:.6g}, cap {cap.epsilon:.6g}" in message
    assert "delta 1e-05" in message and REPLACE_ONE in message
    assert "ask an officer to grant" in message
    assert caught.value.exit_code == 6
    assert ledger.budget("scans").spent == (unit,)


def test_a_refused_key_may_be_used_again_after_a_larger_grant(place, event):
    ledger = place.open()
    grant(ledger, units=1)
    charge(ledger, "1", event)
    with pytest.raises(BudgetExhausted):
        charge(ledger, "2", event)
    grant(ledger, units=2)
    assert not charge(ledger, "2", event).replayed


def test_the_same_key_again_is_the_same_receipt_for_free(place, event, unit):
    ledger = place.open()
    grant(ledger, units=2)
    first = charge(ledger, "k", event)
    charge(ledger, "another", event)
    again = charge(ledger, "k", event)
    assert again.replayed
    assert (again.seq, again.key, again.cost, again.spent_after) == (first.seq, "k", first.cost, first.spent_after)
    assert ledger.budget("scans").spent == (2 * unit,)
    resumed = ledger.charge("scans", key="k", event=event, purpose="label a query", run="another run resumes")
    assert resumed.replayed


def test_a_key_cannot_stand_for_two_things(place, event):
    ledger = place.open()
    grant(ledger)
    grant(ledger, dataset="others")
    charge(ledger, "k", event)
    for attempt in (
        lambda: charge(ledger, "k", event.times(2)),
        lambda: charge(ledger, "k", event, dataset="others"),
        lambda: ledger.charge("scans", key="k", event=event, purpose="something else"),
    ):
        with pytest.raises(BadInput, match="key"):
            attempt()
    assert ledger.position()[0] == 3


def test_what_was_paid_for_under_a_key_can_be_looked_up(place, event):
    ledger, other = place.open(), place.open()
    grant(ledger, units=3)
    charge(ledger, "1", event)
    charge(other, "2", event.times(2))
    with pytest.raises(BudgetExhausted):
        charge(ledger, "refused", event)
    assert ledger.charged(["2", "refused", "1", "never"]) == {"1": event, "2": event.times(2)}
    assert ledger.charged([]) == {}


def test_a_group_is_paid_for_as_one_or_not_at_all(place, event, unit):
    ledger = place.open()
    grant(ledger, units=5)
    group = [Charge("scans", f"{i}", event, "label") for i in range(4)]
    receipts = ledger.charge_all(group)
    assert [r.spent_after[0] for r in receipts] == [unit, 2 * unit, 3 * unit, 4 * unit]
    with pytest.raises(BudgetExhausted):
        ledger.charge_all([Charge("scans", f"b{i}", event, "label") for i in range(2)])
    assert ledger.budget("scans").spent == (4 * unit,)
    mixed = ledger.charge_all([*group, Charge("scans", "new", event, "label"), Charge("scans", "new", event, "label")])
    assert [r.replayed for r in mixed] == [True] * 4 + [False, True]
    assert mixed[4].seq == mixed[5].seq
    assert ledger.budget("scans").spent == (5 * unit,)
    assert ledger.charge_all([]) == []


def test_a_group_over_two_data_sets_fails_as_one(place, event):
    ledger = place.open()
    grant(ledger, units=1, dataset="small")
    grant(ledger, units=9, dataset="large")
    with pytest.raises(BudgetExhausted, match="small"):
        ledger.charge_all(
            [
                Charge("large", "1", event, "label"),
                Charge("small", "2", event, "label"),
                Charge("small", "3", event, "label"),
            ]
        )
    assert ledger.budget("large").spent == ledger.budget("small").spent == (0,)
    assert len(ledger.charge_all([Charge(d, d, event, "label") for d in ("large", "small")])) == 2


def test_a_later_grant_replaces_the_cap_on_the_same_terms(place, event, unit):
    ledger = place.open()
    grant(ledger, units=2)
    charge(ledger, "1", event)
    raised = grant(ledger, units=7)
    assert raised.cap == budget_cap(BudgetKind.GAUSSIAN, epsilon=epsilon_for(7, unit), delta=1e-5)
    assert raised.spent == (unit,) and raised.entries == 3
    lowered = grant(ledger, units=1)
    assert lowered.cap[0] // unit == 1 and lowered.spent == (unit,)
    with pytest.raises(BudgetExhausted):
        charge(ledger, "2", event)
    entries = ledger.entries("scans")
    assert [entry.what for entry in entries] == ["grant", "charge", "grant", "grant"]
    assert [entry.grant_seq for entry in entries] == [1, 1, 3, 4]


def test_a_grant_below_what_was_spent_or_on_other_terms_is_refused(place, event):
    ledger = place.open()
    grant(ledger, units=5)
    ledger.charge("scans", key="1", event=event.times(3), purpose="label")
    with pytest.raises(BadInput, match="already spent"):
        grant(ledger, units=2)
    again = {"epsilon": 5.0, "delta": 1e-5, "by": "officer"}
    for changed in (
        {"delta": 1e-6},
        {"kind": BudgetKind.ZCDP},
        {"kind": BudgetKind.RDP, "orders": (2.0, 8.0, 32.0)},
        {"neighbouring": "add-or-remove-one"},
    ):
        with pytest.raises(BadInput, match="other terms"):
            ledger.grant("scans", **{**again, **changed})
    assert ledger.position()[0] == 2


def test_a_budget_of_renyi_curves_holds_every_order(place):
    ledger = place.open()
    budget = ledger.grant("scans", **CURVES, neighbouring="add-or-remove-one")
    cost = event_cost(BudgetKind.RDP, TRAINING, orders=CURVES["orders"])
    fits = ledger.would_fit("scans", TRAINING)
    assert fits == min(cap // c for cap, c in zip(budget.cap, cost, strict=True)) > 0
    for i in range(fits):
        ledger.charge("scans", key=f"{i}", event=TRAINING, purpose="train")
    with pytest.raises(BudgetExhausted):
        ledger.charge("scans", key="more", event=TRAINING, purpose="train")
    assert ledger.budget("scans").spent == tuple(fits * c for c in cost)
    assert ledger.verify().ok


def test_a_budget_holds_only_events_its_filter_is_proven_for(place, event):
    ledger = place.open()
    grant(ledger)
    training = SubsampledGaussianEvent(noise_multiplier=1.1, sample_rate=0.01, steps=100)
    for foreign in (PureDpEvent(epsilon=0.1), training):
        with pytest.raises(BadInput, match="does not fit a budget of kind"):
            charge(ledger, "k", foreign)
    ledger.grant("mixed", epsilon=3.0, delta=1e-5, kind=BudgetKind.ZCDP, by="officer")
    charge(ledger, "laplace", PureDpEvent(epsilon=0.125), dataset="mixed")
    charge(ledger, "gauss", event, dataset="mixed")
    assert ledger.budget("mixed").spent == (7_812_500 + 625_000,)


@pytest.mark.parametrize("relation", Relation)
@pytest.mark.parametrize(
    "event", [GaussianEvent(40.0, 2), PureDpEvent(0.1), TRAINING, SelectionEvent(TRAINING, 1.2, 1.0)]
)
def test_a_budget_holds_only_events_whose_cost_is_proven_for_its_neighbours(place, relation, event):
    ledger = place.open()
    ledger.grant("scans", **CURVES, neighbouring=relation.value)
    acts = (
        lambda: ledger.fits("scans", [GaussianEvent(1000.0), event]),
        lambda: ledger.would_fit("scans", event),
        lambda: ledger.charge_all(
            [Charge("scans", "vote", GaussianEvent(1000.0), "vote"), Charge("scans", "k", event, "x")]
        ),
    )
    if relation in event.relations:
        assert all(act() for act in acts)
        return
    for act in acts:
        with pytest.raises(BadInput, match=r"does not fit.*replace one record.*--neighbouring add-or-remove-one"):
            act()
    assert ledger.position()[0] == 1 and ledger.budget("scans").spent == (0, 0, 0, 0)


@pytest.mark.parametrize(("word", "text"), [("replace-one", REPLACE_ONE), ("add-or-remove-one", ADD_OR_REMOVE)])
def test_a_grant_keeps_its_neighbours_in_full(place, word, text):
    ledger = place.open()
    for told in (word, text, word):
        assert ledger.grant("scans", **CURVES, neighbouring=told).neighbouring == text
    assert [entry.content["neighbouring"] for entry in ledger.entries()] == [text] * 3
    assert place.open().budget("scans").neighbouring == text
    assert grant(ledger, dataset="others").neighbouring == REPLACE_ONE


@pytest.mark.parametrize("told", ["replace one record", "Replace-one", "user"])
def test_a_grant_names_neighbours_that_are_known(place, told):
    ledger = place.open()
    with pytest.raises(BadInput, match=r"replace-one, add-or-remove-one"):
        ledger.grant("scans", **CURVES, neighbouring=told)
    assert ledger.position()[0] == 0


def test_an_old_ledger_with_a_short_word_goes_on(place, monkeypatch):
    with monkeypatch.context() as older:
        older.setattr(records, "in_full", lambda told: told)
        with place.open() as ledger:
            ledger.grant("scans", **CURVES, neighbouring="add-or-remove-one")
    ledger = place.open()
    assert ledger.entries()[0].content["neighbouring"] == "add-or-remove-one"
    assert ledger.budget("scans").neighbouring == ADD_OR_REMOVE
    charge(ledger, "k", TRAINING)
    assert ledger.grant("scans", **{**CURVES, "epsilon": 3.0}, neighbouring="add-or-remove-one").epsilon == 3.0
    assert ledger.verify().ok and place.open().position() == ledger.position()


def test_an_old_ledger_is_read_whatever_it_says_and_its_entries_are_not_judged_again(place, monkeypatch, event):
    """It may hold a charge that would be refused today; from now on only what holds for all neighbours is charged."""
    words = "neighbours differ in one scan"
    with monkeypatch.context() as older:
        older.setattr(admission, "relation_of", lambda told: Relation.ADD_OR_REMOVE_ONE)
        older.setattr(records, "relation_of", lambda told: Relation.ADD_OR_REMOVE_ONE)
        with place.open() as ledger:
            ledger.grant("scans", **CURVES, neighbouring=words)
            first = charge(ledger, "old", TRAINING)
    ledger = place.open()
    assert ledger.verify().ok and ledger.budget("scans").neighbouring == words
    again = charge(ledger, "old", TRAINING)
    assert again.replayed and again.cost == first.cost
    with pytest.raises(BadInput, match=words):
        charge(ledger, "new", TRAINING)
    assert not charge(ledger, "vote", event).replayed
    assert ledger.grant("scans", **{**CURVES, "epsilon": 3.0}, neighbouring=words).epsilon == 3.0
    with pytest.raises(BadInput, match="other terms"):
        ledger.grant("scans", **CURVES, neighbouring=REPLACE_ONE)


def test_a_whole_plan_fits_exactly_as_far_as_it_can_be_charged(place, event, unit):
    ledger = place.open()
    with pytest.raises(BadInput, match="no budget"):
        ledger.fits("scans", [event])
    grant(ledger, units=6)
    charge(ledger, "1", event)
    before = ledger.position()
    assert ledger.fits("scans", [])
    assert ledger.fits("scans", [event] * 5) and ledger.fits("scans", [event.times(3), event, event])
    assert not ledger.fits("scans", [event] * 6) and not ledger.fits("scans", [event.times(3)] * 2)
    with pytest.raises(BadInput, match="does not fit a budget of kind"):
        ledger.fits("scans", [event, PureDpEvent(0.1)])
    assert ledger.position() == before
    ledger.charge_all([Charge("scans", f"plan {i}", event, "label") for i in range(5)])
    assert ledger.fits("scans", []) and not ledger.fits("scans", [event])


def test_a_plan_must_fit_at_every_order(place):
    """Either event alone passes, and together they pass at the low orders; the high ones refuse."""
    ledger = place.open()
    budget = ledger.grant("scans", **CURVES, neighbouring="add-or-remove-one")
    straight, bent = GaussianEvent(2.5), SubsampledGaussianEvent(1.3, 0.01, 80)
    costs = [event_cost(BudgetKind.RDP, event, orders=CURVES["orders"]) for event in (straight, bent)]
    together = [sum(column) <= cap for column, cap in zip(zip(*costs, strict=True), budget.cap, strict=True)]
    assert together[0] and not together[-1]
    assert ledger.fits("scans", [straight]) and ledger.fits("scans", [bent])
    assert not ledger.fits("scans", [straight, bent])
    with pytest.raises(BudgetExhausted):
        ledger.charge_all([Charge("scans", "1", straight, "votes"), Charge("scans", "2", bent, "train")])


def test_a_dry_run_reserves_and_writes_nothing(place, event):
    ledger = place.open()
    grant(ledger, units=6)
    before = ledger.position()
    assert ledger.would_fit("scans", event) == 6 and ledger.would_fit("scans", event.times(4)) == 1
    assert ledger.position() == before


def test_a_process_that_opens_later_sees_all_of_it(place, event, unit):
    with place.open() as ledger:
        grant(ledger)
        charge(ledger, "k", event)
        position, entries = ledger.position(), ledger.entries()
    later = place.open()
    assert later.position() == position and later.entries() == entries
    assert later.budget("scans").spent == (unit,)
    assert charge(later, "k", event).replayed


def test_two_ledger_objects_on_one_store_see_each_other(place, event, unit):
    one, two = place.open(), place.open()
    grant(one, units=3)
    charge(two, "1", event)
    charge(one, "2", event)
    assert charge(two, "2", event).replayed
    assert one.budget("scans").spent == two.budget("scans").spent == (2 * unit,)
    charge(two, "3", event)
    with pytest.raises(BudgetExhausted):
        charge(one, "4", event)
    assert one.verify().ok and two.verify().ok and one.position() == two.position()


def test_threads_of_one_ledger_never_pass_the_cap(place, event, unit):
    ledger = place.open()
    grant(ledger, units=12)
    outcomes: list[str] = []

    def spend(thread: int) -> None:
        for i in range(5):
            try:
                charge(ledger, f"{thread}.{i}", event)
                outcomes.append("paid")
            except BudgetExhausted:
                outcomes.append("refused")

    threads = [threading.Thread(target=spend, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("paid") == 12 and outcomes.count("refused") == 8
    assert ledger.budget("scans").spent == (12 * unit,) and ledger.verify().ok


def test_time_informs_but_never_orders(place, event, unit):
    """The clock jumps back by years and forward again; nothing else changes."""
    times = iter([2_000_000_000.0, 1.0, 4_000_000_000.0, 0.0, 1_500_000_000.0])
    ledger = place.open(clock=lambda: next(times))
    grant(ledger)
    for i in range(4):
        charge(ledger, f"{i}", event)
    assert [entry.time[:4] for entry in ledger.entries()] == ["2033", "1970", "2096", "1970", "2017"]
    assert ledger.budget("scans").spent == (4 * unit,) and ledger.verify().ok
    assert place.open().position() == ledger.position()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_entries SET spent = '0'",
        "DELETE FROM ledger_entries",
        "DELETE FROM ledger_identity",
        "UPDATE ledger_identity SET ledger = 'x'",
        "UPDATE ledger_answers SET label = 1",
        "DELETE FROM ledger_answers",
    ],
)
def test_the_database_itself_refuses_changes(place, event, statement):
    ledger = place.open()
    grant(ledger)
    charge(ledger, "k", event)
    AnswerStore(ledger.engine).put({"a": 0})
    with pytest.raises(DBAPIError, match="append-only"):
        place.plain(statement)
    assert ledger.verify().ok and AnswerStore(ledger.engine).get(["a"]) == {"a": 0}


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE ledger_entries SET spent = '625000' WHERE seq = 3", "altered"),
        ("UPDATE ledger_entries SET time = '2000-01-01' WHERE seq = 2", "altered"),
        ("UPDATE ledger_entries SET previous = hash WHERE seq = 3", "does not follow"),
        ("DELETE FROM ledger_entries WHERE seq = 2", "entry 2 is missing"),
        ("DELETE FROM ledger_entries WHERE seq = 1", "entry 1 is missing"),
        ("DELETE FROM ledger_entries WHERE seq >= 3", "restored backup"),
        ("DELETE FROM ledger_entries", "restored backup"),
        ("UPDATE ledger_identity SET ledger = 'other'", "do not belong"),
        ("DELETE FROM ledger_identity", "do not belong"),
    ],
)
def test_a_broken_chain_is_found_and_nothing_is_charged_on_it(place, event, statement, problem):
    ledger = place.open()
    grant(ledger)
    for i in range(3):
        charge(ledger, f"{i}", event)
    place.tamper(statement)
    verification = ledger.verify()
    assert not verification.ok and any(problem in p for p in verification.problems)
    with pytest.raises(LedgerDoubt, match=problem):
        place.open()


def test_a_tail_that_vanishes_under_an_open_ledger_stops_the_next_charge(place, event):
    ledger = place.open()
    grant(ledger)
    for i in range(3):
        charge(ledger, f"{i}", event)
    place.tamper("DELETE FROM ledger_entries WHERE seq = 4")
    for attempt in (lambda: charge(ledger, "new", event), lambda: ledger.budget("scans"), ledger.position):
        with pytest.raises(LedgerDoubt):
            attempt()


def test_a_restored_backup_that_was_written_on_is_refused(place, event):
    """The forged tail is a valid chain of the right length; only the mark knows the true one."""
    ledger = place.open()
    grant(ledger)
    charge(ledger, "1", event)
    place.mark.with_suffix(".old").write_bytes(place.mark.read_bytes())
    true_mark = place.mark
    charge(ledger, "2", event)
    ledger.close()
    place.tamper("DELETE FROM ledger_entries WHERE seq = 3")
    place.mark = true_mark.with_suffix(".old")
    with place.open() as forger:
        charge(forger, "3", event)
        charge(forger, "4", event)
    place.mark = true_mark
    with pytest.raises(LedgerDoubt, match="not the one that was acknowledged"):
        place.open()


def test_a_lost_mark_is_refused_and_an_officer_can_state_the_position(place, event, unit):
    with place.open() as ledger:
        grant(ledger)
        charge(ledger, "1", event)
        seq, head = ledger.position()
        charge(ledger, "2", event)
    place.mark.unlink()
    with pytest.raises(LedgerDoubt, match=r"missing.*rewrite_mark"):
        place.open()
    assert not place.mark.exists()
    with pytest.raises(LedgerDoubt):
        rewrite_mark(place.url, high_water=place.mark, seq=seq, head="0" * 64)
    with pytest.raises(LedgerDoubt, match="restored backup"):
        rewrite_mark(place.url, high_water=place.mark, seq=9, head=head)
    assert rewrite_mark(place.url, high_water=place.mark, seq=seq, head=head) == 3
    assert place.open().budget("scans").spent == (2 * unit,)
    with pytest.raises(BadInput, match="there and whole"):
        rewrite_mark(place.url, high_water=place.mark, seq=seq, head=head)


def test_the_mark_of_another_ledger_is_refused(place, event, tmp_path):
    with place.open() as ledger:
        grant(ledger)
    (tmp_path / "other").mkdir()
    other = type(place)(f"sqlite:///{tmp_path}/other/ledger.db", tmp_path / "other.mark", tmp_path / "other")
    with other.open() as ledger:
        grant(ledger)
    place.mark.write_bytes(other.mark.read_bytes())
    with pytest.raises(LedgerDoubt, match="belong"):
        place.open()


def test_a_creation_that_was_cut_off_goes_on(place, tmp_path):
    """The mark is made before the tables: a kill between the two leaves a mark at 0 and no tables."""
    (tmp_path / "model").mkdir()
    model = type(place)(f"sqlite:///{tmp_path}/model/ledger.db", tmp_path / "model.mark", tmp_path / "model")
    model.open().close()
    place.mark.write_bytes(model.mark.read_bytes())
    ledger = place.open()
    grant(ledger)
    assert ledger.verify().ok


def test_waiting_for_another_writer_ends_with_a_clear_error(place, event, unit):
    holder = place.open()
    grant(holder)
    impatient = place.open(wait_seconds=0.2)
    with writing(holder.engine):
        with pytest.raises(TimedOut, match="same key") as caught:
            charge(impatient, "k", event)
        assert caught.value.exit_code == 3
        assert impatient.budget("scans").spent == (0,), "readers go on beside a writer"
    assert charge(impatient, "k", event).spent_after == (unit,)


def test_steps_are_told_in_order(place, event):
    steps: list[str] = []
    ledger = place.open(on_step=steps.append)
    grant(ledger)
    charge(ledger, "k", event)
    assert steps == ["locked", "before_commit", "committed", "marked"] * 2


@pytest.mark.parametrize("step", ["locked", "before_commit"])
def test_a_failure_before_the_commit_charges_nothing(place, event, step):
    armed = False

    def on_step(name: str) -> None:
        if armed and name == step:
            raise KeyboardInterrupt

    ledger = place.open(on_step=on_step)
    grant(ledger)
    armed = True
    with pytest.raises(KeyboardInterrupt):
        charge(ledger, "k", event)
    armed = False
    assert ledger.budget("scans").spent == (0,)
    assert not charge(ledger, "k", event).replayed


@pytest.mark.parametrize("step", ["committed", "marked"])
def test_a_failure_after_the_commit_has_charged(place, event, unit, step):
    armed = False

    def on_step(name: str) -> None:
        if armed and name == step:
            raise KeyboardInterrupt

    ledger = place.open(on_step=on_step)
    grant(ledger)
    armed = True
    with pytest.raises(KeyboardInterrupt):
        charge(ledger, "k", event)
    armed = False
    assert ledger.budget("scans").spent == (unit,)
    assert charge(ledger, "k", event).replayed
    assert ledger.verify().ok
