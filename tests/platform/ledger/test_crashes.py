"""`kill -9` at every step: what was released is always paid for, and asking again never pays twice."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from stillhouse.platform.ledger import AnswerStore

BEFORE_COMMIT = ["locked", "before_commit"]
AFTER_COMMIT = ["committed", "marked", "released"]


def granted(place):
    with place.open() as ledger:
        ledger.grant("scans", epsilon=2.0, delta=1e-5, by="officer")


def run(place, tmp_path: Path, **orders) -> tuple[int, int]:
    """Run a worker to its end (or death); how much it released, and how it ended."""
    released = tmp_path / "released"
    worker = place.start(released=str(released), **orders)
    worker.communicate(timeout=60)
    return len(released.read_text().split()) if released.exists() else 0, worker.returncode


def never_under_counted(place, released: int, unit: int) -> bool:
    """The property that every crash test checks: the books hold at least what the world has seen."""
    with place.open() as ledger:
        return ledger.verify().ok and ledger.budget("scans").spent[0] >= released * unit


@pytest.mark.parametrize("step", [*BEFORE_COMMIT, *AFTER_COMMIT])
def test_a_kill_at_any_step_of_a_charge(place, tmp_path, event, unit, step):
    granted(place)
    released, code = run(place, tmp_path, keys=["k"], kill_at=step)
    assert code == -signal.SIGKILL
    assert released == (1 if step == "released" else 0)
    assert never_under_counted(place, released, unit)
    ledger = place.open()
    assert ledger.budget("scans").spent == ((0,) if step in BEFORE_COMMIT else (unit,))
    again = ledger.charge("scans", key="k", event=event, purpose="test")
    assert again.replayed is (step in AFTER_COMMIT)
    assert ledger.budget("scans").spent == (unit,), "asking again pays once in all"


@pytest.mark.parametrize("step", ["before_commit", "committed"])
def test_a_kill_in_a_group_leaves_all_of_it_or_nothing(place, tmp_path, unit, step):
    granted(place)
    released, _ = run(place, tmp_path, batch=["a", "b", "c"], kill_at=step)
    assert released == 0
    assert place.open().budget("scans").spent == ((3 * unit,) if step == "committed" else (0,))


def test_a_replay_after_a_kill_marks_what_was_only_committed(place, tmp_path, event):
    """Between commit and mark a backup could still be restored unnoticed; so nothing leaves before the mark."""
    granted(place)
    marked = place.mark.read_bytes()
    run(place, tmp_path, keys=["k"], kill_at="committed")
    assert place.mark.read_bytes() == marked
    place.open().charge("scans", key="k", event=event, purpose="test")
    assert place.mark.read_bytes() != marked


@pytest.mark.parametrize("seconds", [0.02, 0.07, 0.15])
def test_a_kill_at_any_moment(place, tmp_path, unit, seconds):
    granted(place)
    released = tmp_path / "released"
    worker = place.start(released=str(released), keys=[f"{i}" for i in range(190)], answer={"q": 0}, wait=True)
    assert worker.stdout.readline() == '"ready"\n'
    worker.stdin.write("go\n")
    worker.stdin.flush()
    time.sleep(seconds)
    worker.kill()
    worker.communicate(timeout=60)
    count = len(released.read_text().split()) if released.exists() else 0
    with place.open() as ledger:
        spent = ledger.budget("scans").spent[0]
    assert count * unit <= spent <= (count + 1) * unit
    assert never_under_counted(place, count, unit)


def test_stored_answers_survive_a_kill(place, tmp_path):
    granted(place)
    worker = place.start(answer={"q": 0, "r": -1}, wait=True)
    worker.stdout.readline()
    worker.stdin.write("go\n")
    worker.stdin.flush()
    assert [worker.stdout.readline() for _ in range(2)]
    worker.kill()
    worker.communicate(timeout=60)
    assert AnswerStore(place.open().engine).get(["q", "r", "s"]) == {"q": 0, "r": -1}


def test_a_mutant_that_releases_before_it_charges_is_caught(sqlite_place, tmp_path, unit):
    """The crash test must be able to fail: this worker shows its answer first and pays afterwards."""
    granted(sqlite_place)
    released, code = run(sqlite_place, tmp_path, keys=["k"], mutant="release_first", kill_at="before_commit")
    assert (released, code) == (1, -signal.SIGKILL)
    assert not never_under_counted(sqlite_place, released, unit)
