"""One changed byte anywhere: it is found, or it lies where it changes nothing that the ledger says."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from stillhouse.platform.errors import LedgerDoubt
from stillhouse.platform.ledger import Charge, Ledger
from stillhouse.platform.ledger.chain import Entry
from stillhouse.platform.ledger.schema import SQLITE_TRIGGERS


def filled(place, event, page_size: int = 4096) -> None:
    # The smallest page makes a small file, in which nearly every byte carries something.
    with sqlite3.connect(place.file) as new:
        new.execute(f"PRAGMA page_size = {page_size}")
        new.execute("PRAGMA journal_mode = WAL")
        new.execute("VACUUM")
    new.close()
    with place.open() as ledger:
        ledger.grant("scans", epsilon=2.0, delta=1e-5, by="officer")
        ledger.charge_all([Charge("scans", f"key {i}", event, "test") for i in range(3)])


def flips(value: object) -> list[object]:
    """The value with each of its bytes changed in turn; a number with each of its low 16 bits changed."""
    if value is None:
        return ["", "x"]
    if isinstance(value, int):
        return [value ^ (1 << bit) for bit in range(16)]
    return [value[:i] + chr(ord(value[i]) ^ 1) + value[i + 1 :] for i in range(len(value))]


@pytest.mark.parametrize("column", Entry._fields)
def test_every_flipped_byte_of_every_column_is_found(sqlite_place, event, column):
    place = sqlite_place
    filled(place, event)
    ledger = place.open()
    raw = sqlite3.connect(place.file, isolation_level=None)
    raw.execute("PRAGMA synchronous = OFF")
    rows = raw.execute(f'SELECT seq, "{column}" FROM ledger_entries WHERE seq IN (1, 3)').fetchall()
    tried = 0
    taken = {"seq": {1, 2, 3, 4}, "key": {"key 0", "key 1", "key 2"}}.get(column, set())
    for seq, value in rows:
        for changed in flips(value):
            if changed in taken:
                continue  # the database itself does not let a number or a key be used twice
            name = "ledger_entries_no_update"
            raw.execute(f"DROP TRIGGER {name}")
            raw.execute(f'UPDATE ledger_entries SET "{column}" = ? WHERE seq = ?', (changed, seq))
            raw.execute(SQLITE_TRIGGERS[name])
            verification = ledger.verify()
            assert not verification.ok, (column, seq, changed)
            raw.execute(f"DROP TRIGGER {name}")
            now = changed if column == "seq" else seq
            raw.execute(f'UPDATE ledger_entries SET "{column}" = ? WHERE seq = ?', (value, now))
            raw.execute(SQLITE_TRIGGERS[name])
            tried += 1
    raw.close()
    assert tried >= 2 and ledger.verify().ok


@pytest.mark.parametrize("kind", ["NULL", "x'00ff'", "1.5", "7"])
@pytest.mark.parametrize("column", Entry._fields[1:])
def test_a_value_of_another_type_is_found(sqlite_place, event, column, kind):
    place = sqlite_place
    filled(place, event)
    ledger = place.open()
    try:
        place.tamper(f'UPDATE ledger_entries SET "{column}" = {kind} WHERE seq = 2')
    except sqlite3.IntegrityError:
        return  # the schema itself does not hold it
    assert not ledger.verify().ok


def survives(folder: Path, data: bytes, mark: bytes, expected: list[Entry]) -> bool:
    """Open these bytes as a ledger: True if it trusts them, and then it must say exactly what was written."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "ledger.db").write_bytes(data)
    (folder / "mark").write_bytes(mark)
    try:
        with Ledger(f"sqlite:///{folder}/ledger.db", high_water=folder / "mark", wait_seconds=1.0) as ledger:
            assert ledger.verify().ok
            assert ledger.entries() == expected
            assert [entry.spent_after for entry in ledger.entries("scans")] == [e.spent_after for e in expected]
            event = ledger.entries()[-1].content["event"]
            again = Charge("scans", "key 2", _event(event), "test")
            assert ledger.charge_all([again])[0].replayed
    except LedgerDoubt:
        return False
    return True


def _event(data):
    from stillhouse.platform.privacy.events import event_from_json

    return event_from_json(data)


def check_file(place, event, tmp_path, start: int, step: int) -> None:
    filled(place, event, page_size=512)
    data, mark = place.file.read_bytes(), place.mark.read_bytes()
    with place.open() as ledger:
        expected = ledger.entries()
    assert survives(tmp_path / "copy", data, mark, expected)
    found = tried = 0
    for position in range(start, len(data), step):
        changed = bytearray(data)
        changed[position] ^= 0x01 if position % 2 else 0xFF
        tried += 1
        found += not survives(tmp_path / "copy", bytes(changed), mark, expected)
    assert found > tried / 5, "most of the file carries something"


def test_a_flipped_byte_of_the_file_is_found_or_harmless(sqlite_place, event, tmp_path):
    check_file(sqlite_place, event, tmp_path, start=3, step=53)


@pytest.mark.slow
@pytest.mark.timeout(2700)
def test_every_flipped_byte_of_the_file_is_found_or_harmless(sqlite_place, event, tmp_path):
    check_file(sqlite_place, event, tmp_path, start=0, step=1)
