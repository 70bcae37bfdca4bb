"""Scores over time as a drawing: lines, threshold, words for those who do not see it."""

from __future__ import annotations

import numpy as np
import pytest
from stillhouse.platform.errors import BadInput
from stillhouse.platform.report.chart import as_file
from stillhouse.platform.report.timeline_plot import Timeline, timeline_plot


def test_every_line_is_drawn_named_and_told() -> None:
    lines = {
        "one": Timeline(np.arange(10) / 25, np.linspace(-1, 2, 10)),
        "two": Timeline(np.arange(50) / 25, np.full(50, 3.5)),
    }
    text = as_file(timeline_plot(lines, "A video", threshold=0.5, quantity="logit"))
    assert text.startswith("<svg") and "one: mean +0.50; two: mean +3.50" in text
    for words in ("A video", "seconds", "logit", "mean +3.50"):
        assert words in text
    without = as_file(timeline_plot(lines, "A video", quantity="logit"))
    assert text.count("stroke-dasharray") == without.count("stroke-dasharray") + 1


def test_a_single_frame_is_a_dot() -> None:
    text = as_file(timeline_plot({"one": Timeline(np.zeros(1), np.array([0.3]))}, "A frame"))
    assert "mean +0.30" in text


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(BadInput, match="without lines"):
        timeline_plot({}, "nothing")
    with pytest.raises(BadInput, match="not finite"):
        Timeline(np.arange(2.0), np.array([0.0, np.nan]))
    with pytest.raises(BadInput, match="timeline of"):
        Timeline(np.arange(2.0), np.zeros(3))
