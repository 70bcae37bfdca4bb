"""The aggregator process of a simulation ends with the process that started it, however that one ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from stillhouse.cluster.aggregator import Federation, aggregator_process
from stillhouse.platform.ledger.ledger import Ledger
from stillhouse.platform.privacy.statement import REPLACE_ONE

STARTER = """
import sys, time
from pathlib import Path
from stillhouse.cluster.aggregator import Federation, aggregator_process

folder = Path(sys.argv[1])
federation = Federation("scans", "e", ["a", "b"], 2, 2, 60.0, f"sqlite:///{folder}/ledger.db")
with aggregator_process(federation, folder / "aggregator") as running:
    print(running.pid, flush=True)
    time.sleep(600)
"""


def granted(folder: Path) -> str:
    url = f"sqlite:///{folder}/ledger.db"
    ledger = Ledger(url)
    ledger.grant("scans", epsilon=1.0, delta=1e-5, neighbouring=REPLACE_ONE, by="test")
    ledger.close()
    return url


def ends(pid: int, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":  # ended; nobody has asked for its exit code yet
            return True
        time.sleep(0.05)
    return False


def test_it_stops_when_its_starter_is_killed(tmp_path: Path) -> None:
    granted(tmp_path)
    starter = subprocess.Popen([sys.executable, "-c", STARTER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    aggregator = int(starter.stdout.readline())
    try:
        assert not ends(aggregator, 0.3)
        starter.kill()
        starter.wait()
        assert ends(aggregator)
    finally:
        starter.stdout.close()
        with suppress(ProcessLookupError):
            os.kill(aggregator, signal.SIGKILL)
    log = (tmp_path / "aggregator" / "aggregator.log").read_text(encoding="utf-8")
    assert "shutting down" in log


def test_it_stops_with_its_context(tmp_path: Path) -> None:
    federation = Federation("scans", "e", ["a", "b"], 2, 2, 60.0, granted(tmp_path))
    with aggregator_process(federation, tmp_path / "aggregator") as running:
        assert not ends(running.pid, 0.3)
    assert ends(running.pid, 1.0)
