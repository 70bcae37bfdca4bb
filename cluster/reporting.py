"""The report of a run, from its outcome and what its ground tells."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..platform.privacy.accounting import plan_epsilon
from ..platform.privacy.events import Event, event_from_json
from ..platform.privacy.mechanisms import Mechanism
from ..platform.privacy.statement import COVERED
from ..platform.report.report import Accuracy, Agreement, Curve, Picture, Report, Sheet, Spending
from ..platform.training.metrics import read_metrics
from ..platform.training.outcome import Metric, Outcome
from .config.compose import Resolved
from .diagnostics import Diagnostics
from .record import versions

CURVE_POINTS = 200
SHOWN_ROWS = 12  # of a CSV file
CAPTION = "Images that the generator made ({name}): one row a class, as its discriminator sees them"
MADE = "Images of the set ({name}): one row a class, or one column where they are few"
WHOSE = {"label_accuracy": "corrected training labels"}
MORE_FIGURES = ("fid_proxy", "nearest_neighbour_ratio")
TITLES = {
    "pate": "PATE", "dgd": "DGD", "dpsgd": "DP-SGD", "dp_fedavg": "DP-FedAvg", "m3d": "M3D", "dance": "DANCE", "dm": "DM", "ccc": "CCC",
    "crowd_layer": "CrowdLayer", "conal": "CoNAL", "crrcd": "CRRCD", "aird": "AIRD", "g2d": "G2D", "naco": "NACO", "kd": "KD",
    "rkd": "RKD", "crd": "CRD", "fitnet": "FitNet", "pkt": "PKT",
}  # fmt: skip


@dataclass(frozen=True)
class Told:
    """What a ground knows of a run's end, beside the outcome itself."""

    accuracies: tuple[Accuracy, ...]
    spending: Spending | None = None
    agreement: Agreement | None = None
    pictures: tuple[Picture, ...] = ()
    curves: tuple[Curve, ...] = ()
    sheets: tuple[Sheet, ...] = ()
    notes: tuple[str, ...] = ()


def report_of(
    resolved: Resolved,
    outcome: Outcome,
    told: Told,
    *,
    protocol: str,
    position: tuple[int, str] | None,
    this_start: tuple[str, ...],
    cap: float | None,
) -> Report:
    """Put together what there is to tell."""
    config = resolved.config
    return Report(
        title=f"{TITLES.get(outcome.method, outcome.method)} on {config.data.name}",
        method=outcome.method,
        data=config.data.name,
        protocol=protocol,
        accuracies=told.accuracies,
        privacy=outcome.privacy,
        seed=config.seed,
        spending=told.spending and replace(told.spending, cap=cap),
        pictures=told.pictures,
        curves=told.curves,
        sheets=told.sheets,
        agreement=told.agreement,
        notes=(*outcome.notes, *told.notes),
        this_start=this_start,
        ledger=position,
        config=resolved.plain,
        versions=versions(),
    )


def tell_transfer(resolved: Resolved, outcome: Outcome, labels: Mapping[str, Any], figures: Diagnostics | None) -> Told:
    """A run of knowledge transfer: from its bought labels and (in a simulation) its diagnostics."""
    notes: list[str] = []
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
    spent = None
    if labels["statuses"]:
        delta = resolved.config.privacy.target_delta
        spent = spending(resolved.mechanism, labels["statuses"], delta, before=beside_labels(outcome, resolved))
    shown = pictures(resolved.folder, outcome, CAPTION)
    sheets = figures_sheet(more_figures(outcome))
    return Told(tuple(accuracies), spent, agreement, shown, sheets=sheets, notes=tuple(notes))


def tell_labelled(resolved: Resolved, outcome: Outcome) -> Told:
    """A run on labelled images: what networks learn from what it made, and how it got there."""
    metrics = outcome.metrics
    deviation = metrics.get("student_deviation")
    score = metrics["student_accuracy"].value
    accuracies = [Accuracy("student", score, "released", deviation.value if deviation else None)]
    for name, metric in metrics.items():
        if name.startswith("student_accuracy_"):
            network = name.removeprefix("student_accuracy_")
            spread = metrics.get(f"student_deviation_{network}")
            accuracies.append(
                Accuracy(f"student ({network})", metric.value, "released", spread.value if spread else None)
            )
    accuracies += [
        Accuracy(name, baseline["accuracy"].value, "non_private") for name, baseline in outcome.baselines.items()
    ]
    areas = {n.removeprefix("membership_auc_"): m.value for n, m in metrics.items() if n.startswith("membership_auc_")}
    notes = []
    if areas:
        figures = "; ".join(f"{AUDITS[name]} {value:.3f}" for name, value in areas.items())
        notes.append(
            f"membership audit, area under the curve of a guess who was in the data: {figures} (one half is chance)"
        )
    shown = pictures(resolved.folder, outcome, MADE)
    sheets = figures_sheet(more_figures(outcome))
    return Told(tuple(accuracies), pictures=shown, curves=curves(resolved.folder), sheets=sheets, notes=tuple(notes))


def more_figures(outcome: Outcome) -> list[tuple[str, str, str]]:
    """Figures of a run on images that no other part of its report tells."""
    names = [name for name in MORE_FIGURES if name in outcome.metrics]
    return [_row(name.replace("_", " "), outcome.metrics[name]) for name in names]


def figures_sheet(rows: Sequence[tuple[str, str, str]]) -> tuple[Sheet, ...]:
    """A table of figures, where there are any."""
    return (Sheet("Figures", ("Figure", "Value", "Unit"), tuple(rows)),) if rows else ()


def _row(label: str, metric: Metric) -> tuple[str, str, str]:
    return label, f"{metric.value:.4g}", metric.unit


def tell_direct(resolved: Resolved, outcome: Outcome) -> Told:
    """A run on data of a kind of its own: its accuracies as bars, all other figures as a table, tables that it wrote as tables."""
    accuracies, figures = [], []
    for name, metric in outcome.metrics.items():
        label = name.replace("_", " ")
        if name.endswith("_accuracy") and metric.unit == "fraction":
            whose = WHOSE.get(name, label.removesuffix(" accuracy"))
            accuracies.append(Accuracy(whose, metric.value, "released"))
        else:
            figures.append(_row(label, metric))
    for name, baseline in outcome.baselines.items():
        for key, metric in baseline.items():
            if key == "accuracy":
                accuracies.append(Accuracy(name, metric.value, "non_private"))
            else:
                figures.append(_row(f"{name}: {key.replace('_', ' ')}", metric))
    tables = [
        sheet_of(resolved.folder / path, name.replace("_", " ").capitalize())
        for name, path in sorted(outcome.artefacts.items())
        if path.endswith(".csv") and (resolved.folder / path).exists()
    ]
    folder = resolved.folder
    return Told(
        tuple(accuracies), pictures=pictures(folder, outcome, "{name}"), curves=curves(folder),
        sheets=(*figures_sheet(figures), *tables),
    )  # fmt: skip


def sheet_of(file: Path, title: str) -> Sheet:
    """The head of a CSV file."""
    with file.open(newline="", encoding="utf-8") as lines:
        reader = csv.reader(lines)
        columns, rows, more = tuple(next(reader, ())), list[tuple[str, ...]](), 0
        for row in reader:
            if len(rows) < SHOWN_ROWS:
                rows.append(tuple(row))
            else:
                more += 1
    return Sheet(title, columns, tuple(rows), more)


AUDITS = {
    "distance": "by the distance to the nearest image of the set", "loss": "by a student's loss",
    "start": "the same distance, of the records that the set started from",
}  # fmt: skip


def curves(folder: Path) -> tuple[Curve, ...]:
    """What condensing logged: each quantity over iterations."""
    path = folder / "metrics.jsonl"
    series = read_metrics(path) if path.exists() else {}
    found = []
    for name, points in series.items():
        known = [(float(step), value) for step, value in points if step is not None and math.isfinite(value)]
        if name.startswith("condensing/") and len(known) > 1:
            found.append(Curve(name.removeprefix("condensing/"), "iterations", tuple(known)))
    return tuple(found)


def pictures(folder: Path, outcome: Outcome, caption: str) -> tuple[Picture, ...]:
    """The outcome's pictures, with what they show (`{name}` in it is the picture's)."""
    return tuple(
        Picture(path, caption.format(name=name))
        for name, path in sorted(outcome.artefacts.items())
        if path.endswith((".png", ".svg")) and (folder / path).exists()
    )


def beside_labels(outcome: Outcome, resolved: Resolved) -> list[Event]:
    """The events of an outcome that are not the price of its labels."""
    check, answer = resolved.mechanism.check_event(), resolved.mechanism.answer_event()
    units = [event.times(1).to_json() | {"count": 1} for event in (check, answer) if event is not None]
    released = [dict(release.event_json) for release in outcome.privacy.releases]
    return [event_from_json(event) for event in released if event | {"count": 1} not in units]


def spending(mechanism: Mechanism, statuses: list[str], delta: float, *, before: Sequence[Event] = ()) -> Spending:
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
    return Spending(tuple(np.maximum.accumulate(curve).tolist()), int(answered[-1]))
