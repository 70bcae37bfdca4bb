"""Scores over the time of a video: one line a video, the threshold dashed.

write_text(folder / "timeline.svg", as_file(timeline_plot({"clip": Timeline(seconds, logits)}, "a video", threshold=0.4)))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib
import numpy as np
from markupsafe import Markup

from ..errors import BadInput
from .chart import Axis, Frame
from .plots import _STYLE, INK, SOFT, _svg


@dataclass(frozen=True, eq=False)
class Timeline:
    """A score for each frame: when it is shown (seconds, rising) and the score, float (t,) both."""

    seconds: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        if self.seconds.shape != self.scores.shape or self.scores.ndim != 1 or not len(self.scores):
            raise BadInput(f"a timeline of {self.seconds.shape} times and {self.scores.shape} scores")
        if not np.isfinite(self.scores).all() or not np.isfinite(self.seconds).all():
            raise BadInput("a timeline of values that are not finite")


def timeline_plot(
    lines: Mapping[str, Timeline], title: str, *, threshold: float | None = None, quantity: str = "score", width: int = 480
) -> Markup:  # fmt: skip
    """Draw scores over seconds; zero is a dotted line, the threshold a dashed one.

    Raises:
        BadInput: there is no line, or there are more than can be told apart.
    """
    if not lines:
        raise BadInput("a chart without lines")
    values = np.concatenate([line.scores for line in lines.values()])
    reach = [float(values.min()), float(values.max()), -1.0, 1.0, *([] if threshold is None else [threshold])]
    low, high = min(reach), max(reach)
    end = max(*(float(line.seconds[-1]) for line in lines.values()), 0.1)
    means = {name: f"mean {line.scores.mean():+.2f}" for name, line in lines.items()}
    frame = Frame(
        title, Axis("seconds", 0.0, end, _ticks(0.0, end), lambda value: f"{value:g}"),
        Axis(quantity, low, high, _ticks(low, high), lambda value: f"{value:g}"), tuple(means.items()), width,
    )  # fmt: skip
    with matplotlib.rc_context(_STYLE):
        figure, axes = frame.begin()
        axes.plot(*frame.place([0, end], [0, 0]), color=SOFT, lw=1, ls=(0, (1, 3)))
        if threshold is not None:
            axes.plot(*frame.place([0, end], [threshold] * 2), color=INK, lw=1.2, ls=(0, (5, 4)))
        for number, line in enumerate(lines.values()):
            if len(line.scores) > 1:
                frame.line(axes, number, line.seconds, line.scores)
            else:
                axes.plot(*frame.place(line.seconds, line.scores), "o", color=INK, ms=4)
        told = "; ".join(f"{name}: {mean}" for name, mean in means.items())
        return _svg(figure, f"Score over time, {title}. {told}.", "timeline", width)


def _ticks(low: float, high: float) -> tuple[float, ...]:
    size = float(10.0 ** np.floor(np.log10(high - low)))
    step = next(size * part for part in (0.1, 0.2, 0.5, 1.0, 2.0) if (high - low) / (size * part) <= 7)
    first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
    return tuple(round(step * number, 6) for number in range(first, last + 1))
