"""A sweep from its file to its table: what is found, granted, refused, recorded. Trials run in this process, one after another."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stillhouse import __main__ as cli
from stillhouse.cluster.config.compose import Resolved
from stillhouse.cluster.record import write_record
from stillhouse.cluster.sweep import runner
from stillhouse.cluster.sweep import trial as trial_module
from stillhouse.cluster.sweep.kept import look
from stillhouse.cluster.sweep.optuna_search import check_search, point_of
from stillhouse.cluster.sweep.plan import Plan, make_plan
from stillhouse.cluster.sweep.tuning import Setup
from stillhouse.platform.errors import BadInput, MissingExtra, RunFailed
from stillhouse.platform.ledger.ledger import Ledger
from stillhouse.platform.privacy.events import GaussianEvent
from stillhouse.platform.privacy.statement import PrivacyStatement
from stillhouse.platform.report.sweep import SweepResult
from stillhouse.platform.training.metrics import MetricsLog
from stillhouse.platform.training.outcome import Metric, Outcome

Write = Callable[..., Path]
TEXT = """
common: [data=digits, method=pate, privacy=gnmax, privacy.target_delta=1e-4, diagnostics=false]
space: {privacy.target_epsilon: [2, 3, 5]}
"""


class Runs:
    """Stands for `run`: spends what its budget lets it spend up to its own target, writes what a run writes, fails where told."""

    def __init__(self) -> None:
        self.made: list[float] = []
        self.fail: dict[float, BaseException] = {}

    def __call__(self, resolved: Resolved) -> Any:
        target = resolved.config.privacy.target_epsilon
        self.made.append(target)
        write_record(resolved.folder, resolved)
        if target in self.fail:
            raise self.fail[target]
        event = GaussianEvent(sigma=30.0)
        with Ledger(f"sqlite:///{Path(resolved.config.root) / 'ledger.db'}") as ledger:
            fits = ledger.would_fit("digits", event)
            ledger.charge("digits", key=f"{target}-{len(self.made)}", event=event.times(fits), purpose="a test")
        MetricsLog(resolved.folder / "metrics.jsonl").log({"student/loss": 1.0}, step=1)
        metrics = {"student_accuracy": Metric(target / 10, "fraction", "higher")}
        outcome = Outcome("pate", metrics, PrivacyStatement(target, 1e-4))
        outcome.write(resolved.folder)
        return SimpleNamespace(report=SimpleNamespace(this_start=()))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Replace Ray by calls in this process, and the runs by a stand-in."""
    made = Runs()
    monkeypatch.setattr(trial_module, "run", made)
    monkeypatch.setattr(runner, "ray", SimpleNamespace(cluster_resources=lambda: {"CPU": 1}))
    monkeypatch.setattr(runner, "ray_session", lambda **options: contextlib.nullcontext())
    monkeypatch.setattr(runner, "run_trials", here)
    return made


def here(setup: Setup, *, count: int, finished: Sequence[Any], **options: Any) -> list[Any]:
    for trial in setup.trials:
        job = trial_module.Job(trial, setup.identities.of(trial.resolved), setup.threads, setup.here, setup.budget)
        trial_module.make_trial(job)
    return []


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def planned(path: Path, *words: str, **chosen: Any) -> Plan:
    return make_plan(path, [f"root={path.parent}", *words], **chosen)


def sweep(plan: Plan, **options: Any) -> tuple[SweepResult, list[str]]:
    said: list[str] = []
    return runner.sweep(plan, say=said.append, **options), said


def states(result: SweepResult) -> list[str]:
    return [attempt.state for point in result.points for attempt in point.attempts]


def spent(path: Path) -> float:
    with Ledger(f"sqlite:///{path.parent / 'small' / 'ledger.db'}") as ledger:
        return ledger.budget("digits").spent_epsilon


def test_every_trial_spends_its_own_target_on_one_ledger(sweep_file: Write, runs: Runs) -> None:
    path = sweep_file(TEXT)
    result, said = sweep(planned(path))
    assert states(result) == ["done"] * 3 and runs.made == [2, 3, 5]
    assert 5 < spent(path) < 10  # epsilons of a whole grow slower than their sum
    assert said[0] == "grid: 3 points = 3 trials" and "one after another" in said[1]
    assert result.best is result.points[2] and [p.epsilon for p in result.front] == [2, 3, 5]
    assert "All trials of this sweep together have spent epsilon" in result.notes[-1]


def test_a_trial_over_the_budget_is_refused_and_the_sweep_goes_on_and_ends_cleanly(
    sweep_file: Write, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sweep_file(TEXT.replace("[2, 3, 5]", "[3, 5, 2]"))
    assert cli.main(["sweep", str(path), f"root={path.parent}", "sweep.budget=4.5", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["data"]
    assert [point["trials"][0]["state"] for point in told["points"]] == ["done", "refused", "done"]
    assert "no room for a trial that may spend 5" in told["troubles"][0]
    assert runs.made == [3, 2] and spent(path) <= 4.5 * (1 + 1e-6)
    # More budget, and the same command makes what was refused.
    assert cli.main(["sweep", str(path), f"root={path.parent}", "sweep.budget=20"]) == 0
    assert runs.made == [3, 2, 5]


def test_a_second_start_makes_only_what_is_not_done(sweep_file: Write, runs: Runs) -> None:
    path = sweep_file(TEXT)
    runs.fail[3] = RunFailed("it broke")
    first, _ = sweep(planned(path))
    assert states(first) == ["done", "failed", "done"] and first.best is not None
    assert states(sweep(planned(path), only_table=True)[0]) == states(first) and runs.made == [2, 3, 5]
    runs.fail.clear()
    second, said = sweep(planned(path))
    assert states(second) == ["done"] * 3 and runs.made == [2, 3, 5, 3]
    assert said[0] == "grid: 3 points = 3 trials; 2 found from an earlier start, not run again"
    assert sweep(planned(path))[0] == second and len(runs.made) == 4


def test_an_interrupt_ends_the_sweep_and_another_start_goes_on(sweep_file: Write, runs: Runs) -> None:
    path = sweep_file(TEXT)
    runs.fail[3] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        sweep(planned(path))
    assert states(sweep(planned(path), only_table=True)[0]) == ["done", "missing", "missing"]
    runs.fail.clear()
    assert states(sweep(planned(path))[0]) == ["done"] * 3 and runs.made == [2, 3, 3, 5]


def test_a_failed_trial_is_exit_code_1_and_the_table_is_there(
    sweep_file: Write, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sweep_file(TEXT)
    runs.fail[5] = ValueError("record 3")
    assert cli.main(["sweep", str(path), f"root={path.parent}", "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["error"]["what"] == "1 of 3 trials of the sweep failed" and "record 3" not in said.err
    assert "failed" in (path.parent / "small" / "sweep.md").read_text()
    assert cli.main(["sweep", str(path), f"root={path.parent}", "--only-table"]) == 0


def test_seeds_are_rounds_and_a_point_is_their_mean(sweep_file: Write, runs: Runs) -> None:
    plan = planned(sweep_file(TEXT), seeds=[4, 6])
    result, said = sweep(plan)
    assert runs.made == [2, 3, 5, 2, 3, 5] and said[0] == "grid: 3 points x 2 seeds = 6 trials"
    spread = result.points[1].spread("student_accuracy")
    assert spread is not None and (spread.mean, spread.count) == (pytest.approx(0.3), 2)


def test_a_scheduler_that_waits_for_what_is_never_logged_is_told(sweep_file: Write, runs: Runs) -> None:
    path = sweep_file(TEXT + "scheduler: {name: asha, metric: student/los}\n")
    result, _ = sweep(planned(path))
    assert "never logged" in result.notes[0] and "did you mean 'student/loss'?" in result.notes[0]
    assert "ASHA on student/los" in result.search


def test_a_table_of_nothing_is_a_mistake(sweep_file: Write, runs: Runs) -> None:
    path = sweep_file(TEXT)
    with pytest.raises(BadInput, match="run it first"):
        sweep(planned(path), only_table=True)
    assert cli.main(["sweep", str(path), "sweep.private=true", "--only-table"]) == 4


OPTUNA = """
common: [data=digits, privacy=gnmax, diagnostics=false]
space: {method: [pate], method.learning_rate: {log_uniform: [1e-4, 1e-2]}, method.epochs: {int_uniform: [3, 9]}}
search: {name: optuna, trials: 4, seed: 1}
"""


def test_a_search_without_its_library_names_the_extra(
    sweep_file: Write, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    plan = planned(sweep_file(OPTUNA))
    with pytest.raises(MissingExtra, match=r"\.\[sweep\]"):
        check_search(plan.sweep.search)
    with pytest.raises(MissingExtra):
        sweep(plan)
    assert not runs.made


def test_what_a_search_chose_is_a_point_of_the_space(sweep_file: Write) -> None:
    plan = planned(sweep_file(OPTUNA))
    point = point_of(plan, {"key_0": 0, "key_1": 0.005, "key_2": 7})
    assert point == (("method", "pate"), ("method.learning_rate", 0.005), ("method.epochs", 7))
    trial = plan.trial(point, 0)
    assert (trial.resolved.method.learning_rate, trial.resolved.method.epochs) == (0.005, 7)


def test_optuna_is_told_what_is_known_and_goes_on(sweep_file: Write) -> None:
    optuna = pytest.importorskip("optuna")
    from stillhouse.cluster.sweep.optuna_search import optuna_search

    plan = planned(sweep_file(OPTUNA))
    known = [((("method", "pate"), ("method.learning_rate", 0.001), ("method.epochs", n)), n / 10) for n in (3, 4)]
    search = optuna_search(plan, known, metric="score")
    told = search._ot_study.get_trials()
    assert [t.value for t in told] == [0.3, 0.4] and all(t.state == optuna.trial.TrialState.COMPLETE for t in told)
    config = search.suggest("one")
    assert plan.trial(point_of(plan, config), 0).resolved.method.epochs in range(3, 10)
    search.on_trial_result("one", {"step": 3, "watched": 1.0, "training_iteration": 1})
    search.on_trial_complete("one", {"score": 0.9})
    assert search._ot_study.best_value == 0.9 and search._ot_study.direction == optuna.study.StudyDirection.MAXIMIZE
    search.suggest("two")
    search.on_trial_complete("two", {"ended": True})  # refused, failed, stopped: no score, and no error
    assert search._ot_study.get_trials()[-1].state == optuna.trial.TrialState.PRUNED


def test_points_of_an_adaptive_search_are_those_that_are_kept(
    sweep_file: Write, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(sweep_file(OPTUNA))
    monkeypatch.setattr(runner, "check_search", lambda search: None)
    asked: list[tuple[int, int]] = []

    def choose(setup: Setup, *, count: int, finished: Sequence[Any], **options: Any) -> list[Any]:
        asked.append((count, len(finished)))
        for number in range(2):
            trial = setup.chosen({"key_0": 0, "key_1": 0.001 * (number + 1 + len(finished)), "key_2": 5})[0]
            job = trial_module.Job(trial, setup.identities.of(trial.resolved), 1, setup.here, setup.budget)
            trial_module.make_trial(job)
        return []

    monkeypatch.setattr(runner, "run_trials", choose)
    first, said = sweep(plan)
    assert len(first.points) == 2 and said[0] == "Optuna (TPE) from seed 1: 4 points = 4 trials"
    second, _ = sweep(plan)
    assert asked == [(4, 0), (2, 2)] and len(second.points) == 4
    third, said = sweep(plan)
    assert third == second and len(asked) == 2 and "4 found from an earlier start" in said[0]
    # Another space has its own points, whatever lies in the folder.
    narrow = planned(sweep_file(OPTUNA.replace("[1e-4, 1e-2]", "[0.0015, 1e-2]")))
    assert len(sweep(narrow, only_table=True)[0].points) == 3


def test_what_is_kept_is_each_trials_own(sweep_file: Write, runs: Runs) -> None:
    plan = planned(sweep_file(TEXT))
    sweep(plan)
    identities = runner.Identities(plan.folder)
    for trial in plan.planned:
        attempt = look(trial, identities.of(trial.resolved), None)
        assert attempt.metric("student_accuracy") == trial.resolved.config.privacy.target_epsilon / 10
