"""Multi-label records in a user's own files: features and labels as CSV tables with a header, or as NumPy arrays.

Errors name rows and columns, never what stands there: they may travel further than records.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import BadInput

MOST_ROWS = 10


@dataclass(frozen=True, eq=False)
class Table:
    """Numbers (n, k) float64 under k names; `items` are the rows' names, where a column names them."""

    values: np.ndarray
    columns: tuple[str, ...]
    items: tuple[str, ...] | None


def read_table(path: Path, *, item: str | None = None) -> Table:
    """Read a CSV file with a header (`item`: the column that names the rows), or an array (n, k) from a .npy file.

    An empty cell is a missing value and becomes NaN, for the caller to refuse or fill.

    Raises:
        BadInput: the file is not there, its rows are of different lengths, or cells are not numbers; up to ten rows are named.
    """
    if not path.is_file():
        raise BadInput(f"{path} does not exist", mend="give the path of a CSV file with a header, or of a .npy file")
    if path.suffix == ".npy":
        return _array(path, item)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(
            f"{path} is no CSV table", why=type(error).__name__, mend="save it as UTF-8 with commas"
        ) from None
    if len(rows) < 2:
        raise BadInput(
            f"{path} holds no rows", why="the first line is the header", mend="give one line for each record"
        )
    header = [name.strip() for name in rows[0]]
    if len(set(header)) != len(header) or "" in header:
        raise BadInput(f"{path}: the header names a column twice, or not at all", mend="give each column its own name")
    if item is not None and item not in header:
        raise BadInput(
            f"{path} has no column '{item}'", why="it is to name the rows", mend=f"use one of its {len(header)}"
        )
    return _parsed(path, header, rows[1:], item)


def joined(features: Table, labels: Table, where: Path) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, D) and labels (n, q) of the same records: by the rows' names where both tables have them, else by their order.

    Raises:
        BadInput: a record is in one table only, or twice, or the tables are of different lengths.
    """
    if features.items is None or labels.items is None:
        if len(features.values) != len(labels.values):
            raise BadInput(
                f"{where}: {len(features.values)} rows of features, {len(labels.values)} of labels",
                mend="give each record a row in both, in the same order, or name the column that joins them (data.item)",
            )
        return features.values, labels.values
    place = {name: row for row, name in enumerate(labels.items)}
    for table, what in ((features, "features"), (labels, "labels")):
        if table.items is not None and len(set(table.items)) != len(table.items):
            raise BadInput(f"{where}: a record is twice among the {what}", mend="give each record one row")
    lacking = set(features.items) ^ set(place)
    if lacking:
        raise BadInput(
            f"{where}: {len(lacking)} records are among the features or the labels only", mend="give each record both"
        )
    return features.values, labels.values[[place[name] for name in features.items]]


def _parsed(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], item: str | None) -> Table:
    kept = [k for k, name in enumerate(header) if name != item]
    values = np.full((len(rows), len(kept)), np.nan)
    problems: list[str] = []
    for number, row in enumerate(rows):
        if len(row) != len(header):
            problems.append(f"row {number + 2} has {len(row)} cells, the header {len(header)}")
            continue
        for column, k in enumerate(kept):
            try:
                values[number, column] = float(row[k]) if row[k].strip() else np.nan
            except ValueError:
                problems.append(f"row {number + 2} has no number under '{header[k]}'")
                break
    if problems:
        more = f"; and {len(problems) - MOST_ROWS} more rows" if len(problems) > MOST_ROWS else ""
        raise BadInput(
            f"{path} is no table of numbers", why="; ".join(problems[:MOST_ROWS]) + more, mend="mend these rows"
        )
    names = None if item is None else tuple(row[header.index(item)].strip() for row in rows)
    return Table(values, tuple(header[k] for k in kept), names)


def _array(path: Path, item: str | None) -> Table:
    if item is not None:
        raise BadInput(f"{path} is an array, whose rows have no names", mend="use a CSV file, or leave data.item out")
    try:
        found = np.load(path, allow_pickle=False)
    except Exception as error:  # Of a damaged file numpy raises whatever it stumbles on.
        raise BadInput(f"cannot read {path}", why=f"it is no array ({type(error).__name__})") from None
    if found.ndim != 2 or found.dtype.kind not in "biuf":
        raise BadInput(f"{path} is {found.dtype} of shape {found.shape}", mend="give numbers (n, k)")
    return Table(found.astype(np.float64), tuple(str(k) for k in range(found.shape[1])), None)
