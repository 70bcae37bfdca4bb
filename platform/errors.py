"""The errors a user can meet: what happened, why, how to mend it, and the exit code the command line ends with.

Messages never hold record values: an error may cross from a silo to its aggregator, or from a run to a log.

>>> error = BadInput("4 shards for 3 records", why="every shard needs a record", mend="use at most 3 shards")
>>> print(error)
4 shards for 3 records: every shard needs a record. To mend it: use at most 3 shards.
>>> error.exit_code
4
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class StillhouseError(Exception):
    """Base of every error that Stillhouse raises on purpose."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, why: str = "", mend: str = "") -> None:
        self.what, self.why, self.mend = what, why, mend
        super().__init__(what, why, mend)

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (Ray, multiprocessing); keyword arguments are lost by the default pickling.
        return _rebuild, (type(self), self.what, self.why, self.mend)

    def __str__(self) -> str:
        text = f"{self.what}: {self.why}" if self.why else self.what
        if not self.mend:
            return text
        stop = "" if text.endswith((".", "?", "!")) else "."
        return f"{text}{stop} To mend it: {self.mend}."


def _rebuild(kind: type[StillhouseError], what: str, why: str, mend: str) -> StillhouseError:
    return kind(what, why=why, mend=mend)


class RunFailed(StillhouseError):
    """A run came to an end without its result."""

    exit_code = 1


class LedgerDoubt(StillhouseError):
    """The ledger cannot be trusted as it lies there, so nothing is charged and nothing is answered."""

    exit_code = 1


class Unreachable(StillhouseError):
    """The other side does not answer, or the connection broke."""

    exit_code = 2


class NotAuthorised(StillhouseError):
    """The token or certificate does not allow this call."""

    exit_code = 2


class TimedOut(StillhouseError):
    """A deadline passed: too few silos voted, or the answer did not come in time."""

    exit_code = 3


class BadInput(StillhouseError, ValueError):
    """An argument, a file or a configuration value is wrong."""

    exit_code = 4


class ConfigError(BadInput):
    """One or more configuration values are wrong; `problems` lists them all."""

    def __init__(self, problems: Sequence[str], *, mend: str = "") -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        title = "1 problem" if count == 1 else f"{count} problems"
        super().__init__(f"{title} in the configuration:\n" + "\n".join(f"  - {p}" for p in self.problems), mend=mend)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_config, (self.problems, self.mend)


def _rebuild_config(problems: Sequence[str], mend: str) -> ConfigError:
    return ConfigError(problems, mend=mend)


class MissingExtra(BadInput, ImportError):
    """An optional library is not installed; the message names the extra that brings it."""


class InternalBug(StillhouseError):
    """Something that should be impossible happened."""

    exit_code = 5


class BudgetExhausted(StillhouseError):
    """The charge does not fit into what is left of the privacy budget. Nothing was drawn and nothing was spent."""

    exit_code = 6
