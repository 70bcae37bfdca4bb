"""The report's charts as inline SVG: drawn by matplotlib in pixels, one unit is one pixel, texts stay texts.

They are drawn at the size at which a phone shows them (the accuracies also for a wide page), so that their letters are
as large as those around them.
"""

from __future__ import annotations

import io
import math
import re
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .report import Accuracy, Agreement, Curve, Spending, epsilon_text, percent

ACCENT, INK, SOFT, LINE, FILL = "#a8480c", "#1f1b16", "#625b52", "#d9d3c9", "#b9b1a5"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "stillhouse",
    "font.family": "sans-serif",
    "font.sans-serif": ["Liberation Sans", "DejaVu Sans"],
    "font.size": 13,
    "text.color": INK,
    "hatch.linewidth": 1.2,
    "hatch.color": FILL,
    "path.simplify": False,
    "text.parse_math": False,
}
NOTHING = 1e-9  # an epsilon that no axis can show
_TAGS = {"released": "", "diagnostic": "simulation only, not released", "non_private": "no privacy, not released"}
# What matplotlib writes and a page does not need: the page sets the fonts and sizes, nothing lies outside the canvas.
_UNWANTED = [
    re.compile(r"<metadata>.*?</metadata>", re.DOTALL),
    re.compile(r"<style.*?</style>", re.DOTALL),
    re.compile(r"<clipPath.*?</clipPath>", re.DOTALL),
    re.compile(r' clip-path="[^"]*"| transform="rotate\(-0 [^"]*"'),
    re.compile(r" font-family: [^;\"]*;"),
    re.compile(r' (?:width|height)="[\d.]+pt"'),
    re.compile(r"^\s+|\s+$", re.MULTILINE),
]


def accuracy_bars(accuracies: tuple[Accuracy, ...], width: int) -> Markup:
    """Horizontal bars from zero; the value stands at the end of its bar."""
    column, letter = 220, 0.57 * 14
    # Labels stand above their bars where there is no room for them beside.
    narrow = width < 500 or max(len(a.label) for a in accuracies) * letter > column
    left = 0 if narrow else column
    row, top = (62, 24) if narrow else (50, 10)
    size = 13 if narrow else 14
    texts = [percent(a.value, a.deviation) for a in accuracies]
    reaches = [a.value + (a.deviation or 0.0) for a in accuracies]
    room = [width - left - 12 - 0.57 * size * len(text) for text in texts]
    scale = min(space / max(reach, 0.1) for space, reach in zip(room, reaches, strict=True))
    with matplotlib.rc_context(_STYLE):
        figure, axes = _canvas(width, row * len(accuracies) + (6 if narrow else 10))
        for number, accuracy in enumerate(accuracies):
            y = top + row * number
            released = accuracy.standing == "released"
            weight = "bold" if released else "normal"
            tag = _TAGS[accuracy.standing]
            if narrow:
                axes.text(0, y - 7, accuracy.label, weight=weight, va="baseline")
                axes.text(width, y - 7, tag, color=SOFT, size=11, va="baseline", ha="right")
                height = 22
            else:
                height = 28
                middle = y + height / 2
                axes.text(0, middle + (4.5 if not tag else -2), accuracy.label, weight=weight, size=size)
                axes.text(0, middle + 14, tag, color=SOFT, size=12)
            _bar(axes, left, y, scale * accuracy.value, height, accuracy.standing)
            end = left + scale * accuracy.value
            if accuracy.deviation:
                half = scale * accuracy.deviation
                axes.plot([end - half, end + half], [y + height / 2] * 2, color=INK, lw=1.8, solid_capstyle="butt")
                end += half
            color = ACCENT if released else INK
            axes.text(end + 8, y + height / 2 + 4.5, texts[number], weight=weight, color=color, size=size)
        if not narrow:
            axes.plot([left, left], [top - 6, top + row * (len(accuracies) - 1) + height + 6], color=INK, lw=1)
        return _svg(figure, accuracy_alt(accuracies), "accuracy", width)


def accuracy_alt(accuracies: tuple[Accuracy, ...]) -> str:
    """The bars in words."""
    parts = [f"{a.label} {percent(a.value, a.deviation)}" + _bracket(_TAGS[a.standing]) for a in accuracies]
    return "Bar chart of accuracy: " + "; ".join(parts) + "."


def spending_line(spending: Spending, width: int = 360) -> Markup:
    """Epsilon so far over queries asked, with the cap where there is one."""
    height, left, bottom, top, right = 230, 40, 200, 26, 16
    total = spending.epsilon[-1]
    ceiling = max(total, spending.cap or 0) * 1.04
    if ceiling < NOTHING:
        ceiling = 1.0
    across, up = (width - left - right) / spending.asked, (bottom - top) / ceiling
    at = np.unique(np.linspace(0, spending.asked - 1, min(spending.asked, 600)).round().astype(int))
    x = left + np.concatenate([[0], (at + 1) * across])
    y = bottom - np.concatenate([[0], np.asarray(spending.epsilon)[at] * up])
    with matplotlib.rc_context(_STYLE):
        figure, axes = _canvas(width, height)
        for tick in _ticks(ceiling):
            axes.plot([left, width - right], [bottom - tick * up] * 2, color=LINE if tick else INK, lw=1, zorder=0)
            axes.text(left - 8, bottom - tick * up + 4.5, f"{tick:g}", color=SOFT, size=12, ha="right")
        for tick in _ticks(spending.asked, whole=True):
            axes.text(left + tick * across, bottom + 18, f"{tick:,.0f}", color=SOFT, size=12, ha="center")
        if spending.cap is not None:
            axes.plot([left, width - right], [bottom - spending.cap * up] * 2, color=INK, lw=1.2, ls=(0, (5, 4)))
            axes.text(
                left + 4, bottom - spending.cap * up - 7, f"budget \u03b5 = {epsilon_text(spending.cap)}", size=12
            )
        axes.plot(x, y, color=ACCENT, lw=2.5, solid_joinstyle="round")
        axes.plot(x[-1], y[-1], "o", color=ACCENT, ms=7)
        below = spending.cap is not None and (spending.cap - total) * up < 26
        axes.text(
            x[-1] - (12 if below else 4),
            y[-1] + (24 if below else -10),
            f"\u03b5 = {epsilon_text(total)}",
            color=ACCENT,
            weight="bold",
            ha="right",
        )
        return _svg(figure, spending_alt(spending), "spending", width)


def spending_alt(spending: Spending) -> str:
    """The line in words."""
    cap = "" if spending.cap is None else f"; the budget is {epsilon_text(spending.cap)}"
    return (
        f"Line chart: data-independent epsilon grows with the queries asked, to {epsilon_text(spending.epsilon[-1])} "
        f"after {spending.asked} asked and {spending.answered} answered{cap}."
    )


def curve_line(curve: Curve, width: int = 360) -> Markup:
    """A quantity over steps. The axis begins at zero where the values come near it, else just below the least of them."""
    height, left, bottom, top, right = 210, 52, 180, 16, 16
    x, y = np.asarray(curve.points).T
    low = 0.0 if 0 <= y.min() <= 0.5 * y.max() else float(y.min())
    span = max(float(y.max()) - low, 1e-12)
    low -= 0.0 if low == 0 else 0.08 * span
    across = (width - left - right) / max(float(x.max()), 1.0)
    up = (bottom - top) / (1.06 * (float(y.max()) - low) or 1.0)
    with matplotlib.rc_context(_STYLE):
        figure, axes = _canvas(width, height)
        for value in np.linspace(low, float(y.max()), 4):
            at = bottom - (value - low) * up
            axes.plot([left, width - right], [at, at], color=INK if value == low else LINE, lw=1, zorder=0)
            axes.text(left - 8, at + 4.5, f"{value:.3g}", color=SOFT, size=12, ha="right")
        for tick in _ticks(float(x.max()), whole=True):
            axes.text(left + tick * across, bottom + 18, f"{tick:,.0f}", color=SOFT, size=12, ha="center")
        axes.plot(left + x * across, bottom - (y - low) * up, color=ACCENT, lw=2, solid_joinstyle="round")
        return _svg(figure, curve_alt(curve), "curve", width)


def curve_alt(curve: Curve) -> str:
    """The curve in words."""
    (_, first), (steps, last) = curve.points[0], curve.points[-1]
    return f"Line chart of {curve.label}: {first:.4g} at first, {last:.4g} after {steps:,.0f} {curve.step}."


def agreement_bars(agreement: Agreement, width: int = 360) -> Markup:
    """Queries by the share of teachers behind the top label."""
    height, left, bottom, top, right = 230, 40, 200, 18, 16
    most = max(agreement.counts) or 1
    across, up = width - left - right, (bottom - top) / most
    with matplotlib.rc_context(_STYLE):
        figure, axes = _canvas(width, height)
        for tick in _ticks(most, whole=True):
            axes.plot([left, width - right], [bottom - tick * up] * 2, color=LINE if tick else INK, lw=1, zorder=0)
            axes.text(left - 8, bottom - tick * up + 4.5, f"{tick:,.0f}", color=SOFT, size=12, ha="right")
        for low, high, count in zip(agreement.edges, agreement.edges[1:], agreement.counts, strict=False):
            if count:
                where = (left + low * across + 1, bottom - count * up)
                axes.add_patch(
                    Rectangle(where, (high - low) * across - 2, count * up, fc="white", ec=FILL, lw=1.2, hatch="////")
                )
        axes.plot([left, width - right], [bottom, bottom], color=INK, lw=1)
        for tick in (0, 0.25, 0.5, 0.75, 1.0):
            axes.text(left + tick * across, bottom + 18, f"{100 * tick:.0f} %", color=SOFT, size=12, ha="center")
        return _svg(figure, agreement_alt(agreement), "agreement", width)


def agreement_alt(agreement: Agreement) -> str:
    """The histogram in words."""
    return (
        f"Histogram, simulation only, not released: {agreement_sentence(agreement)} "
        f"Queries by the share of teachers that voted for the top label."
    )


def agreement_sentence(agreement: Agreement) -> str:
    """What the histogram shows at a glance."""
    total = sum(agreement.counts)
    near = sum(c for low, c in zip(agreement.edges, agreement.counts, strict=False) if low >= 0.9 - 1e-9)
    return f"On {100 * near / total:.0f} % of {total:,} queries at least 90 % of the teachers agree."


def _canvas(width: int, height: int) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width / 72, height / 72))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure, axes


def _bar(axes: Axes, x: float, y: float, width: float, height: float, standing: str) -> None:
    if standing == "diagnostic":
        axes.add_patch(Rectangle((x, y), width, height, fc="white", ec=FILL, lw=1.2, hatch="////"))
    elif standing == "non_private":
        axes.add_patch(Rectangle((x, y), width, height, fc=FILL, lw=0))
    else:
        axes.add_patch(Rectangle((x, y), width, height, fc=ACCENT, lw=0))


def _ticks(highest: float, *, whole: bool = False) -> list[float]:
    step = 10 ** math.floor(math.log10(highest))
    step = next(step * part for part in (0.2, 0.25, 0.5, 1.0, 2.0) if highest / (step * part) <= 5)
    if whole:
        step = max(1.0, round(step))
    return [step * number for number in range(int(highest / step + 1e-9) + 1)]


def _bracket(text: str) -> str:
    return f" ({text})" if text else ""


def _svg(figure: Figure, alt: str, name: str, width: int) -> Markup:
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    for pattern in _UNWANTED:
        text = pattern.sub("", text)
    # Several drawings share one page: their ids must not meet.
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-{width}-", text)
    opening = f'<svg class="{name} w{width}" style="max-width:{width}px" role="img" aria-label="{escape(alt)}"'
    return Markup(text.replace("<svg", opening, 1))
