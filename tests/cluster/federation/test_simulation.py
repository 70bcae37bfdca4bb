"""`stillhouse federate` by the command: votes as by Ray actors, nothing spent twice, the budget's exit code, nothing left behind."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from stillhouse.cluster.federation.keeper import MARK
from stillhouse.cluster.federation.standing import read_standing
from stillhouse.platform.ledger.ledger import Ledger
from support.flower import working_below

SMALL = [
    "method=pate", "data=digits", "silos.teachers=6", "method.queries=40", "method.epochs=40", "privacy=gnmax",
    "privacy.mechanism.sigma=2", "name=small",
]  # fmt: skip


def command(verb: str, root: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "stillhouse", verb, *SMALL, f"root={root}", *more, "--json"]


def call(verb: str, root: Path, *more: str, expect: int = 0) -> dict[str, object]:
    done = subprocess.run(command(verb, root, *more), capture_output=True, text=True, timeout=900)
    assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert not working_below(root)
    return json.loads(done.stdout)


def votes(root: Path) -> dict[str, str]:
    """What each silo has voted, by the batch and the teacher: a hash of the file that it keeps."""
    files = (root / "small" / "silos").glob("*/votes/*.votes")
    return {f"{f.parent.parent.name}/{f.name}": hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def entries(root: Path) -> int:
    with Ledger(f"sqlite:///{root / 'ledger.db'}") as ledger:
        return ledger.position()[0]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_federated_run_is_that_of_ray_actors(tmp_path: Path) -> None:
    flower, actors = tmp_path / "flower", tmp_path / "actors"
    shown = call("federate", flower, "diagnostics=false")["data"]
    assert isinstance(shown, dict) and (flower / "small" / "report.html").is_file()
    assert entries(flower) == 2  # the grant, one charge
    call("run", actors, "diagnostics=false")
    assert len(votes(flower)) == 6 and votes(flower) == votes(actors)

    # Again: everything is found, and Flower is not even started.
    (flower / "small" / "flower" / "started").unlink()
    call("federate", flower, "diagnostics=false")
    assert entries(flower) == 2 and not (flower / "small" / "flower" / "started").exists()

    # By actors in the same folder, without what was kept of the labels: the answers of the Flower run are found in the store.
    shutil.rmtree(flower / "small" / "stages" / "labels")
    call("run", flower, "diagnostics=false")
    assert entries(flower) == 2


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_over_budget_ends_with_its_own_exit_code(tmp_path: Path) -> None:
    refused = call("federate", tmp_path, "privacy.target_epsilon=0.5", expect=6)["error"]
    assert isinstance(refused, dict) and refused["kind"] == "BudgetExhausted"
    assert entries(tmp_path) == 1  # the grant


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=["ctrl-c", "terminated", "killed"]
)
def test_whatever_ends_the_command_ends_all(tmp_path: Path, number: signal.Signals) -> None:
    # A shell that runs these tests in the background has made their processes deaf to an interrupt; the command is not.
    hears = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        command("federate", tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=hears
    )
    try:
        state = tmp_path / "small" / "aggregator" / "state.json"
        end = time.monotonic() + 600
        while not read_standing(state):
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.2)
        environment = (Path("/proc") / str(working_below(tmp_path)[0]) / "environ").read_bytes().split(b"\0")
        [scratch] = [Path(word.decode().partition("=")[2]) for word in environment if word.startswith(b"RAY_TMPDIR=")]
        assert scratch.is_dir()
        process.send_signal(number)
        assert process.wait(120) == (-signal.SIGKILL if number == signal.SIGKILL else 130)
        while (working_below(tmp_path) or scratch.exists()) and time.monotonic() < end:
            time.sleep(0.5)  # After a kill the keeper has to notice first.
        assert not working_below(tmp_path) and not scratch.exists()
    finally:
        # Of a failed test nothing may be left either, whether or not what it tests works.
        process.kill()
        process.wait()
        for pid in working_below(tmp_path):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert MARK not in os.environ
