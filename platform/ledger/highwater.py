"""A mark outside the database that only moves up: it knows when the database lies about the past.

A hash chain cannot tell that its own tail is gone. The mark names the last position that was acknowledged, so a
restored backup, a truncated log or a lost database is behind the mark and is refused. Keep it on another disk than
the database: then no single restored snapshot takes both back.

The file holds two slots of one disk sector each. An advance overwrites the older slot and syncs it; if power fails
in the middle, the newer slot is still whole. A mark is written after its commit, so beside a torn slot the database
must be strictly ahead of the slot that is whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import LedgerDoubt, TimedOut
from ..privacy.validate import positive

SLOT = 512


@dataclass(frozen=True)
class Mark:
    """The furthest position that was acknowledged: of the entries (`seq`, `hash`) and of the stored answers."""

    ledger: str
    seq: int
    hash: str
    answers: int
    torn: bool = False

    def encode(self) -> bytes:
        """One slot: JSON, its checksum, padding."""
        fields = {"ledger": self.ledger, "seq": self.seq, "hash": self.hash, "answers": self.answers}
        text = json.dumps(fields, sort_keys=True).encode()
        return (text + b" " + hashlib.sha256(text).hexdigest().encode()).ljust(SLOT - 1) + b"\n"


class HighWater:
    """The mark file at `path`. Writers of all processes take turns through a lock on the file itself."""

    def __init__(self, path: Path, *, wait_seconds: float = 30.0) -> None:
        positive(wait_seconds=wait_seconds)
        self.path = path
        self._wait = wait_seconds
        self._thread = threading.Lock()

    def exists(self) -> bool:
        """Whether there is a file (whole or not)."""
        return self.path.exists()

    def create(self, mark: Mark) -> None:
        """Put a new mark in place; if another process was faster, its mark stays."""
        slot = mark.encode()
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}.{threading.get_ident()}.new")
        with _doubted("write", self.path):
            try:
                with draft.open("xb") as file:
                    file.write(slot + slot)
                    file.flush()
                    os.fsync(file.fileno())
                # A link fails if the name is taken, where a rename would overwrite.
                with contextlib.suppress(FileExistsError):
                    os.link(draft, self.path)
            finally:
                draft.unlink(missing_ok=True)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def read(self) -> Mark:
        """The newest whole slot."""
        with _doubted("read", self.path):
            data = self.path.read_bytes()
        mark, _ = _newest(data, self.path)
        if mark.torn:
            # Perhaps only caught in the middle of another process's write: look again when nobody writes.
            with self.locked() as file:
                mark, _ = _newest(_slots(file), self.path)
        return mark

    def advance(self, ledger: str, *, head: tuple[int, str] | None = None, answers: int = 0) -> None:
        """Move up to this position (seq and hash of an entry, number of answers), durably; never move down."""
        with self.locked() as file:
            now, older = _newest(_slots(file), self.path)
            if now.ledger != ledger:
                raise LedgerDoubt(
                    f"the mark {self.path} belongs to another ledger", mend="give every ledger a mark of its own"
                )
            position = now.seq, now.hash
            if head and head[0] == now.seq and head != position:
                raise LedgerDoubt(f"the mark {self.path} and the database disagree about entry {now.seq}")
            then = Mark(ledger, *max(position, head or position), max(answers, now.answers))
            with _doubted("write", self.path):
                if now.torn or then != now:
                    _write(file, then.encode(), older * SLOT)
                # Also where another process was faster: it may have been killed before its own sync.
                os.fdatasync(file)

    @contextlib.contextmanager
    def locked(self) -> Iterator[int]:
        """The open file, with nobody else writing to it."""
        with contextlib.ExitStack() as stack:
            deadline = time.monotonic() + self._wait
            if not self._thread.acquire(timeout=self._wait):
                raise _too_long(self.path, self._wait)
            stack.callback(self._thread.release)
            with _doubted("open", self.path):
                file = os.open(self.path, os.O_RDWR)
            stack.callback(os.close, file)
            pause = 0.0005
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise _too_long(self.path, self._wait) from None
                    time.sleep(pause)
                    pause = min(2 * pause, 0.01)
            yield file


def _slots(file: int) -> bytes:
    return os.pread(file, 2 * SLOT + 1, 0)


def _write(file: int, data: bytes, offset: int) -> None:
    if os.pwrite(file, data, offset) != len(data):
        raise OSError("a short write")


def _newest(data: bytes, path: Path) -> tuple[Mark, int]:
    """The newest whole slot, and the number of the slot that may be overwritten."""
    marks = [_decode(data[i * SLOT : (i + 1) * SLOT]) for i in (0, 1)] if len(data) == 2 * SLOT else [None, None]
    first, second = marks
    if first is None and second is None:
        raise LedgerDoubt(
            f"the mark {path} cannot be read",
            why="neither of its two slots is whole",
            mend="restore the file from its newest copy, or state the last known position with `rewrite_mark`",
        )
    if first is None or second is None:
        whole = first or second
        assert whole is not None
        return Mark(whole.ledger, whole.seq, whole.hash, whole.answers, torn=True), 0 if first is None else 1
    newer = 0 if (first.seq, first.answers) >= (second.seq, second.answers) else 1
    return (first, second)[newer], 1 - newer


def _decode(slot: bytes) -> Mark | None:
    if slot[-1:] != b"\n":
        return None
    text, _, checksum = slot[:-1].rstrip(b" ").rpartition(b" ")
    if hashlib.sha256(text).hexdigest().encode() != checksum:
        return None
    try:
        mark = Mark(**json.loads(text))
    except (ValueError, TypeError):
        return None
    # Bytes outside the checksum (the padding) count too: what is not exactly what we wrote is not whole.
    return mark if mark.encode() == slot else None


def _too_long(path: Path, seconds: float) -> TimedOut:
    return TimedOut(
        f"no turn at the mark {path} within {seconds:g} seconds",
        why="another process holds it",
        mend="try again with the same key; if it lasts, look for a stopped process that has the ledger open",
    )


@contextlib.contextmanager
def _doubted(doing: str, path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise LedgerDoubt(
            f"the mark {path} is missing",
            why="without it a restored backup cannot be told from the ledger",
            mend="put the file back from its newest copy; if the disk is not mounted, mount it; if the file is lost, "
            "state the last known position with `rewrite_mark`",
        ) from None
    except OSError as error:
        raise LedgerDoubt(
            f"cannot {doing} the mark {path}",
            why=error.strerror or type(error).__name__,
            mend="make room or mend the disk, then ask again with the same key; nothing was released",
        ) from error
