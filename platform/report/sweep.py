"""What a sweep found, as one immutable value: points of a space of settings, each tried with one seed or more.

A trial that failed, found no budget, or was stopped stays in sight. The best point is one all of whose trials are done.

>>> front([(1.0, 0.7), (3.0, 0.9), (3.5, 0.8), (10.0, 0.9)], "max")
[0, 1]
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from ..errors import BadInput
from ..training.outcome import Outcome
from .comparison import NONE, Spread, _escaped, _line, _number, epsilon_range
from .report import percent

Mode = Literal["max", "min"]
State = Literal["done", "stopped", "refused", "failed", "missing"]
WITHOUT = {
    "stopped": "stopped by the scheduler",
    "refused": "refused: the budget had no room",
    "failed": "failed",
    "missing": "not run yet",
}


@dataclass(frozen=True)
class Attempt:
    """One trial of a point: what it ended with, or why there is nothing to show. `found` is what it did not have to make itself."""

    seed: int
    state: State
    outcome: Outcome | None = None
    seconds: float | None = None
    trouble: str = ""
    found: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.state == "done") != (self.outcome is not None) or (self.state in ("done", "missing")) == bool(
            self.trouble
        ):
            raise BadInput(
                "a trial that is done has an outcome, one that is missing has nothing, any other has a reason"
            )

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
class PointResult:
    """All trials at one point: its settings as (key, value) pairs, one trial for each seed of the sweep."""

    settings: tuple[tuple[str, Any], ...]
    attempts: tuple[Attempt, ...]

    @property
    def done(self) -> list[Outcome]:
        """The outcomes there are."""
        return [a.outcome for a in self.attempts if a.outcome is not None]

    @property
    def whole(self) -> bool:
        """Whether all trials are done."""
        return all(a.state == "done" for a in self.attempts)

    def spread(self, metric: str) -> Spread | None:
        """Mean and deviation over the trials that have it; `seconds` counts as a metric."""
        found = [a.seconds if metric == "seconds" else a.metric(metric) for a in self.attempts if a.outcome]
        values = [value for value in found if value is not None]
        return Spread.of(values) if values else None

    @property
    def epsilon(self) -> float | None:
        """The largest epsilon of its trials."""
        return max((outcome.privacy.epsilon for outcome in self.done), default=None)

    def __str__(self) -> str:
        return ", ".join(f"{key}={setting_text(value)}" for key, value in self.settings)


@dataclass(frozen=True)
class SweepResult:
    """A sweep: its points, the metric it is about, and remarks that belong to every table.

    `common` are the overrides of all trials, `search` says how points were chosen, `ledger` what all trials spent, `limit` is the
    epsilon that they may not pass together.
    """

    title: str
    metric: str
    mode: Mode
    seeds: tuple[int, ...]
    keys: tuple[str, ...]
    points: tuple[PointResult, ...]
    common: tuple[str, ...] = ()
    search: str = "grid"
    ledger: tuple[str, ...] = ()
    limit: float | None = None
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.mode not in ("max", "min"):
            raise BadInput(f"mode is {self.mode!r}", mend="use max or min")
        for point in self.points:
            if tuple(key for key, _ in point.settings) != self.keys or [a.seed for a in point.attempts] != list(
                self.seeds
            ):
                raise BadInput("every point has a value for each key and one trial a seed")

    @property
    def columns(self) -> list[str]:
        """The table's heads."""
        return [*self.keys, "Trials", self.score_title, "Epsilon", "Coverage", "Seconds"]

    @property
    def score_title(self) -> str:
        """The metric's name for people."""
        return self.metric.replace("_", " ").capitalize()

    @cached_property
    def percents(self) -> bool:
        """Whether the metric is a fraction, shown in percent."""
        units = [o.metrics[self.metric].unit for p in self.points for o in p.done if self.metric in o.metrics]
        return bool(units) and set(units) == {"fraction"}

    def shown(self, value: float, deviation: float | None = None) -> str:
        """A value of the metric as people read it."""
        if self.percents:
            return percent(value, deviation)
        return f"{value:.4g}" + (f" \u00b1 {deviation:.2g}" if deviation is not None else "")

    @cached_property
    def ranked(self) -> list[PointResult]:
        """Points best first, whole ones before those that lack a trial; without a score they come last, as they were made."""

        def rank(point: PointResult) -> tuple[bool, bool, float]:
            spread = point.spread(self.metric)
            if spread is None or math.isnan(spread.mean):
                return True, True, 0.0
            return False, not point.whole, -spread.mean if self.mode == "max" else spread.mean

        return sorted(self.points, key=rank)

    @property
    def best(self) -> PointResult | None:
        """The best point all of whose trials are done."""
        first = self.ranked[0] if self.points else None
        spread = first.spread(self.metric) if first is not None and first.whole else None
        return first if spread is not None and not math.isnan(spread.mean) else None

    @cached_property
    def front(self) -> list[PointResult]:
        """Points with a finite epsilon that no other beats in both epsilon and score, by epsilon."""
        priced = self.priced
        places = front([(epsilon, score) for _, epsilon, score in priced], self.mode)
        return [priced[place][0] for place in places]

    @property
    def priced(self) -> list[tuple[PointResult, float, float]]:
        """Whole points with a finite epsilon above 0 and a score: point, epsilon, mean score."""
        found = []
        for point in self.points:
            epsilon, spread = point.epsilon, point.spread(self.metric)
            if point.whole and epsilon and math.isfinite(epsilon) and spread and math.isfinite(spread.mean):
                found.append((point, epsilon, spread.mean))
        return found

    def count(self, state: State) -> int:
        """How many trials ended like this."""
        return sum(a.state == state for p in self.points for a in p.attempts)

    @property
    def troubles(self) -> list[str]:
        """A sentence for each trial without a result, and one for trials whose outcome lacks the metric."""
        lines, lacking = [], []
        for point in self.points:
            lines += [f"{point}, seed {a.seed}: {a.trouble}" for a in point.attempts if a.trouble]
            lacking += [a for a in point.attempts if a.outcome and a.metric(self.metric) is None]
        if lacking:
            named = ", ".join(sorted({name for a in lacking if a.outcome for name in a.outcome.metrics}))
            lines.append(f"{len(lacking)} outcomes have no metric '{self.metric}'; they have: {named}")
        said = {o.metrics[self.metric].better for p in self.points for o in p.done if self.metric in o.metrics}
        against = {"max": "lower", "min": "higher"}[self.mode]
        if against in said:
            lines.append(f"{self.metric} is better when {against}, and the sweep ranks by mode: {self.mode}")
        if missing := self.count("missing"):
            lines.append(f"{missing} trials are not run yet")
        return lines

    @property
    def notes(self) -> list[str]:
        """What has to be read with the table."""
        ends = ", ".join(f"{n} {state}" for state in ("done", *WITHOUT) if (n := self.count(state)))  # type: ignore[arg-type]
        lines = [f"Points were chosen by: {self.search}. Trials: {ends or 'none'}."]
        if len(self.seeds) > 1:
            lines.append(
                "Scores are mean \u00b1 sample standard deviation (n \u2212 1) over seeds. Privacy noise has no seed."
            )
        if self.best is not None and len(self.points) > 1:
            lines.append(
                f"The best of {len(self.points)} points owes some of its score to luck: judge it by a run with another seed, "
                "or on data that the sweep did not see."
            )
        relations = list(dict.fromkeys(o.privacy.neighbouring for p in self.points for o in p.done))
        if any(o.privacy.epsilon for p in self.points for o in p.done):
            lines.append(
                f"An epsilon, at its delta, is that of one trial, as if it had run alone (neighbours: {'; '.join(relations)})."
            )
        if self.limit is not None:
            lines.append(f"All trials together may not pass epsilon {self.limit:g}; one that finds no room is refused.")
        reasons = dict.fromkeys(
            r for p in self.points for o in p.done if o.privacy.coverage == "uncovered" for r in o.privacy.reasons
        )
        return [*self.remarks, *lines, *self.ledger, *(f"Uncovered: {reason}." for reason in reasons)]

    def rows(self) -> list[list[str]]:
        """The table's texts, best first, as `columns` names them."""
        return [[*(setting_text(value) for _, value in point.settings), *self._cells(point)] for point in self.ranked]

    def _cells(self, point: PointResult) -> list[str]:
        spread, seconds = point.spread(self.metric), point.spread("seconds")
        states = [a.state for a in point.attempts]
        told = [f"{states.count(s)} {s}" if len(states) > 1 else s for s in dict.fromkeys(states)]
        return [
            ", ".join(told),
            self.shown(spread.mean, spread.deviation) if spread else NONE,
            epsilon_range(point.done),
            " and ".join(dict.fromkeys(o.privacy.coverage for o in point.done)) or NONE,
            f"{seconds.mean:,.1f}" if seconds else NONE,
        ]

    def to_json(self) -> dict[str, Any]:
        """Every figure, unrounded, and every trial."""
        best = self.best
        return {
            "title": self.title,
            "metric": self.metric,
            "mode": self.mode,
            "search": self.search,
            "seeds": list(self.seeds),
            "common": list(self.common),
            "best": dict(best.settings) if best else None,
            "front": [dict(point.settings) for point in self.front],
            "trials": {state: self.count(state) for state in ("done", *WITHOUT)},  # type: ignore[arg-type]
            "points": [
                {
                    "settings": dict(point.settings),
                    "score": s.to_json() if (s := point.spread(self.metric)) else None,
                    "epsilon": None if (e := point.epsilon) is None else _number(e),
                    "trials": [attempt.to_json() for attempt in point.attempts],
                }
                for point in self.points
            ],
            "troubles": self.troubles,
            "notes": self.notes,
        }

    def table(self) -> list[list[str]]:
        """One row a trial, unrounded, for a CSV file: the keys, seed, state, epsilon, delta, coverage, seconds, every metric."""
        names = list(dict.fromkeys(n for p in self.points for o in p.done for n in o.metrics if n != "epsilon"))
        rows = [[*self.keys, "seed", "state", "epsilon", "delta", "coverage", "seconds", *names]]
        for point in self.points:
            for attempt in point.attempts:
                privacy = attempt.outcome.privacy if attempt.outcome else None
                told = [str(privacy.epsilon), str(privacy.delta), privacy.coverage] if privacy else ["", "", ""]
                seconds = "" if attempt.seconds is None else str(attempt.seconds)
                values = ["" if (v := attempt.metric(name)) is None else str(v) for name in names]
                settings = [setting_text(value, digits=17) for _, value in point.settings]
                rows.append([*settings, str(attempt.seed), attempt.state, *told, seconds, *values])
        return rows

    def markdown(self) -> str:
        """A GitHub table with its notes."""
        head, rule = _line(self.columns), _line(["---"] * len(self.columns))
        lines = [f"## {_escaped(self.title)}", "", head, rule, *(_line(row) for row in self.rows()), ""]
        if self.troubles:
            lines += ["Without a result:", "", *(f"- {_escaped(t)}" for t in self.troubles), ""]
        return "\n".join([*lines, *(f"- {_escaped(note)}" for note in self.notes)]) + "\n"


def setting_text(value: Any, *, digits: int = 6) -> str:
    """A setting for people; texts as they are."""
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    return value if isinstance(value, str) else json.dumps(value)


def front(points: Sequence[tuple[float, float]], mode: Mode) -> list[int]:
    """Places of the (cost, score) pairs that no other pair beats: in order of cost, each with a better score than the one before."""
    sign = -1.0 if mode == "max" else 1.0
    places, best = [], math.inf
    for place in sorted(range(len(points)), key=lambda i: (points[i][0], sign * points[i][1])):
        if sign * points[place][1] < best:
            best = sign * points[place][1]
            places.append(place)
    return places
