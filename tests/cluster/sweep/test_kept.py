"""What is kept of a trial, and whose it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from stillhouse.cluster.record import write_record
from stillhouse.cluster.sweep.file import Scheduler
from stillhouse.cluster.sweep.kept import Identities, keep_done, keep_lost, keep_refusal, kept_points, look
from stillhouse.cluster.sweep.plan import Trial, make_plan
from stillhouse.platform.errors import BudgetExhausted, RunFailed
from stillhouse.platform.privacy.statement import public
from stillhouse.platform.training.outcome import Metric, Outcome

Write = Callable[..., Path]
ME = {"config": "1", "data": "2"}
CONDENSING = "common: [data=digits, method=random_real]\nspace: {method.ipc: [1, 2]}"


def trials_of(path: Path) -> tuple[Trial, ...]:
    return make_plan(path, [f"root={path.parent}"]).planned


def finish(trial: Trial) -> Outcome:
    """Leave what a run leaves."""
    folder = trial.resolved.folder
    write_record(folder, trial.resolved)
    (folder / "stages").mkdir()
    (folder / "condensed.safetensors").write_bytes(b"weights")
    outcome = Outcome("m", {"student_accuracy": Metric(0.5, "fraction")}, public(), {"set": "condensed.safetensors"})
    outcome.write(folder)
    return outcome


def test_a_result_is_found_by_its_identity_and_its_run_folder_is_gone(sweep_file: Write) -> None:
    trial, other = trials_of(sweep_file(CONDENSING))
    outcome = finish(trial)
    assert look(trial, ME, None).state == "missing"
    keep_done(trial, ME, seconds=2.0, found=("labels",))
    attempt = look(trial, ME, None)
    assert (attempt.state, attempt.outcome, attempt.seconds, attempt.found) == ("done", outcome, 2.0, ("labels",))
    assert (trial.home / "condensed.safetensors").read_bytes() == b"weights" and not trial.resolved.folder.exists()
    assert look(trial, {**ME, "data": "3"}, None).state == look(other, ME, None).state == "missing"
    assert kept_points(trial.home.parents[2]) == [trial.point]


def test_a_refusal_is_no_failure_and_both_give_way_to_a_result(sweep_file: Write) -> None:
    trial, _ = trials_of(sweep_file(CONDENSING))
    keep_refusal(trial, ME, BudgetExhausted("nothing is left", mend="grant more"), seconds=1.0)
    assert look(trial, ME, None).state == "refused"
    assert look(trial, ME, None).trouble == "nothing is left. To mend it: grant more."
    keep_refusal(trial, ME, RunFailed("it broke"), seconds=1.0)
    assert (look(trial, ME, None).state, look(trial, ME, None).trouble) == ("failed", "RunFailed: it broke")
    finish(trial)
    keep_done(trial, ME, seconds=1.0, found=())
    assert look(trial, ME, None).state == "done"


def test_a_stop_counts_under_its_scheduler_only(sweep_file: Write) -> None:
    trial, _ = trials_of(sweep_file(CONDENSING))
    asha = Scheduler("loss", "min", 3, 2.0)
    finish(trial)
    keep_lost(trial, ME, "stopped", "stopped by the scheduler", seconds=1.0, scheduler=asha)
    assert look(trial, ME, asha).state == "stopped" and look(trial, ME, asha).outcome is None
    assert look(trial, ME, None).state == look(trial, ME, Scheduler("loss", "min", 4, 2.0)).state == "missing"
    assert not trial.resolved.folder.exists()


def test_what_a_failed_trial_had_made_stays_for_another_start(sweep_file: Write) -> None:
    trial, _ = trials_of(sweep_file(CONDENSING))
    finish(trial)
    keep_lost(trial, ME, "failed", "it died", seconds=1.0)
    assert (trial.resolved.folder / "stages").is_dir() and not (trial.resolved.folder / "outcome.json").exists()


def test_a_folder_that_others_share_stays(sweep_file: Write) -> None:
    trial = trials_of(sweep_file())[0]
    assert trial.shares_folder
    finish(trial)
    keep_done(trial, ME, seconds=1.0, found=())
    assert (trial.resolved.folder / "stages").is_dir()


def test_the_identity_is_of_settings_and_data(sweep_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sweep_file(CONDENSING)
    first, second = trials_of(path)
    identities = Identities(path.parent / "small")
    of_first, of_second = identities.of(first.resolved), identities.of(second.resolved)
    assert of_first["data"] == of_second["data"] and of_first["config"] != of_second["config"]
    assert len(identities.known) == 1  # loaded once
    elsewhere = Identities(path.parent / "other")
    # Under another key the same data have another name: no hash of private records lies in a result.
    assert elsewhere.of(first.resolved)["data"] != of_first["data"]
