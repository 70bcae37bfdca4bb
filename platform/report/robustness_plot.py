"""AUC over the level of what was done to videos: one line for each kind of perturbation, the clean figure dashed.

write_text(folder / "robustness.svg", as_file(robustness_plot({"blur": [(1, 0.9), (5, 0.6)]}, "a detector", clean=0.95)))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import matplotlib
import numpy as np
from markupsafe import Markup

from ..errors import BadInput
from .chart import COLOURS, Axis, Frame, percents
from .plots import _STYLE, INK, SOFT, _svg

CHANCE = 0.5


def robustness_plot(
    lines: Mapping[str, Sequence[tuple[int, float]]], title: str, *, clean: float, width: int = 480
) -> Markup:
    """Draw AUC (0 to 1) over levels (whole numbers from 1; 0 is clean); chance is a dotted line where it falls within the axis.

    Args:
        lines: level and AUC of each kind.
        title: above the drawing.
        clean: AUC of the same videos as they are.
        width: in pixels.

    Raises:
        BadInput: there is no line, more than can be told apart, or an AUC outside 0 and 1.
    """
    if not lines or not all(lines.values()):
        raise BadInput("a chart without lines")
    values = [value for points in lines.values() for _, value in points] + [clean]
    if not all(0 <= value <= 1 for value in values):
        raise BadInput("a robustness curve of values outside 0 and 1")
    levels = range(max(level for points in lines.values() for level, _ in points) + 1)
    means = {name: f"mean {np.mean([value for _, value in points]):.3f}" for name, points in lines.items()}
    across = Axis("level (0: clean)", 0.0, float(levels[-1]), tuple(map(float, levels)), lambda value: f"{value:g}")
    up = replace(percents("AUC of videos", min(values), max(values)), text=lambda value: f"{value:g}")
    frame = Frame(title, across, up, tuple(means.items()), width)
    with matplotlib.rc_context(_STYLE):
        figure, axes = frame.begin()
        axes.plot(*frame.place([0, levels[-1]], [clean] * 2), color=INK, lw=1.2, ls=(0, (5, 4)))
        if up.low <= CHANCE <= up.high:
            axes.plot(*frame.place([0, levels[-1]], [CHANCE] * 2), color=SOFT, lw=1.2, ls=(0, (1, 3)))
        for number, points in enumerate(lines.values()):
            at, found = zip(*sorted(points), strict=True)
            frame.line(axes, number, at, found)
            axes.plot(*frame.place(at, found), "o", color=COLOURS[number], ms=4, zorder=4)
        told = "; ".join(f"{name}: {mean}" for name, mean in means.items())
        return _svg(
            figure, f"AUC over the level of perturbations, {title}. Clean: {clean:.3f}; {told}.", "robustness", width
        )
