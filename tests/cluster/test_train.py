import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
import small_method as small
import stillhouse.platform.training.outcome as outcomes
from small_method import Small, public_data
from stillhouse.cluster import train as module
from stillhouse.cluster.session import ray_session
from stillhouse.cluster.train import fit
from stillhouse.platform.errors import BadInput, BudgetExhausted, RunFailed
from stillhouse.platform.training.metrics import read_metrics
from stillhouse.platform.training.outcome import Outcome, execute
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun


class Listener(Silent):
    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return execute(Small(), public_data(), LocalRun(tmp_path_factory.mktemp("alone"), seed=5, reporter=Silent()))


def start(method, folder, **options):
    return fit(method, public_data(), folder=folder, seed=5, reporter=options.pop("reporter", Silent()), **options)


def test_local_mode_gives_the_same_outcome_and_files(tmp_path, alone):
    assert start(Small(), tmp_path) == alone == Outcome.read(tmp_path)
    assert len(read_metrics(tmp_path / "metrics.jsonl")["student/loss"]) == 3
    assert {p.name for p in tmp_path.iterdir()} >= {"stages", "checkpoints", "images", "metrics.jsonl", "outcome.json"}


def test_the_seed_makes_the_outcome(tmp_path, alone):
    assert fit(Small(), public_data(), folder=tmp_path, seed=6, reporter=Silent()).metrics != alone.metrics


def test_a_second_start_finds_everything(tmp_path, alone):
    start(Small(), tmp_path)
    listener = Listener()
    assert start(Small(), tmp_path, reporter=listener) == alone
    assert [text.split(":")[0] for text in listener.said if "found" in text] == ["mean", "asked", "student"]


def test_local_mode_is_quiet_and_quick(tmp_path, alone, capfd):
    start(Small(epochs=1), tmp_path / "warm")
    began, there = time.monotonic(), ray.is_initialized()
    start(Small(epochs=1), tmp_path / "run")
    assert time.monotonic() - began < 20 and ray.is_initialized() == there
    assert capfd.readouterr() == ("", "")


def test_an_error_of_the_method_comes_back_as_itself_and_leaves_no_outcome(tmp_path):
    start(Small(), tmp_path)
    with pytest.raises(BudgetExhausted, match="nothing is left") as caught:
        start(Small(fail="budget"), tmp_path)
    assert caught.value.exit_code == 6 and caught.value.mend == "grant more"
    assert not (tmp_path / outcomes.FILE).exists()


@pytest.mark.parametrize("workers", [-1, 1.0, True, "2"])
def test_workers_is_a_whole_number(tmp_path, workers):
    with pytest.raises(BadInput, match="workers"):
        start(Small(), tmp_path, workers=workers)


def test_a_folder_that_the_worker_does_not_see_is_named(tmp_path):
    with pytest.raises(BadInput, match="shared file system"):
        module._work(method=Small(), data=None, folder=tmp_path / "elsewhere", seed=0, use_gpu=False)


@pytest.fixture(scope="module")
def session():
    with ray_session(num_cpus=2, python_path=[Path(__file__).parent]):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_real_workers_give_the_same_outcome(tmp_path, alone, session, workers):
    listener = Listener()
    outcome = start(Small(), tmp_path, workers=workers, reporter=listener)
    assert outcome.privacy == alone.privacy and outcome.notes[-1] == f"world {workers}"
    for name, metric in alone.metrics.items():
        assert outcome.metrics[name].value == pytest.approx(metric.value, rel=1e-4), name
    import platform

    assert outcome.notes[0] == platform.__file__, "in the worker `platform` must be Python's own module"
    assert len(read_metrics(tmp_path / "metrics.jsonl")["student/loss"]) == 3
    assert {p.name for p in tmp_path.iterdir()} == {"stages", "checkpoints", "images", "metrics.jsonl", "outcome.json"}
    assert start(Small(), tmp_path, workers=workers, reporter=listener) == outcome
    assert "student: found trained from an earlier start" in listener.said


@pytest.mark.slow
def test_an_error_in_a_worker_comes_back_as_itself(tmp_path, session):
    with pytest.raises(BudgetExhausted, match="nothing is left") as caught:
        start(Small(fail="budget"), tmp_path / "budget", workers=2)
    assert caught.value.exit_code == 6
    with pytest.raises(RunFailed, match="KeyError"):
        start(Small(fail="bug"), tmp_path / "bug", workers=1)


@pytest.mark.slow
def test_a_killed_worker_is_started_again_and_ends_with_the_same_bits(tmp_path, alone, session):
    listener = Listener()
    assert start(Small(fail="die"), tmp_path, workers=1, max_failures=1, reporter=listener) == alone
    assert "student: going on from step 6" in listener.said
    with pytest.raises(RunFailed, match="died"):
        start(Small(fail="die"), tmp_path / "again", workers=1)


@pytest.mark.slow
def test_more_than_the_cluster_has_is_refused_at_once(tmp_path, session):
    with pytest.raises(BadInput, match="wants 3 CPUs, the cluster has 2"):
        start(Small(), tmp_path, workers=3)


@pytest.mark.slow
def test_without_a_session_it_starts_one_of_its_own_and_leaves_none(tmp_path, alone):
    code = (
        "from small_method import Small, public_data; from stillhouse.cluster.train import fit; import ray, sys;"
        "print(fit(Small(), public_data(), folder=sys.argv[1], seed=5, workers=1).metrics['weight'].value,"
        "ray.is_initialized())"
    )
    place = Path(small.__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], cwd=place, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[0]) == alone.metrics["weight"].value and done.stdout.split()[1] == "False"
