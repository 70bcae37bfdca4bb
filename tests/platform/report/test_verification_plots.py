"""Pictures of recognition: whole SVG, points where the figures are, told in words, and what they refuse."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from stillhouse.platform.errors import BadInput
from stillhouse.platform.report.chart import COLOURS, DASHES, Axis, Frame, as_file, decades, percents
from stillhouse.platform.report.verification_plots import (
    cmc_plot,
    det_plot,
    reject_plot,
    resolution_plot,
    roc_plot,
    score_histogram,
)
from stillhouse.platform.verification.identification import Identification
from stillhouse.platform.verification.quality import error_versus_reject
from stillhouse.platform.verification.roc import Roc, roc

POSITIVE = np.arange(4000) < 2000


def curve(gap: float) -> Roc:
    return roc(np.random.default_rng(0).normal(gap * POSITIVE, 1.0), POSITIVE)


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")]


def alt(svg: str) -> str:
    return ElementTree.fromstring(svg).attrib["aria-label"]


def lines(svg: str, colour: str) -> list[np.ndarray]:
    """The points of all paths of a colour, in pixels."""
    found = [e for e in ElementTree.fromstring(svg).iter() if colour in e.attrib.get("style", "") and "d" in e.attrib]
    paths = [re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", e.attrib["d"]) for e in found]
    return [np.array(path, float) for path in paths]


def test_roc_is_drawn_where_the_figures_are() -> None:
    curves = {"first": curve(1.0), "a name <of> a method & more that has no end at all": curve(2.0)}
    svg = str(roc_plot(curves, "a test"))
    assert svg == str(roc_plot(curves, "a test"))
    far = curves["first"].at_far(0.01)
    assert f"first AUC {curves['first'].auc:.3f}, TAR {100 * far.tar:.1f} % at FAR 0.01" in alt(svg)
    drawn = texts(svg)
    assert {"0.0001", "0.001", "0.01", "0.1", "1", "FAR", "first"} <= set(drawn)
    assert sum(t.startswith("a name <of>") and t.endswith("\u2026") for t in drawn) == 1
    thick = lines(svg, COLOURS[0])[-1]  # the legend's sample comes first, then the thin end, then the rest
    x = 52 + (360 - 52 - 16) * (4 + np.log10(far.fmr)) / 4
    near = thick[np.argmin(abs(thick[:, 0] - x))]
    assert near[1] == pytest.approx(46 + 200 * (1 - far.tar), abs=3)
    assert thick[-1] == pytest.approx([344, 46], abs=0.2) and len(thick) < 700
    assert far.fmr >= 10 / 2000 and thick[0, 0] == pytest.approx(52 + 292 * (4 + np.log10(10 / 2000)) / 4, abs=1)


def test_few_negatives_claim_no_rate() -> None:
    few = roc([3.0, 1.0, 2.0, 0.0], [True, True, False, False])
    assert alt(str(roc_plot({"few": few}, "four pairs"))) == "ROC curve, four pairs. few AUC 0.750."
    ElementTree.fromstring(str(det_plot({"few": few, "none wrong": roc([1, 0], [1, 0])}, "four pairs")))


def test_det_marks_the_equal_error_rate() -> None:
    found = curve(1.0)
    svg = str(det_plot({"one": found}, "a test"))
    assert f"equal error rate {100 * found.eer:.1f} %" in alt(svg) and f"EER {100 * found.eer:.1f} %" in texts(svg)
    use = [e for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("}use")][-1]
    # 2,000 of each kind: both axes begin at 0.0001
    assert float(use.attrib["x"]) == pytest.approx(52 + 292 * (4 + np.log10(found.eer)) / 4, abs=0.01)
    assert float(use.attrib["y"]) == pytest.approx(246 - 200 * (4 + np.log10(found.eer)) / 4, abs=0.01)


def test_cmc_goes_to_the_last_rank_there_is() -> None:
    found = Identification(np.array([1, 1, 2, 4]), 4)
    svg = str(cmc_plot({"a": found, "b": Identification(np.array([1, 30]), 40)}, "a test"))
    assert "a rank 1: 50.0 %, 5: 100.0 %; b rank 1: 50.0 %, 5: 50.0 %." in alt(svg)
    assert {"1", "5", "10", "15", "20", "rank"} <= set(texts(svg))
    short = lines(svg, COLOURS[0])
    assert max(len(path) for path in short) == 4
    ElementTree.fromstring(str(cmc_plot({"one entry": Identification(np.array([1]), 1)}, "one")))


def test_histogram_shows_shares_of_each_kind() -> None:
    scores = np.concatenate([np.full(30, 0.9), np.full(10, 0.1), np.full(60, 0.1)])
    svg = str(score_histogram(scores, np.arange(100) < 40, "a test", threshold=0.5, names=("forged", "real")))
    assert alt(svg) == "Histogram of scores, a test. forged median 0.9; real median 0.1; threshold 0.5."
    assert {"forged", "real", "100 %", "score"} <= set(texts(svg))
    genuine = max(lines(svg, COLOURS[0]), key=len)
    assert genuine[:, 1].min() == pytest.approx(46 + 200 * 0.25, abs=0.2)  # three quarters of its kind in one bar
    ElementTree.fromstring(str(score_histogram(np.ones(4), [1, 0, 1, 0], "all alike")))
    with pytest.raises(BadInput, match="not finite"):
        score_histogram([np.nan, 1.0], [1, 0], "wrong")


def test_resolution_curve_has_bars_and_its_own_sides() -> None:
    arms = {"CE": [(16, 0.75, 0.03), (8, 0.6, None), (112, 0.9, 0.02)], "KD": [(16, 0.78, 0.02)]}
    svg = str(resolution_plot(arms, "a test"))
    assert alt(svg).endswith("CE 60.0 % at 8, 75.0 % at 16, 90.0 % at 112; KD 78.0 % at 16.")
    assert {"8", "16", "112", "pixels a side"} <= set(texts(svg)) and "32" not in texts(svg)
    bars = [path for path in lines(svg, COLOURS[0]) if len(path) == 2 and np.ptp(path[:, 0]) == 0]
    assert sorted(np.ptp(bar[:, 1]) for bar in bars) == pytest.approx([200 * 0.04 / 0.4, 200 * 0.06 / 0.4], abs=0.01)
    crowded = {"x": [(side, 0.5, None) for side in (8, 9, 10, 16, 17)]}
    assert [t for t in texts(str(resolution_plot(crowded, "many"))) if t.isdigit()] == ["8", "10", "16"]
    for wrong in ({}, {"x": []}, {"x": [(8, np.nan, None)]}, {"x": [(8, 1.2, None)]}, {"x": [(0, 0.5, None)]}):
        with pytest.raises(BadInput):
            resolution_plot(wrong, "wrong")  # type: ignore[arg-type]


def test_reject_curve_stands_between_the_idle_and_the_ideal() -> None:
    random = np.random.default_rng(0)
    wrong = random.random(500) < 0.2
    good, idle = (error_versus_reject(wrong, random.normal(size=500) - k * wrong) for k in (2, 0))
    svg = str(reject_plot({"good": good, "idle": idle}, "a test"))
    assert f"good {100 * wrong.mean():.1f} % at 0.0 % rejected" in alt(svg)
    grey = "stroke: #b9b1a5"
    assert len(lines(svg, grey)) == 2
    other = error_versus_reject(wrong[:400], random.normal(size=400))
    assert not lines(str(reject_plot({"good": good, "of others": other}, "a test")), grey)


def test_axes_hold_what_is_drawn_and_round_ticks() -> None:
    for low, high in ((0.0, 0.001), (0.2, 1.0), (0.613, 0.618), (0.5, 0.5), (0.0, 0.0), (0.97, 1.0), (0.0, 1.0)):
        axis = percents("share", low, high)
        assert axis.low <= low + 1e-9 and axis.high >= high - 1e-9 and 2 <= len(axis.ticks) <= 7
        assert len({axis.text(tick) for tick in axis.ticks}) == len(axis.ticks)
    for least in (1, 0.3, 1e-3, 1 / 3000, 1e-6, 6e-8):
        axis = decades("FAR", least)
        assert axis.low <= least and axis.high == axis.ticks[-1] == 1 and len(axis.ticks) <= 8
    assert [decades("FAR", 1e-6).text(tick) for tick in (1e-6, 0.01, 1.0)] == ["1e-6", "0.01", "1"]


def test_a_long_line_is_thinned_without_moving() -> None:
    axis = Axis("x", 0.0, 1.0, (0.0, 1.0), str)
    frame, axes = Frame("t", axis, axis, (("a", ""),)), Figure().add_subplot()
    x = np.linspace(0, 1, 100_000)
    frame.line(axes, 0, x, x**2)
    drawn = np.asarray(axes.lines[0].get_xydata())
    assert len(drawn) < 500
    exact = np.interp(drawn[:, 0], *frame.place(x, x**2))
    assert abs(drawn[:, 1] - exact).max() < 1.2
    assert drawn[0].tolist() == [52, 246] and drawn[-1].tolist() == [344, 46]


def test_more_lines_than_can_be_told_apart_are_refused() -> None:
    assert len(DASHES) == len(COLOURS) == len(set(map(str, DASHES)))
    with pytest.raises(BadInput, match="9 lines"):
        roc_plot({str(number): curve(1.0) for number in range(9)}, "many")
    with pytest.raises(BadInput, match="without lines"):
        roc_plot({}, "none")


def test_a_file_has_a_font_and_a_size(tmp_path: Path) -> None:
    drawing = roc_plot({"one": curve(1.0)}, "a test")
    root = ElementTree.fromstring(as_file(drawing))
    assert root.attrib["width"] == "360" and float(root.attrib["height"]) > 300
    assert "Liberation Sans" in root.attrib["style"] and root.tag == "{http://www.w3.org/2000/svg}svg"
    with pytest.raises(BadInput, match="no drawing"):
        as_file(type(drawing)("<p>"))
