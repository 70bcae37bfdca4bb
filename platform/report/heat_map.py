"""A matrix of probabilities as a picture: rows the true class, columns the given label, darker for more."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle

from ..errors import BadInput
from .plots import _STYLE, ACCENT, INK, LINE, SOFT, _canvas, _svg

_SHADES = LinearSegmentedColormap.from_list("shades", ["#ffffff", ACCENT])
MOST_WITH_NUMBERS = 12
LETTER = 0.56


def heat_map(matrix: np.ndarray, names: Sequence[str], title: str, width: int = 360) -> Markup:
    """Draw a confusion matrix (C, C) with entries in [0, 1], `width` pixels wide; up to 12 classes with per cents in the cells.

    Raises:
        BadInput: it is not square with one name a class, or not within 0 and 1.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    count = len(names)
    if matrix.shape != (count, count) or not count:
        raise BadInput(f"a heat map of shape {matrix.shape} with {count} names", mend="give one name a class")
    if not (np.isfinite(matrix).all() and matrix.min() >= 0 and matrix.max() <= 1 + 1e-9):
        raise BadInput("a heat map of values outside 0 and 1", why="it shows probabilities")
    size = 11
    left = min(0.35 * width, LETTER * size * max(map(len, names)) + 10)
    side = (width - left - 4) / count
    top = 44
    below = left  # column names are turned
    with matplotlib.rc_context(_STYLE):
        figure, axes = _canvas(width, int(np.ceil(top + side * count + below)))
        axes.text(0, 14, title, weight="bold")
        axes.text(0, 32, "rows: true class, columns: given label", color=SOFT, size=size)
        for row, name in enumerate(names):
            middle = top + (row + 0.5) * side
            axes.text(left - 6, middle + 4, _fitting(name, left, size), size=size, ha="right")
            axes.text(
                left + (row + 0.5) * side, top + side * count + 6, _fitting(name, below, size),
                size=size, rotation=90, ha="center", va="top",
            )  # fmt: skip
            for column in range(count):
                value = float(matrix[row, column])
                where = (left + column * side, top + row * side)
                axes.add_patch(Rectangle(where, side, side, fc=_SHADES(min(value, 1.0)), ec=LINE, lw=0.6))
                if count <= MOST_WITH_NUMBERS:
                    color = "white" if value > 0.6 else INK
                    centre = where[0] + side / 2
                    axes.text(centre, middle + 4, f"{100 * value:.0f}", color=color, size=size, ha="center")
        return _svg(figure, heat_map_alt(matrix, names, title), "heat-map", width)


def heat_map_alt(matrix: np.ndarray, names: Sequence[str], title: str) -> str:
    """The picture in words: for each class how often it is named, and its commonest other label."""
    parts = []
    for row, name in enumerate(names):
        others = np.delete(np.arange(len(names)), row)
        text = f"{name} {100 * matrix[row, row]:.0f} %"
        if len(others):
            worst = others[np.argmax(matrix[row, others])]
            text += f" (else mostly {names[worst]} {100 * matrix[row, worst]:.0f} %)"
        parts.append(text)
    return f"Confusion matrix, {title}. Right in: " + "; ".join(parts) + "."


def _fitting(text: str, room: float, size: int) -> str:
    letters = max(3, int((room - 8) / (LETTER * size)))
    return text if len(text) <= letters else text[: letters - 1] + "\u2026"
