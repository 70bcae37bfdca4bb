"""Opening a ledger: make a new one only where nothing speaks of an old one, and read all of it before trusting it.

| database | mark | what it means | what happens |
| --- | --- | --- | --- |
| none | none | a new ledger | the mark is made, then the tables |
| none | at 0 | a creation that was cut off | the tables are made |
| none | above 0 | the database is lost | refused |
| there | none | the mark is lost | refused |
| there | there | the usual case | the chain is read, the mark must lie on it |
"""

from __future__ import annotations

import uuid
from pathlib import Path

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.engine import URL

from ..errors import BadInput, LedgerDoubt
from . import schema
from .books import Books
from .chain import Entry, start_hash
from .database import open_engine, parse_url, reading, writing
from .highwater import HighWater, Mark

STREAM = {"yield_per": 5000}

_STORED = select(func.coalesce(func.max(schema.answers.c.position), 0))

_MEND_LOST = (
    "put the database back as it was when it was last used, with its -wal file; an older backup will not do, since "
    "what was spent after it would be forgotten. If nothing newer exists, treat the budgets in it as spent and start "
    "a new ledger under a new name, for new data sets"
)


def database_file(url: URL) -> Path | None:
    """The file of a SQLite ledger."""
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def mark_path(url: URL, high_water: Path | None) -> Path:
    """Where the mark lies: as told, or beside the SQLite file."""
    if high_water is not None:
        return Path(high_water)
    file = database_file(url)
    if file is None:
        raise BadInput(
            "a ledger on a server needs a place for its mark",
            why="there is no database file to keep it beside",
            mend="give high_water, a path on a disk that is not part of the server's backups",
        )
    return file.with_name(file.name + ".mark")


def ensure(engine: Engine, url: URL, mark: HighWater) -> None:
    """Make the ledger if it is new; refuse if one half of an old one is missing."""
    file = database_file(url)
    if file is not None and not file.parent.is_dir():
        raise BadInput(f"the folder {file.parent} does not exist", mend="make it, or mount its disk")
    # The mark is always made first, so a database that is seen before its mark has lost it.
    there = (file is None or (file.exists() and file.stat().st_size > 0)) and _has_tables(engine)
    if not mark.exists():
        if there:
            raise LedgerDoubt(
                f"the mark {mark.path} of this ledger is missing",
                why="without it a restored backup cannot be told from the ledger",
                mend="put the file back from its newest copy, or state the last known position with `rewrite_mark`",
            )
        fresh = uuid.uuid4().hex
        mark.create(Mark(fresh, 0, start_hash(fresh), 0))
    if there:
        return
    position = mark.read()
    if position.seq or position.answers:
        # Another process may have made the tables since we looked; only then are they there now.
        if (file is None or file.exists()) and _has_tables(engine):
            return
        raise LedgerDoubt(
            "the ledger's database is lost or empty",
            why=f"the mark {mark.path} knows of {position.seq} entries",
            mend=_MEND_LOST,
        )
    with writing(engine) as connection:
        if not schema.exists(connection):
            schema.create(connection, position.ledger)


def _has_tables(engine: Engine) -> bool:
    with reading(engine) as connection:
        return schema.exists(connection)


def read_all(connection: Connection, mark: Mark) -> tuple[Books, list[str]]:
    """Read every entry; the books up to the first problem, and all problems found."""
    problems = schema.problems(connection)
    names = connection.execute(select(schema.identity.c.ledger)).scalars().all()
    if names != [mark.ledger]:
        problems.append("the database and its mark do not belong to one ledger")
    books = Books(mark.ledger)
    keys: set[str] = set()
    at_mark = books.head
    rows = connection.execute(select(schema.entries).order_by(schema.entries.c.seq), execution_options=STREAM)
    for entry in map(Entry._make, rows):
        problem = books.add(entry)
        if problem is None and entry.key in keys:
            problem = f"entry {entry.seq} uses the key of an earlier entry"
        if problem is not None:
            problems.append(problem)
            break
        if entry.key is not None:
            keys.add(entry.key)
        if entry.seq == mark.seq:
            at_mark = entry.hash
    problem = against_mark(mark, books, at_mark, stored_answers(connection))
    return books, problems + ([problem] if problem else [])


def stored_answers(connection: Connection) -> int:
    """How many answers were ever stored."""
    count: int = connection.execute(_STORED).scalar_one()
    return count


def against_mark(mark: Mark, books: Books, hash_at_mark: str | None, answers: int) -> str | None:
    """What is wrong with a database whose entries give these books, seen from its mark."""
    if mark.ledger != books.identity:
        return "the mark belongs to another ledger"
    if mark.seq > books.seq:
        return f"the database ends at entry {books.seq}, but entry {mark.seq} was acknowledged (a restored backup?)"
    if mark.hash != hash_at_mark:
        return f"entry {mark.seq} is not the one that was acknowledged (a restored backup that was written on?)"
    if mark.answers > answers:
        return f"{answers} answers are stored, but {mark.answers} were acknowledged (a restored backup?)"
    if mark.torn and books.seq == mark.seq and answers == mark.answers:
        return "one half of the mark is damaged and the database holds nothing newer than the other half"
    return None


def doubt(problems: list[str]) -> LedgerDoubt:
    """The refusal for these problems."""
    return LedgerDoubt("the ledger cannot be trusted", why="; ".join(problems[:5]), mend=_MEND_LOST)


def rewrite_mark(url: str, *, high_water: Path | None = None, seq: int, head: str) -> int:
    """Make a lost mark anew: an officer states the last position known from elsewhere, the newest run folder say.

    The database must hold that very position on a whole chain. Returns the position of the new mark, which is the
    database's last entry. A mark that can be read is never replaced.
    """
    parsed = parse_url(url)
    mark = HighWater(mark_path(parsed, high_water))
    if mark.exists():
        try:
            mark.read()
        except LedgerDoubt:
            mark.path.replace(mark.path.with_name(mark.path.name + ".broken"))
        else:
            raise BadInput(f"the mark {mark.path} is there and whole", mend="use it")
    file = database_file(parsed)
    if file is not None and not file.exists():
        raise LedgerDoubt("the ledger's database is lost", mend=_MEND_LOST)
    engine = open_engine(parsed)
    try:
        with reading(engine) as connection:
            ledger = connection.execute(select(schema.identity.c.ledger)).scalar_one()
            books, problems = read_all(connection, Mark(ledger, seq, head, 0))
            answers = stored_answers(connection)
    finally:
        engine.dispose()
    if problems:
        raise doubt(problems)
    mark.create(Mark(ledger, books.seq, books.head, answers))
    return books.seq
