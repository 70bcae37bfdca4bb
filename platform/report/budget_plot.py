"""A study's score over epsilon: one line for all arms that differ in nothing but the budget they were given.

budget_lines(comparison)     # the lines there are; an arm without a second budget has none
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import matplotlib
from markupsafe import Markup

from ..privacy.statement import PrivacyStatement
from .chart import COLOURS, Axis, Frame
from .comparison import ArmResult, Comparison
from .comparison_plot import _ticks
from .plots import _STYLE, INK, _svg
from .report import delta_text, epsilon_text
from .sweep_plot import _epsilon_ticks

TARGET = "privacy.target_epsilon="


@dataclass(frozen=True)
class BudgetLine:
    """Arms that share all settings but `privacy.target_epsilon`.

    `terms` is what every epsilon of the line is about: coverage, delta and neighbouring relation. `points` has for each arm the largest
    epsilon of its runs, and the score's mean and sample standard deviation (0 for one run).
    """

    label: str
    terms: str
    points: tuple[tuple[float, float, float], ...]


def budget_lines(comparison: Comparison) -> list[BudgetLine]:
    """All lines of at least two budgets, in the order of the arms.

    Only epsilons that are finite, and so covered, count; a line joins no two that are about different neighbours or another delta.
    """
    families: dict[tuple[str, ...], list[ArmResult]] = {}
    for arm in comparison.arms:
        rest = tuple(text for text in arm.overrides if not text.startswith(TARGET))
        about = {_terms(o.privacy) for o in arm.done}
        if len(about) == 1 and arm.spread(comparison.score) and all(0 < o.privacy.epsilon < math.inf for o in arm.done):
            families.setdefault((*about, *rest), []).append(arm)
    lines = []
    for (terms, *_), arms in families.items():
        points = [point for arm in arms if (point := _point(comparison, arm))]
        if len({epsilon for epsilon, _, _ in points}) > 1:
            label = _shared([a.label for a in arms]) or arms[0].name
            lines.append(BudgetLine(label, terms, tuple(sorted(points))))
    return lines


def terms_of(lines: Sequence[BudgetLine]) -> dict[str, list[str]]:
    """What the lines' epsilons are about, and the labels of the lines that share it."""
    found: dict[str, list[str]] = {}
    for line in lines:
        found.setdefault(line.terms, []).append(line.label)
    return found


def _terms(privacy: PrivacyStatement) -> str:
    return f"{privacy.coverage}, delta {delta_text(privacy.delta)}, neighbours: {privacy.neighbouring}"


def _point(comparison: Comparison, arm: ArmResult) -> tuple[float, float, float] | None:
    spread = arm.spread(comparison.score)
    if spread is None:
        return None
    return max(o.privacy.epsilon for o in arm.done), spread.mean, spread.deviation or 0.0


def _shared(labels: Sequence[str]) -> str:
    """What stands between commas in every label."""
    others = [label.split(", ") for label in labels[1:]]
    return ", ".join(part for part in labels[0].split(", ") if all(part in other for other in others))


def budget_plot(comparison: Comparison, width: int) -> Markup:
    """Draw the lines, at most as many as there are colours; bars are one standard deviation to either side.

    Only for a comparison that has a line (`budget_lines`).
    """
    lines = budget_lines(comparison)[: len(COLOURS)]
    score = comparison.score
    points = [point for line in lines for point in line.points]
    epsilons = [epsilon for epsilon, _, _ in points]
    ends = [mean + side * deviation for _, mean, deviation in points for side in (-1, 1)]
    space = max(0.06 * (max(ends) - min(ends)), 0.002)
    ticks = tuple(_ticks(min(ends) - space, max(ends) + space, 6))
    up = Axis(
        comparison.title_of(score), min(ticks[0], min(ends) - space), max(ticks[-1], max(ends) + space), ticks,
        lambda value: f"{100 * value:.4g} %" if score in comparison.fractions else f"{value:.4g}",
    )  # fmt: skip
    low, high = 0.8 * min(epsilons), 1.25 * max(epsilons)
    across = Axis("epsilon", low, high, tuple(_epsilon_ticks(low, high, 8)), lambda value: f"{value:g}", log=True)
    legend = tuple((line.label, _told(comparison, line)) for line in lines)
    frame = replace(Frame(f"{up.name} over epsilon", across, up, legend, width), high=240)
    with matplotlib.rc_context(_STYLE):
        figure, axes = frame.begin()
        for number, line in enumerate(lines):
            at, means, deviations = zip(*line.points, strict=True)
            frame.line(axes, number, at, means)
            axes.plot(*frame.place(at, means), "o", color=COLOURS[number], mec=INK, mew=0.6, ms=6, zorder=4)
            for x, mean, half in zip(at, means, deviations, strict=True):
                axes.plot(*frame.place([x, x], [mean - half, mean + half]), color=COLOURS[number], lw=1.4, zorder=2)
        return _svg(figure, _alt(comparison, lines), "budgets", width)


def _told(comparison: Comparison, line: BudgetLine) -> str:
    """The line's ends: what it scores at its smallest budget and at its largest."""
    first, last = line.points[0][1], line.points[-1][1]
    return f"{comparison.shown(comparison.score, first)} \u2192 {comparison.shown(comparison.score, last)}"


def _alt(comparison: Comparison, lines: Sequence[BudgetLine]) -> str:
    parts = [
        f"{line.label}: "
        + ", ".join(f"{comparison.shown(comparison.score, s)} at epsilon {epsilon_text(e)}" for e, s, _ in line.points)
        for line in lines
    ]
    return f"Line chart of {comparison.title_of(comparison.score).lower()} over epsilon. {'; '.join(parts)}."
