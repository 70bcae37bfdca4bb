"""Several processes on one ledger."""

from __future__ import annotations

import json

from stillhouse.platform.ledger import AnswerStore
from stillhouse.platform.privacy.budget import BudgetKind, spent_epsilon


def grant(place, units: int, unit: int) -> None:
    with place.open() as ledger:
        epsilon = spent_epsilon(BudgetKind.GAUSSIAN, (units * unit,), delta=1e-5) + 1e-12
        ledger.grant("scans", epsilon=epsilon, delta=1e-5, by="officer")


def race(place, *orders: dict) -> list[list[dict]]:
    """Start all workers, let them open the ledger, fire the gun; what each of them printed."""
    workers = [place.start(wait=True, **order) for order in orders]
    for worker in workers:
        assert worker.stdout.readline() == '"ready"\n'
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    outputs = [worker.communicate(timeout=120)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * len(workers)
    return [[json.loads(line) for line in output.splitlines()] for output in outputs]


def test_two_processes_want_the_last_unit_and_exactly_one_gets_it(place, unit):
    grant(place, 1, unit)
    outcomes = [result for (result,) in race(place, {"keys": ["a"]}, {"keys": ["b"]})]
    assert sorted("seq" in outcome for outcome in outcomes) == [False, True]
    (loser,) = [outcome for outcome in outcomes if "error" in outcome]
    assert loser["error"] == "BudgetExhausted"
    assert place.open().budget("scans").spent == (unit,)


def test_many_processes_never_pass_the_cap_and_lose_nothing(place, unit):
    grant(place, 20, unit)
    orders = [{"keys": [f"{n}.{i}" for i in range(9)]} for n in range(4)]
    results = [result for worker in race(place, *orders) for result in worker]
    paid = [result for result in results if "seq" in result]
    assert len(paid) == 20 and len(results) == 36
    assert {result["error"] for result in results if "error" in result} == {"BudgetExhausted"}
    assert sorted(result["seq"] for result in paid) == list(range(2, 22)), "every receipt is its own entry"
    ledger = place.open()
    assert ledger.budget("scans").spent == (20 * unit,) and ledger.verify().ok
    assert {entry.key for entry in ledger.entries()[1:]} == {result["key"] for result in paid}


def test_the_same_key_at_once_is_one_charge_and_one_receipt(place, unit):
    grant(place, 5, unit)
    keys = ["same 1", "same 2", "same 3"]
    results = race(place, *({"keys": keys} for _ in range(3)))
    for n in range(3):
        receipts = [result[n] for result in results]
        assert len({(r["seq"], tuple(r["spent"])) for r in receipts}) == 1
        assert sorted(r["replayed"] for r in receipts) == [False, True, True]
    assert place.open().budget("scans").spent == (3 * unit,)


def test_two_processes_store_different_answers_and_one_is_refused(place, unit):
    grant(place, 1, unit)
    outcomes = [result for (result,) in race(place, {"answer": {"q": 0}}, {"answer": {"q": 1}})]
    (winner,) = [outcome for outcome in outcomes if "label" in outcome]
    (loser,) = [outcome for outcome in outcomes if "error" in outcome]
    assert loser["error"] == "LedgerDoubt"
    assert AnswerStore(place.open().engine).get(["q"]) == {"q": winner["label"]}


def test_processes_that_create_the_ledger_at_once_make_one(place, unit):
    workers = [place.start(wait=True) for _ in range(3)]
    for worker in workers:
        assert worker.stdout.readline() == '"ready"\n'
        worker.communicate("go\n", timeout=60)
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    grant(place, 1, unit)
    assert place.open().verify().ok
