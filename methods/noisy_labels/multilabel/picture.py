"""The estimated flip rates as a picture: a dot and its interval for each class, true rates beside them where they are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .transition import Transition

ACCENT, INK, SOFT, LINE = "#a8480c", "#1f1b16", "#625b52", "#d9d3c9"
TITLES = ("absent, but given as present", "present, but given as absent")
ROW_INCHES, WIDTH_INCHES, DPI = 0.26, 9.0, 110
MOST_ROWS = 200


def rates_picture(transition: Transition, names: Sequence[str], true: np.ndarray | None) -> np.ndarray:
    """Pixels (h, w, 3) uint8; of more than 200 classes the first are shown."""
    shown = min(len(names), MOST_ROWS)
    figure = Figure(figsize=(WIDTH_INCHES, 1.3 + ROW_INCHES * shown), dpi=DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    rows = np.arange(shown)
    for column, (axes, title) in enumerate(zip(figure.subplots(1, 2, sharey=True), TITLES, strict=True)):
        rates, ends = transition.rates[:shown, column], transition.intervals[:shown, column]
        known = np.isfinite(rates)
        axes.hlines(rows, 0, 1, color=LINE, lw=0.6, zorder=0)
        bounded = known & np.isfinite(ends).all(1)
        axes.hlines(rows[bounded], ends[bounded, 0], ends[bounded, 1], color=ACCENT, lw=2.2)
        axes.plot(rates[known], rows[known], "o", color=ACCENT, ms=5, label="estimated, with its interval")
        if true is not None:
            axes.plot(true[:shown, column], rows, "|", color=INK, ms=11, mew=1.6, label="true")
        for row in rows[~known]:
            axes.text(0.02, row, "refused" if transition.reasons[row] else "none", color=SOFT, size=8, va="center")
        axes.set(xlim=(0, 1), ylim=(shown - 0.5, -0.5), title=title, yticks=rows)
        axes.set_yticklabels(names[:shown], parse_math=False)  # a user's name with dollar signs is no formula
        axes.tick_params(length=0, colors=INK)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
