"""A log holds names and numbers: neither records nor the texts of errors, whoever logs."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.platform.errors import BadInput, BudgetExhausted, RunFailed
from stillhouse.platform.log_lines import JsonLines, about_error, event_fields, log_line

SECRET = "patient 4711"

FIELDS = st.dictionaries(
    st.text(min_size=1, max_size=20).filter(lambda name: name not in ("time", "level", "event")),
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=500),
    max_size=5,
)


@given(FIELDS, st.floats(0, 4e9))
def test_every_line_is_one_line_and_reads_back(fields: dict[str, Any], at: float) -> None:
    text = log_line("something", fields, at=at)
    assert len(text.splitlines()) == 1
    read = json.loads(text)
    assert {name: read[name] for name in fields} == fields and read["event"] == "something"
    assert read["time"].endswith("Z") and len(read["time"]) == len("2026-01-01T00:00:00.000Z")


@pytest.mark.parametrize("value", [np.zeros(3), [1, 2], {"a": 1}, b"raw", "x" * 501, np.float32(1.0), object()])
def test_records_and_long_texts_have_no_place(value: object) -> None:
    with pytest.raises(BadInput, match="log field 'image'"):
        log_line("something", {"image": value})  # type: ignore[dict-item]


@pytest.mark.parametrize("name", ["time", "level", "event"])
def test_a_field_cannot_replace_what_a_line_says_itself(name: str) -> None:
    with pytest.raises(BadInput, match="another name"):
        log_line("something", {name: 1})


def test_numbers_that_json_lacks_are_texts() -> None:
    assert json.loads(log_line("x", {"a": float("nan"), "b": -float("inf")}))["b"] == "-inf"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BudgetExhausted(SECRET, why=SECRET, mend=SECRET), 6),
        (RunFailed(SECRET), 1),
        (KeyError(SECRET), 5),
        (KeyboardInterrupt(), 130),
    ],
)
def test_of_an_error_type_code_and_place_are_told_but_no_text(error: BaseException, code: int) -> None:
    told = about_error(error)
    assert told == {"error": type(error).__name__, "exit_code": code}
    assert SECRET not in log_line("failed", told)


def test_the_place_is_the_innermost_of_this_program() -> None:
    with pytest.raises(BadInput) as caught:
        log_line("x", {"image": np.zeros(2)})  # type: ignore[dict-item]
    where = str(about_error(caught.value)["where"])
    assert where.startswith("stillhouse.platform.log_lines:") and where.rpartition(":")[2].isdigit()


def formatted(logger: str, message: str, *values: object, **more: Any) -> dict[str, Any]:
    extra = more.pop("extra", {})
    record = logging.LogRecord(logger, logging.WARNING, "file", 1, message, values, more.get("exc_info"))
    record.__dict__.update(extra)
    text = JsonLines().format(record)
    assert SECRET not in text and "Traceback" not in text
    return dict(json.loads(text))


def test_our_messages_are_kept_with_their_fields() -> None:
    line = formatted("stillhouse.x", "batch %s: %d voted", "ab", 3, extra=event_fields("batch.decided", voted=3))
    assert line["message"] == "batch ab: 3 voted" and line["voted"] == 3
    assert line["event"] == "batch.decided" and line["level"] == "warning"


def test_of_other_loggers_only_the_name_is_kept() -> None:
    line = formatted("asyncio", "Task exception was never retrieved: %s", SECRET)
    assert line["logger"] == "asyncio" and "message" not in line
    assert formatted("stillhousekeeping", SECRET)["logger"] == "stillhousekeeping"


def test_a_traceback_becomes_a_type() -> None:
    try:
        raise ValueError(SECRET)
    except ValueError:
        line = formatted("stillhouse.x", "it failed", exc_info=sys.exc_info())
    assert line["error"] == "ValueError" and line["exit_code"] == 5
