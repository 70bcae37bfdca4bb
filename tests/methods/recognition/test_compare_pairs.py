"""The example that compares two finished runs, pair by pair."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from stillhouse.methods.recognition.terms import Terms
from stillhouse.platform.errors import BadInput
from stillhouse.platform.training.outcome import execute
from stillhouse.platform.training.values import load_value, save_value
from stillhouse.platform.verification.bootstrap import PeopleOfPairs, mean_of, paired_bootstrap
from support.examples import example_module

from .few_faces import LITTLE, few_faces, method, silent_run

DATA = few_faces()


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return example_module("compare_pairs")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two tiny runs on the same pairs, of other terms."""
    place, once = tmp_path_factory.mktemp("runs"), replace(LITTLE, epochs=1)
    for name, terms in (("kd", Terms(kd=0.5)), ("ce", Terms())):
        execute(method(terms, recipe=once), DATA, silent_run(place / name))
    return place / "kd", place / "ce"


def test_two_runs_are_compared_over_their_people(
    example: ModuleType, runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    found, drawn = example.compare(*runs, network="student")
    pairs, who = DATA.pairs, DATA.test.identities
    right = [mean_of(load_value(run / "scores.safetensors")["student"]["correct"]) for run in runs]
    wanted = paired_bootstrap(right[0], right[1], PeopleOfPairs(who[pairs.first], who[pairs.second]), seed=0)
    assert found == wanted and drawn == "people"
    assert example.main([str(runs[0]), str(runs[1])]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{100 * wanted.value:+.2f} points of accuracy") and said.endswith("(over people)\n")


def test_what_cannot_be_compared_is_refused(
    example: ModuleType, runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadInput, match=r"no scores of 'pupil'.*student"):
        example.compare(*runs, network="pupil")
    with pytest.raises(BadInput, match="no pairs of kind bare"):
        example.compare(*runs, network="student", kind="bare")
    other = tmp_path / "other"
    shutil.copytree(runs[1], other)
    kept = load_value(other / "scores.safetensors")
    save_value(other / "scores.safetensors", {**kept, "fold": (kept["fold"] + 1) % 3})
    assert example.main([str(runs[0]), str(other)]) == 4
    assert "scored on other pairs" in capsys.readouterr().err


def test_where_nobody_is_known_pairs_are_drawn_and_kinds_are_told_apart(
    example: ModuleType, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    for run in runs:
        shutil.copytree(run, tmp_path / run.name)
        kept = load_value(run / "scores.safetensors")
        nameless = {name: value for name, value in kept.items() if not name.endswith("person")}
        save_value(tmp_path / run.name / "scores.safetensors", {"bare": nameless})
    found, drawn = example.compare(tmp_path / "kd", tmp_path / "ce", network="student", kind="bare")
    assert drawn == "pairs" and np.isfinite(found.value)
    with pytest.raises(BadInput, match="give one of bare"):
        example.compare(tmp_path / "kd", tmp_path / "ce", network="student")
