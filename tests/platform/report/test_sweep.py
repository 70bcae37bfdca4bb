"""What a sweep's table says, and the line of points that no other beats."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.statement import PrivacyStatement, uncovered
from stillhouse.platform.report.selection import SelectionResult
from stillhouse.platform.report.selection_page import print_selection, write_selection
from stillhouse.platform.report.sweep import Attempt, PointResult, SweepResult, front
from stillhouse.platform.report.sweep_page import print_sweep, render_sweep, write_sweep
from stillhouse.platform.report.sweep_plot import _epsilon_ticks, pareto_plot
from stillhouse.platform.training.outcome import Metric, Outcome


def done(seed: int, accuracy: float, epsilon: float) -> Attempt:
    privacy = uncovered("it saw <everything>") if math.isinf(epsilon) else PrivacyStatement(epsilon, 1e-5)
    outcome = Outcome("m", {"student_accuracy": Metric(accuracy, "fraction"), "asked": Metric(7.0, "queries")}, privacy)
    return Attempt(seed, "done", outcome, seconds=2.0)


def point(epsilon: float, *attempts: Attempt) -> PointResult:
    return PointResult((("target", epsilon), ("kind", "a<b|c")), attempts)


RESULT = SweepResult(
    title="A <sweep>",
    metric="student_accuracy",
    mode="max",
    seeds=(0, 1),
    keys=("target", "kind"),
    points=(
        point(1.0, done(0, 0.6, 0.9), done(1, 0.7, 1.0)),
        point(2.0, done(0, 0.6, 2.0), done(1, 0.64, 2.0)),
        point(3.0, done(0, 0.8, 3.0), done(1, 0.9, 2.5)),
        point(4.0, done(0, 0.99, 4.0), Attempt(1, "refused", trouble="no room", seconds=0.1)),
        point(5.0, done(0, 0.95, math.inf), done(1, 0.95, math.inf)),
        point(
            6.0, Attempt(0, "stopped", trouble="stopped by the scheduler at step 3", seconds=1.0), Attempt(1, "missing")
        ),
        point(7.0, Attempt(0, "failed", trouble="RunFailed: <it> broke", seconds=1.0), Attempt(1, "missing")),
    ),
    limit=12.0,
    ledger=("All trials together have spent 9.",),
)


@given(
    st.lists(st.tuples(st.integers(1, 6).map(float), st.integers(0, 6).map(float)), max_size=8),
    st.sampled_from(["max", "min"]),
)
def test_the_front_is_every_point_that_no_other_beats(pairs: list[tuple[float, float]], mode: str) -> None:
    sign = 1 if mode == "max" else -1
    better = lambda a, b: a[0] <= b[0] and sign * a[1] >= sign * b[1] and a != b
    unbeaten = {pair for pair in pairs if not any(better(other, pair) for other in pairs)}
    places = front(pairs, mode)  # type: ignore[arg-type]
    assert [pairs[place] for place in places] == sorted(unbeaten)


def test_the_best_point_is_one_all_of_whose_trials_are_done() -> None:
    assert RESULT.best is RESULT.points[4]  # 0.95; the 0.99 lacks a trial
    assert [p.settings[0][1] for p in RESULT.ranked] == [5.0, 3.0, 1.0, 2.0, 4.0, 6.0, 7.0]
    assert [p.settings[0][1] for p in RESULT.front] == [1.0, 3.0]
    assert [(e, round(s, 3)) for _, e, s in RESULT.priced] == [(1.0, 0.65), (2.0, 0.62), (3.0, 0.85)]


def test_a_sweep_for_the_least_ranks_the_other_way() -> None:
    least = SweepResult("t", "student_accuracy", "min", (0, 1), ("target", "kind"), RESULT.points)
    assert least.best is RESULT.points[1] and [p.settings[0][1] for p in least.front] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("better", "mode", "told"), [("lower", "max", True), ("lower", "min", False), (None, "max", False)]
)
def test_ranking_by_the_wrong_end_is_told(better: Any, mode: Any, told: bool) -> None:
    outcome = Outcome("m", {"error": Metric(0.2, "distance", better)}, uncovered("it saw records"))
    result = SweepResult("t", "error", mode, (0,), ("target", "kind"), (point(1.0, Attempt(0, "done", outcome, 1.0)),))
    assert ("error is better when lower, and the sweep ranks by mode: max" in result.troubles) is told


def test_the_table_says_how_every_trial_ended() -> None:
    rows = {row[0]: row[2:] for row in RESULT.rows()}
    # By hand: |0.7 - 0.6| / sqrt(2) = 0.0707.
    assert rows["1"] == ["2 done", "65.0 % \u00b1 7.1", "0.9\u20131 at 1e-5", "covered", "2.0"]
    assert rows["4"][:2] == ["1 done, 1 refused", "99.0 %"]
    assert rows["6"] == ["1 stopped, 1 missing", "\u2013", "\u2013", "\u2013", "\u2013"]
    assert RESULT.count("done") == 9 and RESULT.count("missing") == 2
    assert any("9 done, 1 stopped, 1 refused, 1 failed, 2 missing" in note for note in RESULT.notes)
    assert (
        RESULT.troubles[0] == "target=4, kind=a<b|c, seed 1: no room" and "2 trials are not run yet" in RESULT.troubles
    )


def test_outcomes_without_the_metric_are_told_with_what_there_is() -> None:
    other = SweepResult("t", "acuracy", "max", (0, 1), ("target", "kind"), RESULT.points[:1])
    assert other.best is None and other.rows()[0][3] == "\u2013"
    assert "2 outcomes have no metric 'acuracy'; they have: asked, student_accuracy" in other.troubles


def test_all_files_hold_all_figures(tmp_path: Path) -> None:
    json_file, markdown_file, csv_file, html_file = write_sweep(RESULT, tmp_path)
    told = json.loads(json_file.read_text())
    assert told["best"] == {"target": 5.0, "kind": "a<b|c"} and told["trials"]["refused"] == 1
    assert told["points"][4]["epsilon"] == "inf" and told["points"][0]["score"]["mean"] == pytest.approx(0.65)
    table = list(csv.DictReader(io.StringIO(csv_file.read_text())))
    assert len(table) == 14 and table[0]["student_accuracy"] == "0.6" and table[7]["state"] == "refused"
    assert {float(row["target"]) for row in table} == {1, 2, 3, 4, 5, 6, 7}
    page = html_file.read_text()
    assert "A &lt;sweep&gt;" in page and "<sweep>" not in page and "RunFailed: &lt;it&gt; broke" in page
    assert page.count('class="pareto') == 2 and "http://" not in page.replace("http://www.w3.org", "")
    markdown = markdown_file.read_text()
    assert "a\\<b\\|c" in markdown and markdown.count("\n| ") == 1 + 1 + 7


def test_without_a_price_there_is_no_drawing() -> None:
    plain = SweepResult("t", "student_accuracy", "max", (0, 1), ("target", "kind"), RESULT.points[4:5])
    assert not plain.priced and 'class="pareto' not in render_sweep(plain)


@pytest.mark.parametrize("width", [760, 330])
def test_the_drawing_has_a_mark_a_point_and_says_the_front_in_words(width: int) -> None:
    drawn = pareto_plot(RESULT, width)
    assert "65.0 % at epsilon 1; target=3, kind=a&lt;b|c: 85.0 % at epsilon 3." in drawn
    one = SweepResult("t", "student_accuracy", "max", (0, 1), ("target", "kind"), RESULT.points[:1])
    assert "<svg" in pareto_plot(one, width)


@pytest.mark.parametrize(("low", "high"), [(0.9, 1.1), (0.1, 30.0), (3.2, 3.4), (1e-3, 1e4)])
def test_epsilon_ticks_lie_between_the_ends(low: float, high: float) -> None:
    ticks = _epsilon_ticks(low, high, 5)
    assert 1 <= len(ticks) <= 5 and all(low <= tick <= high * 1.001 for tick in ticks)


def test_a_terminal_shows_every_column() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    print_sweep(RESULT, console)
    text = console.export_text()
    assert "85.0 %" in text and "1 refused" in text and "may not pass epsilon 12" in text


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Attempt(0, "done"),
        lambda: Attempt(0, "failed"),
        lambda: Attempt(0, "missing", trouble="x"),
        lambda: SweepResult("t", "m", "max", (0,), ("target", "kind"), RESULT.points),
        lambda: SweepResult("t", "m", "max", (0, 1), ("target",), RESULT.points),
        lambda: SweepResult("t", "m", "best", (0, 1), ("target", "kind"), RESULT.points),  # type: ignore[arg-type]
    ],
)
def test_results_that_contradict_themselves_are_refused(wrong: object) -> None:
    with pytest.raises(BadInput):
        wrong()  # type: ignore[operator]


SELECTED = SelectionResult(
    title="A <search>", metric="student_accuracy", mode="max", law="Poisson with mean 2.5", mean=2.5, candidates=9, run_epsilon=1.0,
    epsilon=2.3, plain_epsilon=1.9, delta=1e-5, neighbouring="replace one record", settings=(("method.epochs", 3),),
    outcome=done(0, 0.75, 2.3).outcome,
)  # fmt: skip


def test_a_private_search_shows_its_price_beside_plain_composition(tmp_path: Path) -> None:
    assert SELECTED.rows() == [
        ["one trial of the costliest setting", "1"],
        ["this search: the best of a secret number of trials", "2.3"],
        ["3 trials, all of them (plain composition)", "1.9"],
    ]
    assert SELECTED.released == "Released: method.epochs=3, student accuracy 75.0 %."
    assert any("Theorem 6" in note for note in SELECTED.notes)
    json_file, markdown_file, html_file = write_selection(SELECTED, tmp_path)
    assert json.loads(json_file.read_text())["epsilon"] == {"run": 1.0, "search": 2.3, "plain": 1.9}
    assert "A &lt;search&gt;" in html_file.read_text() and "Released" in markdown_file.read_text()
    console = Console(width=100, record=True, file=io.StringIO())
    print_selection(SELECTED, console)
    assert "2.3" in console.export_text()


def test_a_search_that_selected_nothing_says_so() -> None:
    nothing = SelectionResult(
        title="t", metric="m", mode="max", law="Poisson with mean 1", mean=1.0, candidates=2, run_epsilon=1.0, epsilon=2.0,
        plain_epsilon=1.0, delta=1e-5, neighbouring="n", trouble="no trial was drawn",
    )  # fmt: skip
    assert nothing.released == "Nothing was selected: no trial was drawn." and nothing.to_json()["selected"] is None
    with pytest.raises(BadInput):
        SelectionResult(
            title="t", metric="m", mode="max", law="l", mean=1.0, candidates=2, run_epsilon=1.0, epsilon=2.0, plain_epsilon=1.0,
            delta=1e-5, neighbouring="n", settings=(("a", 1),),
        )  # fmt: skip
