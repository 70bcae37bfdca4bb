"""A study's accuracies as a dot plot: one row an arm, the seeds as small dots, mean and standard deviation over them."""

from __future__ import annotations

import math

import matplotlib
from markupsafe import Markup

from .comparison import ArmResult, Comparison
from .plots import _STYLE, ACCENT, FILL, INK, LINE, SOFT, _canvas, _svg

ROW, TOP, BOTTOM, SIDE, LETTER = 52, 26, 30, 26, 0.56


def accuracy_dots(comparison: Comparison, width: int) -> Markup:
    """Draw it, `width` pixels wide; the scale begins where the values do, not at zero."""
    score = comparison.score
    low, high = _reach(comparison.arms, score)
    ticks = _ticks(low, high, 8 if width >= 500 else 4)
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    scale = (width - 2 * SIDE) / (high - low)
    bottom = TOP + ROW * len(comparison.arms)

    def at(value: float) -> float:
        return SIDE + (value - low) * scale

    with matplotlib.rc_context(_STYLE):
        figure, axes = _canvas(width, bottom + BOTTOM)
        for tick in ticks:
            axes.plot([at(tick)] * 2, [TOP - 16, bottom], color=LINE, lw=1, zorder=0)
            axes.text(at(tick), bottom + 19, _tick(comparison, tick), color=SOFT, size=12, ha="center")
        base = next((a.spread(score) for a in comparison.arms if a.name == comparison.reference), None)
        if base is not None:
            axes.plot([at(base.mean)] * 2, [TOP - 16, bottom], color=INK, lw=1.2, ls=(0, (5, 4)), zorder=0)
        for number, arm in enumerate(comparison.arms):
            y, value = TOP + ROW * number, _value(comparison, arm)
            weight = "bold" if arm.name == comparison.reference else "normal"
            box = {"facecolor": "#fdfcfa", "edgecolor": "none", "pad": 1.5}
            axes.text(0, y, _fitting(arm, width - LETTER * 13 * (len(value) + 3)), weight=weight, bbox=box)
            axes.text(width, y, value, weight="bold", color=ACCENT if arm.done else SOFT, ha="right", bbox=box)
            middle = y + 17
            spread = arm.spread(score)
            if spread is None:
                continue
            half = spread.deviation or 0.0
            axes.plot([at(spread.mean - half), at(spread.mean + half)], [middle] * 2, color=ACCENT, lw=2.5)
            for value_of_seed in arm.values(score).values():
                axes.plot(at(value_of_seed), middle, "o", color=FILL, mec=INK, mew=0.8, ms=5.5)
            axes.plot(at(spread.mean), middle, "D", color=ACCENT, ms=8, zorder=3)
        return _svg(figure, accuracy_alt(comparison), "dots", width)


def accuracy_alt(comparison: Comparison) -> str:
    """The drawing in words."""
    name = comparison.score.replace("_", " ")
    return f"Dot plot of {name}: " + "; ".join(f"{a.label} {_value(comparison, a)}" for a in comparison.arms) + "."


def _tick(comparison: Comparison, value: float) -> str:
    return f"{100 * value:.4g} %" if comparison.score in comparison.fractions else f"{value:.4g}"


def _value(comparison: Comparison, arm: ArmResult) -> str:
    spread, lost = arm.spread(comparison.score), len(arm.trials) - len(arm.done)
    missing = f"{lost} of {len(arm.trials)} runs without result" if lost else ""
    if spread is None:
        return missing or "no accuracy"
    return comparison.shown(comparison.score, spread.mean, spread.deviation) + (f" ({missing})" if missing else "")


def _fitting(arm: ArmResult, room: float) -> str:
    """The label, or the arm's name, or as much of it as there is room for."""
    letters = max(4, int(room / (LETTER * 13)))
    text = next((t for t in (arm.label, arm.name) if len(t) <= letters), arm.name)
    return text if len(text) <= letters else text[: letters - 1] + "\u2026"


def _reach(arms: tuple[ArmResult, ...], score: str) -> tuple[float, float]:
    """From the lowest to the highest thing that is drawn, with room around it; inside 0 and 1 where that is possible."""
    ends: list[float] = []
    for arm in arms:
        if (spread := arm.spread(score)) is not None:
            half = spread.deviation or 0.0
            ends += [spread.mean - half, spread.mean + half, *arm.values(score).values()]
    if not ends:
        return 0.0, 1.0
    space = max(0.06 * (max(ends) - min(ends)), 0.002)
    return min(ends) - space, max(ends) + space


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers that lie between low and high, at most `most`, at least two."""
    step = 10.0 ** math.floor(math.log10(high - low)) / 10
    while True:
        for part in (1, 2, 5):
            first, last = math.ceil(low / (step * part) - 1e-9), math.floor(high / (step * part) + 1e-9)
            if last - first + 1 <= most:
                return [step * part * n for n in range(first, max(last, first + 1) + 1)]
        step *= 10
