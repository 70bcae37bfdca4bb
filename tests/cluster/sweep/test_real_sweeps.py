"""Whole sweeps under Ray Tune, with real runs on digits: side by side, over budget, stopped early, killed, and private."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stillhouse.cluster.session import ray_session
from stillhouse.cluster.sweep.plan import make_plan
from stillhouse.cluster.sweep.private import search
from stillhouse.cluster.sweep.runner import sweep
from stillhouse.platform.ledger.ledger import Ledger
from stillhouse.platform.report.sweep import SweepResult
from stillhouse.platform.training.outcome import Outcome

Write = Callable[..., Path]
pytestmark = pytest.mark.slow
QUICK = "method.audit=0, method.evaluation.repeats=1, method.evaluation.recipe.steps=5"
PATE = (
    "data=digits, method=pate, privacy=gnmax, diagnostics=false, silos.teachers=6, method.queries=40, method.epochs=20"
)


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    with ray_session(num_cpus=2):
        yield


def made(path: Path) -> tuple[SweepResult, list[str]]:
    said: list[str] = []
    return sweep(make_plan(path, [f"root={path.parent}"]), say=said.append), said


def states(result: SweepResult) -> list[str]:
    return [attempt.state for point in result.points for attempt in point.attempts]


@pytest.mark.usefixtures("_ray")
@pytest.mark.timeout(900)
def test_trials_run_side_by_side_and_a_bad_one_harms_nobody(sweep_file: Write) -> None:
    path = sweep_file(f"common: [data=digits, method=random_real, {QUICK}]\nspace: {{method.ipc: [1, 2, 100000]}}")
    result, said = made(path)
    assert states(result) == ["done", "done", "failed"] and "fewer than 100000 images" in result.troubles[0]
    results = [json.loads(file.read_text()) for file in path.parent.glob("small/trials/*/seed-0/result.json")]
    assert {result["state"] for result in results} == {"done", "failed"}
    assert [line for line in said if line.startswith("[3/3]")]
    assert not (path.parent / "small" / ".tune").exists()


@pytest.mark.usefixtures("_ray")
@pytest.mark.timeout(900)
def test_methods_that_plan_their_noise_share_a_budget_side_by_side(sweep_file: Write) -> None:
    path = sweep_file(
        f"common: [data=digits, method=dp_class_means, method.ipc=1, {QUICK}, privacy.target_delta=1e-4]\n"
        "space: {privacy.target_epsilon: [1, 2, 3]}\nbudget: 3.5"
    )
    result, _ = made(path)
    assert sorted(states(result)) == ["done", "done", "refused"]
    with Ledger(f"sqlite:///{path.parent / 'small' / 'ledger.db'}") as ledger:
        assert 1 < ledger.budget("digits").spent_epsilon <= 3.5 * (1 + 1e-6)


@pytest.mark.usefixtures("_ray")
@pytest.mark.timeout(900)
def test_a_trial_that_falls_behind_is_stopped_and_shows_no_score(sweep_file: Write) -> None:
    path = sweep_file(
        f"common: [data=digits, method=m3d, method.ipc=1, method.iterations=200, {QUICK}]\n"
        "space: {method.learning_rate: [1, 1e-6]}\nconcurrent: 1\n"
        "scheduler: {name: asha, metric: condensing/matching, mode: min, grace: 20, factor: 2}\n"
    )
    result, said = made(path)
    # One after another: the second is judged against the first, at step 20.
    assert states(result) == ["done", "stopped"]
    stopped = result.points[1].attempts[0]
    assert "stopped by the scheduler at step" in stopped.trouble and stopped.outcome is None
    assert any(line.endswith("stopped by the scheduler") for line in said)
    assert result.best is result.points[0]
    assert not list((path.parent / "small").glob("trial-*"))
    again, said = made(path)
    assert states(again) == states(result) and "2 found from an earlier start" in said[0]


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("_ray")
def test_a_private_search_leaves_the_best_trial_and_its_price(sweep_file: Write) -> None:
    path = sweep_file(
        f"common: [{PATE}, privacy.target_epsilon=20]\nspace: {{privacy.mechanism.sigma: [3, 4]}}\nprivate: {{mean: 1.5, shape: 1}}"
    )
    plan = make_plan(path, [f"root={path.parent}"])
    result = search(plan, say=lambda text: None)
    outcome = Outcome.read(plan.folder / "best")
    assert result.outcome == outcome and outcome.privacy.epsilon == result.epsilon > 20
    assert (plan.folder / "best" / "student.safetensors").exists() and outcome.privacy.coverage == "covered"
    assert {entry.name for entry in plan.folder.iterdir()} == {"best", "ensembles.key", "ledger.db", "ledger.db.mark"}
    with Ledger(f"sqlite:///{plan.folder / 'ledger.db'}") as ledger:
        assert ledger.budget("digits").spent_epsilon == pytest.approx(result.epsilon)


@pytest.mark.timeout(1200)
def test_a_sweep_that_was_killed_goes_on_with_what_it_had(sweep_file: Write) -> None:
    path = sweep_file(f"common: [{PATE}]\nspace: {{privacy.mechanism.sigma: [3, 4, 5]}}")
    command = [sys.executable, "-m", "stillhouse", "sweep", str(path), f"root={path.parent}", "cluster.num_cpus=2"]
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 240
        while not (kept := list(path.parent.glob("small/trials/*/seed-0/result.json"))):
            assert first.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        first.kill()
    assert first.wait() == -signal.SIGKILL
    before = {file: file.read_bytes() for file in kept}
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=500, check=True)
    assert all(file.read_bytes() == content for file, content in before.items())
    told = json.loads(done.stdout)["data"]
    assert told["trials"]["done"] == 3 and "found from an earlier start, not run again" in done.stderr
    with Ledger(f"sqlite:///{path.parent / 'small' / 'ledger.db'}") as ledger:
        assert ledger.verify().ok
