"""The report of a run of knowledge transfer, from its outcome, its bought labels and (in a simulation) its diagnostics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..platform.privacy.accounting import plan_epsilon
from ..platform.privacy.events import Event, event_from_json
from ..platform.privacy.mechanisms import Mechanism
from ..platform.privacy.statement import COVERED
from ..platform.report.report import Accuracy, Agreement, Picture, Report, Spending
from ..platform.training.outcome import Outcome
from .config.compose import Resolved
from .diagnostics import Diagnostics
from .record import versions

CURVE_POINTS = 200
TITLES = {"pate": "PATE", "dgd": "DGD", "dpsgd": "DP-SGD"}


def report_of(
    resolved: Resolved,
    outcome: Outcome,
    labels: Mapping[str, Any],
    figures: Diagnostics | None,
    *,
    protocol: str,
    position: tuple[int, str] | None,
    this_start: tuple[str, ...],
    cap: float | None,
) -> Report:
    """Put together what there is to tell."""
    notes = list(outcome.notes)
    accuracies = [Accuracy("student", outcome.metrics["student_accuracy"].value, "released")]
    if "baseline_accuracy" in outcome.metrics:
        covered = outcome.privacy.coverage == COVERED
        baseline = outcome.metrics["baseline_accuracy"].value
        accuracies.append(Accuracy("baseline classifier", baseline, "released" if covered else "non_private"))
    agreement = None
    if figures is not None:
        accuracies = [
            Accuracy("mean teacher", figures.mean_teacher, "diagnostic"),
            Accuracy("noiseless ensemble", figures.ensemble, "diagnostic"),
            *accuracies,
            Accuracy("non-private reference", figures.nonprivate, "non_private"),
        ]
        agreement = Agreement.of(figures.histograms)
        if figures.data_dependent is not None:
            notes.append(
                f"data-dependent epsilon of the same queries: {figures.data_dependent:.3f} (simulation only: it is a function of "
                "the private votes, and may not be published without smooth sensitivity)"
            )
    config = resolved.config
    return Report(
        title=f"{TITLES.get(outcome.method, outcome.method)} on {config.data.name}",
        method=outcome.method,
        data=config.data.name,
        protocol=protocol,
        accuracies=tuple(accuracies),
        privacy=outcome.privacy,
        seed=config.seed,
        spending=spending(
            resolved.mechanism,
            labels["statuses"],
            config.privacy.target_delta,
            cap,
            before=beside_labels(outcome, resolved),
        )
        if labels["statuses"]
        else None,
        pictures=pictures(resolved.folder, outcome),
        agreement=agreement,
        notes=tuple(notes),
        this_start=this_start,
        ledger=position,
        config=resolved.plain,
        versions=versions(),
    )


def pictures(folder: Path, outcome: Outcome) -> tuple[Picture, ...]:
    """The outcome's pictures, with what they show."""
    return tuple(
        Picture(path, f"Images that the generator made ({name}): one row a class, as its discriminator sees them")
        for name, path in sorted(outcome.artefacts.items())
        if path.endswith(".png") and (folder / path).exists()
    )


def beside_labels(outcome: Outcome, resolved: Resolved) -> list[Event]:
    """The events of an outcome that are not the price of its labels."""
    check, answer = resolved.mechanism.check_event(), resolved.mechanism.answer_event()
    units = [event.times(1).to_json() | {"count": 1} for event in (check, answer) if event is not None]
    released = [dict(release.event_json) for release in outcome.privacy.releases]
    return [event_from_json(event) for event in released if event | {"count": 1} not in units]


def spending(
    mechanism: Mechanism, statuses: list[str], delta: float, cap: float | None, *, before: Sequence[Event] = ()
) -> Spending:
    """Return the epsilon after each query asked, from the statuses alone (they are released), and what came `before` them."""
    answered = np.cumsum([status == "answered" for status in statuses])
    check, answer = mechanism.check_event(), mechanism.answer_event()

    def epsilon(asked: int) -> float:
        bought = int(answered[asked - 1])
        events = [*before, *([check.times(asked)] if check else []), *([answer.times(bought)] if bought else [])]
        return plan_epsilon(events, delta)

    # The curve is smooth: a few hundred exact points, straight lines between them.
    grid = np.unique(np.linspace(1, len(statuses), min(CURVE_POINTS, len(statuses))).astype(int))
    curve = np.interp(np.arange(1, len(statuses) + 1), grid, [epsilon(int(asked)) for asked in grid])
    return Spending(tuple(np.maximum.accumulate(curve).tolist()), int(answered[-1]), cap)
