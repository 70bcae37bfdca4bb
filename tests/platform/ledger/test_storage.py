"""What can go wrong with files and disks. Every failure here is a real one; nothing is mocked."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import threading
from pathlib import Path

import pytest
from sqlalchemy import event as events
from stillhouse.platform.errors import BudgetExhausted, LedgerDoubt
from stillhouse.platform.ledger import AnswerStore, Charge, Ledger
from stillhouse.platform.ledger.database import open_engine, reading


@pytest.fixture
def place(sqlite_place):
    return sqlite_place


def filled(place, event, charges: int = 5) -> Ledger:
    ledger = place.open()
    ledger.grant("scans", epsilon=2.0, delta=1e-5, by="officer")
    for i in range(charges):
        ledger.charge("scans", key=f"{i}", event=event, purpose="test")
    return ledger


def test_commits_are_synced(place):
    with reading(place.open().engine) as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_a_file_system_without_wal_is_refused(tmp_path):
    """The dot-file locks have no shared memory, as on a network file system, so SQLite cannot switch to WAL."""
    engine = open_engine(f"sqlite+pysqlite:///file:{tmp_path}/x.db?vfs=unix-dotfile&uri=true")
    with pytest.raises(LedgerDoubt, match="journal mode is 'delete'"), reading(engine):
        pass
    engine.dispose()


def test_by_default_the_mark_lies_beside_the_database(tmp_path):
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        assert ledger.position()[0] == 0
    assert (tmp_path / "ledger.db.mark").exists()


@pytest.mark.parametrize("empty", [False, True])
def test_a_lost_database_is_not_made_anew(place, event, empty):
    filled(place, event).close()
    place.file.unlink()
    if empty:
        place.file.touch()
    for _ in range(2):
        with pytest.raises(LedgerDoubt, match=r"lost or empty.*knows of 6 entries.*put the database back"):
            place.open()
    assert place.file.exists() is empty


def test_a_restored_backup_is_refused(place, event):
    filled(place, event).close()
    shutil.copy(place.file, place.folder / "backup")
    with place.open() as ledger:
        ledger.charge("scans", key="after the backup", event=event, purpose="test")
    now = place.file.read_bytes()
    shutil.copy(place.folder / "backup", place.file)
    with pytest.raises(LedgerDoubt, match="ends at entry 6, but entry 7 was acknowledged"):
        place.open()
    place.file.write_bytes(now)
    assert place.open().position()[0] == 7


@pytest.mark.parametrize("how", ["removed", "replaced", "overwritten"])
def test_a_database_that_changes_under_an_open_ledger_stops_it(place, event, how):
    filled(place, event).close()
    shutil.copy(place.file, place.folder / "backup")
    ledger = place.open()
    ledger.charge("scans", key="after the backup", event=event, purpose="test")
    if how == "removed":
        place.file.unlink()
    elif how == "replaced":
        (place.folder / "backup").rename(place.file)
    else:
        with sqlite3.connect(place.folder / "backup") as backup, sqlite3.connect(place.file) as live:
            backup.backup(live)
        backup.close()
        live.close()
    for attempt in (
        lambda: ledger.charge("scans", key="x", event=event, purpose="test"),
        lambda: ledger.would_fit("scans", event),
        ledger.position,
    ):
        with pytest.raises(LedgerDoubt, match=r"removed|replaced|acknowledged|gone or changed"):
            attempt()
    assert not ledger.verify().ok


def test_a_mark_that_vanishes_under_an_open_ledger_stops_it(place, event):
    ledger = filled(place, event)
    place.mark.unlink()
    with pytest.raises(LedgerDoubt, match="missing"):
        ledger.charge("scans", key="x", event=event, purpose="test")
    assert not ledger.verify().ok


def test_a_torn_log_never_loses_an_acknowledged_charge_silently(place, event, tmp_path):
    """Cut the write-ahead log of a ledger that was not closed, as a crash of the disk would, at many lengths."""
    ledger = filled(place, event)
    position = ledger.position()
    log = place.file.with_name("ledger.db-wal").read_bytes()
    assert len(log) > 10_000, "nothing was copied into the database file yet"
    cuts = sorted({*range(0, len(log), 4120 // 2), 1, 31, 32, len(log) - 4120, len(log) - 1, len(log)})
    refused = 0
    for cut in cuts:
        folder = tmp_path / f"cut {cut}"
        folder.mkdir()
        shutil.copy(place.file, folder / "ledger.db")
        shutil.copy(place.mark, folder / "elsewhere.mark")
        (folder / "ledger.db-wal").write_bytes(log[:cut])
        try:
            with Ledger(f"sqlite:///{folder}/ledger.db", high_water=folder / "elsewhere.mark") as torn:
                assert torn.position() == position
        except LedgerDoubt:
            refused += 1
    assert refused == len(cuts) - 1, "only the whole log will do"


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_torn_database_file_is_refused(place, event, kept):
    filled(place, event, charges=40).close()
    whole = place.file.read_bytes()
    place.file.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(LedgerDoubt):
        place.open()


def test_a_file_that_is_no_database_is_refused(place, event):
    filled(place, event).close()
    place.file.write_bytes(b"this is not a database" * 100)
    with pytest.raises(LedgerDoubt, match="not a database"):
        place.open()


def test_an_index_that_lost_a_key_is_found(place, event):
    """A key that cannot be looked up would be paid for twice; the entries themselves are whole."""
    filled(place, event).close()
    connection = sqlite3.connect(place.file)
    (page,) = connection.execute(
        "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_ledger_entries_1'"
    ).fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    data = bytearray(place.file.read_bytes())
    # Index records lie at the end of their page, the first key last: a record of the text "0" and its row number 2.
    at = data.index(b"0\x02", (page - 1) * size + size - 64, page * size)
    data[at] = ord("x")
    place.file.write_bytes(data)
    with pytest.raises(LedgerDoubt, match="SQLite reports"):
        place.open()


def _tear_newest_slot(place, seq: int) -> None:
    data = bytearray(place.mark.read_bytes())
    at = data.index(b'"seq": %d' % seq)
    data[at : at + 20] = bytes(20)
    place.mark.write_bytes(data)


def test_a_torn_mark_is_mended_when_the_database_is_ahead_of_its_other_half(place, event, unit):
    filled(place, event).close()
    _tear_newest_slot(place, 6)
    with place.open() as ledger:
        assert ledger.budget("scans").spent == (5 * unit,)
    assert b'"seq": 6' in place.mark.read_bytes()


def test_a_torn_mark_does_not_hide_a_restored_backup(place, event):
    """The half that is left names the very entry at which the backup ends; but its other half must have been newer."""
    filled(place, event).close()
    shutil.copy(place.file, place.folder / "backup")
    with place.open() as ledger:
        ledger.charge("scans", key="after the backup", event=event, purpose="test")
    shutil.copy(place.folder / "backup", place.file)
    _tear_newest_slot(place, 7)
    with pytest.raises(LedgerDoubt, match="one half of the mark is damaged"):
        place.open()


def test_a_full_database_refuses_and_goes_on_when_there_is_room(place, event, unit):
    ledger = filled(place, event)
    with reading(ledger.engine) as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    ledger.engine.dispose()

    def cramped(connection, _record):
        connection.execute(f"PRAGMA max_page_count = {pages}")

    events.listen(ledger.engine, "connect", cramped)
    group = [Charge("scans", f"group {i}", event, "test") for i in range(100)]
    with pytest.raises(LedgerDoubt, match=r"full.*same key"):
        ledger.charge_all(group)
    assert ledger.budget("scans").spent == (5 * unit,)
    events.remove(ledger.engine, "connect", cramped)
    ledger.engine.dispose()
    assert not any(receipt.replayed for receipt in ledger.charge_all(group))
    assert ledger.budget("scans").spent == (105 * unit,) and ledger.verify().ok


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk_never_under_counts(small_disk, tmp_path, event, unit):
    (small_disk / "filler").write_bytes(bytes(40_000))
    ledger = Ledger(f"sqlite:///{small_disk}/ledger.db", high_water=tmp_path / "mark")
    ledger.grant("scans", epsilon=2.0, delta=1e-5, by="officer")
    paid = 0
    with pytest.raises(LedgerDoubt, match=r"database refused.*(full|I/O error)"):
        for i in range(200):
            ledger.charge("scans", key=f"{i}", event=event, purpose="test")
            paid += 1
    assert 0 < paid < 200
    (small_disk / "filler").unlink()
    assert ledger.budget("scans").spent == (paid * unit,)
    ledger.charge("scans", key=f"{paid}", event=event, purpose="test")
    ledger.close()
    with Ledger(f"sqlite:///{small_disk}/ledger.db", high_water=tmp_path / "mark") as later:
        assert later.budget("scans").spent == ((paid + 1) * unit,) and later.verify().ok


def test_a_disk_too_full_for_the_mark_makes_no_ledger(small_disk, tmp_path):
    with (small_disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="space"):
        while filler.write(bytes(4096)):
            pass
    with pytest.raises(LedgerDoubt, match="cannot write the mark"):
        Ledger(f"sqlite:///{tmp_path}/ledger.db", high_water=small_disk / "mark")
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


def test_a_forked_child_gets_connections_of_its_own(place, event, unit):
    ledger = filled(place, event)
    with reading(ledger.engine) as connection:
        mine = connection.connection.dbapi_connection
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with reading(ledger.engine) as connection:
                shared = connection.connection.dbapi_connection is mine
            paid = ledger.charge("scans", key="child", event=event, purpose="test").seq == 7
            status = 0 if paid and not shared else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ledger.charge("scans", key="parent", event=event, purpose="test").spent_after == (7 * unit,)
    assert ledger.verify().ok


def test_readers_and_writers_in_threads_do_not_disturb_each_other(place, event):
    ledger = filled(place, event, charges=0)
    store = AnswerStore(ledger.engine)
    errors: list[BaseException] = []

    def guarded(work):
        def run() -> None:
            try:
                for i in range(30):
                    work(i)
            except BaseException as error:
                errors.append(error)

        return threading.Thread(target=run)

    threads = [
        guarded(lambda i: ledger.charge("scans", key=f"{i}", event=event, purpose="test")),
        guarded(lambda i: ledger.would_fit("scans", event)),
        guarded(lambda i: store.put({f"{i}": i})),
        guarded(lambda i: store.get([f"{i}"])),
        guarded(lambda i: ledger.verify().ok or 1 / 0),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and ledger.position()[0] == 31 and len(store.get(map(str, range(30)))) == 30


def test_an_exhausted_budget_stays_exhausted_after_every_kind_of_reopening(place, event):
    ledger = filled(place, event)
    ledger.charge("scans", key="rest", event=event.times(ledger.would_fit("scans", event)), purpose="test")
    ledger.close()
    for _ in range(2):
        with place.open() as again, pytest.raises(BudgetExhausted):
            again.charge("scans", key="more", event=event, purpose="test")
    subprocess.run(["cp", str(place.file), str(Path(f"{place.file}.moved"))], check=True)
    moved = Ledger(f"sqlite:///{place.file}.moved", high_water=place.mark)
    with pytest.raises(BudgetExhausted):
        moved.charge("scans", key="more", event=event, purpose="test")
    moved.close()
