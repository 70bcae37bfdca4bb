"""One trial in its process: how it ends, and the follower of what it logs. (The process is this one.)"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from stillhouse.cluster.config.compose import Resolved
from stillhouse.cluster.record import write_record
from stillhouse.cluster.sweep import trial as module
from stillhouse.cluster.sweep.kept import look
from stillhouse.cluster.sweep.plan import Trial, make_plan
from stillhouse.cluster.sweep.trial import TRACEBACK, Follower, Job, make_trial, unlogged
from stillhouse.platform.errors import BudgetExhausted, RunFailed
from stillhouse.platform.privacy.statement import public
from stillhouse.platform.training.metrics import MetricsLog
from stillhouse.platform.training.outcome import Metric, Outcome

ME = {"config": "1", "data": "2"}


@pytest.fixture
def trial(sweep_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Trial:
    path = sweep_file("common: [data=digits, method=random_real]\nspace: {method.ipc: [1, 2]}")
    monkeypatch.chdir(path.parent)
    return make_plan(path, [f"root={path.parent}"]).planned[0]


def end_with(trial: Trial, monkeypatch: pytest.MonkeyPatch, error: BaseException | None) -> str:
    """Run the trial on a run that ends like this; give the state that is kept."""

    def run(resolved: Resolved) -> SimpleNamespace:
        write_record(resolved.folder, resolved)
        if error is not None:
            raise error
        Outcome("m", {"student_accuracy": Metric(0.5, "fraction")}, public()).write(resolved.folder)
        return SimpleNamespace(report=SimpleNamespace(this_start=("found something",)))

    monkeypatch.setattr(module, "run", run)
    threads = torch.get_num_threads()
    try:
        make_trial(Job(trial, ME, threads=1, here=Path.cwd()))
    finally:
        torch.set_num_threads(threads)
    return look(trial, ME, None).state


def test_a_trial_ends_done_refused_or_failed_and_never_ends_the_sweep(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert end_with(trial, monkeypatch, BudgetExhausted("nothing is left")) == "refused"
    assert end_with(trial, monkeypatch, RunFailed("it broke")) == "failed"
    assert end_with(trial, monkeypatch, None) == "done"
    assert look(trial, ME, None).found == ("found something",)


def test_a_foreign_error_is_named_by_its_type_and_its_text_stays_with_the_files(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert end_with(trial, monkeypatch, ValueError("record 17 is 0.25")) == "failed"
    trouble = look(trial, ME, None).trouble
    assert "ended with a ValueError" in trouble and "record 17" not in trouble
    assert "record 17" in (trial.home / TRACEBACK).read_text()


def test_an_interrupt_comes_through_and_nothing_is_kept(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        end_with(trial, monkeypatch, KeyboardInterrupt())
    assert look(trial, ME, None).state == "missing"


def test_values_are_followed_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    follower = Follower(path, "loss")
    assert follower.poll() == []
    log = MetricsLog(path)
    log.log({"loss": 3.0, "other": 1.0}, step=10)
    log.log({"loss": 2.0})  # no step: nothing that a scheduler could place
    log.log({"loss": float("nan")}, step=15)
    assert follower.poll() == [(10, 3.0)] and follower.poll() == []
    with path.open("ab") as file:
        file.write(json.dumps({"time": 0, "step": 20, "metrics": {"loss": 1.5}}).encode()[:-4])
    assert follower.poll() == []  # half a line waits for its end
    with path.open("ab") as file:
        file.write(json.dumps({"time": 0, "step": 20, "metrics": {"loss": 1.5}}).encode()[-4:] + b"\n")
    log.log({"loss": 1.0}, step=30)
    assert follower.poll() == [(20, 1.5), (30, 1.0)]


def test_a_torn_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"time": 0, "step": 1, "metr\n{"time": 0, "step": 2, "metrics": {"loss": 1}}\n')
    assert Follower(path, "loss").poll() == [(2, 1.0)]


def test_a_metric_that_is_never_logged_is_named_with_the_nearest(tmp_path: Path) -> None:
    assert "nothing is logged step by step" in unlogged(tmp_path, "loss")
    MetricsLog(tmp_path / "metrics.jsonl").log({"condensing/matching": 1.0}, step=1)
    assert unlogged(tmp_path, "condensing/matching") == ""
    assert "did you mean 'condensing/matching'?" in unlogged(tmp_path, "condensing/match")
