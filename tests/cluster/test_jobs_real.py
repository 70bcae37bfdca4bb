"""One real Ray head with its dashboard and a token, jobs sent to it over HTTP. `test_jobs.py` is the quick half."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from functools import partial
from pathlib import Path

import pytest
from raylets import patiently
from stillhouse import __main__ as cli

BIN = Path(sys.executable).parent
TOKEN = "0123456789abcdef" * 4
SMALL = ["method=pate", "data=digits", "method.queries=20", "diagnostics=false"]
MISCONFIGURED = ["data=fashion_mnist", "data.root=/no/such/folder"]  # That is seen only where the data should be.


def clean_environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = f"{BIN}{os.pathsep}{kept.get('PATH', '')}"  # Ray calls `pip` and `python`.
    return {**kept, "PATH": path, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", **more}


@pytest.fixture
def head(monkeypatch):
    """Yield the address of a dashboard; nothing of it is left afterwards."""
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    folder = Path(tempfile.mkdtemp(prefix="shj-", dir="/tmp"))  # Short: Unix sockets lie below it.
    (folder / "token").write_text(TOKEN)
    try:
        address, process = patiently(partial(start_head, folder))
        try:
            yield address
        finally:
            process.terminate()  # `ray start --block` ends its own processes then, and no others.
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start_head(folder: Path) -> tuple[str, subprocess.Popen]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(BIN / "ray"), "start", "--head", "--block", "--port=0", "--num-cpus=2", "--object-store-memory=200000000",
        "--dashboard-host=127.0.0.1", f"--dashboard-port={port}", "--dashboard-agent-listen-port=0",
        f"--temp-dir={folder / 'ray'}",
    ]  # fmt: skip
    environment = clean_environment(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(folder / "token"))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    wait_for(address, process, folder / "log")
    return address, process


def wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/api/version", timeout=5)
        except urllib.error.HTTPError as error:
            if error.code == 401:  # It answers, and wants the token.
                return
        except OSError:
            pass
        time.sleep(0.5)
    raise RuntimeError(f"no Ray head: {log.read_text()[-2000:]}")


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict, str]:
    code = cli.main([*words, "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out), said.err


def marked_wheel(folder: Path) -> Path:
    """Return a wheel of this program that says so when it is imported."""
    built = importlib.import_module("stillhouse.cluster.commands.submit").build_wheel(folder)
    marked = folder / "marked" / built.name
    marked.parent.mkdir()
    with zipfile.ZipFile(built) as old, zipfile.ZipFile(marked, "w") as new:
        for name in old.namelist():
            more = b"\nprint('the program that was sent')\n" if name == "stillhouse/__init__.py" else b""
            new.writestr(name, old.read(name) + more)
    return marked


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_jobs_on_a_cluster_with_a_token(head, tmp_path, capsys, monkeypatch):
    submit = ["submit", "--address", head]
    root = f"root={tmp_path / 'runs'}"

    for token in (None, "f" * 64):
        if token:
            monkeypatch.setenv("RAY_AUTH_TOKEN", token)
        code, said, err = call(capsys, *submit, root, *SMALL)
        assert code == 2 and said["error"]["kind"] == "NotAuthorised" and "RAY_AUTH_TOKEN" in err
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)

    code, said, err = call(capsys, *submit, "--follow", root, *SMALL)
    assert code == 0, err
    job = said["data"]
    folder = Path(job["result"]["folder"])
    assert job["new"] and job["status"] == "SUCCEEDED" and job["driver_exit_code"] == 0
    assert folder.is_relative_to(tmp_path) and (folder / "report.html").is_file()
    assert "queries" in err, "the log was followed"

    code, said, err = call(capsys, *submit, root, *SMALL)
    assert code == 0 and not said["data"]["new"] and said["data"]["result"] == job["result"]

    wheel = str(marked_wheel(tmp_path))
    code, said, err = call(capsys, *submit, "--id", "wrong", "--wheel", wheel, root, *MISCONFIGURED)
    assert code == said["exit_code"] == 4 and "fashion_mnist" in err
    assert call(capsys, "status", "wrong", "--address", head)[1]["data"]["driver_exit_code"] == 4
    log = call(capsys, "logs", "wrong", "--address", head)[1]["data"]["log"]
    assert "fashion_mnist" in log and "the program that was sent" in log
    assert call(capsys, "stop", "wrong", "--address", head)[1]["data"]["stopped"] is False

    # Without `stillhouse submit`: Ray's own command sends a folder, the program is the one that is installed there.
    (tmp_path / "sent").mkdir()
    command = [str(BIN / "ray"), "job", "submit", "--address", head, "--working-dir", str(tmp_path / "sent"), "--"]
    command += ["python", "-m", "stillhouse", "run", "cluster.address=auto", root, *SMALL]
    environment = clean_environment(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "this start spent nothing" in done.stdout, done.stdout + done.stderr
