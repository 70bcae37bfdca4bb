"""All points are composed before anything runs, and where their trials lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from stillhouse.cluster.config.compose import SWEEP_DIR, compose
from stillhouse.cluster.sweep.file import read_sweep
from stillhouse.cluster.sweep.plan import asks, make_plan, words_of
from stillhouse.cluster.sweep.space import probes
from stillhouse.platform.errors import ConfigError

Write = Callable[..., Path]


def problems_of(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        make_plan(path, overrides)
    return "\n".join(caught.value.problems)


@pytest.mark.parametrize("file", sorted(SWEEP_DIR.glob("*.yaml")), ids=lambda f: f.stem)
def test_every_setting_of_a_shipped_sweep_composes_and_it_opens_with_its_command(file: Path) -> None:
    assert file.read_text(encoding="utf-8").splitlines()[0] == f"# stillhouse sweep {file.stem}"
    sweep, problems = read_sweep(file)
    assert not problems
    for point in probes(sweep.space):
        compose(words_of(sweep, point))


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted(SWEEP_DIR.glob("*.yaml")), ids=lambda f: f.stem)
def test_every_shipped_sweep_is_sound(file: Path) -> None:
    plan = make_plan(file)
    assert plan.trials >= 8 and len(plan.composed) == len(plan.points)


def test_a_trial_is_its_points_configuration_in_a_place_of_its_own(sweep_file: Write) -> None:
    plan = make_plan(sweep_file(), ["root='/somewhere/it\\'s'", "method.epochs=3"], seeds=[0, 5])
    assert plan.folder == Path("/somewhere/it's/small") and not plan.folder.exists()
    assert [(t.seed, dict(t.point)["privacy.target_epsilon"]) for t in plan.planned][:3] == [(0, 20), (0, 200), (0, 20)]
    trial = plan.planned[5]
    config = trial.resolved.config
    assert (config.seed, config.privacy.target_epsilon, trial.resolved.mechanism.sigma) == (5, 200, 3)
    assert trial.resolved.method.epochs == 3 and trial.resolved.folder.parent == plan.folder
    assert len({t.home for t in plan.planned}) == plan.trials == 8
    # The words of a trial say the same run again, wherever they are read.
    again = compose(trial.resolved.overrides)
    assert again.plain == trial.resolved.plain and again.folder == trial.resolved.folder


def test_a_value_that_no_run_could_go_with_is_found_before_anything_runs(sweep_file: Write) -> None:
    text = "common: [data=digits, method=pate, privacy=gnmax]\nspace: {privacy.target_epsilon: [2, nan]}"
    said = problems_of(sweep_file(text))
    assert "trials with privacy.target_epsilon=nan: privacy.target_epsilon is nan" in said


def test_trials_that_ask_share_a_folder_and_others_do_not(sweep_file: Write) -> None:
    text = """
common: [data=digits, diagnostics=false, privacy=gnmax]
space:
  method: [pate, dpsgd]
  privacy.target_epsilon: [1, 2]
"""
    plan = make_plan(sweep_file(text))
    assert plan.asks and [asks(resolved) for resolved in plan.composed] == [True, True, False, False]
    folders = [trial.resolved.folder for trial in plan.planned]
    assert folders[0] == folders[1] and len(set(folders[1:])) == 3
    assert [trial.shares_folder for trial in plan.planned] == [True, True, False, False]
    plain = make_plan(sweep_file(text.replace("pate, ", "")))
    assert not plain.asks


def test_a_seed_set_afterwards_is_a_seed_set_at_first() -> None:
    later, first = compose(["data=digits"]).seeded(7), compose(["data=digits", "seed=7"])
    assert later.plain == first.plain and later.config == first.config and later.digest == first.digest
    assert later.overrides == first.overrides


def test_a_place_decides_nothing(sweep_file: Write) -> None:
    base = compose(["data=digits"])
    moved = base.placed(Path("/else where"), "there")
    assert moved.digest == base.digest and moved.folder == Path("/else where/there")
    assert compose(moved.overrides).plain == moved.plain


def test_random_points_are_those_of_the_seed(sweep_file: Write) -> None:
    text = "common: [data=digits]\nspace: {method.learning_rate: {log_uniform: [1e-4, 1e-2]}}\nsearch: {name: random, trials: 5}"
    plan, again = make_plan(sweep_file(text)), make_plan(sweep_file(text))
    assert plan.points == again.points and len(set(plan.points)) == 5 == plan.trials
    assert [r.method.learning_rate for r in plan.composed] == [dict(p)["method.learning_rate"] for p in plan.points]


def test_a_search_that_chooses_as_it_goes_is_checked_at_its_ends(sweep_file: Write) -> None:
    text = """
common: [data=digits]
space: {method.learning_rate: {log_uniform: [1e-4, 1e-2]}, method.dropout: {uniform: [0.5, 1.5]}}
search: {name: optuna, trials: 9}
"""
    assert "method: dropout is 1.5: it must be in [0, 1)" in problems_of(sweep_file(text))
    plan = make_plan(sweep_file(text.replace("1.5", "0.9")))
    assert plan.adaptive and plan.trials == 9 and len(plan.points) == 3


def test_all_problems_of_all_points_come_at_once(sweep_file: Write) -> None:
    path = sweep_file(
        """
titel: x
common: [data=digits, methd.epochs=3, seed=1]
space:
  silos.techers: [1, 2]
  privacy.target_epsilon: [1, 2]
  root: [a]
  name: [b]
"""
    )
    told = problems_of(path, "privacy.target_epsilon=4")
    for needed in (
        "unknown key 'titel'", "every trial: unknown key 'methd.epochs'", "every trial: unknown key 'silos.techers'",
        "common: 'seed=1': seeds are the sweep's",
        "space: root cannot be varied", "space: name: run folders are named by the sweep",
        "command line: 'privacy.target_epsilon=4': the sweep varies privacy.target_epsilon",
    ):  # fmt: skip
        assert needed in told, f"{needed} is missing in:\n{told}"


def test_a_problem_names_the_settings_that_have_it(sweep_file: Write) -> None:
    text = "common: [data=digits]\nspace: {method.epochs: [1, 2], privacy.target_epsilon: [1, wide]}"
    assert "trials with privacy.target_epsilon=wide: privacy.target_epsilon" in problems_of(sweep_file(text))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("space: {method.epochs: [1, 2], method: [pate]}\ncommon: ['silos.address=\"h:1\"']", "simulated silos only"),
        ("space: {privacy.target_delta: [1e-4, 1e-5]}", "privacy.target_delta cannot be varied"),
        # Where a run is placed decides nothing of its result.
        ("space: {cluster.workers: [0, 1]}", "are the same run: cluster.workers=0; cluster.workers=1"),
        (
            f"space: {{method.epochs: {list(range(1, 60))}, silos.teachers: {list(range(2, 60))}}}",
            "3,422 points; at most 2,000",
        ),
        ("space: {data: [digits, fashion_mnist]}\nprivate: true\ncommon: [diagnostics=false]", "differ between trials"),
        ("space: {method.epochs: [1, 2]}\nprivate: true", "set diagnostics=false"),
        ("space: {method.ipc: [1, 2]}\nprivate: true\ncommon: [method=m3d, diagnostics=false]", "charges no ledger"),
    ],
)
def test_points_that_make_no_sweep_together(sweep_file: Write, text: str, complaint: str) -> None:
    assert complaint in problems_of(sweep_file(text))


def test_a_private_search_takes_no_seeds(sweep_file: Write) -> None:
    with pytest.raises(ConfigError, match="fresh seeds"):
        make_plan(sweep_file(), ["sweep.private=true"], seeds=[1])
    assert make_plan(sweep_file(), ["sweep.private=true"]).sweep.private is not None
