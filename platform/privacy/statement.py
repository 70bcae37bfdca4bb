"""What may be said about the privacy of an artefact: one epsilon, its delta, its neighbours, and what it covers.

An epsilon without its neighbouring relation and its coverage is no statement. If any step on the way to an artefact
touched private data outside a charged mechanism, the total is infinite, whatever the charged part cost, and the reason
stands beside it.

>>> labels = PrivacyStatement.of_releases(2.0, 1e-5, releases=(), accounting="exact GDP, data-independent")
>>> print(combine([labels, uncovered("the generator was trained on all private images without noise")]).line())
epsilon = inf at delta = 1e-05 (replace one record; a record is in one shard, so one teacher's vote changes); \
uncovered: the generator was trained on all private images without noise
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ..errors import BadInput
from .neighbours import ADD_OR_REMOVE, REPLACE_ONE
from .validate import non_negative

__all__ = [
    "ADD_OR_REMOVE",
    "COVERED",
    "NOT_ESTABLISHED",
    "REPLACE_ONE",
    "UNCOVERED",
    "PrivacyStatement",
    "Release",
    "combine",
    "doubtful_delta",
    "epsilon_up",
    "public",
    "uncovered",
]

COVERED = "covered"
UNCOVERED = "uncovered"
# What the reason of a statement begins with where a method claims a guarantee that does not follow from it.
NOT_ESTABLISHED = "epsilon: not established"

# A little more than a plan may pass its target by, for rounding in conversions: such a hair is no step of the last digit.
_HAIR = Decimal("2e-9")
# Where nobody knows the number of records: few data sets that are worth a budget have less than a thousand.
_LARGE_DELTA = 1e-3


@dataclass(frozen=True)
class Release:
    """One thing that left: its name, its event as JSON, and the epsilon of that event alone."""

    name: str
    event_json: Mapping[str, Any]
    epsilon_conversion: float


@dataclass(frozen=True)
class PrivacyStatement:
    """Epsilon (infinity allowed) at delta, for these neighbours and this unit, with its coverage."""

    epsilon: float
    delta: float
    neighbouring: str = REPLACE_ONE
    unit: str = "record"
    coverage: str = COVERED
    reasons: tuple[str, ...] = ()
    releases: tuple[Release, ...] = ()
    accounting: str = ""

    def __post_init__(self) -> None:
        if math.isnan(self.epsilon) or self.epsilon < 0:
            raise BadInput("epsilon must be at least 0 (infinity allowed)")
        non_negative(delta=self.delta)
        if self.delta >= 1:
            raise BadInput(f"delta must be below 1, not {self.delta!r}")
        if self.coverage not in (COVERED, UNCOVERED):
            raise BadInput(f"coverage is {COVERED!r} or {UNCOVERED!r}, not {self.coverage!r}")
        if not self.neighbouring:
            raise BadInput("an epsilon without its neighbouring relation says nothing")
        if self.coverage == UNCOVERED and not (math.isinf(self.epsilon) and self.reasons):
            raise BadInput("an uncovered artefact has epsilon infinity and a reason")

    @classmethod
    def of_releases(
        cls,
        epsilon: float,
        delta: float,
        *,
        releases: Sequence[Release],
        accounting: str,
        neighbouring: str = REPLACE_ONE,
        unit: str = "record",
    ) -> PrivacyStatement:
        """A covered artefact."""
        return cls(epsilon, delta, neighbouring, unit, releases=tuple(releases), accounting=accounting)

    @property
    def established(self) -> bool:
        """False where a method claims a guarantee that does not follow; its infinity is that, and no bound that somebody computed."""
        return not any(reason.startswith(NOT_ESTABLISHED) for reason in self.reasons)

    def line(self) -> str:
        """One line for people."""
        total = epsilon_up(self.epsilon, decimals=4)
        text = f"epsilon = {total} at delta = {self.delta:g} ({self.neighbouring}); {self.coverage}"
        return f"{text}: {'; '.join(self.reasons)}" if self.reasons else text

    def to_json(self) -> dict[str, Any]:
        """A JSON object; infinity becomes the string "inf", which every JSON reader accepts."""
        return {
            "epsilon": "inf" if math.isinf(self.epsilon) else self.epsilon,
            "delta": self.delta,
            "neighbouring": self.neighbouring,
            "unit": self.unit,
            "coverage": self.coverage,
            "reasons": list(self.reasons),
            "releases": [
                {"name": r.name, "event": dict(r.event_json), "epsilon": r.epsilon_conversion} for r in self.releases
            ],
            "accounting": self.accounting,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PrivacyStatement:
        """The statement that `to_json` described."""
        try:
            return cls(
                epsilon=float(data["epsilon"]),
                delta=data["delta"],
                neighbouring=data["neighbouring"],
                unit=data["unit"],
                coverage=data["coverage"],
                reasons=tuple(data["reasons"]),
                releases=tuple(Release(r["name"], r["event"], r["epsilon"]) for r in data["releases"]),
                accounting=data["accounting"],
            )
        except (KeyError, TypeError) as error:
            raise BadInput("not a privacy statement", why=f"{type(error).__name__}: {error}") from None


def epsilon_up(epsilon: float, *, decimals: int | None = None, digits: int = 4, cap: float | None = None) -> str:
    """`epsilon` as a text that says no less: rounded up to so many `decimals`, or else to so many `digits` in all.

    A `cap` that it keeps is not passed by rounding: then it has as many digits as that takes.

    >>> epsilon_up(2.52731, decimals=3), epsilon_up(0.00004, decimals=4), epsilon_up(2.0, decimals=4), epsilon_up(12.341)
    ('2.528', '0.0001', '2', '12.35')
    >>> epsilon_up(9.99987), epsilon_up(9.99985, cap=9.9999), epsilon_up(math.inf)
    ('10', '9.9999', 'inf')
    """
    if not math.isfinite(epsilon) or epsilon == 0:
        return f"{epsilon:g}"
    if decimals is None:
        shown = Decimal(f"{epsilon:.{digits - 1}e}")
    else:
        shown = Decimal(f"{epsilon:.{decimals}f}")
    if shown < Decimal(epsilon) * (1 - _HAIR):
        shown += Decimal(1).scaleb(int(shown.as_tuple().exponent))
    if cap is not None and epsilon <= cap < float(shown):
        more = {"digits": digits + 1} if decimals is None else {"decimals": decimals + 1}
        return epsilon_up(epsilon, **more, cap=cap)
    return f"{float(shown):.{digits}g}" if decimals is None else f"{shown.normalize():f}"


def doubtful_delta(delta: float, *, records: int | None = None) -> str | None:
    """What is wrong with a delta that promises too little for so many records (None: unknown); None where nothing is.

    Who releases each record whole with probability delta keeps epsilon 0 at that delta, and lets delta n of n records out.

    >>> doubtful_delta(1e-5), doubtful_delta(1e-3, records=1000)
    (None, 'delta 0.001 is not below one in 1,000 records: it allows to release one of them as it is')
    """
    if records is not None and delta * records >= 1:
        return f"delta {delta:g} is not below one in {records:,} records: it allows to release one of them as it is"
    if records is None and delta > _LARGE_DELTA:
        return f"delta {delta:g} is large: it should be below one in the number of records, or one may be released as it is"
    return None


def public(reason: str = "made from public data only") -> PrivacyStatement:
    """Nothing private was touched."""
    return PrivacyStatement(0.0, 0.0, reasons=(reason,))


def uncovered(reason: str) -> PrivacyStatement:
    """Private data were touched outside a charged mechanism."""
    return PrivacyStatement(math.inf, 0.0, coverage=UNCOVERED, reasons=(reason,))


def combine(statements: Sequence[PrivacyStatement], *, accounting: str = "basic composition") -> PrivacyStatement:
    """The whole path of an artefact: epsilons and deltas add up; one uncovered step makes the total infinite.

    Neighbours and unit are those of the steps that promise something. What is public or uncovered is so under any.
    Releases that share one ledger are better stated once, from the ledger's joint total.
    """
    if not statements:
        raise BadInput("nothing to combine")
    promising = [s for s in statements if s.coverage == COVERED and (s.epsilon or s.delta)] or statements[:1]
    relations = dict.fromkeys(s.neighbouring for s in promising)
    units = dict.fromkeys(s.unit for s in promising)
    if len(relations) > 1 or len(units) > 1:
        raise BadInput(
            "statements about different neighbours or units do not add up", why="; ".join((*relations, *units))
        )
    covered = all(s.coverage == COVERED for s in statements)
    delta = math.fsum(s.delta for s in statements)
    if delta >= 1:
        raise BadInput("the deltas add up to 1 or more", why="such a statement promises nothing")
    return PrivacyStatement(
        epsilon=math.fsum(s.epsilon for s in statements),
        delta=delta,
        neighbouring=next(iter(relations)),
        unit=next(iter(units)),
        coverage=COVERED if covered else UNCOVERED,
        reasons=tuple(dict.fromkeys(r for s in statements for r in s.reasons)),
        releases=tuple(r for s in statements for r in s.releases),
        accounting=statements[0].accounting if len(statements) == 1 else accounting,
    )
