"""What a study found, as one immutable value: arms that differ in a setting or two, run with the same seeds.

A run that failed or was not made stays in sight: an arm's mean over the seeds that happened to work is not the arm's mean.

>>> Spread.of([1.0, 2.0, 3.0])
Spread(mean=2.0, deviation=1.0, count=3)
>>> Spread.of([1.0]).deviation is None
True
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from ..errors import BadInput
from ..privacy.statement import PrivacyStatement
from ..training.outcome import Outcome
from .report import delta_text, epsilon_text, percent, statement_text

SCORE = "student_accuracy"
NONE = "\u2013"


@dataclass(frozen=True)
class Spread:
    """Mean, sample standard deviation (n - 1; None for one value, or where one is infinite) and number of values."""

    mean: float
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """From at least one value."""
        if not values:
            raise BadInput("no values have no mean")
        deviation = statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else None
        return cls(statistics.fmean(values), deviation, len(values))

    def to_json(self) -> dict[str, Any]:
        """A JSON object; texts stand for what is not finite."""
        deviation = None if self.deviation is None else _number(self.deviation)
        return {"mean": _number(self.mean), "deviation": deviation, "count": self.count}


@dataclass(frozen=True)
class Trial:
    """One run of an arm: what it ended with, or why there is nothing to show. `found` is what it did not have to make itself."""

    seed: int
    state: Literal["done", "failed", "missing"]
    outcome: Outcome | None = None
    seconds: float | None = None
    trouble: str = ""
    found: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.state == "done") != (self.outcome is not None) or (self.state == "failed") != bool(self.trouble):
            raise BadInput("a run that is done has an outcome, one that failed has a reason, a missing one has neither")

    def metric(self, name: str) -> float | None:
        """A metric's value, where there is one."""
        metrics = self.outcome.metrics if self.outcome else {}
        return metrics[name].value if name in metrics else None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "seed": self.seed,
            "state": self.state,
            "trouble": self.trouble,
            "seconds": self.seconds,
            "found": list(self.found),
            "outcome": self.outcome and self.outcome.to_json(),
        }


@dataclass(frozen=True)
class ArmResult:
    """All runs of one arm, one for each seed of the study."""

    name: str
    label: str
    overrides: tuple[str, ...]
    trials: tuple[Trial, ...]

    @property
    def done(self) -> list[Outcome]:
        """The outcomes there are."""
        return [t.outcome for t in self.trials if t.outcome is not None]

    def values(self, metric: str) -> dict[int, float]:
        """The metric by seed, where there is one; `seconds` counts as a metric."""
        pairs = ((t.seed, t.seconds if metric == "seconds" else t.metric(metric)) for t in self.trials if t.outcome)
        return {seed: value for seed, value in pairs if value is not None}

    def spread(self, metric: str) -> Spread | None:
        """Mean and deviation over the seeds that have it."""
        values = list(self.values(metric).values())
        return Spread.of(values) if values else None

    @property
    def metrics(self) -> list[str]:
        """All names of metrics, in the order of the first outcome that has them."""
        return list(dict.fromkeys(name for outcome in self.done for name in outcome.metrics))


@dataclass(frozen=True)
class Comparison:
    """A study: its arms, the arm that others are held against (if any), and remarks that belong to every table.

    `common` are the overrides that all arms share, `ledger` says what the whole study spent. `metrics` are the columns: the first is
    the score, by which arms are compared.
    """

    title: str
    seeds: tuple[int, ...]
    arms: tuple[ArmResult, ...]
    reference: str | None = None
    common: tuple[str, ...] = ()
    ledger: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    metrics: tuple[str, ...] = (SCORE,)

    def __post_init__(self) -> None:
        if not self.metrics:
            raise BadInput("a comparison needs a metric")
        if any([t.seed for t in arm.trials] != list(self.seeds) for arm in self.arms):
            raise BadInput("every arm has one run a seed")
        if self.reference is not None and self.reference not in {arm.name for arm in self.arms}:
            raise BadInput(f"the reference {self.reference!r} is no arm")

    @property
    def score(self) -> str:
        """The metric by which arms are compared."""
        return self.metrics[0]

    @property
    def columns(self) -> list[str]:
        """The table's heads."""
        names = [self.title_of(name) for name in self.metrics]
        return ["Arm", "Runs", names[0], "Difference", *names[1:], "Epsilon", "Coverage", "Answered", "Seconds"]

    def title_of(self, metric: str) -> str:
        """A metric's name for people."""
        return "Accuracy" if metric == SCORE else metric.replace("_", " ").capitalize()

    @cached_property
    def fractions(self) -> frozenset[str]:
        """The metrics that are shown in percent."""
        units = {n: m.unit for arm in self.arms for outcome in arm.done for n, m in outcome.metrics.items()}
        return frozenset(name for name in self.metrics if units.get(name, "fraction") == "fraction")

    def shown(self, metric: str, value: float, deviation: float | None = None) -> str:
        """A value of a metric as people read it."""
        if metric in self.fractions:
            return percent(value, deviation)
        return f"{value:.4g}" + (f" \u00b1 {deviation:.2g}" if deviation is not None else "")

    @cached_property
    def differences(self) -> dict[str, Spread]:
        """The score minus the reference's, seed by seed, for arms that share a seed with it."""
        base = next((arm.values(self.score) for arm in self.arms if arm.name == self.reference), {})
        found = {}
        for arm in self.arms:
            pairs = [value - base[seed] for seed, value in arm.values(self.score).items() if seed in base]
            if pairs and arm.name != self.reference:
                found[arm.name] = Spread.of(pairs)
        return found

    @property
    def troubles(self) -> list[str]:
        """A sentence for each run that failed, and one an arm for those that were not made."""
        lines = []
        for arm in self.arms:
            lines += [f"{arm.label}, seed {t.seed}: {t.trouble}" for t in arm.trials if t.state == "failed"]
            if missing := [str(t.seed) for t in arm.trials if t.state == "missing"]:
                lines.append(f"{arm.label}: not run yet with seed {', '.join(missing)}")
        return lines

    @property
    def notes(self) -> list[str]:
        """What has to be read with the table."""
        whose = "Accuracy is the student's" if self.score == SCORE else f"{self.title_of(self.score)} is the score"
        lines = [f"{whose}: mean \u00b1 sample standard deviation (n \u2212 1) over seeds. Privacy noise has no seed."]
        if self.differences:
            reference = next(arm.label for arm in self.arms if arm.name == self.reference)
            unit = f"percentage points of {self.title_of(self.score).lower()}"
            unit = unit if self.score in self.fractions else self.title_of(self.score).lower()
            lines.append(f"Differences are paired: against \u201c{reference}\u201d seed by seed, in {unit}.")
        lines.append(
            "An epsilon, at its delta, is that of one run of the arm, as if it had run alone (smallest\u2013largest over seeds)."
        )
        for relation, labels in self.neighbours.items():
            about = "" if len(self.neighbours) == 1 else f" of {', '.join(labels)}"
            lines.append(f"Neighbours{about}: {relation}.")
        lines += self.ledger
        lines.append(
            "Seconds are a run's own: teachers and other parts that an earlier arm of its seed left are found, not counted again."
        )
        return [*lines, *self.uncovered, *self.remarks]

    @property
    def neighbours(self) -> dict[str, list[str]]:
        """The labels of the arms by the neighbouring relation that their epsilon is about."""
        found: dict[str, list[str]] = {}
        for arm in self.arms:
            for relation in dict.fromkeys(o.privacy.neighbouring for o in arm.done):
                found.setdefault(relation, []).append(arm.label)
        return found

    @property
    def uncovered(self) -> list[str]:
        """Why an arm has no finite epsilon."""
        return [
            f"{arm.label} is uncovered: {reason}."
            for arm in self.arms
            for reason in dict.fromkeys(
                r for o in arm.done if o.privacy.coverage == "uncovered" for r in o.privacy.reasons
            )
        ]

    def rows(self) -> list[list[str]]:
        """The table's texts, one row an arm, as `columns` names them."""
        return [[arm.label, *self._cells(arm)] for arm in self.arms]

    def _cells(self, arm: ArmResult) -> list[str]:
        done, all_ = len(arm.done), len(arm.trials)
        spreads, seconds = [arm.spread(name) for name in self.metrics], arm.spread("seconds")
        texts = [
            self.shown(name, spread.mean, spread.deviation) if spread else NONE
            for name, spread in zip(self.metrics, spreads, strict=True)
        ]
        return [
            str(done) if done == all_ else f"{done}/{all_}",
            texts[0],
            self._difference(arm, spreads[0]),
            *texts[1:],
            epsilon_range(arm.done),
            " and ".join(dict.fromkeys(o.privacy.coverage for o in arm.done)) or NONE,
            _answered(arm),
            f"{seconds.mean:,.1f}" if seconds else NONE,
        ]

    def _difference(self, arm: ArmResult, score: Spread | None) -> str:
        if arm.name == self.reference:
            return "reference"
        found = self.differences.get(arm.name)
        if found is None:
            return NONE
        if self.score in self.fractions:
            text = f"{100 * found.mean:+.1f}"
            text += f" \u00b1 {100 * found.deviation:.1f}" if found.deviation is not None else ""
        else:
            text = f"{found.mean:+.3g}" + (f" \u00b1 {found.deviation:.2g}" if found.deviation is not None else "")
        text = text.replace("-", "\u2212")
        return text if score and found.count == score.count else f"{text} (n = {found.count})"

    def to_json(self) -> dict[str, Any]:
        """Every figure, unrounded, and every run."""
        return {
            "title": self.title,
            "seeds": list(self.seeds),
            "common": list(self.common),
            "reference": self.reference,
            "metrics": list(self.metrics),
            "arms": [
                {
                    "name": arm.name,
                    "label": arm.label,
                    "overrides": list(arm.overrides),
                    "done": len(arm.done),
                    "metrics": {m: s.to_json() for m in [*arm.metrics, "seconds"] if (s := arm.spread(m))},
                    "difference": d.to_json() if (d := self.differences.get(arm.name)) else None,
                    "runs": [trial.to_json() for trial in arm.trials],
                }
                for arm in self.arms
            ],
            "troubles": self.troubles,
            "ledger": list(self.ledger),
            "notes": self.notes,
        }

    def table(self) -> list[list[str]]:
        """One row a run, unrounded, for a CSV file: arm, seed, state, epsilon, delta, coverage, seconds, every metric."""
        names = list(dict.fromkeys(name for arm in self.arms for name in arm.metrics if name != "epsilon"))
        rows = [["arm", "label", "seed", "state", "epsilon", "delta", "coverage", "seconds", *names]]
        for arm in self.arms:
            for trial in arm.trials:
                privacy = trial.outcome.privacy if trial.outcome else None
                told = [str(privacy.epsilon), str(privacy.delta), privacy.coverage] if privacy else ["", "", ""]
                seconds = "" if trial.seconds is None else str(trial.seconds)
                values = ["" if (v := trial.metric(name)) is None else str(v) for name in names]
                rows.append([arm.name, arm.label, str(trial.seed), trial.state, *told, seconds, *values])
        return rows

    def markdown(self) -> str:
        """A GitHub table with its notes."""
        head, rule = _line(self.columns), _line(["---"] * len(self.columns))
        lines = [f"## {_escaped(self.title)}", "", head, rule, *(_line(row) for row in self.rows()), ""]
        if self.troubles:
            lines += ["Without a result:", "", *(f"- {_escaped(t)}" for t in self.troubles), ""]
        return "\n".join([*lines, *(f"- {_escaped(note)}" for note in self.notes)]) + "\n"


def epsilon_range(outcomes: Sequence[Outcome]) -> str:
    """Smallest and largest epsilon with their delta: `5.9–6.1 at 1e-5`; infinity has no delta."""
    found: dict[str, list[PrivacyStatement]] = {}
    for privacy in (o.privacy for o in outcomes):
        key = statement_text(privacy) if math.isinf(privacy.epsilon) else delta_text(privacy.delta)
        found.setdefault(key, []).append(privacy)
    parts = [
        key if math.isinf(same[0].epsilon) else f"{_range((one.epsilon for one in same), epsilon_text)} at {key}"
        for key, same in found.items()
    ]
    return " and ".join(parts) or NONE


def _answered(arm: ArmResult) -> str:
    """How many queries were answered, of how many asked."""
    answered, asked = (_range(arm.values(name).values(), "{:,.0f}".format) for name in ("answered", "asked"))
    return answered if asked == NONE else f"{answered} of {asked}"


def _range(values: Iterable[float], show: Any) -> str:
    values = list(values)
    if not values:
        return NONE
    low, high = show(min(values)), show(max(values))
    return low if low == high else f"{low}{NONE}{high}"


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escaped(cell) for cell in cells) + " |"


def _escaped(text: str) -> str:
    """Markdown that shows the text as it is, on one line."""
    for sign in "\\|*_<`[":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
