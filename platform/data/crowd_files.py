"""A crowd's answers and gold labels from files of lines: CSV or JSON.

Everything that is wrong with a file is told at once, by line number and column, up to ten lines; what stands there is not told, since
errors may travel further than records.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadInput

MOST_TOLD = 10
JSON_SUFFIXES = {".jsonl", ".ndjson"}


class RowProblems:
    """What is wrong with the lines of one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found: list[tuple[int, str]] = []

    def add(self, line: int, what: str) -> None:
        """Note it. `what` names columns, never values."""
        self._found.append((line, what))

    def check(self, mend: str) -> None:
        """Raise one `BadInput` that tells the first ten lines, if there are any."""
        if not self._found:
            return
        found = sorted(self._found)
        told = "; ".join(f"line {line}: {what}" for line, what in found[:MOST_TOLD])
        more = f"; and {len(found) - MOST_TOLD} more" if len(found) > MOST_TOLD else ""
        count = "1 line is" if len(found) == 1 else f"{len(found)} lines are"
        raise BadInput(f"{self.path}: {count} wrong", why=told + more, mend=mend)


@dataclass(frozen=True)
class NamedAnswers:
    """Answers as a file names them, line by line."""

    path: Path
    lines: tuple[int, ...]
    items: tuple[str, ...]
    annotators: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class NamedLabels:
    """Gold labels as a file names them: the label of each item, and the line it stands in."""

    path: Path
    labels: dict[str, str]
    lines: dict[str, int]


def read_answers(path: Path, *, item: str = "item", annotator: str = "annotator", label: str = "label") -> NamedAnswers:
    """Read a crowd's answers, one a line; the arguments name the columns, others are not looked at.

    Raises:
        BadInput: the file cannot be read, a value is missing, or an annotator answered about an item twice.
    """
    problems = RowProblems(path)
    lines: list[int] = []
    answers: list[list[str]] = []
    first: dict[tuple[str, str], int] = {}
    for line, values in _rows(path, (item, annotator, label), problems):
        before = first.setdefault((values[0], values[1]), line)
        if before != line:
            problems.add(line, f"the same {item} and {annotator} as in line {before}")
        lines.append(line)
        answers.append(values)
    problems.check("correct these lines; of duplicates keep one")
    if not answers:
        raise BadInput(f"{path} holds no answers", mend=f"give lines with {item}, {annotator} and {label}")
    items, annotators, labels = zip(*answers, strict=True)
    return NamedAnswers(path, tuple(lines), items, annotators, labels)


def read_gold(path: Path, *, item: str = "item", label: str = "label") -> NamedLabels:
    """Read items' gold labels, one a line.

    Raises:
        BadInput: the file cannot be read, a value is missing, or an item stands there twice.
    """
    problems = RowProblems(path)
    labels: dict[str, str] = {}
    lines: dict[str, int] = {}
    for line, (name, given) in _rows(path, (item, label), problems):
        before = lines.setdefault(name, line)
        if before != line:
            problems.add(line, f"the same {item} as in line {before}")
        labels.setdefault(name, given)
    problems.check("correct these lines; of duplicates keep one")
    if not labels:
        raise BadInput(f"{path} holds no labels", mend=f"give lines with {item} and {label}")
    return NamedLabels(path, labels, lines)


def _rows(path: Path, columns: Sequence[str], problems: RowProblems) -> Iterator[tuple[int, list[str]]]:
    """The wanted columns of each whole line, as texts without blanks around them; whatever else is a problem."""
    if len(set(columns)) != len(columns):
        raise BadInput(f"the same column is named twice among {', '.join(columns)}", mend="name a column for each")
    reader = _json_lines if path.suffix.lower() in JSON_SUFFIXES else _table_lines
    for line, values in reader(path, columns, problems):
        empty = [column for column, value in zip(columns, values, strict=True) if not value]
        if empty:
            problems.add(line, f"no {' and no '.join(empty)}")
        else:
            yield line, values


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist", mend="check the folder and the file's name") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path} is not UTF-8 text", mend="save it as UTF-8") from None
    except OSError as error:
        raise BadInput(f"cannot read {path}", why=type(error).__name__, mend="check the file and its rights") from None


def table(path: Path, columns: Sequence[str], problems: RowProblems) -> Iterator[tuple[int, list[str]]]:
    """The header of a CSV, which has these columns, then each line that has as many fields; others are problems."""
    lines = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    header: list[str] | None = None
    try:
        for fields in lines:
            if not fields:
                continue  # a blank line
            fields = [field.strip() for field in fields]
            if header is None:
                header = fields
                _check_header(path, header, columns)
                yield lines.line_num, header
            elif len(fields) != len(header):
                problems.add(lines.line_num, f"{len(fields)} fields, but the header has {len(header)}")
            else:
                yield lines.line_num, fields
    except csv.Error:
        problems.add(lines.line_num, "its quotes are not closed, or a field is endless; nothing after it was read")
    if header is None:
        raise BadInput(f"{path} is empty", mend=f"give a header with {', '.join(columns)} and a line for each")


def _check_header(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in header]
    if missing:
        raise BadInput(
            f"{path} has no column {', '.join(missing)}",
            mend="name the columns in the configuration, or in the file's header",
        )
    if len(set(header)) != len(header):
        raise BadInput(f"{path} has two columns of one name", mend="give each its own")


def _table_lines(path: Path, columns: Sequence[str], problems: RowProblems) -> Iterator[tuple[int, list[str]]]:
    rows = table(path, columns, problems)
    _, header = next(rows)
    places = [header.index(column) for column in columns]
    for line, fields in rows:
        yield line, [fields[place] for place in places]


def _json_lines(path: Path, columns: Sequence[str], problems: RowProblems) -> Iterator[tuple[int, list[str]]]:
    for line, text in enumerate(_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            held = json.loads(text)
        except (ValueError, RecursionError):  # ValueError: also of a number with thousands of digits
            problems.add(line, "it is no JSON")
            continue
        if not isinstance(held, dict):
            problems.add(line, "it is no JSON object")
            continue
        odd = [c for c in columns if c in held and (isinstance(held[c], bool) or not isinstance(held[c], (str, int)))]
        if odd:
            problems.add(line, f"{' and '.join(odd)} is neither text nor a whole number")
            continue
        yield line, [str(held.get(column, "")).strip() for column in columns]
