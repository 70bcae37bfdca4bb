"""The space of a sweep as its file gives it: lists of choices, and ranges."""

from __future__ import annotations

import math
import re
from typing import Any

from ..config.choices import nearest
from .space import SCALES, Choices, Dimension, Range

_SCIENTIFIC = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def read_space(found: Any, problems: list[str]) -> list[Dimension]:
    """Return the dimensions that can be read, and add what is wrong to `problems`."""
    if not isinstance(found, dict) or not found:
        problems.append(
            "space: there is none; give KEY: [value, ...] or KEY: {uniform: [low, high]} for each key to vary"
        )
        return []
    space = []
    for key, said in found.items():
        dimension = _choices(str(key), said, problems) if isinstance(said, list) else _range(str(key), said, problems)
        if dimension is not None:
            space.append(dimension)
    return space


def _choices(key: str, values: list[Any], problems: list[str]) -> Choices | None:
    values = [_as_meant(v) for v in values]
    plain = all(_plain(v) or (isinstance(v, list) and all(map(_plain, v))) for v in values)
    if not values or not plain:
        problems.append(f"space: {key}: choices are texts, numbers, true, false, null, or lists of these; at least one")
        return None
    if len({repr(v) for v in values}) < len(values):
        problems.append(f"space: {key}: a choice is given twice")
    return Choices(key, tuple(tuple(v) if isinstance(v, list) else v for v in values))


def _as_meant(value: Any) -> Any:
    """YAML reads 1e-3 as a text, since it wants a dot."""
    return float(value) if isinstance(value, str) and _SCIENTIFIC.fullmatch(value) else value


def _plain(value: Any) -> bool:
    finite = not isinstance(value, float) or math.isfinite(value)
    return value is None or (isinstance(value, str | int | float) and finite)


def _range(key: str, said: Any, problems: list[str]) -> Range | None:
    if not isinstance(said, dict) or len(said) != 1:
        kinds = ", ".join(f"{{{scale}: [low, high]}}" for scale in SCALES)
        problems.append(f"space: {key}: give a list of choices, or one of {kinds}")
        return None
    ((scale, bounds),) = said.items()
    if scale not in SCALES:
        problems.append(f"space: {key}: unknown range '{scale}'{nearest(str(scale), list(SCALES))}")
        return None
    bounds = [number(bound) for bound in bounds] if isinstance(bounds, list) else []
    if len(bounds) != 2 or None in bounds or not bounds[0] < bounds[1]:
        problems.append(f"space: {key}: {scale} takes [low, high], two numbers, the lower one first")
        return None
    low, high = bounds
    if scale == "log_uniform" and low <= 0:
        problems.append(f"space: {key}: log_uniform begins above 0")
        return None
    if scale == "int_uniform" and not (float(low).is_integer() and float(high).is_integer()):
        problems.append(f"space: {key}: int_uniform takes whole numbers")
        return None
    return Range(key, low, high, scale)


def number(found: Any) -> float | None:
    """A finite number, or a text that stands for one (1e-3 is a text in YAML)."""
    if isinstance(found, bool) or not isinstance(found, int | float | str):
        return None
    try:
        value = float(found)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
