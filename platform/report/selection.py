"""What a private search released: one trial, or nothing, and what the whole search cost beside looking at every trial.

How many trials there were is a secret that the price depends on, so nothing here knows it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import BadInput
from ..training.outcome import Outcome
from .comparison import _escaped, _line, _number
from .report import delta_text, epsilon_text, percent
from .sweep import setting_text

COLUMNS = ("What is looked at", "Epsilon")


@dataclass(frozen=True)
class SelectionResult:
    """One private search.

    `candidates` is the length of the list that trials were drawn from, `law` and `mean` say how their number was drawn, `settings` are
    those of the released trial. Epsilons are at `delta`, for `neighbouring`: `run_epsilon` of the costliest single trial, `epsilon` of
    the search, `plain_epsilon` of `mean` trials that are all looked at.
    """

    title: str
    metric: str
    mode: Literal["max", "min"]
    law: str
    mean: float
    candidates: int
    run_epsilon: float
    epsilon: float
    plain_epsilon: float
    delta: float
    neighbouring: str
    settings: tuple[tuple[str, Any], ...] = ()
    outcome: Outcome | None = None
    trouble: str = ""
    common: tuple[str, ...] = ()
    ledger: str = ""

    def __post_init__(self) -> None:
        if (self.outcome is None) == bool(self.settings):
            raise BadInput("a released trial has settings and an outcome; where nothing was released there are neither")

    @property
    def score(self) -> str:
        """The released score for people."""
        if self.outcome is None:
            return ""
        metric = self.outcome.metrics[self.metric]
        return percent(metric.value) if metric.unit == "fraction" else f"{metric.value:.4g}"

    @property
    def released(self) -> str:
        """What came out, in a sentence."""
        name = self.metric.replace("_", " ")
        if self.outcome is None:
            return f"Nothing was selected: {self.trouble}."
        chosen = ", ".join(f"{key}={setting_text(value)}" for key, value in self.settings)
        return f"Released: {chosen}, {name} {self.score}."

    def rows(self) -> list[list[str]]:
        """The three prices, as `COLUMNS` names them."""
        plain = math.ceil(self.mean)
        return [
            ["one trial of the costliest setting", epsilon_text(self.run_epsilon)],
            ["this search: the best of a secret number of trials", epsilon_text(self.epsilon)],
            [f"{plain} trials, all of them (plain composition)", epsilon_text(self.plain_epsilon)],
        ]

    @property
    def notes(self) -> list[str]:
        """What has to be read with the prices."""
        drawn = (
            f"Trials draw their settings from {self.candidates} candidates, with replacement, and fresh seeds; their number is drawn: "
            f"{self.law}. Only the best by {self.metric} ({self.mode}) was kept; number, scores and the others' results are gone."
        )
        theorem = 6 if self.law.startswith("Poisson") else 2
        proof = (
            f"The price is Theorem {theorem} of Papernot & Steinke, Hyperparameter tuning with R\u00e9nyi differential privacy "
            "(2022), for trials that each spend no more than their own budget. It was charged before the number was drawn."
        )
        lines = [
            drawn,
            f"Epsilons are at delta {delta_text(self.delta)}; neighbours: {self.neighbouring}.",
            proof,
            f"The {self.metric} of each trial is taken to be computed from public data, or from what the trial's own budget paid for.",
            "Whoever can watch the clock or the cluster learns something of the number of trials, which the price does not cover.",
        ]
        return [*lines, self.ledger] if self.ledger else lines

    def to_json(self) -> dict[str, Any]:
        """Every figure, unrounded."""
        return {
            "title": self.title,
            "metric": self.metric,
            "mode": self.mode,
            "law": self.law,
            "candidates": self.candidates,
            "mean": self.mean,
            "epsilon": {
                "run": _number(self.run_epsilon), "search": _number(self.epsilon), "plain": _number(self.plain_epsilon),
            },
            "delta": self.delta,
            "neighbouring": self.neighbouring,
            "common": list(self.common),
            "selected": dict(self.settings) if self.outcome else None,
            "outcome": self.outcome and self.outcome.to_json(),
            "trouble": self.trouble,
            "notes": self.notes,
        }  # fmt: skip

    def markdown(self) -> str:
        """A GitHub table with its notes."""
        head, rule = _line(COLUMNS), _line(["---"] * len(COLUMNS))
        lines = [
            f"## {_escaped(self.title)}",
            "",
            _escaped(self.released),
            "",
            head,
            rule,
            *map(_line, self.rows()),
            "",
        ]
        return "\n".join([*lines, *(f"- {_escaped(note)}" for note in self.notes)]) + "\n"
