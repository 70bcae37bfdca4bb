"""Separate owners on one machine, as real processes and by the commands alone: one serves, four silos join, an analyst asks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

SILOS = [f"hospital-{letter}" for letter in "abcd"]
PATIENCE = 240.0


@dataclass
class Town:
    """A folder with one aggregator, some silos and an analyst in it."""

    home: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "stillhouse", *words]

    def call(self, *words: str, expect: int = 0) -> dict[str, object]:
        done = subprocess.run(
            self.command(*words, "--json"), cwd=self.home, capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == expect, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        log = (self.home / f"{name}.log").open("wb")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(self.command(*words), cwd=self.home, stdout=log, stderr=log, env=environment)
        self.processes.append(process)
        return process

    def serve(self) -> tuple[subprocess.Popen[bytes], str]:
        ready = self.home / "ready.json"
        ready.unlink(missing_ok=True)
        words = [
            "serve",
            "--dataset",
            "clinic",
            "--classes",
            "10",
            "--silos",
            ",".join(SILOS),
            "--address",
            "127.0.0.1:0",
        ]
        words += ["--ledger", "ledger.db", "--tokens", "tokens.json", "--deadline", "200", "--ready-file", "ready.json"]
        process = self.start("serve", *words)
        wait_for(ready.exists, process, self.home / "serve.log")
        return process, json.loads(ready.read_text())["address"]

    def join(self, silo: str, address: str) -> subprocess.Popen[bytes]:
        return self.start(silo, "silo", "--folder", silo, "--address", address, "--token-file", f"{silo}.token")

    def ask(self, address: str, images: str, out: str, expect: int = 0) -> dict[str, object]:
        words = ["ask", "--images", images, "--ensemble", "clinic", "--out", out, "--address", address]
        words += ["--token-file", "analyst.token", "--mechanism", "name=gnmax", "sigma=1", "--wait", "200"]
        return self.call(*words, expect=expect)


def wait_for(condition: object, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():  # type: ignore[operator]
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 1, 8, 8) * 15).astype(np.uint8)
    for i, silo in enumerate(SILOS):
        (tmp_path / silo).mkdir()
        part = slice(i * 350, (i + 1) * 350)
        np.savez(tmp_path / silo / "shard.npz", images=images[part], labels=labels[part], classes=10)
    np.savez(tmp_path / "public.npz", images=images[1400:1440])
    np.savez(tmp_path / "more.npz", images=images[1440:1480])
    np.save(tmp_path / "truth.npy", labels[1400:1440])
    found = Town(tmp_path)
    yield found
    for process in found.processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in found.processes:
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.mark.timeout(900)
def test_serve_join_ask(town: Town) -> None:
    for role, name in [("silo", s) for s in SILOS] + [("analyst", "analyst")]:
        town.call("token", role, name, "--tokens", "tokens.json", "--out", f"{name}.token")
    town.call(
        "ledger", "grant", "clinic", "--ledger", "ledger.db", "--epsilon", "77.4", "--delta", "1e-5", "--by", "officer"
    )
    server, address = town.serve()
    for silo in SILOS:
        town.join(silo, address)

    first = town.ask(address, "public.npz", "labels.npz")["data"]
    assert first["asked"] == 40 and first["statuses"] == {"answered": 40}
    labels = np.load(town.home / "labels.npz")["labels"]
    assert (labels == np.load(town.home / "truth.npy")).mean() > 0.5  # four teachers, noise of one vote
    assert first["cost_nano_rho"] == 40 * 10**9

    # The same question again, after the server was restarted: same labels, from the store, for nothing.
    server.send_signal(signal.SIGTERM)
    assert server.wait(100) == 0
    server, address = town.serve()
    again = town.ask(address, "public.npz", "again.npz")["data"]
    assert again["cost_nano_rho"] == 0 and again["from_store"] == 40
    assert np.array_equal(np.load(town.home / "again.npz")["labels"], labels)

    # No more fits under the cap: refused with the exit code of an exhausted budget, and the ledger says what was spent.
    shown = town.call("ledger", "show", "clinic", "--ledger", "ledger.db")["data"]
    assert shown["budgets"][0]["spent_epsilon"] > 20
    refused = town.ask(address, "more.npz", "none.npz", expect=6)
    assert "budget" in refused["error"]["what"].lower()
    assert not (town.home / "none.npz").exists()
    assert town.call("ledger", "verify", "--ledger", "ledger.db")["data"]["ok"]

    # A stranger's token is refused.
    (town.home / "analyst.token").write_text("guess")
    town.ask(address, "public.npz", "none.npz", expect=2)
