import csv
import dataclasses
import io
import json
import statistics
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from sample_comparison import done, outcome, sample
from stillhouse.platform.errors import BadInput
from stillhouse.platform.report.comparison import ArmResult, Comparison, Spread, Trial
from stillhouse.platform.report.comparison_page import comparison_table, render_comparison, write_comparison
from stillhouse.platform.report.comparison_plot import _ticks, accuracy_dots


class Page(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "path", "use"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("path", "use"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"] and data.strip():
            self.texts.append(" ".join(data.split()))


def page_text(comparison):
    return " ".join(Page(render_comparison(comparison)).texts)


def terminal_text(comparison, width=200):
    out = io.StringIO()
    Console(file=out, width=width).print(comparison_table(comparison))
    return " ".join(out.getvalue().split())


def markdown_text(comparison):
    return comparison.markdown().replace("\\", "")


FORMS = [page_text, terminal_text, markdown_text]


def test_mean_and_deviation_are_those_of_the_sample():
    plain = sample().arms[0].spread("student_accuracy")
    # By hand: mean 2.47 / 3; squares of distances / (3 - 1).
    assert plain.mean == pytest.approx(0.8233333333)
    assert plain.deviation == pytest.approx(((0.0233333**2 + 0.0066667**2 + 0.0166667**2) / 2) ** 0.5, rel=1e-4)
    assert plain.count == 3


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=9))
def test_spread_agrees_with_numpy(values):
    spread = Spread.of(values)
    assert spread.mean == pytest.approx(np.mean(values), abs=1e-6)
    assert spread.deviation == pytest.approx(np.std(values, ddof=1), rel=1e-6, abs=1e-6)


def test_differences_are_paired_by_seed():
    comparison = sample()
    # Seed 0: 0.82 - 0.80, seed 1: 0.84 - 0.83; seed 2 failed. The reference's own seed 2 is not used.
    sure = comparison.differences["sure"]
    assert (sure.mean, sure.count) == (pytest.approx(0.015), 2)
    assert sure.deviation == pytest.approx(statistics.stdev([0.02, 0.01]))
    assert set(comparison.differences) == {"sure", "open"}
    assert sample().rows()[1][3] == "+1.5 \u00b1 0.7"


def test_a_pair_that_lacks_the_reference_is_counted():
    arms = (
        ArmResult("a", "A", (), (Trial(0, "missing"), done(1, 0.5))),
        ArmResult("b", "B", (), (done(0, 0.9), done(1, 0.4))),
    )
    rows = Comparison("t", (0, 1), arms, reference="a").rows()
    assert rows[1][3] == "\u221210.0 (n = 1)"


def test_the_rows_say_what_there_is():
    plain, sure, free, later = sample().rows()
    assert plain == ["Plain noise", "3", "82.3 % \u00b1 2.1", "reference", "5 at 1e-5", "covered", "250 of 300", "11.0"]
    assert sure[1:] == [
        "2/3",
        "83.0 % \u00b1 1.4",
        "+1.5 \u00b1 0.7",
        "5.9\u20136.1 at 1e-5",
        "covered",
        "250\u2013260 of 300",
        "10.5",
    ]
    assert free[4:6] == ["\u221e", "uncovered"]
    assert later[1:] == ["0/3", *["\u2013"] * 6]
    assert len(sample().columns) == len(plain)


def test_without_a_reference_there_are_no_differences():
    comparison = dataclasses.replace(sample(), reference=None)
    assert not comparison.differences and all(row[3] == "\u2013" for row in comparison.rows())
    assert "Differences are paired" not in comparison.markdown()


@pytest.mark.parametrize("show", FORMS)
def test_every_form_tells_the_same(show):
    text = show(sample())
    for needed in (
        "Invented figures | a study", "Plain noise", "82.3 % \u00b1 2.1", "5.9\u20136.1 at 1e-5", "\u221e", "uncovered", "2/3",
        "Only sure answers, seed 2: RunFailed: no <answers>", "Not run yet: not run yet with seed 0, 1, 2", "replace one record",
        "All runs together have spent epsilon 31.", "Somebody remarked.", "a classifier saw the records", "sample standard deviation",
    ):  # fmt: skip
        assert needed in text, needed


def test_a_terminal_of_80_columns_holds_all_figures():
    out = io.StringIO()
    Console(file=out, width=80).print(comparison_table(sample()))
    text = out.getvalue()
    assert all(len(line.rstrip()) <= 80 for line in text.splitlines()) and "\u2026" not in text
    words = {word for row in sample().rows() for cell in row[1:] for word in cell.split()}
    assert words <= set(text.split())


def test_the_json_holds_unrounded_figures_and_every_run(tmp_path):
    comparison = sample()
    json_file, markdown_file, _, html_file = write_comparison(comparison, tmp_path)
    found = json.loads(json_file.read_text(), parse_constant=pytest.fail)
    sure = found["arms"][1]
    assert sure["difference"] == {"mean": pytest.approx(0.015), "deviation": pytest.approx(0.00707107), "count": 2}
    assert [run["state"] for run in sure["runs"]] == ["done", "done", "failed"]
    assert sure["runs"][0]["outcome"]["metrics"]["student_accuracy"]["value"] == 0.82
    assert sure["metrics"]["answered"]["mean"] == 255
    assert found["arms"][2]["metrics"]["epsilon"]["mean"] == "inf"
    assert len(found["troubles"]) == 2
    assert markdown_file.read_text() == comparison.markdown() and html_file.read_text() == render_comparison(comparison)


def test_the_csv_has_one_row_a_run(tmp_path):
    comparison = sample()
    csv_file = write_comparison(comparison, tmp_path)[2]
    with csv_file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == sum(len(arm.trials) for arm in comparison.arms)
    first = rows[0]
    assert (first["arm"], first["seed"], first["state"], float(first["student_accuracy"])) == (
        "plain",
        "0",
        "done",
        0.80,
    )
    assert {row["student_accuracy"] for row in rows if row["state"] != "done"} == {""}


def test_other_metrics_can_be_the_score_and_a_column():
    comparison = dataclasses.replace(sample(), metrics=("answered", "student_accuracy"))
    assert comparison.columns[2:5] == ["Answered", "Difference", "Accuracy"]
    plain, sure, *_ = comparison.rows()
    assert plain[2:5] == ["250 \u00b1 0", "reference", "82.3 % \u00b1 2.1"]
    # 250 and 260 against 250 and 250: a plain difference, in the metric's own unit.
    assert sure[2:4] == ["255 \u00b1 7.1", "+5 \u00b1 7.1"]
    assert "in answered" in comparison.markdown() and "Answered is the score" in comparison.markdown()
    assert "250" in page_text(comparison)


def test_the_markdown_is_a_table_whose_cells_hold_no_bars():
    lines = [line for line in sample().markdown().splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 4
    assert {len(line.replace("\\|", "").split("|")) for line in lines} == {len(sample().columns) + 2}


def test_the_page_is_one_file_without_script_or_network_and_accessible():
    html = render_comparison(sample())
    page = Page(html)
    assert page.open == [] and ("html", {"lang": "en"}) in page.tags
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.tags}
    links = [value for _, a in page.tags for key, value in a.items() if key in ("href", "src", "xlink:href")]
    assert all(link.startswith("#") for link in links)
    count = [tag for tag, _ in page.tags].count
    assert count("h1") == 1 and count("caption") == count("table") == 3
    assert all(a["role"] == "img" and "Plain noise 82.3 %" in a["aria-label"] for tag, a in page.tags if tag == "svg")
    assert all("scope" in a for tag, a in page.tags if tag == "th")
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert "--accent" in html, "the report's styles are missing"


@pytest.mark.parametrize("accuracies", [[0.8], [0.8, 0.8], [0.0, 1.0], [1.0, 1.0], []])
def test_the_plot_stands_every_spread(accuracies):
    trials = tuple(done(s, a) for s, a in enumerate(accuracies)) or (Trial(0, "missing"),)
    comparison = Comparison("t", tuple(range(len(trials))), (ArmResult("a", "A", (), trials),))
    assert "nan" not in accuracy_dots(comparison, 330)


@given(st.floats(0, 1), st.floats(0.002, 1), st.integers(3, 9))
def test_ticks_are_few_round_and_ordered(low, width, most):
    ticks = _ticks(low, low + width, most)
    steps = np.diff(ticks)
    assert 2 <= len(ticks) <= most
    assert np.allclose(steps, steps[0]) and steps[0] > 0
    assert round(steps[0] / 10 ** np.floor(np.log10(steps[0]) + 1e-9), 6) in (1, 2, 5)


def test_a_run_is_done_or_has_a_reason():
    with pytest.raises(BadInput):
        Trial(0, "done")
    with pytest.raises(BadInput):
        Trial(0, "failed")
    with pytest.raises(BadInput):
        Trial(0, "missing", outcome(0.5))
    with pytest.raises(BadInput):
        Comparison("t", (0, 1), (ArmResult("a", "A", (), (done(0, 0.5),)),))
