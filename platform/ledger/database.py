"""Connections that keep what they commit, one writer at a time, and errors in the project's own words.

SQLite runs in WAL mode with synchronous=FULL: a commit returns after the log is on disk (NORMAL would be faster and
would lose charges in a power cut). Every transaction begins IMMEDIATE unless it says that it only reads. PostgreSQL
writers take turns through an advisory lock that ends with their transaction.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ..errors import BadInput, LedgerDoubt, MissingExtra, StillhouseError, TimedOut, Unreachable
from ..privacy.validate import positive
from .highwater import HighWater

# The first eight bytes of sha256("stillhouse ledger"), as a signed number: the name of the writers' lock in PostgreSQL.
_WRITERS = 0x49E30D91D0E339A2

_READ_ONLY = "stillhouse_read_only"
_MARK = "stillhouse_mark"
_WAIT = "stillhouse_wait"


def parse_url(url: str) -> URL:
    """The URL of a durable store; SQLite in memory and other databases are refused."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise BadInput("the ledger's URL cannot be read", mend="write sqlite:///path/to/ledger.db") from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if parsed.database in (None, "", ":memory:") or parsed.query:
            raise BadInput("a ledger cannot live in memory", mend="write sqlite:///path/to/ledger.db, without options")
        return parsed.set(drivername="sqlite+pysqlite")
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    raise BadInput(f"a ledger in {backend!r} is not supported", mend="use sqlite:///path or postgresql+psycopg://...")


def open_engine(url: URL | str, *, wait_seconds: float = 30.0, mark: HighWater | None = None) -> Engine:
    """An engine whose commits are durable; checked on every new connection."""
    positive(wait_seconds=wait_seconds)
    url = make_url(url)
    options = {_MARK: mark, _WAIT: wait_seconds}
    if url.get_backend_name() == "sqlite":
        engine = create_engine(
            url, connect_args={"timeout": wait_seconds}, execution_options=options, hide_parameters=True
        )
        event.listen(engine, "connect", _durable_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        try:
            engine = create_engine(url, execution_options=options, hide_parameters=True, pool_pre_ping=True)
        except ImportError:
            raise MissingExtra(
                "a ledger in PostgreSQL needs psycopg", mend="pip install -e '.[postgres]' in the source folder"
            ) from None
        event.listen(engine, "connect", _durable_postgres)
    event.listen(engine, "connect", _note_process)
    event.listen(engine, "checkout", _same_process)
    return engine


def mark_of(engine: Engine) -> HighWater | None:
    """The mark that guards this engine's database."""
    mark: HighWater | None = engine.get_execution_options().get(_MARK)
    return mark


@contextlib.contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction of the one writer: commits at the end, rolls back on an error."""
    with translated(), engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            wait = int(1000 * engine.get_execution_options()[_WAIT])
            connection.execute(text(f"SET LOCAL lock_timeout = {wait}"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:writers)"), {"writers": _WRITERS})
        yield connection


@contextlib.contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads, beside any writer."""
    with translated(), engine.connect().execution_options(**{_READ_ONLY: True}) as connection, connection.begin():
        yield connection


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """The database's errors as ours."""
    try:
        yield
    except (DBAPIError, sqlite3.Error, PoolTimeout) as error:
        raise _meaning(error) from error
    except UnicodeDecodeError as error:
        raise LedgerDoubt("the ledger's database cannot be read", why="a text in it is no text") from error


def _meaning(error: Exception) -> StillhouseError:
    cause = getattr(error, "orig", None) or error
    why = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
    # SQLite's extended codes keep the plain code in the low byte.
    code = (getattr(cause, "sqlite_errorcode", None) or 0) & 0xFF
    state = getattr(cause, "sqlstate", None)
    if isinstance(error, PoolTimeout) or code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or state == "55P03":
        return TimedOut(
            "no turn at the ledger in time",
            why="another process holds its lock",
            mend="try again with the same key; if it lasts, look for a stopped process that has the ledger open",
        )
    if not isinstance(cause, sqlite3.Error) and (state is None or state[:2] in ("08", "53", "57", "28", "3D")):
        return Unreachable(
            "the ledger's database server does not answer",
            why=why,
            mend="start it or check the URL, then ask again with the same key: a charge that got through counts once",
        )
    return LedgerDoubt(
        "the ledger's database refused",
        why=why,
        mend="make room or mend the disk, run `stillhouse ledger verify`, then ask again with the same key; "
        "nothing was released",
    )


def _durable_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        mode = _write_ahead(cursor)
        cursor.execute("PRAGMA synchronous=FULL")
        # Plain fsync leaves data in the drive's cache on macOS; elsewhere the pragma changes nothing.
        cursor.execute("PRAGMA fullfsync=ON")
        level = cursor.execute("PRAGMA synchronous").fetchone()
    finally:
        cursor.close()
    if mode != ("wal",) or level != (2,):
        raise LedgerDoubt(
            "SQLite would not keep commits safely here",
            why=f"journal mode is {mode and mode[0]!r} and synchronous is {level and level[0]!r}, not 'wal' and 2",
            mend="keep the ledger on a local disk, not on a network file system",
        )


def _write_ahead(cursor: sqlite3.Cursor) -> Any:
    # The very first switch to WAL needs the file alone and does not heed the busy timeout.
    wait = cursor.execute("PRAGMA busy_timeout").fetchone()[0] / 1000
    deadline = time.monotonic() + wait
    while True:
        try:
            return cursor.execute("PRAGMA journal_mode=WAL").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get(_READ_ONLY)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _durable_postgres(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        settings = {}
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            settings[name] = cursor.execute(f"SHOW {name}").fetchone()[0]
    connection.rollback()
    off = sorted(name for name, value in settings.items() if value == "off")
    if off:
        raise LedgerDoubt(
            "PostgreSQL would not keep commits safely here",
            why=f"{' and '.join(off)} off",
            mend="switch it on for this server and user",
        )


def _note_process(_connection: Any, record: Any) -> None:
    record.info["process"] = os.getpid()


def _same_process(_connection: Any, record: Any, proxy: Any) -> None:
    # A connection must not cross a fork: two processes would speak through one file handle.
    if record.info["process"] != os.getpid():
        record.dbapi_connection = proxy.dbapi_connection = None
        raise DisconnectionError("opened by another process")
