"""What a run ends with: metrics with units, artefacts, what it cost in privacy, and what it was compared with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from ..errors import BadInput
from ..privacy.statement import PrivacyStatement
from .files import read_json, write_json
from .run import Run
from .seeds import restarted, seeded

Data = TypeVar("Data", contravariant=True)
FILE = "outcome.json"


@dataclass(frozen=True)
class Metric:
    """A number with its unit ("fraction", "seconds", "images"), and which direction is better, if either."""

    value: float
    unit: str
    better: Literal["higher", "lower"] | None = None

    def to_json(self) -> dict[str, Any]:
        """A form without NaN or infinity (they become texts)."""
        value = self.value if math.isfinite(self.value) else str(float(self.value))
        return {"value": value, "unit": self.unit, "better": self.better}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Metric:
        """Read `to_json`'s form."""
        return cls(float(data["value"]), str(data["unit"]), data["better"])


@dataclass(frozen=True)
class Outcome:
    """The result of `method.fit(data, run)`. Artefacts are paths inside the run's folder."""

    method: str
    metrics: Mapping[str, Metric]
    privacy: PrivacyStatement
    artefacts: Mapping[str, str] = field(default_factory=dict)
    baselines: Mapping[str, Mapping[str, Metric]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON form that `from_json` reads back as an equal outcome."""
        return {
            "method": self.method,
            "metrics": {name: metric.to_json() for name, metric in self.metrics.items()},
            "artefacts": dict(self.artefacts),
            "privacy": self.privacy.to_json(),
            "baselines": {
                name: {key: metric.to_json() for key, metric in metrics.items()}
                for name, metrics in self.baselines.items()
            },
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outcome:
        """Read `to_json`'s form."""
        try:
            return cls(
                method=data["method"],
                metrics={name: Metric.from_json(metric) for name, metric in data["metrics"].items()},
                privacy=PrivacyStatement.from_json(data["privacy"]),
                artefacts=dict(data["artefacts"]),
                baselines={
                    name: {key: Metric.from_json(metric) for key, metric in metrics.items()}
                    for name, metrics in data["baselines"].items()
                },
                notes=tuple(data["notes"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise BadInput("this is not an outcome", why=f"{type(error).__name__}: {error}") from None

    def write(self, folder: Path) -> Path:
        """Write `outcome.json` into a run's folder."""
        write_json(folder / FILE, self.to_json())
        return folder / FILE

    @classmethod
    def read(cls, folder: Path) -> Outcome:
        """Read `outcome.json` from a run's folder."""
        return cls.from_json(read_json(folder / FILE))


class Method(Protocol[Data]):
    """A frozen dataclass whose fields are its hyperparameters (public); the data come in the call."""

    def fit(self, data: Data, run: Run) -> Outcome:
        """Do the work."""


def execute(method: Method[Data], data: Data, run: Run) -> Outcome:
    """Run a method from the run's seed, and write its outcome into the run's folder.

    A method that makes its first weights outside a stage or a training still gets the same ones each time.
    """
    if run.world.first:
        (run.folder / FILE).unlink(missing_ok=True)  # An older outcome must not pass for this one's if this one fails.
    with seeded(run.seed_for("method")), restarted(run.generator, run.seed_for("method")):
        outcome = method.fit(data, run)
    if run.world.first:
        outcome.write(run.folder)
    return outcome
