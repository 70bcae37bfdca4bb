"""Metrics over time: one JSON object a line in `metrics.jsonl`.

A run that was killed may leave half a line, and repeats the steps after its last checkpoint: reading skips the one and
takes the later of the other.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from ..errors import BadInput


class MetricsLog:
    """Appends to one file; each line is flushed, so that another process can follow it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._checked = False

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add one line."""
        line = {"time": round(time.time(), 3), "step": step, "metrics": {k: _number(k, v) for k, v in metrics.items()}}
        with self.path.open("a+b") as file:
            if not self._checked:
                self._end_torn_line(file)
            file.write(json.dumps(line).encode() + b"\n")

    def _end_torn_line(self, file: BinaryIO) -> None:
        if file.seek(0, 2) > 0:
            file.seek(-1, 2)
            if file.read(1) != b"\n":
                file.write(b"\n")
        self._checked = True


def read_metrics(path: Path) -> dict[str, list[tuple[int | None, float]]]:
    """Every metric as a series of (step, value), in order of step; lines without a step come as they were written."""
    series: dict[str, dict[object, tuple[int | None, float]]] = {}
    for number, line in enumerate(path.read_bytes().splitlines()):
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # A line torn by a kill; the resumed run has written it again.
        step = entry["step"]
        for name, value in entry["metrics"].items():
            key = ("line", number) if step is None else ("step", step)
            series.setdefault(name, {})[key] = (step, float(value))
    return {name: sorted(points.values(), key=_step) for name, points in series.items()}


def _step(point: tuple[int | None, float]) -> int:
    return -1 if point[0] is None else point[0]


def _number(name: str, value: float) -> float | str:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise BadInput(f"metric {name} is a {type(value).__name__}, not a number") from None
    return number if math.isfinite(number) else str(number)  # JSON has no NaN; float("nan") reads it back.
