import dataclasses
import html
import re

from sample_comparison import FAILED, done, sample
from stillhouse.platform.privacy.statement import ADD_OR_REMOVE, PrivacyStatement
from stillhouse.platform.report.budget_plot import budget_lines, budget_plot
from stillhouse.platform.report.chart import COLOURS
from stillhouse.platform.report.comparison import ArmResult, Comparison, Trial
from stillhouse.platform.report.comparison_page import render_comparison


def arm(name, label, epsilon, accuracies, *, more=(), target=None):
    trials = tuple(done(s, a, epsilon=epsilon) for s, a in enumerate(accuracies))
    return ArmResult(name, label, (*more, f"privacy.target_epsilon={target or epsilon:g}"), trials)


def study(*arms):
    return Comparison("Budgets", (0, 1), arms)


TWO = (arm("a1", "Means, epsilon 1", 1.0, (0.6, 0.7)), arm("a10", "Means, epsilon 10", 10.0, (0.8, 0.8)))


def test_arms_that_differ_in_the_budget_alone_are_one_line():
    other = arm("b1", "Means of clipped images, epsilon 1", 1.0, (0.5, 0.5), more=("method.clip=2",))
    [line] = budget_lines(study(TWO[1], other, TWO[0]))
    assert line.label == "Means"
    assert [(e, round(m, 6), round(d, 6)) for e, m, d in line.points] == [(1.0, 0.65, 0.070711), (10.0, 0.8, 0.0)]


def test_what_was_spent_counts_and_not_what_was_granted():
    cheap = arm("c", "Means, epsilon 100", 40.0, (0.9, 0.9), target=100)
    [line] = budget_lines(study(TWO[0], cheap))
    assert [epsilon for epsilon, _, _ in line.points] == [1.0, 40.0]


def test_a_line_joins_one_relation_and_the_page_names_it():
    other = PrivacyStatement(10.0, 1e-5, neighbouring=ADD_OR_REMOVE, coverage="covered")
    trials = tuple(dataclasses.replace(t, outcome=dataclasses.replace(t.outcome, privacy=other)) for t in TWO[1].trials)
    assert budget_lines(study(TWO[0], dataclasses.replace(TWO[1], trials=trials))) == []
    page = " ".join(html.unescape(re.sub("<[^>]*>", " ", render_comparison(study(*TWO)))).split())
    assert f"Epsilons of Means: covered, delta 1e-5, neighbours: {TWO[0].done[0].privacy.neighbouring}." in page
    assert TWO[0].done[0].privacy.neighbouring != ADD_OR_REMOVE


def test_one_budget_no_epsilon_or_no_result_make_no_line():
    uncovered = arm("d", "Open, epsilon 5", float("inf"), (0.9, 0.9), target=5)
    missing = ArmResult(
        "e", "Means, epsilon 3", ("privacy.target_epsilon=3",), (Trial(0, "missing"), Trial(1, "missing"))
    )
    assert budget_lines(study(TWO[0], uncovered, missing)) == []
    assert "Over the privacy budget" not in render_comparison(sample())


def test_a_failed_run_does_not_end_the_line():
    half = dataclasses.replace(TWO[1], trials=(TWO[1].trials[0], dataclasses.replace(FAILED, seed=1)))
    [line] = budget_lines(study(TWO[0], half))
    assert line.points[1] == (10.0, 0.8, 0.0)


def test_the_page_says_how_many_lines_it_leaves_out():
    arms = []
    for number in range(len(COLOURS) + 2):
        for epsilon in (1.0, 10.0):
            score, more = 0.1 + number / 20, (f"n={number}",)
            arms.append(
                arm(f"x{number}-{epsilon:g}", f"Way {number}, epsilon {epsilon:g}", epsilon, (score,) * 2, more=more)
            )
    comparison = study(*arms)
    drawing = str(budget_plot(comparison, 760))
    assert "Way 7" in drawing and "Way 8" not in drawing and "nan" not in drawing
    page = " ".join(re.sub("<[^>]*>", " ", render_comparison(comparison)).split())
    assert "The last 2 of 10 lines are left to the table." in page


def test_the_drawing_stands_equal_scores():
    flat = (arm("a1", "Means, epsilon 1", 1.0, (0.5, 0.5)), arm("a10", "Means, epsilon 10", 10.0, (0.5, 0.5)))
    drawing = str(budget_plot(study(*flat), 330))
    assert "nan" not in drawing and "50.0 % at epsilon 10" in drawing
