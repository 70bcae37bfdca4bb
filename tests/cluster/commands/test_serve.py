"""`stillhouse serve`: its log as JSON, its metrics, both from the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from stillhouse.__main__ import main
from stillhouse.platform.aggregator.tokens import make_tokens
from stillhouse.platform.ledger.ledger import Ledger


def words(folder: Path, *more: str) -> list[str]:
    make_tokens(folder / "tokens.json", silos={"all": ["a", "b"]}, analysts=["ana"])
    with Ledger(f"sqlite:///{folder / 'ledger.db'}") as ledger:
        ledger.grant("scans", epsilon=2.0, delta=1e-5, by="officer")
    return [
        "serve", "--dataset", "scans", "--classes", "3", "--silos", "a,b", "--tokens", str(folder / "tokens.json"),
        "--ledger", str(folder / "ledger.db"), "--address", "127.0.0.1:0", *more,
    ]  # fmt: skip


def test_all_that_it_writes_is_json_and_its_metrics_are_there(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-m", "stillhouse", *words(tmp_path, "--log-json", "--metrics-port", "0")]
    with log.open("wb") as out:
        process = subprocess.Popen([*command, "--ready-file", str(tmp_path / "ready")], stdout=out, stderr=out)
    try:
        end = time.monotonic() + 60
        while not (tmp_path / "ready").exists():
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        told = [json.loads(line) for line in log.read_text().splitlines()]
        (port,) = [line["port"] for line in told if line["event"] == "metrics.served"]
        (ready,) = [line for line in told if line["event"] == "server.ready"]
        assert ready["silos"] == 2 and ready["quorum"] == 2 and ready["address"].startswith("127.0.0.1:")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
            page = reply.read().decode()
        assert 'stillhouse_epsilon_cap{dataset="scans",delta="1e-05",ensemble="scans"} 2.0' in page
    finally:
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(30) == 0
    told = [json.loads(line) for line in log.read_text().splitlines()]
    assert told[-1]["event"] == "server.stopping" and all(
        {"time", "level", "event", "message"} <= set(line) for line in told
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_metrics_for_others_need_a_client_certificate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    assert main(words(tmp_path, "--metrics-port", "9464", "--metrics-host", host)) == 4
    assert "--client-ca" in capsys.readouterr().err


def test_a_roster_that_is_no_text_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "roster").write_bytes(b"a\n\xff\xfe\n")
    assert main(words(tmp_path, "--roster", str(tmp_path / "roster"))) == 4
    assert "roster is no text" in capsys.readouterr().err
