"""All arms are composed before anything runs, and which of them share a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from stillhouse.cluster.config.compose import STUDY_DIR, compose
from stillhouse.cluster.study.file import read_study
from stillhouse.cluster.study.plan import make_plan
from stillhouse.platform.errors import ConfigError

Write = Callable[..., Path]


def problems_of(path: Path, *overrides: str, arms: list[str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        make_plan(path, overrides, arms=arms)
    return "\n".join(caught.value.problems)


@pytest.mark.parametrize("file", sorted(STUDY_DIR.glob("*.yaml")), ids=lambda f: f.stem)
def test_the_ends_of_a_shipped_study_compose_and_it_opens_with_its_command(file: Path) -> None:
    assert file.read_text(encoding="utf-8").splitlines()[0] == f"# stillhouse compare {file.stem}"
    study, problems = read_study(file)
    assert not problems
    for arm in {study.arms[0], study.arms[-1]}:
        compose([*study.common, *arm.overrides])


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted(STUDY_DIR.glob("*.yaml")), ids=lambda f: f.stem)
def test_every_shipped_study_is_sound(file: Path) -> None:
    assert make_plan(file, seeds=[0]).runs


def test_runs_go_seed_by_seed_with_overrides_in_order(study_file: Write) -> None:
    plan = make_plan(study_file(), ["root='/somewhere/it\\'s'", "method.epochs=3"])
    assert [(p.seed, p.arm.name) for p in plan.runs] == [(0, "loud"), (0, "quiet"), (1, "loud"), (1, "quiet")]
    assert plan.folder == Path("/somewhere/it's/small")
    run = plan.runs[3]
    assert (run.resolved.config.seed, run.resolved.mechanism.sigma, run.resolved.method.epochs) == (1, 3, 3)
    assert run.resolved.folder.parent == plan.folder and run.home == plan.folder / "arms" / "quiet" / "seed-1"
    assert not plan.folder.exists()


def test_the_command_line_wins_over_an_arm(study_file: Write) -> None:
    plan = make_plan(study_file(), ["silos.teachers=4"])
    assert {p.resolved.config.silos.teachers for p in plan.runs} == {4}


def test_seeds_and_arms_can_be_chosen(study_file: Write) -> None:
    plan = make_plan(study_file(), seeds=[7], arms=["quiet"])
    assert [(p.seed, p.arm.name, p.wanted) for p in plan.runs] == [(7, "loud", False), (7, "quiet", True)]


def test_arms_of_a_seed_share_a_folder_where_data_and_silos_are_the_same(study_file: Write) -> None:
    more = """
  few: {label: Few, overrides: [silos.teachers=5]}
  split: {label: Split, overrides: [method=dgd, method.coverage=split_records]}
"""
    text = study_file().read_text() + more
    folders = {(p.arm.name, p.seed): p.resolved.folder.name for p in make_plan(study_file(text)).runs}
    assert folders["loud", 0] == folders["quiet", 0] != folders["few", 0]
    # Its teachers do not see all records: their shards are others.
    assert folders["split", 0] not in (folders["loud", 0], folders["few", 0])
    assert folders["loud", 0].removeprefix("seed-0-") == folders["loud", 1].removeprefix("seed-1-")


def test_all_problems_of_all_arms_come_at_once(study_file: Write) -> None:
    path = study_file(
        """
title: x
commn: []
common: [methd.epochs=3]
arms:
  a: {overrides: [silos.techers=3]}
  b: {overrides: [privacy.mechanism.sigma1=wide, seed=3]}
"""
    )
    text = problems_of(path, "name=mine", arms=["c"])
    for needed in (
        "unknown key 'commn'", "every arm: unknown key 'methd.epochs'", "did you mean 'silos.teachers'?",
        "arm 'a': unknown key 'silos.techers'",
        "arm 'b': privacy.mechanism.sigma1", "arm 'b': 'seed=3': seeds are the study's",
        "command line: 'name=mine'", "--arms: 'c' is no arm",
    ):  # fmt: skip
        assert needed in text, f"{needed} is missing in:\n{text}"
    assert text.count("methd") == 1


@pytest.mark.parametrize(
    ("key", "values", "complaint"),
    [
        ("root", ("x", "y"), "root differs between arms"),
        ("privacy.ledger", ("'sqlite:///x.db'", "'sqlite:///y.db'"), "privacy.ledger differs"),
        ("cluster.num_cpus", ("1", "2"), "cluster.num_cpus differs"),
        ("privacy.target_delta", ("1e-4", "1e-5"), "privacy.target_delta differs"),
        ("root", ("x", "x"), "arms 'a', 'b' are the same run"),
        ("silos.address", ("'localhost:1'", "'localhost:2'"), "simulated silos only"),
    ],
)
def test_arms_that_make_no_study_together(study_file: Write, key: str, values: tuple[str, str], complaint: str) -> None:
    lines = [f'  {name}: {{overrides: ["{key}={value}"]}}' for name, value in zip("ab", values, strict=True)]
    assert complaint in problems_of(study_file("\n".join(["arms:", *lines])))


def test_a_command_line_that_makes_arms_equal_is_refused(study_file: Write) -> None:
    assert "arms 'loud', 'quiet' are the same run" in problems_of(study_file(), "privacy.mechanism.sigma=9")
