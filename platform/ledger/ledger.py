"""The ledger: what was spent on each data set, and the one place that may say yes to spending more.

A charge is durable when `charge` returns: committed to the database with a sync, then marked outside of it. The
caller draws noise only after that. A crash between any two steps leaves the charge counted or leaves nothing at all,
and asking again with the same key finds out which without paying twice.

>>> import tempfile
>>> from stillhouse.platform.privacy.events import GaussianEvent
>>> folder = tempfile.TemporaryDirectory()
>>> ledger = Ledger(f"sqlite:///{folder.name}/ledger.db")
>>> ledger.grant("scans", epsilon=2.0, delta=1e-5, by="officer").remaining
(125777048,)
>>> event = GaussianEvent(sigma=40.0, squared_sensitivity=2)
>>> ledger.charge("scans", key="query 1", event=event, purpose="label one query").replayed
False
>>> ledger.charge("scans", key="query 1", event=event, purpose="label one query").replayed
True
>>> ledger.budget("scans").spent, ledger.would_fit("scans", event)
((625000,), 200)
>>> ledger.close()
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from sqlalchemy import Connection, bindparam, select

from ..errors import LedgerDoubt, TimedOut
from ..privacy.budget import BudgetKind
from ..privacy.events import Event, event_from_json
from ..privacy.neighbours import REPLACE_ONE
from ..privacy.validate import positive
from . import schema
from .admission import account_of, admit_charges, admit_grant, fits
from .books import Account, Books
from .chain import Entry
from .database import open_engine, parse_url, reading, writing
from .highwater import HighWater, Mark
from .opening import STREAM, against_mark, database_file, doubt, ensure, mark_path, read_all, stored_answers
from .records import Budget, Charge, Receipt, Verification, name, prepare, price, terms_of_grant

T = TypeVar("T")

# Built once: making a query anew costs as much as running it.
_ENTRIES = select(schema.entries).order_by(schema.entries.c.seq)
_FROM = _ENTRIES.where(schema.entries.c.seq >= bindparam("first"))
_UP_TO = _ENTRIES.where(schema.entries.c.seq <= bindparam("last"))
_WITH_KEYS = select(schema.entries).where(schema.entries.c.key.in_(bindparam("keys", expanding=True)))
_HASH_AT = select(schema.entries.c.hash).where(schema.entries.c.seq == bindparam("seq"))


class Ledger:
    """A durable, append-only, hash-chained ledger in SQLite (`sqlite:///path`) or PostgreSQL.

    `high_water` is where the mark against restored backups lies (default: beside the SQLite file). `on_step` is told
    of "locked", "before_commit", "committed" and "marked" on every write. `clock` only labels entries.
    Any number of processes and threads may have the same ledger open. Opening reads and checks every entry.
    """

    def __init__(
        self,
        url: str,
        *,
        high_water: Path | None = None,
        on_step: Callable[[str], None] = lambda name: None,
        wait_seconds: float = 30.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        positive(wait_seconds=wait_seconds)
        parsed = parse_url(url)
        self._mark = HighWater(mark_path(parsed, high_water), wait_seconds=wait_seconds)
        self._on_step, self._wait, self._clock = on_step, wait_seconds, clock
        self._turn = threading.RLock()
        self._file = database_file(parsed)
        self.engine = open_engine(parsed, wait_seconds=wait_seconds, mark=self._mark)
        try:
            ensure(self.engine, parsed, self._mark)
            if self._file is not None:
                found = self._file.stat()
                self._file_id = found.st_dev, found.st_ino
            self._books, problems = self._read_all()
            if problems:
                raise doubt(problems)
            self._mark.advance(self._books.identity, head=(self._books.seq, self._books.head))
        except BaseException:
            self.engine.dispose()
            raise

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def grant(
        self,
        dataset: str,
        *,
        epsilon: float,
        delta: float,
        kind: BudgetKind = BudgetKind.GAUSSIAN,
        orders: Sequence[float] = (),
        neighbouring: str = REPLACE_ONE,
        by: str,
    ) -> Budget:
        """Set the cap of a data set; a later grant replaces it, on the same terms and not below what was spent.

        `neighbouring` is a short word ("replace-one", "add-or-remove-one") or the text it stands for, which is what is kept.
        """
        name(dataset=dataset)
        terms = terms_of_grant(epsilon=epsilon, delta=delta, kind=kind, orders=orders, neighbouring=neighbouring, by=by)
        self._write(lambda _, books: (None, [admit_grant(books, dataset, terms, self._time())]))
        return self.budget(dataset)

    def charge(self, dataset: str, *, key: str, event: Event, purpose: str, run: str = "") -> Receipt:
        """Pay for one event, durably; the same key again gives the same receipt and costs nothing."""
        return self.charge_all([Charge(dataset, key, event, purpose, run)])[0]

    def charge_all(self, charges: Sequence[Charge]) -> list[Receipt]:
        """Pay for all of them in one transaction with one sync, or for none."""
        prepared = [prepare(charge) for charge in charges]
        if not prepared:
            return []
        return self._write(
            lambda connection, books: admit_charges(
                books, prepared, _paid(connection, [one.charge.key for one in prepared]), self._time()
            )
        )

    def budget(self, dataset: str) -> Budget:
        """Cap, total and what is left of a data set."""
        account = account_of(self._read(), dataset)
        terms = account.terms
        return Budget(
            dataset,
            terms.epsilon,
            terms.delta,
            terms.kind,
            terms.orders,
            terms.cap,
            account.spent,
            account.entries,
            terms.neighbouring,
        )

    def datasets(self) -> list[str]:
        """All data sets that ever had a grant."""
        return sorted(self._read().accounts)

    def would_fit(self, dataset: str, event: Event) -> int:
        """How many such events fit into what is left (a dry run: nothing is reserved)."""
        account = account_of(self._read(), dataset)
        unit = _dry_price(account, dataset, event)
        return min((c - s) // u for c, s, u in zip(account.terms.cap, account.spent, unit, strict=True))

    def fits(self, dataset: str, events: Sequence[Event]) -> bool:
        """Whether all these events together fit into what is left (a dry run: nothing is reserved).

        Raises:
            BadInput: the data set has no budget, or one of these events could never be charged to it.
        """
        account = account_of(self._read(), dataset)
        return fits(account, [_dry_price(account, dataset, event) for event in events])

    def charged(self, keys: Sequence[str]) -> dict[str, Event]:
        """What was paid for under those of these keys that were charged."""
        books = self._read()
        with reading(self.engine) as connection:
            found = _paid(connection, keys)
        return {key: event_from_json(e.content["event"]) for key, e in found.items() if e.seq <= books.seq}

    def entries(self, dataset: str | None = None) -> list[Entry]:
        """All entries, or those of one data set, oldest first."""
        books = self._read()
        query = _UP_TO if dataset is None else _UP_TO.where(schema.entries.c.dataset == dataset)
        with reading(self.engine) as connection:
            return [Entry._make(row) for row in connection.execute(query, {"last": books.seq})]

    def position(self) -> tuple[int, str]:
        """Number and hash of the last entry: keep it with a run, it proves what the ledger held then."""
        books = self._read()
        return books.seq, books.head

    def verify(self) -> Verification:
        """Read everything again, from the first entry, and say what is wrong."""
        try:
            with self._my_turn():
                books, problems = self._read_all()
        except LedgerDoubt as error:
            return Verification(False, 0, (str(error),))
        return Verification(not problems, books.seq, tuple(problems))

    def _write(self, decide: Callable[[Connection, Books], tuple[T, list[Entry]]]) -> T:
        """One turn of the one writer: catch up, decide, commit, mark."""
        with self._my_turn():
            mark = self._mark.read()
            with writing(self.engine) as connection:
                self._catch_up(connection, mark)
                self._on_step("locked")
                books = self._books.copy()
                result, fresh = decide(connection, books)
                if fresh:
                    connection.execute(schema.entries.insert(), [entry._asdict() for entry in fresh])
                self._on_step("before_commit")
            self._on_step("committed")
            self._books = books
            # Also where nothing is new: an earlier try may have been killed between its commit and its mark.
            self._mark.advance(self._books.identity, head=(books.seq, books.head))
            self._on_step("marked")
        return result

    def _read(self) -> Books:
        """The books as of now."""
        with self._my_turn():
            # The mark first: what it names was committed before the snapshot that is read next.
            mark = self._mark.read()
            with reading(self.engine) as connection:
                self._catch_up(connection, mark)
            return self._books

    def _catch_up(self, connection: Connection, mark: Mark) -> None:
        """Take in what other processes wrote, and check that the past is still the one we know."""
        self._same_file()
        books = self._books.copy()
        rows = iter(connection.execute(_FROM, {"first": max(books.seq, 1)}, execution_options=STREAM))
        known = next(rows, None) if books.seq else None
        if books.seq and (known is None or (known.seq, known.hash) != (books.seq, books.head)):
            raise doubt([f"entry {books.seq} is gone or changed while the ledger is open"])
        for row in rows:
            problem = books.add(Entry._make(row))
            if problem:
                raise doubt([problem])
        at_mark: str | None = books.head
        if mark.seq != books.seq:
            at_mark = connection.execute(_HASH_AT, {"seq": mark.seq}).scalar() if mark.seq else mark.hash
        problem = against_mark(mark, books, at_mark, stored_answers(connection))
        if problem:
            raise doubt([problem])
        self._books = books

    def _read_all(self) -> tuple[Books, list[str]]:
        self._same_file()
        mark = self._mark.read()
        with reading(self.engine) as connection:
            return read_all(connection, mark)

    def _same_file(self) -> None:
        if self._file is None:
            return
        try:
            now = self._file.stat()
        except OSError:
            raise doubt(["its database file was removed while it is open"]) from None
        if (now.st_dev, now.st_ino) != self._file_id:
            raise doubt(["its database file was replaced while it is open"])

    @contextlib.contextmanager
    def _my_turn(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=self._wait):
            raise TimedOut(
                f"no turn at the ledger within {self._wait:g} seconds",
                why="other threads of this process use it",
                mend="try again with the same key",
            )
        try:
            yield
        finally:
            self._turn.release()

    def _time(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")


def _dry_price(account: Account, dataset: str, event: Event) -> tuple[int, ...]:
    """What the event would cost if it were charged now."""
    return price(account.terms, prepare(Charge(dataset, "dry run", event, "dry run")).event)


def _paid(connection: Connection, keys: Sequence[str]) -> dict[str, Entry]:
    """The entries of those keys that were paid for already."""
    found = {}
    for start in range(0, len(keys), 500):
        rows = connection.execute(_WITH_KEYS, {"keys": keys[start : start + 500]})
        found.update({entry.key or "": entry for entry in map(Entry._make, rows)})
    return found
