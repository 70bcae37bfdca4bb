"""What happened in a run, when, and how long it took: `log.jsonl` in the run's folder, one JSON object a line.

    events = EventLog.begin(folder)
    with events.around("run", method="dpsgd"):
        ...

Each line has `time`, `level`, `run` (the folder's name), `start` (other at each start of the same run), `event` and fields. The events
are listed in docs/observability.md. What may be in a field is decided in `log_lines`: no record, no text of an error.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..log_lines import Field, about_error, log_line

FILE = "log.jsonl"


@dataclass(frozen=True)
class EventLog:
    """Appends to one file. It holds a path, not an open file, so it can be sent to a training worker.

    `path` None: nothing is written (ranks above 0, runs that nobody follows).
    """

    path: Path | None = None
    run: str = ""
    start: str = ""

    @classmethod
    def begin(cls, folder: Path) -> EventLog:
        """The log of a run that starts now, in its folder; lines of earlier starts stay."""
        return cls(folder.resolve() / FILE, folder.name, secrets.token_hex(4))

    def write(self, event: str, /, **fields: Field) -> None:
        """Add one line of level info."""
        self._append("info", event, fields)

    def warn(self, event: str, /, **fields: Field) -> None:
        """Add one line of level warning."""
        self._append("warning", event, fields)

    def _append(self, level: str, event: str, fields: Mapping[str, Field]) -> None:
        if self.path is None:
            return
        line = log_line(event, {"run": self.run, "start": self.start, **fields}, level=level)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            # A process that was killed may have left half a line; this one must not become part of it.
            torn = file.seek(0, 2) > 0 and (file.seek(-1, 2), file.read(1))[1] != b"\n"
            file.write(b"\n" * torn + line.encode() + b"\n")

    @contextmanager
    def around(self, what: str, /, **fields: Field) -> Iterator[None]:
        """Write `what.started`, then `what.finished` with its seconds, or `what.failed` with what may be told of the error."""
        self.write(f"{what}.started", **fields)
        began = time.monotonic()
        try:
            yield
        except BaseException as error:
            self._append("error", f"{what}.failed", {**fields, "seconds": _since(began), **about_error(error)})
            raise
        self.write(f"{what}.finished", **fields, seconds=_since(began))


NOWHERE = EventLog()


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)
