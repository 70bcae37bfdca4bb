"""What a run writes about each label: a table for programs, and a card in words for whoever owns the labels."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ....platform.training.files import write_json, write_text
from .transition import Transition

TABLE, CARDS = "transition.csv", "label_cards.json"
HEADER = (
    "class", "false_positive", "false_positive_low", "false_positive_high", "false_negative", "false_negative_low",
    "false_negative_high", "partners", "selected_negative", "selected_positive", "chi_square", "degrees_of_freedom", "probability",
    "refused",
)  # fmt: skip


def write_table(folder: Path, transition: Transition, names: Sequence[str]) -> str:
    """Write `transition.csv`, one line a class; what is not known is an empty cell. Return the file's name."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    for j, name in enumerate(names):
        numbers = [
            transition.rates[j, 0],
            *transition.intervals[j, 0],
            transition.rates[j, 1],
            *transition.intervals[j, 1],
        ]
        counts = [transition.partners[j], *transition.selected[j]]
        tests = [transition.statistic[j], transition.freedom[j], transition.probability[j]]
        writer.writerow(
            [name, *map(_number, numbers), *("" if count < 0 else int(count) for count in counts), *map(_number, tests),
             transition.reasons[j]]
        )  # fmt: skip
    write_text(folder / TABLE, out.getvalue())
    return TABLE


def write_cards(
    folder: Path,
    transition: Transition,
    names: Sequence[str],
    frequency: np.ndarray,
    *,
    confidence: float,
    significance: float,
) -> str:
    """Write `label_cards.json`, a list with one card a class. `frequency` is P(given 1), (q,). Return the file's name."""
    cards = [
        card(transition, j, name, float(frequency[j]), confidence=confidence, significance=significance)
        for j, name in enumerate(names)
    ]
    write_json(folder / CARDS, cards)
    return CARDS


def card(
    transition: Transition, j: int, name: str, frequency: float, *, confidence: float, significance: float
) -> dict[str, Any]:
    """What is known of one label, numbers and a sentence."""
    about: dict[str, Any] = {"label": name, "given_frequency": frequency}
    if transition.reasons[j] or not np.isfinite(transition.rates[j]).all():
        reason = transition.reasons[j] or "no estimator was chosen"
        return about | {"refused": True, "text": f"No flip rates for this label: {reason}."}
    fp, fn = (float(rate) for rate in transition.rates[j])
    about |= {"refused": False, "false_positive": fp, "false_negative": fn}
    ends = transition.intervals[j]
    text = (
        f"Of records without this label {_percent(fp, ends[0])} carry it; of records with it {_percent(fn, ends[1])} lack it. "
        f"{100 * frequency:.1f} % carry it"
    )
    if fp + fn < 1:  # else given labels follow the true ones not at all, or the wrong way round
        about["true_frequency"] = min(max((frequency - fp) / (1 - fp - fn), 0.0), 1.0)
        text += f", {100 * about['true_frequency']:.1f} % should"
    text += "."
    if np.isfinite(ends).all():
        about |= {"confidence": confidence, "intervals": ends.tolist()}
        text += f" Ranges are {100 * confidence:g} % intervals of counting errors alone."
    probability = float(transition.probability[j])
    if math.isfinite(probability):
        about["contradiction"] = probability
        if probability < significance:
            text += " Other labels contradict each other about it: noise may depend on the record, or wrong rows were selected."
    return about | {"text": text}


def _percent(rate: float, ends: np.ndarray) -> str:
    bounds = f" ({100 * ends[0]:.1f} to {100 * ends[1]:.1f})" if np.isfinite(ends).all() else ""
    return f"{100 * rate:.1f}{bounds} %"


def _number(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""
