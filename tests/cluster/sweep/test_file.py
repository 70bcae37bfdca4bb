"""The form of a sweep's file: everything that is wrong is said at once, and words on the command line change it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from stillhouse.cluster.config.compose import SWEEP_DIR, groups
from stillhouse.cluster.sweep.file import Scheduler, Search, Selection, find_sweep, read_sweep
from stillhouse.cluster.sweep.space import Choices, Range
from stillhouse.platform.errors import BadInput

Write = Callable[..., Path]
SMALLEST = "space: {method.epochs: [1, 2]}"


def test_a_file_is_read(sweep_file: Write) -> None:
    sweep, problems = read_sweep(sweep_file())
    assert not problems
    assert (sweep.name, sweep.title, sweep.metric, sweep.mode) == (
        "small",
        "Noise and budgets",
        "student_accuracy",
        "max",
    )
    assert sweep.space == (Choices("privacy.mechanism.sigma", (3, 4)), Choices("privacy.target_epsilon", (20, 200)))
    assert (sweep.search, sweep.scheduler, sweep.concurrent, sweep.seeds) == (Search(), None, None, (0,))
    assert (sweep.budget, sweep.private) == (None, None)


def test_ranges_and_all_other_keys_are_read(sweep_file: Write) -> None:
    text = """
metric: loss
mode: min
space:
  method.learning_rate: {log_uniform: [1e-3, 1]}
  method.epochs: {int_uniform: [2, 9]}
  method.dropout: {uniform: [0, 0.5]}
  method.decay: [1e-4, 0.1]
search: {name: random, trials: 7, seed: 3}
scheduler: {name: asha, metric: student/loss, mode: min, grace: 4, factor: 2.5}
concurrent: 2
seeds: [1, 2]
budget: 5
"""
    sweep, problems = read_sweep(sweep_file(text))
    assert not problems
    assert sweep.space == (
        Range("method.learning_rate", 0.001, 1.0, "log_uniform"),
        Range("method.epochs", 2, 9, "int_uniform"),
        Range("method.dropout", 0, 0.5, "uniform"),
        Choices("method.decay", (0.0001, 0.1)),
    )
    assert sweep.search == Search("random", 7, 3)
    assert sweep.scheduler == Scheduler("student/loss", "min", 4, 2.5)
    assert (sweep.concurrent, sweep.seeds, sweep.budget, sweep.mode) == (2, (1, 2), 5.0, "min")


def test_all_mistakes_of_form_come_at_once(sweep_file: Write) -> None:
    text = """
titel: x
metric: 3
mode: best
common: data=digits
space:
  a: []
  b: {log_uniform: [0, 1]}
  c: {normal: [0, 1]}
  d: {uniform: [2, 1]}
  e: {int_uniform: [0.5, 2]}
  f: [1, 1]
  g: [{x: 1}]
  h: 3
  h: [4]
search: {name: optuna, seeed: 1}
scheduler: {name: hyperband}
concurrent: 0
seeds: []
budget: -1
private: {trials: geometric}
"""
    _, problems = read_sweep(sweep_file(text))
    told = "\n".join(problems)
    for needed in (
        "unknown key 'titel'; did you mean 'title'?", "metric is 3, not a text", "mode is 'best'", "common is not a list",
        "space: a: choices are texts", "space: b: log_uniform begins above 0", "space: c: unknown range 'normal'",
        "space: d: uniform takes [low, high]", "space: e: int_uniform takes whole numbers", "space: f: a choice is given twice",
        "space: g: choices are texts", "'h' is given twice", "search: unknown key 'seeed'; did you mean 'seed'?",
        "search: say how many trials optuna makes", "scheduler: name is 'hyperband'", "concurrent is 0", "seeds are []",
        "budget is -1", "private: trials is 'geometric'",
    ):  # fmt: skip
        assert needed in told, f"{needed} is missing in:\n{told}"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("title: x", "space: there is none"),
        ("space: {a: {uniform: [0, 1]}}", "space: a is a range, and a grid needs choices"),
        (f"{SMALLEST}\nsearch: {{trials: 3}}", "search: trials: a grid takes all points"),
        (f"{SMALLEST}\nsearch: {{name: radnom}}", "did you mean 'random'?"),
        (f"{SMALLEST}\nsearch: {{name: random, trials: 0}}", "search: trials is 0"),
        (f"{SMALLEST}\nsearch: grid", "search is 'grid', not a mapping"),
        (f"{SMALLEST}\nscheduler: {{name: asha, factor: 1}}", "scheduler: factor is 1"),
        (f"{SMALLEST}\nscheduler: {{name: asha}}", "scheduler: metric is missing"),
        (f"{SMALLEST}\nprivate: {{mean: 0.5}}", "mean must be at least 1"),
        (f"{SMALLEST}\nprivate: {{shape: -1}}", "shape must be above -1"),
        (f"{SMALLEST}\nprivate: {{trials: poisson, shape: 1}}", "the Poisson law has none"),
        (f"{SMALLEST}\nprivate: true\nseeds: [1]", "seeds: a private search"),
        (f"{SMALLEST}\nprivate: true\nsearch: {{name: random, trials: 3}}", "search: random: a private search"),
        (f"{SMALLEST}\nprivate: true\nscheduler: {{name: asha, metric: m}}", "scheduler: a private search"),
    ],
)
def test_mistakes_are_named(sweep_file: Write, text: str, complaint: str) -> None:
    _, problems = read_sweep(sweep_file(text))
    assert any(complaint in problem for problem in problems), problems


@pytest.mark.parametrize("text", ["space: {a: [", "- a list", ""])
def test_what_is_no_sweep_is_refused(sweep_file: Write, text: str) -> None:
    with pytest.raises(BadInput, match=r"is not (YAML|a sweep)"):
        read_sweep(sweep_file(text))


def test_words_on_the_command_line_change_the_file(sweep_file: Write) -> None:
    words = [
        "sweep.private=true",
        "sweep.budget=3",
        "sweep.space.privacy.target_epsilon=[7]",
        "sweep.title=Other words",
    ]
    sweep, problems = read_sweep(sweep_file(), words)
    assert not problems
    assert sweep.private == Selection(10.0, 0.0) and (sweep.budget, sweep.title) == (3.0, "Other words")
    assert sweep.space[1] == Choices("privacy.target_epsilon", (7,))
    deep, problems = read_sweep(sweep_file(), ["sweep.search.name=random", "sweep.search.trials=5"])
    assert not problems and deep.search == Search("random", 5, 0)
    _, problems = read_sweep(sweep_file(), ["sweep.bugdet=3", "sweep.budget"])
    assert problems[0].startswith("cannot read 'sweep.budget'") and "did you mean 'budget'?" in problems[1]


@pytest.mark.parametrize(
    ("said", "meant", "law"),
    [
        ("true", Selection(10.0, 0.0), "truncated negative binomial with mean 10 and shape 0"),
        ("{mean: 4, shape: 1}", Selection(4.0, 1.0), "truncated negative binomial with mean 4 and shape 1"),
        ("{trials: poisson, mean: 3}", Selection(3.0, None), "Poisson with mean 3"),
        ("false", None, ""),
    ],
)
def test_laws_of_a_private_search(sweep_file: Write, said: str, meant: Selection | None, law: str) -> None:
    sweep, problems = read_sweep(sweep_file(f"{SMALLEST}\nprivate: {said}"))
    assert not problems and sweep.private == meant
    assert meant is None or meant.law == law


def test_a_bare_name_is_a_shipped_sweep(sweep_file: Write) -> None:
    assert find_sweep("digits_privacy") == SWEEP_DIR / "digits_privacy.yaml"
    assert find_sweep(str(sweep_file())).name == "small.yaml"
    with pytest.raises(BadInput, match="did you mean 'digits_privacy'"):
        find_sweep("digits_privcy")
    with pytest.raises(BadInput, match="there is no sweep file"):
        find_sweep("nowhere/x.yaml")


def test_sweeps_are_not_a_group_of_a_runs_configuration() -> None:
    assert "sweep" not in groups()
