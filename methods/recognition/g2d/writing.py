"""What a run of G2D leaves of its judging: a table, every pair's score, curves and histograms by kind of pair."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ....platform.data.faces import FaceData
from ....platform.training.values import save_value
from ..writing import PLOT_WIDTH, SCORES, columns_of, write_drawings, write_table
from .judging import ALL, COLUMNS, WORDS, Judged, Scored, really_masked

TABLE = "verification.csv"
IN_WORDS = {word: kind for kind, word in WORDS.items()} | {ALL: "all pairs"}


def prefixed(masks: str, name: str) -> str:
    """The name of a figure or of a kind of pair, which says so if masks are real ones: `bare_accuracy`, `real_accuracy`, `real_all`."""
    return name if masks == "synthetic" else f"{masks}_{name}"


def write_judged(folder: Path, data: FaceData, judged: Mapping[str, Mapping[str, Judged]]) -> dict[str, str]:
    """Write table, scores and plots into the run's folder; give the artefacts by name.

    Args:
        folder: of the run.
        data: whose pairs were scored.
        judged: by network, of which the first is drawn; then by masks, synthetic or real.
    """
    rows = [
        row for who, found in judged.items() for masks, one in found.items() for row in one.table(f"{who}, {masks} masks")
    ]  # fmt: skip
    write_table(folder / TABLE, COLUMNS, rows)
    _write_scores(folder, data, judged)
    drawn = _draw(folder, data, next(iter(judged.values())))
    return {"verification": TABLE, "pair_scores": SCORES, **drawn}


def _write_scores(folder: Path, data: FaceData, judged: Mapping[str, Mapping[str, Judged]]) -> None:
    """Keep each pair's score and whether it was judged rightly, by kind of pair and by network; no picture is named."""
    masked = really_masked(data.test).astype(np.int64)
    kept: dict[str, dict[str, object]] = {}
    for who, found in judged.items():
        for masks, one in found.items():
            for kind, scored in one.scored.items():
                part = kept.setdefault(prefixed(masks, kind), dict(columns_of(data, scored.numbers)))
                part[who] = {"scores": scored.scores, "correct": scored.verification.correct}
                if masks == "real" and data.test.wearers_known:
                    pairs = data.pairs
                    part["masks"] = masked[pairs.first] + masked[pairs.second]
    save_value(folder / SCORES, kept)


def _draw(folder: Path, data: FaceData, found: Mapping[str, Judged]) -> dict[str, str]:
    """ROC and DET of all kinds, and a histogram of each; its line is the threshold of bare pairs, or its own where there are none."""
    # Plots are drawn at the end; their library takes a while to import.
    from ....platform.report.verification_plots import det_plot, roc_plot, score_histogram

    kinds: list[tuple[str, str, Scored]] = [
        (prefixed(masks, kind), f"{IN_WORDS[kind]}, {masks} masks", one)
        for masks, judged in found.items()
        for kind, one in judged.scored.items()
    ]
    curves = {title: one.verification.roc for _, title, one in kinds}
    drawings = {
        "roc": roc_plot(curves, "by kind of pair", width=PLOT_WIDTH),
        "det": det_plot(curves, "by kind of pair", width=PLOT_WIDTH),
    }
    bare = next((one for name, _, one in kinds if name == "bare"), None)
    for name, title, one in kinds:
        threshold = float(np.mean((bare or one).verification.thresholds))
        drawings[f"scores_{name}"] = score_histogram(
            one.scores, data.pairs.same[one.numbers], title, threshold=threshold, width=PLOT_WIDTH
        )
    return write_drawings(folder, drawings)
