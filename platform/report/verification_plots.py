"""Pictures of recognition: ROC, DET, CMC, histograms of scores, accuracy over resolution, error over what is rejected.

Each gives a drawing for the page; `chart.as_file` makes it a file that a report can show:

    write_text(folder / "roc.svg", as_file(roc_plot({"CRRCD": curve}, "16 x 16 pixels")))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.patches import Polygon

from ..errors import BadInput
from ..verification.identification import Identification
from ..verification.quality import RejectCurve
from ..verification.roc import LEAST_ACCEPTED, Roc, measurable
from ..verification.scores import check_scores
from .chart import COLOURS, SMALL, Axis, Frame, decades, percents
from .plots import _STYLE, ACCENT, FILL, INK, SOFT, _svg
from .report import delta_text

THIN = f"(thin: fewer than {LEAST_ACCEPTED} false accepts)"
SHOWN_FARS = (1e-1, 1e-2, 1e-3, 1e-4)
Point = tuple[int, float, float | None]  # pixels a side, mean, standard deviation


def roc_plot(curves: Mapping[str, Roc], title: str, width: int = 360) -> Markup:
    """TAR over FAR, FAR logarithmic. Where fewer than ten negatives are accepted, the line is thin: it hangs on a handful."""
    _some(curves)
    least = min(1 / curve.negatives for curve in curves.values())
    lowest = min(float(curve.tar[_first(curve)]) for curve in curves.values())
    frame = Frame(
        title, decades("FAR", least), percents(f"TAR {THIN}", lowest, 1.0),
        tuple((name, _short(curve)) for name, curve in curves.items()), width,
    )  # fmt: skip
    with matplotlib.rc_context(_STYLE):
        figure, axes = frame.begin()
        for number, curve in enumerate(curves.values()):
            _with_thin_end(frame, axes, number, curve, curve.far, curve.tar)
        alt = f"ROC curve, {title}. " + _told({name: _rates(curve) for name, curve in curves.items()})
        return _svg(figure, alt, "roc", width)


def det_plot(curves: Mapping[str, Roc], title: str, width: int = 360) -> Markup:
    """FNMR over FMR, both logarithmic; the dots mark where they are equal. Thin as in `roc_plot`."""
    _some(curves)
    least = min(1 / curve.negatives for curve in curves.values())
    fewest = min(1 / curve.positives for curve in curves.values())
    frame = Frame(
        title, decades("FMR", least), decades(f"FNMR {THIN}", fewest),
        tuple((name, f"EER {_percent(curve.eer)}") for name, curve in curves.items()), width,
    )  # fmt: skip
    with matplotlib.rc_context(_STYLE):
        figure, axes = frame.begin()
        begin = max(frame.across.low, frame.up.low)
        axes.plot(*frame.place([begin, 1], [begin, 1]), color=FILL, lw=1, zorder=1)
        for number, curve in enumerate(curves.values()):
            _with_thin_end(frame, axes, number, curve, curve.far, 1 - curve.tar)
            if curve.eer > begin:
                axes.plot(*frame.place(curve.eer, curve.eer), "o", color=COLOURS[number], ms=6, zorder=4)
        alt = f"DET curve, {title}. " + _told({n: f"equal error rate {_percent(c.eer)}" for n, c in curves.items()})
        return _svg(figure, alt, "det", width)


def cmc_plot(found: Mapping[str, Identification], title: str, most: int = 20, width: int = 360) -> Markup:
    """Share of probes whose person is among the first ranks, over ranks 1 to `most`."""
    _some(found)
    curves = {name: one.cmc(most) for name, one in found.items()}
    lowest, ranks = min(float(curve[0]) for curve in curves.values()), max(2, *(len(c) for c in curves.values()))
    ticks = tuple(sorted({1.0, *(float(tick) for tick in (5, 10, 15, 20, 50, 100) if tick <= ranks), float(ranks)}))
    texts = {name: f"rank 1: {_percent(one.rate(1))}, 5: {_percent(one.rate(5))}" for name, one in found.items()}
    frame = Frame(
        title, Axis("rank", 1, ranks, ticks, lambda value: f"{value:.0f}"), percents("found", lowest, 1.0),
        tuple(texts.items()), width,
    )  # fmt: skip
    with matplotlib.rc_context(_STYLE):
        figure, axes = frame.begin()
        for number, curve in enumerate(curves.values()):
            at = np.arange(1, len(curve) + 1)
            frame.line(axes, number, at, curve)
            axes.plot(*frame.place(at, curve), "o", color=COLOURS[number], ms=3.5, zorder=4)
        return _svg(figure, f"Cumulative match characteristic, {title}. " + _told(texts), "cmc", width)


def score_histogram(
    scores: Any,
    positive: Any,
    title: str,
    *,
    threshold: float | None = None,
    names: tuple[str, str] = ("genuine", "impostor"),
    bins: int = 40,
    width: int = 360,
) -> Markup:
    """How the scores (n,) of positives and of negatives spread, each as shares of its own kind; the threshold is a dashed line.

    Raises:
        BadInput: as for `roc`.
    """
    values, truth = check_scores(scores, positive)
    reach = [float(values.min()), float(values.max()), *([] if threshold is None else [threshold])]
    low, high = min(reach), max(reach)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, bins + 1)
    shares = [np.histogram(values[kind], edges)[0] / np.count_nonzero(kind) for kind in (truth, ~truth)]
    ticks = _round_ticks(low, high)
    frame = Frame(
        title, Axis("score", low, high, ticks, lambda value: f"{value:g}"),
        percents("share of its kind", 0.0, float(max(share.max() for share in shares))), (), width,
    )  # fmt: skip
    with matplotlib.rc_context(_STYLE):
        figure, axes = frame.begin()
        looks: tuple[dict[str, Any], ...] = (
            {"fc": ACCENT, "ec": ACCENT, "alpha": 0.75, "lw": 0},
            {"fc": "none", "ec": INK, "lw": 1.4, "hatch": "////"},
        )
        for share, look in zip(shares, looks, strict=True):
            x, y = frame.place(np.repeat(edges, 2), np.concatenate([[0.0], np.repeat(share, 2), [0.0]]))
            axes.add_patch(Polygon(np.stack([x, y], axis=1), **look, zorder=2))
        if threshold is not None:
            axes.plot(*frame.place([threshold] * 2, [frame.up.low, frame.up.high]), color=INK, lw=1.4, ls=(0, (5, 4)))
        right = float(frame.width - frame.RIGHT)
        for name, look in zip(reversed(names), reversed(looks), strict=True):
            axes.text(right, 34, name, size=SMALL, ha="right")
            right -= 0.56 * SMALL * len(name) + 22
            axes.add_patch(Polygon([(right, 24), (right + 16, 24), (right + 16, 35), (right, 35)], **look))
            right -= 12
        middles = [float(np.median(values[kind])) for kind in (truth, ~truth)]
        told = {name: f"median {middle:.3g}" for name, middle in zip(names, middles, strict=True)}
        alt = f"Histogram of scores, {title}. " + _told(told)
        return _svg(figure, alt if threshold is None else f"{alt[:-1]}; threshold {threshold:.3g}.", "scores", width)


def resolution_plot(
    arms: Mapping[str, Sequence[Point]],
    title: str,
    *,
    name: str = "accuracy",
    chance: float | None = 0.5,
    width: int = 360,
) -> Markup:
    """A share (accuracy) over the side of the picture in pixels, with bars of one standard deviation up and down.

    The sides lie evenly by their logarithm. `chance` is drawn as a dotted line where it falls within the axis.
    """
    _some(arms)
    for points in arms.values():
        _some(points)
        if any(not (np.isfinite(mean) and 0 <= mean <= 1 and (spread or 0) >= 0) for _, mean, spread in points):
            raise BadInput("a resolution curve of values outside 0 and 1")
    sides = sorted({side for points in arms.values() for side, _, _ in points})
    if sides[0] < 1:
        raise BadInput("a picture without pixels")
    low = max(0.0, min(mean - (spread or 0) for points in arms.values() for _, mean, spread in points))
    high = min(1.0, max(mean + (spread or 0) for points in arms.values() for _, mean, spread in points))
    margin = 1.12  # so that the outermost bars do not stand on the axis
    across = Axis(
        "pixels a side", sides[0] / margin, sides[-1] * margin, _apart(sides), lambda value: f"{value:.0f}", log=True
    )
    frame = Frame(title, across, percents(name, low, high), tuple((arm, "") for arm in arms), width)
    with matplotlib.rc_context(_STYLE):
        figure, axes = frame.begin()
        if chance is not None and frame.up.low <= chance <= frame.up.high:
            axes.plot(*frame.place([across.low, across.high], [chance] * 2), color=SOFT, lw=1.2, ls=(0, (1, 3)))
        for number, given in enumerate(arms.values()):
            points = sorted(given, key=lambda point: point[0])
            at, means = [side for side, _, _ in points], [mean for _, mean, _ in points]
            frame.line(axes, number, at, means)
            x, y = frame.place(at, means)
            axes.plot(x, y, "o", color=COLOURS[number], ms=5, zorder=4)
            aside = 2.5 * (number - (len(arms) - 1) / 2)  # bars of several lines stand next to each other
            for place, (_, mean, spread) in zip(x, points, strict=True):
                if spread:
                    ends = frame.place([1, 1], [max(frame.up.low, mean - spread), min(frame.up.high, mean + spread)])[1]
                    axes.plot([place + aside] * 2, ends, color=COLOURS[number], lw=1.4, alpha=0.8)
        told = {
            arm: ", ".join(f"{_percent(mean)} at {side}" for side, mean, _ in sorted(points, key=lambda p: p[0]))
            for arm, points in arms.items()
        }
        return _svg(figure, f"Line chart of {name} over pixels a side, {title}. " + _told(told), "resolution", width)


def reject_plot(curves: Mapping[str, RejectCurve], title: str, width: int = 360) -> Markup:
    """Error among what is kept, over the share of lowest quality that is rejected.

    If all curves are of one set of decisions, grey lines show a quality that tells nothing (level) and one that tells all (steep).
    """
    _some(curves)
    highest = max(float(curve.error.max()) for curve in curves.values())
    furthest = max(float(curve.rejected[-1]) for curve in curves.values())
    frame = Frame(
        title, percents("rejected", 0.0, furthest), percents("error of the rest", 0.0, highest),
        tuple((name, f"mean error {_percent(curve.area)}") for name, curve in curves.items()), width,
    )  # fmt: skip
    with matplotlib.rc_context(_STYLE):
        figure, axes = frame.begin()
        one = next(iter(curves.values()))
        if len({(curve.errors, curve.count) for curve in curves.values()}) == 1:
            for error in (np.full(len(one.rejected), one.area_at_random), one.ideal):
                axes.plot(*frame.place(one.rejected, error), color=FILL, lw=1.4, zorder=1)
        for number, curve in enumerate(curves.values()):
            frame.line(axes, number, curve.rejected, curve.error)
        told = {
            name: f"{_percent(curve.error[0])} at {_percent(curve.rejected[0])} rejected, "
            f"{_percent(curve.error[-1])} at {_percent(curve.rejected[-1])}"
            for name, curve in curves.items()
        }
        return _svg(figure, f"Error over rejected share, {title}. " + _told(told), "reject", width)


def _with_thin_end(frame: Frame, axes: Any, number: int, curve: Roc, x: np.ndarray, y: np.ndarray) -> None:
    start = _first(curve)
    thin = int(np.searchsorted(curve.false_accepts, LEAST_ACCEPTED))  # the first point that is measured
    frame.line(axes, number, x[start : thin + 1], y[start : thin + 1], width=1, alpha=0.7)
    frame.line(axes, number, x[thin:], y[thin:])


def _first(curve: Roc) -> int:
    """The last point without a false accept: the curve begins there, at the left edge."""
    return int(np.searchsorted(curve.false_accepts, 0, side="right")) - 1


def _rates(curve: Roc) -> str:
    kept = measurable(SHOWN_FARS, curve.negatives)
    tar = f", TAR {_percent(curve.at_far(kept[-1]).tar)} at FAR {delta_text(kept[-1])}" if kept else ""
    return f"AUC {curve.auc:.3f}{tar}"


def _short(curve: Roc) -> str:
    return _rates(curve).replace("TAR ", "").replace("FAR ", "")


def _round_ticks(low: float, high: float) -> tuple[float, ...]:
    size = 10 ** np.floor(np.log10(high - low))
    step = next(float(size * part) for part in (0.2, 0.25, 0.5, 1.0, 2.0) if (high - low) / (size * part) <= 6)
    return tuple(round(step * number, 10) for number in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1))


def _apart(sides: Sequence[int]) -> tuple[float, ...]:
    """Those of the sides whose labels do not meet: each is a fifth above the one before."""
    kept: list[int] = []
    for side in sides:
        if not kept or side >= 1.2 * kept[-1]:
            kept.append(side)
    return tuple(map(float, kept))


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _told(parts: Mapping[str, str]) -> str:
    return "; ".join(f"{name} {text}" for name, text in parts.items()) + "."


def _some(given: Any) -> None:
    if not len(given):
        raise BadInput("a chart without lines")
