"""The frame of a line chart: title, two axes (each plain or logarithmic), a legend under it; one unit is one pixel.

Colours differ in lightness as well as in hue, and every line has its own dashes, so that prints in grey and colour-blind readers can
tell them apart.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import BadInput
from .plots import ACCENT, INK, LINE, SOFT, _canvas
from .report import delta_text

COLOURS = (ACCENT, "#1f6fa8", "#1f1b16", "#2a9d77", "#8a4f9e", "#c08a00", "#6d7680", "#d0679d")
DASHES: tuple[Any, ...] = (
    "-", (0, (6, 2)), (0, (1.5, 1.5)), (0, (8, 2, 2, 2)), (0, (3, 1)), (0, (10, 3)), (0, (5, 2, 1, 2, 1, 2)), (0, (2, 3)),
)  # fmt: skip
LEGEND_ROW, SMALL = 20, 12
LETTER = 0.52  # width of a letter, by its size


@dataclass(frozen=True)
class Axis:
    """A quantity from `low` to `high`, its ticks and how their values are written."""

    name: str
    low: float
    high: float
    ticks: tuple[float, ...]
    text: Callable[[float], str]
    log: bool = False

    def part(self, values: Any) -> np.ndarray:
        """How far along the axis values lie, 0 to 1; on a logarithmic one, what is below `low` lies at its beginning."""
        numbers = np.asarray(values, dtype=np.float64)
        if self.log:
            return np.asarray(np.log(np.maximum(numbers, self.low) / self.low) / math.log(self.high / self.low))
        return np.asarray((numbers - self.low) / (self.high - self.low))


@dataclass(frozen=True)
class Frame:
    """Where things stand in a chart."""

    title: str
    across: Axis
    up: Axis
    legend: tuple[tuple[str, str], ...] = ()  # name of a line, and a figure to it
    width: int = 360
    high: int = 200

    LEFT = 52
    RIGHT = 16
    TOP = 46

    def __post_init__(self) -> None:
        if len(self.legend) > len(COLOURS):
            raise BadInput(
                f"a chart of {len(self.legend)} lines",
                why="they could not be told apart",
                mend=f"draw {len(COLOURS)} at most",
            )

    @property
    def bottom(self) -> int:
        """Where the lower axis lies."""
        return self.TOP + self.high

    def place(self, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Pixels of points."""
        span = self.width - self.LEFT - self.RIGHT
        return self.LEFT + span * self.across.part(x), self.bottom - self.high * self.up.part(y)

    def begin(self) -> tuple[Figure, Axes]:
        """An empty chart: grid, ticks, names, legend. Call it within `matplotlib.rc_context(_STYLE)`."""
        figure, axes = _canvas(self.width, self.bottom + 44 + LEGEND_ROW * len(self.legend))
        axes.text(0, 14, fitting(self.title, self.width, 14), weight="bold")
        axes.text(0, 34, self.up.name, color=SOFT, size=SMALL)
        axes.text(self.width - self.RIGHT, self.bottom + 35, self.across.name, color=SOFT, size=SMALL, ha="right")
        right = self.width - self.RIGHT
        for tick in self.up.ticks:
            y = float(self.place(self.across.low, tick)[1])
            axes.plot([self.LEFT, right], [y, y], color=LINE, lw=1, zorder=0)
            axes.text(self.LEFT - 8, y + 4.5, self.up.text(tick), color=SOFT, size=SMALL, ha="right")
        axes.plot([self.LEFT, right], [self.bottom] * 2, color=INK, lw=1, zorder=1)
        for tick in self.across.ticks:
            x = float(self.place(tick, self.up.low)[0])
            axes.plot([x, x], [self.bottom, self.bottom + 4], color=INK, lw=1, zorder=0)
            axes.text(x, self.bottom + 18, self.across.text(tick), color=SOFT, size=SMALL, ha="center")
        for number, (name, figures) in enumerate(self.legend):
            y = self.bottom + 56 + LEGEND_ROW * number
            room = right - self.LEFT - 38 - LETTER * SMALL * (len(figures) + 1)
            axes.text(right, y, figures, color=SOFT, size=SMALL, ha="right")
            axes.plot([self.LEFT, self.LEFT + 30], [y - 4, y - 4], color=COLOURS[number], ls=DASHES[number], lw=2.2)
            axes.text(self.LEFT + 38, y, fitting(name, room, SMALL), size=SMALL)
        return figure, axes

    def line(self, axes: Axes, number: int, x: Any, y: Any, *, width: float = 2.2, alpha: float = 1.0) -> None:
        """Line `number` of the legend, through points in order; those that fall on one pixel are drawn once."""
        across, up = (np.round(pixels, 1) for pixels in self.place(x, y))
        kept = np.ones(len(across), dtype=bool)
        kept[1:-1] = (np.abs(np.diff(np.round(across)))[:-1] + np.abs(np.diff(np.round(up)))[:-1]) > 0
        axes.plot(
            across[kept], up[kept], color=COLOURS[number], ls=DASHES[number], lw=width, alpha=alpha,
            solid_joinstyle="round", zorder=3,
        )  # fmt: skip


def fitting(text: str, room: float, size: int) -> str:
    """A text cut to the room (in pixels) that it has."""
    letters = max(3, int(room / (LETTER * size)))
    return text if len(text) <= letters else text[: letters - 1] + "\u2026"


def percents(name: str, low: float, high: float) -> Axis:
    """An axis of shares with about five round ticks, from the tick at or below `low` to that at or above `high`."""
    span = max(high - low, 0.01)
    step = next(step for step in (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25) if span / step <= 5.001)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    ticks = tuple(round(step * number, 6) for number in range(first, last + 1))
    return Axis(name, ticks[0], ticks[-1], ticks, lambda value: f"{round(100 * value, 4):g} %")


def decades(name: str, least: float) -> Axis:
    """A logarithmic axis of shares, from the power of ten at or below `least` to 1."""
    lowest = min(-1, math.floor(math.log10(least) + 1e-9))
    every = max(1, math.ceil(-lowest / 6))
    powers = tuple(range(0, lowest - 1, -every))[::-1]
    return Axis(name, 10.0**lowest, 1.0, tuple(10.0**power for power in powers), delta_text, log=True)


def as_file(drawing: Markup) -> str:
    """A drawing for a page as a file of its own: with a font and a size, which the page had lent it."""
    text = str(drawing)
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    if box is None or 'style="' not in text:
        raise BadInput("this is no drawing of a report")
    text = text.replace("<svg", f'<svg width="{box[1]}" height="{box[2]}"', 1)
    return text.replace('style="', 'style="font-family:&quot;Liberation Sans&quot;,Arial,sans-serif;', 1)
