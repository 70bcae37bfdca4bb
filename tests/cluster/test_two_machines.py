"""Two machines that share a file system and nothing else: the second one is a network namespace, so that no loopback is shared.

It needs the right to make network namespaces, and skips where that is not given.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import ray
from raylets import patiently
from stillhouse.cluster.config.schema import Silos
from stillhouse.cluster.session import ray_session
from stillhouse.cluster.simulation import partition, simulation
from stillhouse.platform.data.sources import load
from stillhouse.platform.ledger.ledger import Ledger
from stillhouse.platform.privacy.mechanisms import GNMax
from stillhouse.platform.privacy.statement import REPLACE_ONE
from stillhouse.platform.silo.scatter_ridge import ScatterRidge
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun

# Names and addresses of this process's own: two test runs on one machine do not meet.
NUMBER = os.getpid()
SPACE, NEAR, FAR = f"stillhouse-{NUMBER}", f"sh{NUMBER}a", f"sh{NUMBER}b"
HERE, THERE = (f"10.211.{NUMBER % 250}.{side}" for side in (1, 2))
PORT = 26379


def ip(*words: str) -> bool:
    return subprocess.run(["ip", *words], capture_output=True).returncode == 0


@dataclass
class Machines:
    """Two raylets, one of them behind a wire."""

    address: str
    processes: list[subprocess.Popen[bytes]]


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    if not shutil.which("ip") or not ip("netns", "add", SPACE):
        pytest.skip("network namespaces cannot be made here")
    folder = Path(tempfile.mkdtemp(prefix="shm-", dir="/tmp"))  # Short: Unix sockets lie below it.
    (folder / "token").write_text(secrets.token_hex(32))
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    own = {
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token"), "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent),
    }  # fmt: skip
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    started = Machines(f"{HERE}:{PORT}", [])
    try:
        for words in (
            f"link add {NEAR} type veth peer name {FAR} netns {SPACE}",
            f"addr add {HERE}/30 dev {NEAR}", f"link set {NEAR} up",
            f"-n {SPACE} addr add {THERE}/30 dev {FAR}", f"-n {SPACE} link set {FAR} up",
            f"-n {SPACE} link set lo up",
        ):  # fmt: skip
            done = ip(*words.split())
            if not done and words.startswith("link add"):
                pytest.skip("this kernel links no network namespaces: it has no veth")
            assert done, words
        start = [str(Path(sys.executable).parent / "ray"), "start", "--block", "--num-cpus=1"]
        start += ["--object-store-memory=80000000", "--disable-usage-stats"]
        head = [
            "--head",
            f"--node-ip-address={HERE}",
            f"--port={PORT}",
            "--labels=home=silo-0",
            "--include-dashboard=false",
        ]
        other = [f"--address={HERE}:{PORT}", f"--node-ip-address={THERE}", "--labels=home=silo-1"]
        enter = ["ip", "netns", "exec", SPACE]
        for number, command in enumerate(([*start, *head], [*enter, *start, *other])):
            if "--head" in command:
                command.append(f"--temp-dir={folder / 'ray'}")
            log = folder / f"log-{number}"
            started.processes.append(patiently(partial(start_raylet, command, log)))
        yield started
    finally:
        for process in reversed(started.processes):
            process.terminate()
        for process in started.processes:
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        ip("netns", "del", SPACE)
        ip("link", "del", NEAR)
        shutil.rmtree(folder, ignore_errors=True)


def start_raylet(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=log.parent)
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        if "Ray runtime started" in log.read_text(errors="replace"):
            return process
        time.sleep(0.3)
    raise RuntimeError(log.read_text(errors="replace")[-2000:])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_silo_on_another_machine_reaches_the_aggregator(machines: Machines, tmp_path: Path) -> None:
    source = load("digits")
    private, queries = source.private.take(np.arange(160)), source.pool.images[:20]
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Ledger(url) as ledger:
        ledger.grant("digits", epsilon=1e6, delta=1e-5, neighbouring=REPLACE_ONE, by="test")
    roster = partition(private, Silos(teachers=2), ScatterRidge(), seed=0, folder=tmp_path, key=bytes(32))
    silos = Silos(teachers=2, per_actor=1, label="home", deadline_seconds=40)
    run = LocalRun(tmp_path / "run", reporter=Silent())
    with ray_session(address=machines.address):
        assert {node["NodeManagerAddress"] for node in ray.nodes()} == {HERE, THERE}
        with simulation(
            roster, ScatterRidge(), silos, run, dataset="digits", classes=10, ledger_url=url, high_water=None, kept={},
        ) as running:  # fmt: skip
            assert running.ensemble.endpoint.address.startswith(f"{HERE}:")
            answers = running.ensemble.ask(queries, GNMax(sigma=0.05))
            votes = running.fleet.vote(queries)
    assert set(answers.voted) == {2} and votes.shape == (2, 20)
    assert np.array_equal(answers.labels, np.stack([(votes == k).sum(0) for k in range(10)], axis=1).argmax(1))
