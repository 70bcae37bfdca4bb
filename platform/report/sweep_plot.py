"""Scores over epsilon: every point of a sweep, and the line of those that no other beats in both."""

from __future__ import annotations

import math

import matplotlib
from markupsafe import Markup

from .comparison_plot import _ticks
from .plots import _STYLE, ACCENT, FILL, INK, LINE, SOFT, _canvas, _svg
from .report import epsilon_text
from .sweep import SweepResult

LEFT, RIGHT, TOP, HEIGHT, BOTTOM = 62, 18, 18, 300, 44


def pareto_plot(result: SweepResult, width: int) -> Markup:
    """Draw it, `width` pixels wide: epsilon on a logarithmic axis. Neither axis begins at zero.

    Only for a result with points that have an epsilon (`SweepResult.priced`).
    """
    priced = result.priced
    epsilons, scores = [e for _, e, _ in priced], [s for _, _, s in priced]
    first, last = math.log(min(epsilons)), math.log(max(epsilons))
    space = max(0.06 * (last - first), 0.1)
    first, last = first - space, last + space
    margin = max(0.08 * (max(scores) - min(scores)), 0.002 * max(map(abs, scores)), 1e-9)
    low, high = min(scores) - margin, max(scores) + margin
    bottom = HEIGHT - BOTTOM

    def at(epsilon: float, score: float) -> tuple[float, float]:
        across = (math.log(epsilon) - first) / (last - first)
        return LEFT + across * (width - LEFT - RIGHT), bottom - (score - low) / (high - low) * (bottom - TOP)

    with matplotlib.rc_context(_STYLE):
        figure, axes = _canvas(width, HEIGHT)
        for tick in (t for t in _ticks(low, high, 6) if low <= t <= high):
            y = at(1.0, tick)[1]
            axes.plot([LEFT, width - RIGHT], [y, y], color=LINE, lw=1, zorder=0)
            text = f"{100 * tick:.4g} %" if result.percents else f"{tick:.4g}"
            axes.text(LEFT - 8, y + 4.5, text, color=SOFT, size=12, ha="right")
        for tick in _epsilon_ticks(math.exp(first), math.exp(last), 8 if width >= 500 else 5):
            x = at(tick, low)[0]
            axes.plot([x, x], [bottom, bottom + 4], color=INK, lw=1)
            axes.text(x, bottom + 18, f"{tick:g}", color=SOFT, size=12, ha="center")
        axes.plot([LEFT, width - RIGHT], [bottom, bottom], color=INK, lw=1)
        axes.text(width - RIGHT, bottom + 36, "epsilon", color=SOFT, size=12, ha="right")
        best = [at(epsilon, score) for point, epsilon, score in priced if point in result.front]
        best.sort()
        steps = [
            corner for (x, y), (_, before) in zip(best[1:], best, strict=False) for corner in ((x, before), (x, y))
        ]
        line = [*best[:1], *steps]
        axes.plot([x for x, _ in line], [y for _, y in line], color=ACCENT, lw=2, zorder=1)
        for point, epsilon, score in priced:
            mark, colour, size = ("D", ACCENT, 8) if point in result.front else ("o", FILL, 6)
            axes.plot(*at(epsilon, score), mark, color=colour, mec=INK, mew=0.8, ms=size, zorder=size)
        return _svg(figure, pareto_alt(result), "pareto", width)


def pareto_alt(result: SweepResult) -> str:
    """The drawing in words."""
    told = {id(point): (epsilon, score) for point, epsilon, score in result.priced}
    parts = [
        f"{point}: {result.shown(told[id(point)][1])} at epsilon {epsilon_text(told[id(point)][0])}"
        for point in result.front
    ]
    return (
        f"Scatter plot of {result.score_title.lower()} over epsilon. No point beats these in both: {'; '.join(parts)}."
    )


def _epsilon_ticks(low: float, high: float, most: int) -> list[float]:
    """1, 2, 5 of every power of ten between the ends, or only as many of them as there is room for."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for parts in ((1, 2, 5), (1, 3), (1,)):
        ticks = [part * 10.0**power for power in powers for part in parts]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= most:
            return ticks or [float(f"{math.sqrt(low * high):.2g}")]
    return ticks[:: math.ceil(len(ticks) / most)]
