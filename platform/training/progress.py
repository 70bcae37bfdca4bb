"""Progress for people: a bar on a terminal, plain lines at intervals elsewhere, a file across processes.

with run.progress(250, "teachers") as bar:
    for shard in shards:
        ...
        bar.advance(say="loss 0.31")
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .event_log import NOWHERE, EventLog

T = TypeVar("T")


class Bar:
    """One thing that is being counted. `total` may be None when it is not known."""

    def __init__(self, name: str, total: int | None) -> None:
        self.name, self.total, self.done, self.text = name, total, 0, ""
        self.on_first: Callable[[], None] | None = None

    def begin_at(self, done: int) -> None:
        """So many were done by an earlier start."""
        self.done = done
        self._show()

    def advance(self, count: int = 1, *, say: str | None = None) -> None:
        """So many more are done; `say` is a short remark shown next to the bar."""
        self.done += count
        self.text = self.text if say is None else say
        self._show()
        if count and self.on_first is not None:
            first, self.on_first = self.on_first, None
            first()

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """Go through the items and count each when it has been dealt with."""
        for item in items:
            yield item
            self.advance()

    def _show(self) -> None:
        """Where the bar is drawn; the bare bar only counts."""


class Reporter(Protocol):
    """Where progress and remarks go."""

    def open(self, name: str, total: int | None) -> Bar:
        """Begin to count something."""

    def close(self, bar: Bar) -> None:
        """It is done, or was given up."""

    def say(self, text: str) -> None:
        """A remark, one line."""


class Silent:
    """Nobody is looking (ranks above 0, tests)."""

    def open(self, name: str, total: int | None) -> Bar:
        """A bar that only counts."""
        return Bar(name, total)

    def close(self, bar: Bar) -> None:
        """Nothing to do."""

    def say(self, text: str) -> None:
        """Nothing to do."""


class ConsoleReporter:
    """A live bar on a terminal; on anything else a line every `interval` seconds, so that logs stay readable."""

    def __init__(self, console: Console | None = None, *, interval: float = 10.0) -> None:
        self.console = console or Console(stderr=True)
        self._interval = interval
        self._live: Progress | None = None
        self._open = 0

    def open(self, name: str, total: int | None) -> Bar:
        """Begin to count something; several bars may be open at once."""
        self._open += 1
        if not self.console.is_terminal:
            return _Lines(self, name, total)
        if self._live is None:
            self._live = _live_progress(self.console)
            self._live.start()
        return _Live(self._live, name, total)

    def close(self, bar: Bar) -> None:
        """The last bar that closes gives the terminal back."""
        self._open -= 1
        if isinstance(bar, _Lines):
            bar.finish()
        if self._live is not None and self._open == 0:
            self._live.stop()
            self._live = None

    def say(self, text: str) -> None:
        """Print a remark (above the bars, when there are any)."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    @property
    def interval(self) -> float:
        """Seconds between plain lines."""
        return self._interval


class FileReporter:
    """Writes progress as JSON lines that another process mirrors with `mirror` (a worker has no terminal)."""

    def __init__(self, path: Path, *, interval: float = 0.5) -> None:
        self._path, self._interval, self._number = path, interval, 0

    def open(self, name: str, total: int | None) -> Bar:
        """Begin to count something."""
        self._number += 1
        bar = _Filed(self, self._number, self._interval, name, total)
        bar.write("open")
        return bar

    def close(self, bar: Bar) -> None:
        """Write the last count."""
        if isinstance(bar, _Filed):
            bar.write("close")

    def say(self, text: str) -> None:
        """Write a remark."""
        self.write({"event": "say", "text": text})

    def write(self, event: dict[str, object]) -> None:
        """Append one event."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")


class Mirror:
    """Follows a `FileReporter`'s file and shows it through another reporter. Call `poll` now and then."""

    def __init__(self, path: Path, reporter: Reporter) -> None:
        self._path, self._reporter = path, reporter
        self._position = path.stat().st_size if path.exists() else 0
        self._bars: dict[int, Bar] = {}

    def poll(self) -> None:
        """Show what is new."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._position)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # Still being written.
                self._position += len(line)
                self._show(json.loads(line))

    def close(self) -> None:
        """Close bars that a dead worker left open."""
        for bar in self._bars.values():
            self._reporter.close(bar)
        self._bars.clear()

    def _show(self, event: dict) -> None:
        if event["event"] == "say":
            self._reporter.say(event["text"])
            return
        number = event["bar"]
        if event["event"] == "open":
            if number in self._bars:  # The worker was restarted and counts its bars from 1 again.
                self.close()
            self._bars[number] = self._reporter.open(event["name"], event["total"])
            return
        bar = self._bars.get(number)
        if bar is not None:
            bar.advance(event["done"] - bar.done, say=event["text"])
            if event["event"] == "close":
                self._reporter.close(self._bars.pop(number))


@contextmanager
def counting(reporter: Reporter, name: str, total: int | None, events: EventLog = NOWHERE) -> Iterator[Bar]:
    """Open a bar, and close it whatever happens; begin, first step and end go into the log."""
    events.write("work.started", work=name, total=total)
    began = time.monotonic()

    def seconds() -> float:
        return round(time.monotonic() - began, 3)

    bar = reporter.open(name, total)
    bar.on_first = lambda: events.write("work.first_step", work=name, seconds=seconds())
    try:
        yield bar
    finally:
        reporter.close(bar)
        events.write("work.ended", work=name, done=bar.done, total=total, seconds=seconds())


class _Live(Bar):
    def __init__(self, progress: Progress, name: str, total: int | None) -> None:
        super().__init__(name, total)
        self._progress = progress
        self._task = progress.add_task(name, total=total, text="")

    def _show(self) -> None:
        self._progress.update(self._task, completed=self.done, text=self.text)


class _Lines(Bar):
    def __init__(self, reporter: ConsoleReporter, name: str, total: int | None) -> None:
        super().__init__(name, total)
        self._reporter = reporter
        self._began = self._shown = time.monotonic()

    def _show(self) -> None:
        if time.monotonic() - self._shown >= self._reporter.interval:
            self._print("")

    def finish(self) -> None:
        self._print(f" in {time.monotonic() - self._began:.1f} s")

    def _print(self, ending: str) -> None:
        self._shown = time.monotonic()
        share = f"{self.done}/{self.total}" if self.total is not None else str(self.done)
        remark = f"  {self.text}" if self.text else ""
        self._reporter.say(f"{self.name}: {share}{ending}{remark}")


class _Filed(Bar):
    def __init__(self, reporter: FileReporter, number: int, interval: float, name: str, total: int | None) -> None:
        super().__init__(name, total)
        self._reporter, self._number, self._interval, self._shown = reporter, number, interval, 0.0

    def _show(self) -> None:
        if time.monotonic() - self._shown >= self._interval:
            self.write("count")

    def write(self, event: str) -> None:
        self._shown = time.monotonic()
        count = {"name": self.name, "total": self.total, "done": self.done, "text": self.text}
        self._reporter.write({"event": event, "bar": self._number, **count})


def _live_progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[text]}", markup=True),
        console=console,
    )
