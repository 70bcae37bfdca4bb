"""What may not come in: costs that are no costs, events nobody knows, names with two spellings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from stillhouse.platform.errors import BadInput, LedgerDoubt
from stillhouse.platform.ledger import Charge, Ledger, records
from stillhouse.platform.privacy.budget import BudgetKind, budget_cap
from stillhouse.platform.privacy.events import GaussianEvent


@pytest.fixture
def ledger(sqlite_place):
    found = sqlite_place.open()
    found.grant("scans", epsilon=2.0, delta=1e-5, by="officer")
    return found


@pytest.fixture(autouse=True)
def nothing_was_written(ledger):
    yield
    assert ledger.position()[0] == 1 and ledger.verify().ok


def charge(ledger, event, **other):
    return ledger.charge(**{"dataset": "scans", "key": "k", "event": event, "purpose": "test", **other})


@pytest.mark.parametrize("cost", [(0,), (-1,), (-(10**9),), (math.nan,), (1.0,), (True,), (), (1, 1), (None,)])
def test_a_cost_that_is_no_positive_whole_number(ledger, monkeypatch, event, cost):
    monkeypatch.setattr(records, "event_cost", lambda *_, **__: cost)
    for attempt in (lambda: charge(ledger, event), lambda: ledger.would_fit("scans", event)):
        with pytest.raises(LedgerDoubt, match="no sound cost"):
            attempt()


def test_a_huge_cost_is_a_mistake_of_whoever_asks_and_no_doubt_about_the_ledger(ledger):
    tiny = GaussianEvent(sigma=1e-6)
    for attempt in (
        lambda: charge(ledger, tiny),
        lambda: ledger.would_fit("scans", tiny),
        lambda: ledger.fits("scans", [tiny]),
        lambda: charge(ledger, GaussianEvent(sigma=1e-4, count=1000)),
    ):
        with pytest.raises(BadInput, match="raise the noise"):
            attempt()
    assert charge_fails_as_too_dear(ledger, GaussianEvent(sigma=1e-4))


def charge_fails_as_too_dear(ledger: Ledger, event: GaussianEvent) -> bool:
    """5e16 nano-rho is a sound cost (below 2^63), only far above any budget."""
    with pytest.raises(records.BudgetExhausted):
        charge(ledger, event)
    return True


@pytest.mark.parametrize(
    "field", [("sigma", math.nan), ("sigma", 0.0), ("sigma", -40.0), ("sigma", math.inf), ("count", 0), ("count", -5)]
)
def test_an_event_that_was_tampered_with(ledger, event, field):
    object.__setattr__(event, *field)
    with pytest.raises(LedgerDoubt):
        charge(ledger, event)


def test_an_event_of_an_unknown_kind(ledger):
    @dataclass(frozen=True)
    class Homemade:
        count: int = 1
        gaussian: bool = True

        def nano_rho(self):
            return 1

        def to_json(self):
            return {"kind": "homemade", "count": 1}

    with pytest.raises(LedgerDoubt, match=r"unknown kind of event 'homemade'"):
        charge(ledger, Homemade())
    for nonsense in (None, 625000, {"kind": "gaussian"}):
        with pytest.raises(LedgerDoubt, match="JSON form"):
            charge(ledger, nonsense)


@pytest.mark.parametrize("price", [0, -625_000, math.nan, 1])
def test_an_event_that_lies_about_its_price(ledger, price):
    """The price is computed from what the entry will say, so an overridden price is never asked, let alone believed."""

    class Cheap(GaussianEvent):
        def nano_rho(self):
            return price

    with pytest.raises(LedgerDoubt, match="not the one"):
        charge(ledger, Cheap(sigma=40.0, squared_sensitivity=2))


@pytest.mark.parametrize(
    "name",
    ["", " scans", "scans ", "sc\nans", "scans\x00", "scans\u200b", "e\u0301", "\ud800", "x" * 501, None, 7, b"scans"],
)
def test_names_have_one_spelling(ledger, event, name):
    for field in ("dataset", "key", "purpose"):
        with pytest.raises(BadInput, match=field):
            charge(ledger, event, **{field: name})
    with pytest.raises(BadInput, match="dataset"):
        ledger.grant(name, epsilon=1.0, delta=1e-5, by="officer")
    with pytest.raises(BadInput, match="by"):
        ledger.grant("others", epsilon=1.0, delta=1e-5, by=name)


@pytest.mark.parametrize(
    "terms",
    [
        {"epsilon": 0.0},
        {"epsilon": -1.0},
        {"epsilon": math.nan},
        {"epsilon": math.inf},
        {"delta": 0.0},
        {"delta": 1.0},
        {"delta": math.nan},
        {"kind": "advanced"},
        {"orders": (2.0,)},
        {"kind": BudgetKind.RDP, "orders": ()},
    ],
)
def test_a_grant_of_nonsense(ledger, terms):
    with pytest.raises(BadInput):
        ledger.grant("others", **{"epsilon": 1.0, "delta": 1e-5, "by": "officer", **terms})


@pytest.mark.parametrize("epsilon", [1e11, 1e300, 1.7e308])
@pytest.mark.parametrize("kind", list(BudgetKind))
def test_a_cap_that_no_ledger_can_hold_is_a_mistake_and_no_doubt_about_the_ledger(ledger, kind, epsilon):
    terms = {"epsilon": epsilon, "delta": 1e-5, "kind": kind, "orders": (2.0, 8.0) if kind is BudgetKind.RDP else ()}
    # A caller that only plans, such as the command line before it makes a ledger, hears it too.
    plan = {name: terms[name] for name in ("epsilon", "delta", "orders")}
    for attempt in (lambda: ledger.grant("others", **terms, by="officer"), lambda: budget_cap(kind, **plan)):
        with pytest.raises(BadInput, match="smaller epsilon"):
            attempt()


def test_the_largest_caps_are_granted():
    """A Renyi cap is the straight line's where that is above what its order proves alone; no cap passes the limit."""
    for kind, orders in ((BudgetKind.GAUSSIAN, ()), (BudgetKind.ZCDP, ()), (BudgetKind.RDP, (2.0, 8.0))):
        [*caps] = budget_cap(kind, epsilon=1e9, delta=1e-5, orders=orders)
        assert all(10**17 < cap < 2**63 for cap in caps)
    # Alone, order 2 proves a cap below the limit at this epsilon; the line through it passes the limit at order 100.
    with pytest.raises(BadInput, match="smaller epsilon"):
        budget_cap(BudgetKind.RDP, epsilon=1e9, delta=1e-5, orders=(2.0, 100.0))


def test_one_bad_charge_spoils_its_group(ledger, event):
    with pytest.raises(BadInput):
        ledger.charge_all([Charge("scans", "good", event, "test"), Charge("scans", "", event, "test")])


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "sqlite:///a.db?mode=ro", "mysql://host/x", "nonsense"]
)
def test_a_store_that_cannot_last(ledger, url):
    with pytest.raises(BadInput):
        Ledger(url)


def test_a_server_needs_a_place_for_the_mark(ledger):
    with pytest.raises(BadInput, match="high_water"):
        Ledger("postgresql://localhost/ledger")


def test_a_missing_folder_is_not_made(ledger, tmp_path):
    with pytest.raises(BadInput, match="does not exist"):
        Ledger(f"sqlite:///{tmp_path}/not/mounted/ledger.db")
    assert not (tmp_path / "not").exists()


def test_numpy_numbers_do_not_sneak_into_the_json(ledger):
    event = GaussianEvent(sigma=np.float64(1e9), squared_sensitivity=np.int64(1))
    assert ledger.would_fit("scans", event) > 0
