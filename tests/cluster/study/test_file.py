"""The form of a study's file: everything that is wrong is said at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from stillhouse.cluster.config.compose import STUDY_DIR, groups
from stillhouse.cluster.study.file import Arm, find_study, read_study
from stillhouse.platform.errors import BadInput

Write = Callable[..., Path]


def test_a_file_is_read(study_file: Write) -> None:
    study, problems = read_study(study_file())
    assert not problems
    assert (study.name, study.title, study.seeds, study.reference, study.budget) == (
        "small", "Two kinds of noise", (0, 1), "loud", None,
    )  # fmt: skip
    assert study.arms[1] == Arm("quiet", "Quiet noise", ("privacy.mechanism.sigma=3",))


def test_what_may_be_left_out_has_plain_meanings(study_file: Write) -> None:
    study, problems = read_study(study_file("arms: {plain: }", name="bare"))
    assert not problems
    assert study.arms == (Arm("plain", "plain", ()),)
    assert (study.title, study.common, study.seeds, study.reference) == ("bare", (), (0,), None)


def test_all_mistakes_of_form_come_at_once(study_file: Write) -> None:
    _, problems = read_study(
        study_file(
            """
titel: x
common: data=digits
seeds: [1, 1]
reference: plian
budget: -3
arms:
  plain: {lable: a}
  plain: {}
  "a/b": {}
  one: {label: Same}
  two: {label: Same, overrides: [seed: 1]}
  three: 3
"""
        )
    )
    text = "\n".join(problems)
    for needed in (
        "unknown key 'titel'; did you mean 'title'?", "common is not a list", "seeds are [1, 1]", "budget is -3",
        "reference 'plian' is no arm; did you mean 'plain'?", "'plain' is given twice (line 9)", "'a/b' cannot be used for a file",
        "two arms have the label 'Same'", "arm 'two': overrides is not a list", "arm 'three' is not a mapping",
    ):  # fmt: skip
        assert needed in text, f"{needed} is missing in:\n{text}"


def test_an_unknown_key_of_an_arm_names_the_nearest(study_file: Write) -> None:
    _, problems = read_study(study_file("arms: {plain: {lable: a}}"))
    assert problems == ["arm 'plain': unknown key 'lable'; did you mean 'label'?"]


@pytest.mark.parametrize("text", ["title: x", "arms: {}", "arms: [a, b]"])
def test_a_study_needs_arms(study_file: Write, text: str) -> None:
    _, problems = read_study(study_file(text))
    assert any(p.startswith("arms: there is none") for p in problems)


@pytest.mark.parametrize("text", ["arms: {a: [", "- a list", ""])
def test_what_is_no_study_is_refused(study_file: Write, text: str) -> None:
    with pytest.raises(BadInput, match=r"is not (YAML|a study)"):
        read_study(study_file(text))


def test_a_bare_name_is_a_shipped_study(study_file: Write) -> None:
    assert find_study("digits_pate") == STUDY_DIR / "digits_pate.yaml"
    assert find_study(str(study_file())).name == "small.yaml"
    with pytest.raises(BadInput, match="did you mean 'digits_pate'"):
        find_study("digits_pat")
    with pytest.raises(BadInput, match="there is no study file"):
        find_study("nowhere/x.yaml")


def test_studies_are_not_a_group_of_a_runs_configuration() -> None:
    assert "compare" not in groups()
