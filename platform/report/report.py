"""What a report says, as one immutable value: the page, the terminal table and the JSON file are made from it.

Every accuracy carries its standing. What was computed from raw votes or raw private data exists in a simulation only;
it is never released, the epsilon does not cover it, and wherever it is shown it says so.

>>> import numpy as np
>>> Agreement.of(np.array([[9, 1], [5, 5], [10, 0]]), bins=2).counts
(0, 3)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import BadInput
from ..privacy.statement import PrivacyStatement, epsilon_up
from ..training.files import read_json, write_json

Standing = Literal["released", "diagnostic", "non_private"]

STANDINGS: Mapping[str, str] = {
    "released": "released, covered by the epsilon",
    "diagnostic": "simulation only, not released, not covered by the epsilon",
    "non_private": "no privacy, not released, not covered by the epsilon",
}
JSON_FILE = "report.json"


@dataclass(frozen=True)
class Accuracy:
    """One bar: a fraction of right answers, whose it is, and the standard deviation where there is one.

    Standings: "released" (leaves, under the epsilon), "diagnostic" (from raw votes), "non_private" (a reference).
    """

    label: str
    value: float
    standing: Standing
    deviation: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.value <= 1:
            raise BadInput(f"accuracy of {self.label} is {self.value}", mend="give a fraction between 0 and 1")
        if self.standing not in STANDINGS:
            raise BadInput(f"standing {self.standing!r} is unknown", mend=f"use one of {', '.join(STANDINGS)}")


@dataclass(frozen=True)
class Spending:
    """Cumulative data-independent epsilon after each asked query, how many were answered, and the budget's cap."""

    epsilon: tuple[float, ...]
    answered: int
    cap: float | None = None

    def __post_init__(self) -> None:
        if not self.epsilon or not np.isfinite(self.epsilon).all() or (np.diff(self.epsilon) < 0).any():
            raise BadInput("the epsilon spent over queries must be finite and never fall")
        if not 0 <= self.answered <= self.asked:
            raise BadInput(f"{self.answered} of {self.asked} queries cannot have been answered")

    @property
    def asked(self) -> int:
        """How many queries were put."""
        return len(self.epsilon)


@dataclass(frozen=True)
class Agreement:
    """How many queries had a top vote share in each bin. Made from raw votes: a diagnostic."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.edges) != len(self.counts) + 1 or not self.counts:
            raise BadInput("a histogram has one edge more than it has counts")

    @classmethod
    def of(cls, histograms: np.ndarray, *, bins: int = 20) -> Agreement:
        """From vote counts (queries, classes)."""
        histograms = np.asarray(histograms)
        if histograms.ndim != 2 or not len(histograms) or (histograms.sum(axis=1) <= 0).any():
            raise BadInput("vote counts must have the form (queries, classes), each query with a vote")
        shares = histograms.max(axis=1) / histograms.sum(axis=1)
        counts, edges = np.histogram(shares, bins=bins, range=(0.0, 1.0))
        return cls(tuple(float(edge) for edge in edges), tuple(int(count) for count in counts))


@dataclass(frozen=True)
class Picture:
    """A PNG or SVG file in the run's folder, and what it shows."""

    path: str
    caption: str


@dataclass(frozen=True)
class Curve:
    """A quantity over the steps of a run: (step, value) in order of step, and what a step is."""

    label: str
    step: str
    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if len(self.points) < 2 or not np.isfinite(np.asarray(self.points)).all():
            raise BadInput(f"curve {self.label} needs two finite points or more")


@dataclass(frozen=True)
class Sheet:
    """A table of texts: its title, the heads of its columns, its rows, and how many rows it leaves out."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: int = 0

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise BadInput(f"table {self.title}: every row needs {len(self.columns)} cells")


@dataclass(frozen=True)
class Report:
    """Everything that is told about one run.

    `protocol` is a sentence on how the data were split; `ledger` the position (entry number, head hash); `this_start`
    what this start spent and what it found from earlier ones; `config` the resolved configuration, nested.
    """

    title: str
    method: str
    data: str
    protocol: str
    accuracies: tuple[Accuracy, ...]
    privacy: PrivacyStatement
    seed: int
    spending: Spending | None = None
    agreement: Agreement | None = None
    pictures: tuple[Picture, ...] = ()
    curves: tuple[Curve, ...] = ()
    sheets: tuple[Sheet, ...] = ()
    notes: tuple[str, ...] = ()
    this_start: tuple[str, ...] = ()
    ledger: tuple[int, str] | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def standing(self, accuracy: Accuracy) -> str:
        """What may be said about a bar's privacy."""
        if accuracy.standing == "released" and self.privacy.coverage != "covered":
            return "released, not covered: its epsilon is infinite"
        return STANDINGS[accuracy.standing]

    def to_json(self) -> dict[str, Any]:
        """A JSON form that `from_json` reads back as an equal report."""
        return {
            "title": self.title,
            "method": self.method,
            "data": self.data,
            "protocol": self.protocol,
            "accuracies": [
                {"label": a.label, "value": a.value, "standing": a.standing, "deviation": a.deviation}
                for a in self.accuracies
            ],
            "standings": {a.label: self.standing(a) for a in self.accuracies},
            "privacy": self.privacy.to_json(),
            "seed": self.seed,
            "spending": self.spending
            and {"epsilon": list(self.spending.epsilon), "answered": self.spending.answered, "cap": self.spending.cap},
            "agreement": self.agreement
            and {
                "standing": "diagnostic",
                "edges": list(self.agreement.edges),
                "counts": list(self.agreement.counts),
            },
            "pictures": [{"path": picture.path, "caption": picture.caption} for picture in self.pictures],
            "curves": [{"label": c.label, "step": c.step, "points": [list(p) for p in c.points]} for c in self.curves],
            "sheets": [
                {
                    "title": s.title,
                    "columns": list(s.columns),
                    "rows": [list(r) for r in s.rows],
                    "left_out": s.left_out,
                }
                for s in self.sheets
            ],
            "notes": list(self.notes),
            "this_start": list(self.this_start),
            "ledger": self.ledger and list(self.ledger),
            "config": dict(self.config),
            "versions": dict(self.versions),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        """Read `to_json`'s form."""
        try:
            spending, agreement, ledger = data["spending"], data["agreement"], data["ledger"]
            return cls(
                title=data["title"],
                method=data["method"],
                data=data["data"],
                protocol=data["protocol"],
                accuracies=tuple(Accuracy(**accuracy) for accuracy in data["accuracies"]),
                privacy=PrivacyStatement.from_json(data["privacy"]),
                seed=data["seed"],
                spending=spending and Spending(tuple(spending["epsilon"]), spending["answered"], spending["cap"]),
                agreement=agreement and Agreement(tuple(agreement["edges"]), tuple(agreement["counts"])),
                pictures=tuple(Picture(**picture) for picture in data.get("pictures", ())),
                curves=tuple(
                    Curve(c["label"], c["step"], tuple((float(x), float(y)) for x, y in c["points"]))
                    for c in data.get("curves", ())
                ),
                sheets=tuple(
                    Sheet(s["title"], tuple(s["columns"]), tuple(tuple(row) for row in s["rows"]), s["left_out"])
                    for s in data.get("sheets", ())
                ),
                notes=tuple(data["notes"]),
                this_start=tuple(data["this_start"]),
                ledger=ledger and (int(ledger[0]), str(ledger[1])),
                config=data["config"],
                versions=data["versions"],
            )
        except BadInput:  # what a part says of its own values is clearer
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise BadInput("this is not a report", why=f"{type(error).__name__}: {error}") from None

    def write(self, folder: Path) -> Path:
        """Write `report.json` into a run's folder."""
        write_json(folder / JSON_FILE, self.to_json())
        return folder / JSON_FILE

    @classmethod
    def read(cls, folder: Path) -> Report:
        """Read `report.json` from a run's folder."""
        return cls.from_json(read_json(folder / JSON_FILE))


def epsilon_text(epsilon: float) -> str:
    """An epsilon as people read it: `2.53`, never below the real one, or the sign for infinity."""
    return "\u221e" if epsilon == float("inf") else epsilon_up(epsilon, decimals=3)


def statement_text(privacy: PrivacyStatement) -> str:
    """A statement's epsilon as people read it; `not established` where a claim does not follow."""
    return epsilon_text(privacy.epsilon) if privacy.established else "not established"


def delta_text(delta: float) -> str:
    """A delta as people read it: `1e-5`."""
    return f"{delta:g}".replace("e-0", "e-")


def percent(value: float, deviation: float | None = None) -> str:
    """An accuracy as people read it: `87.7 %`, with its standard deviation where there is one."""
    return f"{100 * value:.1f} %" + (f" \u00b1 {100 * deviation:.1f}" if deviation is not None else "")
