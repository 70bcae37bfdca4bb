import dataclasses
import io
import json
import math
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from sample_report import sample
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.statement import NOT_ESTABLISHED, PrivacyStatement
from stillhouse.platform.report import plots
from stillhouse.platform.report.html import render_report, write_report
from stillhouse.platform.report.report import (
    Accuracy,
    Agreement,
    Curve,
    Report,
    Sheet,
    Spending,
    delta_text,
    epsilon_text,
    percent,
)
from stillhouse.platform.report.tables import print_report

NOT_COVERED = "simulation only, not released, not covered by the epsilon"


class Page(HTMLParser):
    """Tags, attributes and the visible texts of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "br", "path", "use"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("path", "use"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style" and data.strip():
            self.texts.append(" ".join(data.split()))

    @property
    def text(self):
        return " ".join(self.texts)


def on_a_terminal(report, width=120):
    out = io.StringIO()
    print_report(report, Console(file=out, width=width))
    return out.getvalue()


def uncovered():
    statement = PrivacyStatement(math.inf, 0.0, coverage="uncovered", reasons=("the generator saw the private images",))
    return dataclasses.replace(sample(), privacy=statement)


def test_the_page_is_one_file_without_script_or_network():
    html = render_report(sample())
    page = Page(html)
    assert page.open == []
    assert not {"script", "link", "img", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    links = [value for _, a in page.tags for key, value in a.items() if key in ("href", "src", "xlink:href", "action")]
    assert all(link.startswith("#") for link in links)
    assert "url(http" not in html and "@import" not in html
    assert len(html) < 60_000


def test_the_page_is_accessible():
    page = Page(render_report(sample()))
    count = [tag for tag, _ in page.tags].count
    assert ("html", {"lang": "en"}) in page.tags and count("h1") == 1
    assert count("caption") == count("table") >= 4
    assert all(a["role"] == "img" and len(a["aria-label"]) > 40 for tag, a in page.tags if tag == "svg")
    assert all("scope" in a for tag, a in page.tags if tag == "th")
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids)), "ids of several drawings meet"


@pytest.mark.parametrize("show", [lambda r: Page(render_report(r)).text, lambda r: " ".join(on_a_terminal(r).split())])
def test_both_forms_tell_the_same(show):
    text = show(sample())
    for needed in (
        "Student", "86.1 %", "Ensemble, no noise", "87.4 %", "Mean teacher", "81.2 % ± 1.1", "Non-private reference",
        "90.5 %", "1.688", "1e-5", "replace one record; a record is in one shard", "covered", "400", "254", "disjoint",
        "3f9a0c5d", "this start spent nothing", "exact Gaussian differential privacy", "seed 7", "invented",
    ):  # fmt: skip
        assert needed in text, needed


@pytest.mark.parametrize("show", [lambda r: Page(render_report(r)).text, lambda r: " ".join(on_a_terminal(r).split())])
def test_what_comes_from_raw_votes_is_labelled_each_time(show):
    # Two bars of the sample and the agreement histogram.
    assert show(sample()).count(NOT_COVERED) == 3
    assert show(sample()).count("no privacy, not released, not covered by the epsilon") == 1


def test_the_drawings_say_it_too_in_texts_and_in_words():
    bars = str(plots.accuracy_bars(sample().accuracies, 760))
    assert bars.count(">simulation only, not released<") == 2 and bars.count(">no privacy, not released<") == 1
    assert "Mean teacher 81.2 % ± 1.1 (simulation only, not released)" in bars
    assert "simulation only, not released" in plots.agreement_alt(sample().agreement)


@pytest.mark.parametrize("show", [lambda r: Page(render_report(r)).text, lambda r: " ".join(on_a_terminal(r).split())])
def test_an_uncovered_run_is_nowhere_called_covered(show):
    text = show(uncovered())
    assert "∞" in text and "uncovered" in text and "the generator saw the private images" in text
    assert "released, covered" not in text and "its epsilon is infinite" in text


@pytest.mark.parametrize("show", [lambda r: Page(render_report(r)).text, lambda r: " ".join(on_a_terminal(r).split())])
def test_a_claim_that_does_not_follow_is_shown_as_not_established(show):
    reasons = (f"{NOT_ESTABLISHED}. The noise is divided, the signal is not",)
    statement = PrivacyStatement(math.inf, 0.0, coverage="uncovered", reasons=reasons)
    text = show(dataclasses.replace(sample(), privacy=statement))
    assert "not established at" in text and reasons[0] in text and "∞" not in text


def test_what_is_written_is_read_back(tmp_path):
    for report in (sample(), uncovered(), dataclasses.replace(sample(), spending=None, agreement=None, ledger=None)):
        path = write_report(report, tmp_path)
        assert Report.read(tmp_path) == report
        assert path.read_text(encoding="utf-8") == render_report(report) == render_report(Report.read(tmp_path))
        json.loads(
            (tmp_path / "report.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON")
        )
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(BadInput, match="not a report"):
        Report.read(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        {"ledger": ["x", "y"]},
        {"ledger": [1]},
        {"ledger": 7},
        {"curves": [{"label": "a", "step": "s", "points": [[1], [2]]}]},
        {"curves": [{"label": "a", "step": "s", "points": [["x", 1], [2, 3]]}]},
        {"curves": [7]},
        {"sheets": ["a"]},
        {"accuracies": None},
        {"privacy": {"epsilon": "x"}},
        {"spending": {"epsilon": ["a"], "answered": 1, "cap": None}},
    ],
    ids=str,
)
def test_a_damaged_report_is_refused_as_one(damage, tmp_path):
    (tmp_path / "report.json").write_text(json.dumps(sample().to_json() | damage))
    with pytest.raises(BadInput, match="not a") as told:
        Report.read(tmp_path)
    assert not isinstance(told.value.__cause__, BadInput)


def test_what_a_report_refuses_of_its_own_is_told_as_it_is(tmp_path):
    damage = {"accuracies": [{"label": "a", "value": 86.1, "standing": "released", "deviation": None}]}
    (tmp_path / "report.json").write_text(json.dumps(sample().to_json() | damage))
    with pytest.raises(BadInput, match="between 0 and 1"):
        Report.read(tmp_path)


def test_texts_from_outside_are_escaped_and_not_markup():
    mean = "<script>alert(1)</script> [bold]x[/bold] & $x$"
    report = dataclasses.replace(sample(), title=mean, notes=(mean,), config={mean: mean},
                                 accuracies=(Accuracy(mean, 0.5, "released"),))  # fmt: skip
    html = render_report(report)
    assert "<script" not in html and mean in Page(html).text
    assert "[bold]x[/bold]" in on_a_terminal(report, 200)
    drawing = ElementTree.fromstring(str(plots.accuracy_bars(report.accuracies, 760)))
    assert mean in [text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")]


def test_a_label_too_long_for_its_column_stands_above_its_bar():
    def starts(label: str) -> list[float]:
        drawn = ElementTree.fromstring(str(plots.accuracy_bars((Accuracy(label, 0.5, "released"),), 760)))
        paths = [p for p in drawn.iter("{http://www.w3.org/2000/svg}path") if plots.ACCENT in p.get("style", "")]
        return [min(float(x) for x in re.findall(r"[ML] ([\d.]+) [\d.]+", p.get("d", ""))) for p in paths]

    assert starts("Student") == [220.0] and starts("Teacher on the same pictures, brought up") == [0.0]


SHEET = Sheet("Annotators", ("Pseudonym", "Answers"), (("a1", "12"), ("<b>", "3")), left_out=57)


def test_a_table_is_shown_everywhere_with_what_it_leaves_out(tmp_path):
    report = dataclasses.replace(sample(), sheets=(SHEET,))
    page = Page(render_report(report))
    assert [tag for tag, _ in page.tags].count("caption") == [tag for tag, _ in page.tags].count("table")
    for text in (page.text, on_a_terminal(report)):
        assert all(word in text for word in ("Annotators", "Pseudonym", "a1", "<b>", "57 more"))
    wide = Sheet("Wide", tuple(f"c{i}" for i in range(9)), (tuple("0123456v8"),))
    terminal = on_a_terminal(dataclasses.replace(sample(), sheets=(wide,)))
    assert "2 more columns: c7, c8" in terminal and "v" not in terminal.split("Wide")[1].split("in the file")[0]
    assert (
        "v"
        in Page(render_report(dataclasses.replace(sample(), sheets=(wide,)))).text.split("Wide")[1].split("All rows")[1]
    )
    report.write(tmp_path)
    assert Report.read(tmp_path) == report


def test_a_table_with_ragged_rows_is_refused():
    with pytest.raises(BadInput, match="2 cells"):
        Sheet("t", ("a", "b"), (("1",),))


def test_a_run_with_nothing_optional_is_shown():
    bare = Report("t", "m", "d", "p", (), sample().privacy, 0)
    assert "Privacy statement" in render_report(bare) and "1.688" in on_a_terminal(bare)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.sampled_from([330, 760]))
def test_bars_are_as_long_as_their_values_and_inside_the_drawing(values, width):
    drawn = plots.accuracy_bars(tuple(Accuracy(f"m{i}", v, "released") for i, v in enumerate(values)), width)
    ends = [
        [float(x) for x in re.findall(r"[ML] ([\d.]+) [\d.]+", element.get("d"))]
        for element in ElementTree.fromstring(str(drawn)).iter("{http://www.w3.org/2000/svg}path")
        if plots.ACCENT in element.get("style", "")
    ]
    lengths = [max(x) - min(x) for x in ends]
    assert all(0 <= min(x) <= max(x) <= width for x in ends) and len(lengths) == len(values)
    scale = lengths[int(np.argmax(values))] / max(max(values), 1e-9)
    assert lengths == pytest.approx([scale * v for v in values], abs=0.1)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=3000), st.none() | st.floats(0.01, 20))
def test_any_spending_is_drawn(costs, cap):
    spending = Spending(tuple(np.cumsum(costs).tolist()), len(costs) // 2, cap)
    ElementTree.fromstring(str(plots.spending_line(spending)))
    assert f"after {len(costs)} asked" in plots.spending_alt(spending)


def test_nonsense_is_refused():
    with pytest.raises(BadInput):
        Accuracy("a", 86.1, "released")
    with pytest.raises(BadInput, match="standing"):
        Accuracy("a", 0.5, "private")
    for epsilon, answered in [((), 0), ((2.0, 1.0), 1), ((math.inf,), 1), ((1.0,), 2)]:
        with pytest.raises(BadInput):
            Spending(epsilon, answered)
    for histograms in (np.zeros((2, 3)), np.ones(3), np.ones((0, 3))):
        with pytest.raises(BadInput):
            Agreement.of(histograms)


def test_numbers_as_people_read_them():
    assert [epsilon_text(e) for e in (2.0, 2.5274, 0.0004, 0.0, math.inf)] == ["2", "2.528", "0.001", "0", "∞"]
    assert percent(0.8768) == "87.7 %" and percent(0.8768, 0.0101) == "87.7 % ± 1.0"
    assert delta_text(1e-5) == "1e-5" and delta_text(2.5e-12) == "2.5e-12" and delta_text(0.0) == "0"


def test_an_epsilon_too_small_for_any_axis_is_drawn():
    ElementTree.fromstring(str(plots.spending_line(Spending((5e-324,), 0))))


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50))
def test_any_curve_is_drawn(values):
    curve = Curve("loss", "iterations", tuple((float(10 * i), v) for i, v in enumerate(values)))
    ElementTree.fromstring(str(plots.curve_line(curve)))
    assert "Line chart of loss" in plots.curve_alt(curve)


def test_a_curve_needs_two_finite_points():
    with pytest.raises(BadInput):
        Curve("loss", "iterations", ((0.0, 1.0),))
    with pytest.raises(BadInput):
        Curve("loss", "iterations", ((0.0, 1.0), (1.0, float("nan"))))
