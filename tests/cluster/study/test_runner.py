"""A study from its file to its table: what is shared, found, repeated, recorded as failed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stillhouse import __main__ as cli
from stillhouse.cluster.config.compose import Resolved
from stillhouse.cluster.record import write_record
from stillhouse.cluster.session import ray_session
from stillhouse.cluster.study import runner
from stillhouse.cluster.study.plan import Plan, make_plan
from stillhouse.platform.data.image_sets import ImageSet
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BadInput, BudgetExhausted
from stillhouse.platform.ledger.ledger import Ledger
from stillhouse.platform.privacy.events import GaussianEvent
from stillhouse.platform.privacy.statement import PrivacyStatement
from stillhouse.platform.report.comparison import Comparison
from stillhouse.platform.training.outcome import Metric, Outcome

Write = Callable[..., Path]
ACCURACY = {("loud", 0): 0.6, ("loud", 1): 0.7, ("quiet", 0): 0.8, ("quiet", 1): 0.86}


class Runs:
    """Stands for `run`: writes what a run writes, charges a vote, fails where it is told to."""

    def __init__(self) -> None:
        self.made: list[tuple[str, int]] = []
        self.fail: dict[tuple[str, int], BaseException] = {}

    def __call__(self, resolved: Resolved) -> Any:
        what = ("loud" if resolved.mechanism.sigma == 4 else "quiet", resolved.config.seed)
        self.made.append(what)
        write_record(resolved.folder, resolved)
        if what in self.fail:
            raise self.fail[what]
        with Ledger(f"sqlite:///{Path(resolved.config.root).resolve() / 'ledger.db'}") as ledger:
            event = GaussianEvent(sigma=4.0, squared_sensitivity=2)
            ledger.charge("digits", key=str(what), event=event, purpose="a test")
        metrics = {"student_accuracy": Metric(ACCURACY[what], "fraction"), "asked": Metric(9, "queries")}
        outcome = Outcome("pate", metrics, PrivacyStatement(1.5, 1e-4))
        outcome.write(resolved.folder)
        return SimpleNamespace(folder=resolved.folder, outcome=outcome, report=SimpleNamespace(this_start=("a line",)))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    runs = Runs()
    monkeypatch.setattr(runner, "run", runs)
    monkeypatch.setattr(runner, "ray_session", lambda **_: contextlib.nullcontext())
    return runs


def planned(path: Path, *overrides: str, **chosen: Any) -> Plan:
    return make_plan(path, [f"root={path.parent}", *overrides], **chosen)


def compare(plan: Plan, *, only_table: bool = False) -> Comparison:
    return runner.compare(plan, only_table=only_table, say=lambda text: None)


def states(comparison: Comparison) -> dict[str, list[str]]:
    return {arm.name: [t.state for t in arm.trials] for arm in comparison.arms}


def test_the_table_is_that_of_the_outcomes(study_file: Write, runs: Runs) -> None:
    comparison = compare(planned(study_file()))
    assert [row[:4] for row in comparison.rows()] == [
        # By hand: |0.7 - 0.6| / sqrt(2); (0.2 + 0.16) / 2; |0.2 - 0.16| / sqrt(2).
        ["Loud noise", "2", "65.0 % \u00b1 7.1", "reference"],
        ["Quiet noise", "2", "83.0 % \u00b1 4.2", "+18.0 \u00b1 2.8"],
    ]
    assert any("All runs of this study together have spent epsilon" in note for note in comparison.notes)
    assert comparison.arms[0].trials[0].found == ("a line",)


def test_a_second_start_makes_nothing_again(study_file: Write, runs: Runs) -> None:
    plan = planned(study_file())
    first = compare(plan)
    made = list(runs.made)
    assert compare(plan) == first and runs.made == made and len(made) == 4


def test_only_what_changed_is_made_again(study_file: Write, runs: Runs) -> None:
    path = study_file()
    compare(planned(path))
    runs.made.clear()
    path.write_text(path.read_text().replace("sigma=3]", "sigma=3, method.epochs=7]"))
    changed = planned(path)
    assert states(compare(changed, only_table=True)) == {"loud": ["done", "done"], "quiet": ["missing", "missing"]}
    compare(changed)
    assert runs.made == [("quiet", 0), ("quiet", 1)]


def test_other_data_make_other_results(study_file: Write, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(study_file())
    compare(plan)
    runs.made.clear()
    source = load("digits")
    changed = dataclasses.replace(source, private=source.private.take(range(900)))
    monkeypatch.setattr(ImageSet, "load", lambda *_, **__: changed)
    compare(plan)
    assert len(runs.made) == 4


def test_a_failed_run_is_recorded_and_tried_again(study_file: Write, runs: Runs) -> None:
    plan = planned(study_file())
    runs.fail["loud", 1] = BudgetExhausted("nothing is left", mend="grant more")
    first = compare(plan)
    assert states(first) == {"loud": ["done", "failed"], "quiet": ["done", "done"]}
    assert first.troubles == ["Loud noise, seed 1: BudgetExhausted: nothing is left. To mend it: grant more."]
    assert first.rows()[0][1] == "1/2" and first.differences["quiet"].count == 1
    assert compare(plan, only_table=True).troubles == first.troubles
    runs.fail.clear()
    runs.made.clear()
    assert states(compare(plan))["loud"] == ["done", "done"] and runs.made == [("loud", 1)]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), KeyError("a bug")])
def test_an_interrupt_stops_at_once_and_a_later_start_goes_on(
    study_file: Write, runs: Runs, error: BaseException
) -> None:
    plan = planned(study_file())
    runs.fail["quiet", 0] = error
    with pytest.raises(type(error)):
        compare(plan)
    assert runs.made == [("loud", 0), ("quiet", 0)]
    assert states(compare(plan, only_table=True)) == {"loud": ["done", "missing"], "quiet": ["missing", "missing"]}
    runs.fail.clear()
    runs.made.clear()
    compare(plan)
    assert runs.made == [("quiet", 0), ("loud", 1), ("quiet", 1)]


def test_chosen_arms_are_run_and_all_are_shown(study_file: Write, runs: Runs) -> None:
    comparison = compare(planned(study_file(), arms=["quiet"], seeds=[1]))
    assert runs.made == [("quiet", 1)]
    assert states(comparison) == {"loud": ["missing"], "quiet": ["done"]}
    assert not comparison.differences


def test_a_run_over_its_target_is_remarked(study_file: Write, runs: Runs) -> None:
    comparison = compare(planned(study_file(), "privacy.target_epsilon=1.2", seeds=[0]))
    assert len(comparison.remarks) == 2 and "epsilon 1.5 is over its own target of 1.2" in comparison.remarks[0]


def test_a_table_of_nothing_is_a_mistake(study_file: Write, runs: Runs) -> None:
    path = study_file()
    with pytest.raises(BadInput, match="run it first"):
        compare(planned(path), only_table=True)
    assert [f.name for f in path.parent.iterdir()] == [path.name]


def test_the_command_writes_its_files_and_fails_if_a_run_did(
    study_file: Write, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    path = study_file()
    words = ["compare", str(path), f"root={path.parent}", "--seeds", "0", "--json"]
    runs.fail["loud", 0] = BudgetExhausted("nothing is left")
    assert cli.main(words) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["error"]["what"] == "1 of 2 runs of the study failed"
    assert "Loud noise, seed 0: BudgetExhausted: nothing is left" in said.err
    assert "nothing is left" in (path.parent / "small" / "comparison.md").read_text()
    assert cli.main([*words, "--only-table"]) == 0
    runs.fail.clear()
    capsys.readouterr()
    assert cli.main(words) == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert data["arms"][0]["metrics"]["student_accuracy"] == {"mean": 0.6, "deviation": None, "count": 1}
    assert all(Path(file).exists() for file in data["files"]) and len(data["files"]) == 4


@pytest.mark.parametrize("words", [["--seeds", "0,x"], ["--seeds", "1,1"], ["--arms", "a,,b"]])
def test_lists_on_the_command_line_are_checked(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", "digits_pate", *words]) == 4
    assert "Traceback" not in capsys.readouterr().err


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    with ray_session(num_cpus=2):
        yield


def test_a_real_study_shares_teachers_and_spends_once(_ray: None, study_file: Write) -> None:
    small = ["silos.teachers=6", "method.queries=40", "method.epochs=30"]
    path = study_file()
    plan = planned(path, *small, seeds=[0])
    comparison = compare(plan)
    assert states(comparison) == {"loud": ["done"], "quiet": ["done"]}
    home = path.parent / "small"
    (shared,) = home.glob("seed-0-*")
    teachers = [file for file in (shared / "silos").glob("silo-*/*") if file.is_file()]
    kept = {name: home / "arms" / name / "seed-0" for name in ("loud", "quiet")}
    first_end = (kept["loud"] / "result.json").stat().st_mtime
    # The second arm came later and trained no teacher.
    assert (kept["quiet"] / "outcome.json").stat().st_mtime > first_end > max(file.stat().st_mtime for file in teachers)
    for folder in kept.values():
        assert {"outcome.json", "report.json", "report.html", "run.json", "student.safetensors"} <= {
            f.name for f in folder.iterdir()
        }
    epsilons = [arm.done[0].privacy.epsilon for arm in comparison.arms]
    with Ledger(f"sqlite:///{home / 'ledger.db'}") as ledger:
        assert max(epsilons) < ledger.budget("digits").spent_epsilon < sum(epsilons)
        before = ledger.position()
        assert compare(plan) == comparison and ledger.position() == before
