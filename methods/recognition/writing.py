"""The files that a run of face recognition leaves beside its outcome: weights with their card, tables, plots, scores."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file
from torch import nn

from ...platform.data.faces import FaceData
from ...platform.training.files import write_text
from ...platform.training.metrics import read_metrics
from ...platform.training.values import save_value
from .judging import Judged

STUDENT = "student.safetensors"
SCORES = "scores.safetensors"
PLOT_WIDTH = 480
# What of the losses a page shows; the others are in metrics.jsonl.
DRAWN = ("loss", "class", "kd", "crrcd", "crrcd_below_floor", "relation", "instance", "crd")


def write_weights(folder: Path, network: nn.Module) -> None:
    """Write a network's state to `student.safetensors`."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, folder / STUDENT)


def columns_of(data: FaceData, numbers: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """What is kept of pairs (those with these numbers, int64 (n,); None: all) beside their scores.

    Truth and fold, numbers of the pictures, and numbers of the people on them where it is known who is who; no names.
    """
    pairs = data.pairs
    chosen = np.arange(len(pairs)) if numbers is None else numbers
    first, second = pairs.first[chosen], pairs.second[chosen]
    found = {"same": pairs.same[chosen], "fold": pairs.fold[chosen], "first": first, "second": second}
    if data.test.identified:
        who = data.test.identities
        found |= {"first_person": who[first], "second_person": who[second]}
    return found


def write_scores(folder: Path, data: FaceData, judged: Mapping[str, Judged]) -> None:
    """Keep each pair's score and whether it was judged rightly, for a paired comparison of runs; nothing is named."""
    value = {
        **columns_of(data),
        **{name: {"scores": one.scores, "correct": one.verification.correct} for name, one in judged.items()},
    }
    save_value(folder / SCORES, value)


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a CSV file; floats with four digits."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([f"{value:.4f}" if isinstance(value, float | np.floating) else value for value in row])
    write_text(path, out.getvalue())


def draw_roc(folder: Path, same: np.ndarray, judged: Mapping[str, Judged], title: str) -> dict[str, str]:
    """Draw ROC and DET of everything that was judged, who was found, errors over what is left out, and the scores of the first."""
    # Plots are drawn at the end; their library takes a while to import.
    from ...platform.report.verification_plots import cmc_plot, det_plot, reject_plot, roc_plot, score_histogram

    first = next(iter(judged.values()))
    curves = {name: one.verification.roc for name, one in judged.items()}
    threshold = float(np.mean(first.verification.thresholds))
    drawings = {
        "roc": roc_plot(curves, title, width=PLOT_WIDTH),
        "det": det_plot(curves, title, width=PLOT_WIDTH),
        "scores": score_histogram(first.scores, same, title, threshold=threshold, width=PLOT_WIDTH),
    }
    ranked = {name: one.identification for name, one in judged.items() if one.identification is not None}
    if ranked:
        drawings["cmc"] = cmc_plot(ranked, title, width=PLOT_WIDTH)
    rejecting = {name: curve for name, one in judged.items() if (curve := one.rejecting()) is not None}
    if rejecting:
        drawings["reject"] = reject_plot(rejecting, title, width=PLOT_WIDTH)
    return write_drawings(folder, drawings)


def write_drawings(folder: Path, drawings: Mapping[str, Any]) -> dict[str, str]:
    """Write drawings of the page as files; give these by name."""
    from ...platform.report.chart import as_file

    for name, drawing in drawings.items():
        write_text(folder / f"{name}.svg", as_file(drawing))
    return {name: f"{name}.svg" for name in drawings}


def draw_resolutions(folder: Path, points: Mapping[str, Sequence[tuple[int, float, float | None]]], title: str) -> str:
    """Draw accuracy over resolution; give the file."""
    from ...platform.report.chart import as_file
    from ...platform.report.verification_plots import resolution_plot

    write_text(folder / "resolutions.svg", as_file(resolution_plot(points, title, width=PLOT_WIDTH)))
    return "resolutions.svg"


def draw_learning(folder: Path, floors: Mapping[str, float]) -> dict[str, str]:
    """Draw each logged loss of the student over its steps; give the files by name.

    Args:
        folder: of the run, with `metrics.jsonl`.
        floors: what a term's loss is while it tells nothing apart, by the term's name; said in its title.
    """
    from ...platform.report.chart import as_file
    from ...platform.report.plots import curve_line
    from ...platform.report.report import Curve

    found: dict[str, str] = {}
    path = folder / "metrics.jsonl"
    series = read_metrics(path) if path.exists() else {}
    for name, points in series.items():
        section, _, loss = name.partition("/")
        known = tuple((float(step), value) for step, value in points if step is not None and np.isfinite(value))
        if section != "student" or loss not in DRAWN or len(known) < 2:
            continue
        label = f"{loss} (tells nothing apart at {floors[loss]:.2f})" if loss in floors else loss
        file = f"learning_{loss}.svg"
        write_text(folder / file, as_file(curve_line(Curve(label, "steps", known), PLOT_WIDTH)))
        found[f"learning_{loss}"] = file
    return found
