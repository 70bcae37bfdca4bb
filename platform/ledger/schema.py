"""The tables, and the triggers that keep them append-only.

The triggers stop an honest mistake (a stray UPDATE, a `REPLACE INTO`), not an attacker who owns the file: against
him stand the hash chain and the mark. Checking the books therefore also checks that the triggers are there.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Connection, Integer, LargeBinary, MetaData, Table, Text, inspect, text
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.schema import CreateColumn

_BIG = BigInteger().with_variant(sqlite_dialect.INTEGER(), "sqlite")

metadata = MetaData()

identity = Table(
    "ledger_identity",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("ledger", Text, nullable=False),
)

entries = Table(
    "ledger_entries",
    metadata,
    Column("seq", _BIG, primary_key=True, autoincrement=False),
    Column("time", Text, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("key", Text, unique=True),
    Column("body", Text, nullable=False),
    Column("cost", Text, nullable=False),
    Column("spent", Text, nullable=False),
    Column("grant_seq", _BIG, nullable=False),
    Column("previous", Text, nullable=False),
    Column("hash", Text, nullable=False),
)

answers = Table(
    "ledger_answers",
    metadata,
    Column("position", _BIG, primary_key=True, autoincrement=False),
    Column("key", Text, unique=True, nullable=False),
    Column("label", _BIG, nullable=False),
    # Noisy counts as 64-bit little-endian whole numbers; null where a label is all that was released.
    Column("histogram", LargeBinary),
)

_TABLES = {"ledger_identity": "one", "ledger_entries": "seq", "ledger_answers": "position"}


def _sqlite_triggers() -> dict[str, str]:
    triggers = {}
    for table, number in _TABLES.items():
        refuse = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        for act in ("UPDATE", "DELETE"):
            name = f"{table}_no_{act.lower()}"
            triggers[name] = f"CREATE TRIGGER {name} BEFORE {act} ON {table} {refuse}"
        # REPLACE deletes without firing the trigger above, so a row that is in the way is refused here.
        taken = f"NEW.{number} IS NOT (SELECT coalesce(max({number}), 0) + 1 FROM {table})"
        if table != "ledger_identity":
            taken += f" OR EXISTS (SELECT 1 FROM {table} WHERE key = NEW.key)"
        name = f"{table}_next_only"
        triggers[name] = f"CREATE TRIGGER {name} BEFORE INSERT ON {table} WHEN {taken} {refuse}"
    return triggers


def _postgres_triggers() -> dict[str, str]:
    triggers = {}
    for table in _TABLES:
        for act, each in (("UPDATE OR DELETE", "ROW"), ("TRUNCATE", "STATEMENT")):
            name = f"{table}_no_{act.split()[0].lower()}"
            triggers[name] = (
                f"CREATE TRIGGER {name} BEFORE {act} ON {table} "
                f"FOR EACH {each} EXECUTE FUNCTION ledger_is_append_only()"
            )
    return triggers


SQLITE_TRIGGERS = _sqlite_triggers()
POSTGRES_TRIGGERS = _postgres_triggers()

_POSTGRES_FUNCTION = """
CREATE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END$$
"""


def create(connection: Connection, ledger: str) -> None:
    """Make the tables of a new ledger, in the transaction of the caller."""
    metadata.create_all(connection, checkfirst=False)
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(_POSTGRES_FUNCTION.replace("%", "%%"))
        triggers = POSTGRES_TRIGGERS
    else:
        triggers = SQLITE_TRIGGERS
    for statement in triggers.values():
        connection.exec_driver_sql(statement)
    connection.execute(identity.insert(), {"one": 1, "ledger": ledger})


def exists(connection: Connection) -> bool:
    """Whether any of the ledger's tables is there."""
    return bool(set(inspect(connection).get_table_names()) & set(_TABLES))


def lacks_histograms(connection: Connection) -> bool:
    """Whether the answers' table is of the time when answers were labels alone."""
    return answers.c.histogram.name not in {column["name"] for column in inspect(connection).get_columns(answers.name)}


def add_histograms(connection: Connection) -> None:
    """Give an older answers' table its newest column, empty for every answer there is: those are labels, and stay so."""
    column = CreateColumn(answers.c.histogram).compile(dialect=connection.dialect)
    connection.exec_driver_sql(f"ALTER TABLE {answers.name} ADD COLUMN {column}")


def problems(connection: Connection) -> list[str]:
    """What is wrong with the store itself: a broken page or index, a trigger that is gone or changed."""
    if connection.dialect.name == "postgresql":
        live = connection.execute(
            text(
                "SELECT t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
                "WHERE c.relnamespace = current_schema()::regnamespace AND t.tgenabled IN ('O', 'A')"
            )
        ).scalars()
        return [f"the trigger {name} is gone or disabled" for name in sorted(set(POSTGRES_TRIGGERS) - set(live))]
    checked = connection.exec_driver_sql("PRAGMA integrity_check(5)").scalars().all()
    found = [f"SQLite reports: {line}" for line in checked if line != "ok"]
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
    there = {row.name: row.sql for row in rows}
    found += [
        f"the trigger {name} is gone or changed"
        for name, statement in SQLITE_TRIGGERS.items()
        if there.get(name) != statement
    ]
    return found
