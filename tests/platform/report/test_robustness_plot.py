"""AUC under perturbations as a drawing: a line for each kind, the clean figure, words for those who do not see it."""

from __future__ import annotations

import re

import pytest
from stillhouse.platform.errors import BadInput
from stillhouse.platform.report.chart import COLOURS, as_file
from stillhouse.platform.report.robustness_plot import robustness_plot


def test_every_kind_has_a_line_with_its_levels_and_is_told() -> None:
    lines = {"blur": [(5, 0.7), (1, 0.9), (3, 0.8)], "noise": [(1, 0.85), (5, 0.65)], "block": [(2, 0.6)]}
    text = as_file(robustness_plot(lines, "A detector", clean=0.95))
    assert text.startswith("<svg") and "Clean: 0.950; blur: mean 0.800; noise: mean 0.750; block: mean 0.600." in text
    for words in ("A detector", "level (0: clean)", "AUC of videos"):
        assert words in text
    # A dot for each measured level, whatever order they come in: the line of the first kind falls from left to right.
    assert len(re.findall(r"<use ", text)) == 6
    blur = next(
        path
        for path in re.findall(r'<path d="([^"]*)"[^>]*style="([^"]*)"', text)
        if COLOURS[0] in path[1] and path[0].count("L") == 2
    )
    places = [(float(x), float(y)) for x, y in re.findall(r"[ML] ([\d.]+) ([\d.]+)", blur[0])]
    assert places == sorted(places) and [y for _, y in places] == sorted(y for _, y in places)


def test_what_cannot_be_drawn_is_refused() -> None:
    for lines in ({}, {"blur": []}):
        with pytest.raises(BadInput, match="without lines"):
            robustness_plot(lines, "nothing", clean=0.5)
    for value in (1.2, float("nan")):
        with pytest.raises(BadInput, match="outside 0 and 1"):
            robustness_plot({"blur": [(1, value)]}, "wrong", clean=0.5)
