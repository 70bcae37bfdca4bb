"""Log lines as JSON: one object a line, for machines to collect.

A line holds names, numbers and words that are public settings. It never holds a record, and never the text of an error: texts come
from libraries as well, and those put into them what they stumbled over, a file's name or a value. Of an error the log has its type,
the exit code that a command ends with, and the line of this program where it was raised.

>>> log_line("stage.finished", {"stage": "labels", "seconds": 1.5}, at=0.25)
'{"time": "1970-01-01T00:00:00.250Z", "level": "info", "event": "stage.finished", "stage": "labels", "seconds": 1.5}'
>>> about_error(BadInput("patient 7 is not an image"))
{'error': 'BadInput', 'exit_code': 4}
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from .errors import BadInput, InternalBug, StillhouseError

Field = bool | int | float | str | None

INTERRUPTED = 130  # as shells say it of SIGINT
_LONGEST = 500
_OWN = ("time", "level", "event")
_PACKAGE = __name__.partition(".")[0]


def log_line(event: str, fields: Mapping[str, Field], *, level: str = "info", at: float | None = None) -> str:
    """One line, without its end. Times are UTC.

    Raises:
        BadInput: a field is not a number or a short text. Arrays and objects have no place in a log.
    """
    when = datetime.fromtimestamp(time.time() if at is None else at, UTC)
    line: dict[str, Any] = {"time": f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03d}Z", "level": level}
    line["event"] = event
    for name, value in fields.items():
        line[name] = _checked(name, value)
    return json.dumps(line)  # ASCII only: some of the rest are line ends to some readers.


def about_error(error: BaseException) -> dict[str, Field]:
    """What a log may say of an error: type, exit code, and where in this program it was raised (not its text)."""
    told: dict[str, Field] = {"error": type(error).__name__, "exit_code": exit_code(error)}
    trace, where = error.__traceback__, None
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        if module == _PACKAGE or module.startswith(f"{_PACKAGE}."):
            where = f"{module}:{trace.tb_lineno}"
        trace = trace.tb_next
    return told if where is None else {**told, "where": where}


def exit_code(error: BaseException) -> int:
    """What the command line ends with after this error."""
    if isinstance(error, StillhouseError):
        return error.exit_code
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else InternalBug.exit_code


def event_fields(event: str, **fields: Field) -> dict[str, Any]:
    """What `extra` of a logging call has to be, so that the JSON line has fields beside its sentence.

    log.info("batch %s: decided", label, extra=event_fields("batch.decided", batch=label))
    """
    return {"event": event, "fields": fields}


class JsonLines(logging.Formatter):
    """Python's logging as lines of `log_line`.

    A message of this program is kept: its sentences hold names and numbers. Of other loggers' only the logger's name is:
    asyncio and gRPC quote whatever they were handed.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback becomes the error's type."""
        ours = record.name == _PACKAGE or record.name.startswith(f"{_PACKAGE}.")
        fields: dict[str, Field] = dict(getattr(record, "fields", {}))
        fields |= {"message": record.getMessage()[:_LONGEST]} if ours else {"logger": record.name[:_LONGEST]}
        if record.exc_info and record.exc_info[1] is not None:
            fields |= about_error(record.exc_info[1])
        event = getattr(record, "event", "message" if ours else "library")
        return log_line(str(event), fields, level=record.levelname.lower(), at=record.created)


def _checked(name: str, value: Any) -> Field:
    if name in _OWN:
        raise BadInput(f"a log line has its own '{name}'", mend="give the field another name")
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)  # JSON has no NaN.
    if isinstance(value, str) and len(value) <= _LONGEST:
        return value
    raise BadInput(
        f"log field '{name}' is a {type(value).__name__}",
        why=f"a log holds numbers and texts of at most {_LONGEST} characters",
        mend="log a count or a name instead",
    )
