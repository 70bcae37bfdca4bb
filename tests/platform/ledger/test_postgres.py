"""What can only go wrong with a server."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, text
from stillhouse.platform.errors import LedgerDoubt, Unreachable
from stillhouse.platform.ledger import Ledger


@pytest.fixture
def server(postgres_place):
    return postgres_place


def test_a_server_that_does_not_answer_is_unreachable(tmp_path):
    with pytest.raises(Unreachable, match="does not answer") as caught:
        Ledger("postgresql://nobody@127.0.0.1:1/none", high_water=tmp_path / "mark")
    assert caught.value.exit_code == 2
    assert not (tmp_path / "mark").exists()


@pytest.mark.postgres
def test_a_server_that_does_not_sync_is_refused(server):
    server.url += "%20-csynchronous_commit%3Doff"
    with pytest.raises(LedgerDoubt, match="synchronous_commit off"):
        server.open()


@pytest.mark.postgres
def test_a_trigger_that_was_switched_off_is_found(server, event):
    ledger = server.open()
    server.plain("ALTER TABLE ledger_entries DISABLE TRIGGER ledger_entries_no_update")
    assert ledger.verify().problems == ("the trigger ledger_entries_no_update is gone or disabled",)
    with pytest.raises(LedgerDoubt, match="trigger"):
        server.open()


@pytest.mark.postgres
def test_truncating_is_refused_by_the_database(server):
    server.open()
    with pytest.raises(Exception, match="append-only"):
        server.plain("TRUNCATE ledger_entries")


@pytest.mark.postgres
@pytest.mark.parametrize("step", ["locked", "before_commit"])
def test_a_connection_that_breaks_in_the_middle_charges_nothing_and_heals(server, event, unit, step):
    admin = create_engine(server.url)
    armed = False

    def on_step(name):
        if armed and name == step:
            with admin.begin() as connection:
                connection.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_locks "
                        "WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
                    )
                )

    ledger = server.open(on_step=on_step)
    ledger.grant("scans", epsilon=2.0, delta=1e-5, by="officer")
    armed = True
    with pytest.raises(Unreachable, match="same key"):
        ledger.charge("scans", key="k", event=event, purpose="test")
    armed = False
    assert ledger.budget("scans").spent == (0,)
    assert ledger.charge("scans", key="k", event=event, purpose="test").spent_after == (unit,)
    admin.dispose()


@pytest.mark.postgres
def test_a_server_that_restarted_between_two_charges_is_found_again(server, event, unit):
    ledger = server.open()
    ledger.grant("scans", epsilon=2.0, delta=1e-5, by="officer")
    admin = create_engine(server.url)
    with admin.begin() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query <> ''")
        )
    admin.dispose()
    assert ledger.charge("scans", key="k", event=event, purpose="test").spent_after == (unit,)
