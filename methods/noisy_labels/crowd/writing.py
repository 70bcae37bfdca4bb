"""The files that a run leaves: the student's weights, the annotators, suspicious answers, corrected labels, heat maps."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file
from torch import nn

from ....platform.data.crowd import CrowdData
from ....platform.report.heat_map import heat_map
from ....platform.training.files import write_json, write_text
from .annotators import GroupReport, annotator_report, grouped
from .label_lists import suspicious_labels, write_corrected, write_suspicious
from .reading import Reading

STUDENT = "student.safetensors"
COLUMNS = ("annotator", "answers", "accuracy", "low", "high", "group")
MAP_WIDTH = 480
GROUP_COLUMNS = ("group", "annotators", "answers", "accuracy", "low", "high")


def write_student(folder: Path, networks: nn.ModuleList) -> dict[str, str]:
    """Write the networks' weights; annotators' matrices are no part of a student. Return the artefact by its name."""
    save_file({name: tensor.cpu().contiguous() for name, tensor in networks.state_dict().items()}, folder / STUDENT)
    return {"student": STUDENT}


def write_labels(folder: Path, data: CrowdData, reading: Reading, *, each: bool, smallest: int) -> dict[str, str]:
    """Write corrected labels and suspicious answers; `each`: with the pseudonyms of those who gave these.

    Fewer than `smallest` annotators make no group, and counts of their answers would tell of them what no group may tell.
    """
    answering = int(np.count_nonzero(data.answers.answers_per_annotator()))
    counts = each or answering >= smallest
    write_corrected(folder / "corrected_labels.csv", data, reading.posteriors, counts=counts)
    found = suspicious_labels(data.answers, reading.posteriors)
    write_suspicious(folder / "suspicious_labels.csv", data, found, annotators=data.annotator_names if each else None)
    return {"corrected_labels": "corrected_labels.csv", "suspicious_labels": "suspicious_labels.csv"}


def write_annotators(
    folder: Path, data: CrowdData, reading: Reading, *, each: bool, groups: int, smallest: int, seed: int
) -> dict[str, str]:
    """Write what is known of annotators, one by one or by groups of at least `smallest`, as CSV, JSON and heat maps of the groups."""
    report = annotator_report(data.answers, reading.posteriors, names=data.annotator_names, groups=groups, seed=seed)
    found = grouped(report, smallest=1 if each else smallest)
    if each:
        rows = report.rows()
        _write_csv(folder / "annotators.csv", COLUMNS, rows)
        learnt = reading.confusions.round(6).tolist()
        described: Any = [row | {"confusion": matrix} for row, matrix in zip(rows, learnt, strict=True)]
        write_json(folder / "annotators.json", {"classes": list(data.class_names), "annotators": described})
    else:
        _write_csv(folder / "annotators.csv", GROUP_COLUMNS, _group_rows(found))
        described = [
            {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in asdict(entry).items()}
            for entry in found.groups
        ]
        content = {"classes": list(data.class_names), "smallest": smallest, "groups": described}
        write_json(
            folder / "annotators.json",
            content | {"left_out": found.left_out, "without_answers": found.without_answers},
        )
    maps = {}
    for entry in found.groups:
        name = f"confusions_{entry.name.replace(' ', '_')}"
        title = f"{entry.name}: {entry.annotators} annotators, {entry.answers} answers"
        drawing = str(heat_map(entry.confusion, data.class_names, title, MAP_WIDTH))
        # A drawing for a page leaves the font to the page; a file has none around it.
        write_text(folder / f"{name}.svg", drawing.replace('style="', 'style="font-family:sans-serif;', 1))
        maps[name] = f"{name}.svg"
    return {"annotators": "annotators.csv", "annotators_json": "annotators.json", **maps}


def _group_rows(found: GroupReport) -> list[dict[str, Any]]:
    return [
        {
            "group": entry.name,
            "annotators": entry.annotators,
            "answers": entry.answers,
            "accuracy": entry.accuracy,
            "low": entry.interval[0],
            "high": entry.interval[1],
        }
        for entry in found.groups
    ]


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{row[name]:.4f}" if isinstance(row[name], float) else row[name] for name in columns})
    write_text(path, out.getvalue())
