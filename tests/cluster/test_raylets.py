"""What starts Ray for tests: tried again where Ray was too slow, and nothing is left of what did not start."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from raylets import patiently
from stillhouse.cluster.federation.keeper import RUNS, TOO_SLOW

# A process with one of its own that is deaf to a gentle end.
SLEEPER = """
import subprocess, sys, time
deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""


def sleeper() -> tuple[subprocess.Popen[str], int]:
    """The process, and the id of the one below it."""
    process = subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as said:
        return process, int(said.readline())


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ended(pids: list[int]) -> bool:
    """Whether these end; who is killed needs a moment to be gone."""
    end = time.monotonic() + 30
    while any(map(runs, pids)) and time.monotonic() < end:
        time.sleep(0.1)
    return not any(map(runs, pids))


def test_a_start_that_was_too_slow_is_tried_again_and_leaves_nothing() -> None:
    bystander, below = sleeper()
    started: list[int] = []

    def start() -> str:
        if len(started) == 4:
            return "started"
        process, child = sleeper()
        started.extend((process.pid, child))
        raise RuntimeError(f"The current node {TOO_SLOW}. This could ...")

    try:
        assert patiently(start) == "started"
        assert len(started) == 4 and ended(started)
        assert runs(bystander.pid) and runs(below), "only what the start has started is ended"
    finally:
        bystander.kill()
        bystander.wait()
        subprocess.run(["kill", "-9", str(below)], check=False)


@pytest.mark.parametrize(("said", "tries"), [(TOO_SLOW, RUNS), ("wrong", 1)])
def test_it_gives_up_in_the_end_and_at_once_on_what_time_does_not_mend(said: str, tries: int) -> None:
    tried: list[int] = []

    def start() -> None:
        tried.append(sleeper()[0].pid)
        raise RuntimeError(said)

    with pytest.raises(RuntimeError, match=said):
        patiently(start)
    assert len(tried) == tries and ended(tried)
