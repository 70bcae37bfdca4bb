"""The files that a run leaves beside its outcome: tables, curves, timelines."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ....platform.data.clip_perturbations import find_perturbation
from ....platform.data.videos import VideoSet
from ....platform.training.files import write_text
from ....platform.training.metrics import read_metrics
from ....platform.training.values import save_value
from .judging import GroupJudged
from .scoring import ClipScores

PLOT_WIDTH = 480
SCORES = "scores.safetensors"
# What of the logged quantities is drawn: of both stages, as they are named there.
DRAWN = ("spatial", "temporal", "held_spm_r2", "held_shuffled_farther", "classes", "validation_auc")


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a CSV file; floats with four digits."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([f"{value:.4f}" if isinstance(value, float | np.floating) else value for value in row])
    write_text(path, out.getvalue())


def write_scores(folder: Path, videos: VideoSet, scores: ClipScores) -> str:
    """Keep each clip's logit with what is known of its video, for a paired comparison of runs; no video is named."""
    value = {
        "video": scores.video, "start": scores.start, "logit": scores.logit, "forged": videos.forged,
        "identities": videos.identities, "families": list(videos.families), "content": videos.content_hash(),
    }  # fmt: skip
    save_value(folder / SCORES, value)
    return SCORES


def draw_roc(folder: Path, groups: Mapping[str, GroupJudged], title: str) -> dict[str, str]:
    """Draw the ROC curves of groups, and the scores of the first; give the files by name."""
    # Plots are drawn at the end; their library takes a while to import.
    from ....platform.report.chart import as_file
    from ....platform.report.verification_plots import roc_plot

    curves = {name.replace("_", " "): group.curve for name, group in groups.items()}
    write_text(folder / "roc.svg", as_file(roc_plot(curves, title, width=PLOT_WIDTH)))
    return {"roc": "roc.svg"}


def draw_robustness(folder: Path, measured: Mapping[tuple[str, int], float], clean: float, on: str) -> dict[str, str]:
    """Draw AUC over the level of each perturbation; give the file by name.

    Args:
        folder: of the run.
        measured: AUC by code and level.
        clean: AUC without any.
        on: which videos, in words.
    """
    from ....platform.report.chart import as_file
    from ....platform.report.robustness_plot import robustness_plot

    lines: dict[str, list[tuple[int, float]]] = {}
    for (code, level), value in measured.items():
        lines.setdefault(find_perturbation(code).name, []).append((level, value))
    drawn = robustness_plot(lines, f"Perturbed videos, {on}", clean=clean, width=PLOT_WIDTH)
    write_text(folder / "robustness.svg", as_file(drawn))
    return {"robustness_curve": "robustness.svg"}


def draw_learning(folder: Path) -> dict[str, str]:
    """Draw what both stages logged over their steps; give the files by name."""
    from ....platform.report.chart import as_file
    from ....platform.report.plots import curve_line
    from ....platform.report.report import Curve

    found: dict[str, str] = {}
    path = folder / "metrics.jsonl"
    series = read_metrics(path) if path.exists() else {}
    for name, points in series.items():
        section, _, quantity = name.partition("/")
        known = tuple((float(step), value) for step, value in points if step is not None and np.isfinite(value))
        if quantity not in DRAWN or len(known) < 2:
            continue
        key = f"{section}_{quantity}".replace("-", "_")
        label = f"{section}: {quantity.replace('_', ' ')}"
        write_text(folder / f"{key}.svg", as_file(curve_line(Curve(label, "steps", known), PLOT_WIDTH)))
        found[key] = f"{key}.svg"
    return found


def clip_rows(clips: Sequence[np.ndarray], *, shown: int = 8) -> np.ndarray:
    """Frames of clips, uint8 (t, 3, S, S) each, one clip a row: uint8 (rows, columns, 3)."""
    rows = []
    for clip in clips:
        at = np.linspace(0, len(clip) - 1, shown).round().astype(int)
        rows.append(np.concatenate(list(clip[at].transpose(0, 2, 3, 1)), axis=1))
    return np.concatenate(rows, axis=0)
