"""What a sweep varies: for each key a list of choices, or a range to draw from.

>>> lr = Range("method.learning_rate", 0.001, 1.0, "log_uniform")
>>> grid([Choices("privacy.target_epsilon", (1, 3)), Choices("method", ("pate", "dpsgd"))])[1]
(('privacy.target_epsilon', 1), ('method', 'dpsgd'))
>>> override("method.learning_rate", 1e-05), override("data.root", "/it's/here"), override("silos.per_actor", None)
('method.learning_rate=1e-05', "data.root='/it\\\\'s/here'", 'silos.per_actor=null')
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..config.compose import quoted

Scale = Literal["uniform", "log_uniform", "int_uniform"]
SCALES: tuple[Scale, ...] = ("uniform", "log_uniform", "int_uniform")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NO_TEXTS = ("null", "true", "false", "nan", "inf")  # in Hydra's grammar
# One value a key, in the order of the space.
Point = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Choices:
    """A key and the values it takes."""

    key: str
    values: tuple[Any, ...]

    def draw(self, generator: np.random.Generator) -> Any:
        """Any of them, each as likely."""
        return self.values[int(generator.integers(len(self.values)))]

    @property
    def samples(self) -> tuple[Any, ...]:
        """Values to check the configuration with: all of them."""
        return self.values


@dataclass(frozen=True)
class Range:
    """A key and the bounds that its values lie between, both included."""

    key: str
    low: float
    high: float
    scale: Scale

    def draw(self, generator: np.random.Generator) -> Any:
        """A value: uniform, uniform in its logarithm, or a whole number."""
        if self.scale == "int_uniform":
            return int(generator.integers(int(self.low), int(self.high), endpoint=True))
        if self.scale == "log_uniform":
            value = math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
        else:
            value = float(generator.uniform(self.low, self.high))
        return min(max(value, self.low), self.high)

    @property
    def samples(self) -> tuple[Any, ...]:
        """Values to check the configuration with: both ends."""
        whole = self.scale == "int_uniform"
        return (int(self.low), int(self.high)) if whole else (float(self.low), float(self.high))


Dimension = Choices | Range


def grid(space: Sequence[Dimension]) -> list[Point]:
    """All combinations of choices, the last key varying fastest."""
    keys = [dimension.key for dimension in space]
    return [tuple(zip(keys, values, strict=True)) for values in itertools.product(*(d.samples for d in space))]


def grid_size(space: Sequence[Dimension]) -> int:
    """Their number."""
    return math.prod(len(dimension.samples) for dimension in space)


def draws(space: Sequence[Dimension], count: int, seed: int) -> list[Point]:
    """Random points, each drawn by itself; the same seed gives the same ones, and more of them after these."""
    generator = np.random.default_rng(seed)
    return [tuple((d.key, d.draw(generator)) for d in space) for _ in range(count)]


def probes(space: Sequence[Dimension]) -> list[Point]:
    """Points that show each sample of each key once, the other keys at their first."""
    first = tuple((d.key, d.samples[0]) for d in space)
    found = {first: None}
    for place, dimension in enumerate(space):
        for value in dimension.samples[1:]:
            found[(*first[:place], (dimension.key, value), *first[place + 1 :])] = None
    return list(found)


def key_of(point: Point) -> str:
    """Eight hexadecimal digits that name the point's folder."""
    return hashlib.sha256(json.dumps(point).encode()).hexdigest()[:8]


def in_words(point: Point) -> str:
    """The point for people: `privacy.target_epsilon=1, method=pate`."""
    return ", ".join(f"{key}={shown(value)}" for key, value in point)


def shown(value: Any) -> str:
    """A value for people, numbers with six digits at most."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value)


def override(key: str, value: Any) -> str:
    """The override that sets the key, in Hydra's grammar."""
    return f"{key}={_literal(value)}"


def _literal(value: Any) -> str:
    if isinstance(value, str):
        # Plain words stay plain: they may name a file of a configuration group.
        return value if _WORD.fullmatch(value) and value.lower() not in _NO_TEXTS else quoted(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_literal, value))}]"
    return repr(value) if isinstance(value, float) else json.dumps(value)
