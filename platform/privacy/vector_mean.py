"""Sums of teachers' vectors with Gaussian noise: what is clipped where, on which grid, and what it costs.

A silo takes its vectors v, one for each row of a question, less a public centre, clips each to length C and rounds it to whole
multiples of a quantum C / B. The aggregator sees whole numbers only: it checks that no row is longer than B, adds them exactly, adds
integer noise of standard deviation 2 B z, z the noise multiplier, and releases the sum.

| draw | released, in quanta | one row's cost |
| --- | --- | --- |
| all | the sum over all K silos, and noise; `value` makes the mean of it | a Gaussian of multiplier z |
| one | the vectors of one silo, drawn uniformly and in secret, and noise | see `one_teacher_event`: the rows share the draw |

A record is in one shard, so one silo's vectors change; each of its rows moves by at most 2 B. A silo that is missing counts as the
centre, and the mean is over all K silos all the same: neither sum nor divisor tells who answered.

B is a power of two, so the sensitivity 2 B and the noise 2 B z have exactly the ratio z. It is at least 64 sqrt(d): rounding moves d
coordinates by sqrt(d) / 2 at most, so a vector that was cut to B - sqrt(d) / 2 is within B after rounding, and loses less than 1 % of
the length it might have had. Shorter ones are not touched.

>>> mechanism = VectorMean(clip=1.0, noise_multiplier=2.0)
>>> mechanism.grid(width=784).bound, mechanism.event(rows=8, width=784, teachers=10).nano_rho() == 8 * 125_000_000
(2048, True)
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from ..errors import BadInput
from .events import Event, GaussianEvent
from .noise import Noise
from .one_teacher_event import OneTeacherEvent
from .validate import integer_array, moderate, positive_int
from .wide_noise import WIDEST, wide_gaussian

Draw = Literal["all", "one"]
ALL: Draw = "all"
ONE: Draw = "one"
DRAWS = (ALL, ONE)
_LEAST_PER_ROOT = 64


@dataclass(frozen=True)
class Grid:
    """Whole numbers for vectors of `width` coordinates: `bound` quanta are the length `clip`."""

    clip: float
    width: int
    bound: int

    @classmethod
    def of(cls, clip: float, width: int) -> Grid:
        """The coarsest grid that is fine enough."""
        moderate(clip=clip)
        positive_int(width=width)
        return cls(float(clip), int(width), 1 << math.ceil(math.log2(_LEAST_PER_ROOT * math.sqrt(width))))

    @property
    def quantum(self) -> float:
        """What a unit is worth."""
        return self.clip / self.bound

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest type that holds a coordinate."""
        return np.dtype(np.int16 if self.bound < 2**15 else np.int32)

    def put(self, vectors: np.ndarray, centre: np.ndarray | None = None) -> np.ndarray:
        """Clip vectors (n, width), less the centre ((width,) or (n, width)), and round them to the grid, in `dtype`.

        Each row comes out at most `bound` long, exactly. A row that is not finite counts as the centre: a function of its one shard.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.width or vectors.dtype.kind != "f":
            raise BadInput(f"vectors must be rows of {self.width} floating-point numbers")
        with np.errstate(over="ignore", invalid="ignore"):
            exact = vectors.astype(np.float64) - (0.0 if centre is None else np.asarray(centre, np.float64))
            exact[~np.isfinite(exact).all(axis=1)] = 0.0
            lengths = np.linalg.norm(exact, axis=1, keepdims=True)
            limit = self.bound - math.sqrt(self.width) / 2
            shrink = np.minimum(1 / self.quantum, limit / np.maximum(lengths, np.finfo(float).tiny))
            scaled = exact * shrink
            scaled[~np.isfinite(scaled).all(axis=1)] = 0.0
        units = np.rint(scaled)
        # Squares of whole numbers below 2^26 and their sums are exact here. Cutting towards zero never lengthens.
        long = (units**2).sum(axis=1) > self.bound**2
        units[long] = np.trunc(scaled[long])
        return units.astype(self.dtype)

    def check(self, units: np.ndarray, rows: int) -> None:
        """See that these are `rows` vectors on the grid, none longer than `bound`.

        Raises:
            BadInput: they are not. Nothing of what they hold is told.
        """
        integer_array(vectors=units)
        if units.shape != (rows, self.width):
            raise BadInput(f"vectors must have the shape {(rows, self.width)}, rows times width")
        # Sizes first: the squares of larger numbers might not fit into 64 bits.
        within = units.size == 0 or (int(units.min()) >= -self.bound and int(units.max()) <= self.bound)
        if not within or int((units.astype(np.int64) ** 2).sum(axis=1).max(initial=0)) > self.bound**2:
            raise BadInput(
                "a vector is longer than the clipping bound", why="no silo may move a sum by more than its share",
                mend="clip and round vectors with `Grid.put`",
            )  # fmt: skip


@dataclass(frozen=True)
class VectorMean:
    """Release the mean of all teachers' clipped vectors, or one teacher's, with Gaussian noise.

    Args:
        clip: the length C that vectors are clipped to.
        noise_multiplier: z, noise in units of the sensitivity 2 C of a row.
        draw: "all", or "one" for a single silo that is drawn in secret.
    """

    clip: float
    noise_multiplier: float
    draw: Draw = "all"

    name: ClassVar[str] = "vector_mean"

    def __post_init__(self) -> None:
        moderate(clip=self.clip, noise_multiplier=self.noise_multiplier)
        if self.draw not in DRAWS:
            raise BadInput(f"draw is {str(self.draw)[:40]!r}", mend=f"use one of {', '.join(DRAWS)}")
        object.__setattr__(self, "clip", float(self.clip))
        object.__setattr__(self, "noise_multiplier", float(self.noise_multiplier))

    def grid(self, width: int) -> Grid:
        """The grid for vectors of this width."""
        return Grid.of(self.clip, width)

    def sigma(self, width: int) -> float:
        """The noise's standard deviation in quanta.

        Raises:
            BadInput: it is too wide for whole numbers of 64 bits.
        """
        sigma = 2 * self.grid(width).bound * self.noise_multiplier
        if sigma > WIDEST:
            raise BadInput(f"a noise multiplier of {self.noise_multiplier:g} is too large", mend="use a smaller one")
        return sigma

    def event(self, *, rows: int, width: int, teachers: int) -> Event:
        """What a question of `rows` rows to K = `teachers` silos costs."""
        positive_int(rows=rows, teachers=teachers)
        if self.draw == ONE:
            return OneTeacherEvent(self.noise_multiplier, rows, teachers)
        return GaussianEvent(self.sigma(width), (2 * self.grid(width).bound) ** 2, rows)

    def noisy(self, total: np.ndarray, noise: Noise) -> np.ndarray:
        """A sum (or one silo's vectors) with noise: (rows, width) int64 in quanta. This is what is released."""
        integer_array(total=total)
        return total.astype(np.int64) + wide_gaussian(noise, self.sigma(total.shape[1]), total.shape)

    def value(self, noisy: np.ndarray, *, teachers: int, centre: np.ndarray | None = None) -> np.ndarray:
        """What was released as float32 (rows, width): the centre and the mean over K teachers, or the one teacher's vectors."""
        integer_array(noisy=noisy)
        positive_int(teachers=teachers)
        over = 1 if self.draw == ONE else teachers
        middle = 0.0 if centre is None else np.asarray(centre, np.float64)
        found: np.ndarray = (middle + noisy * (self.grid(noisy.shape[1]).quantum / over)).astype(np.float32)
        return found

    def to_json(self) -> dict[str, Any]:
        """Name and settings."""
        return {"name": self.name, **asdict(self)}

    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()


def vector_mean_from_json(data: Mapping[str, Any]) -> VectorMean:
    """The mechanism that `to_json` described; anything unknown is refused."""
    if not isinstance(data, Mapping):
        raise BadInput(f"a mechanism must be a JSON object, not {type(data).__name__}")
    settings = dict(data)
    name = settings.pop("name", None)
    if name != VectorMean.name:
        raise BadInput(f"unknown mechanism for vectors {str(name)[:40]!r}", mend=f"use {VectorMean.name}")
    try:
        return VectorMean(**settings)
    except TypeError as error:
        why = str(error).split("__init__() ")[-1]
        raise BadInput(f"mechanism {name!r} with wrong settings", why=why) from None
