"""The aggregator of a simulated federation: `stillhouse serve` as a process of its own.

It listens on loopback where all silos are on this machine. Where they are not, it listens on an address that the cluster's other
machines reach, with TLS by a certificate made for this one start: tokens and votes do not cross a network in the clear.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..platform.aggregator.client import Endpoint
from ..platform.aggregator.tokens import make_tokens
from ..platform.errors import BadInput, BudgetExhausted, RunFailed, StillhouseError, TimedOut, Unreachable
from .certificate import make_certificate

START_SECONDS = 180.0  # one that ends by itself is noticed at once
STOP_SECONDS = 15.0
SILO_HOST = "simulation"
ANALYST = "analyst"
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Federation:
    """Who votes on what: the data set's name in the ledger, the ensemble's identity, the roster, the rules."""

    dataset: str
    ensemble: str
    silos: Sequence[str]
    classes: int
    quorum: int
    deadline_seconds: float
    ledger_url: str
    high_water: str | None = None


@dataclass(frozen=True)
class Running:
    """A started aggregator: where silos and where the analyst reach it."""

    silos: Endpoint
    analyst: Endpoint
    pid: int


@contextmanager
def aggregator_process(federation: Federation, folder: Path, *, host: str | None = None) -> Iterator[Running]:
    """Start the aggregator on a free port, hand out endpoints, and end it by its process id.

    Args:
        folder: for its files; who dials from another machine finds the certificate there.
        host: the address of this machine to listen on, with TLS; None: loopback.

    Its standard input is a pipe from here: when this process is killed, the pipe closes and the aggregator stops too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokens, ready, log = folder / "tokens.json", folder / "ready.json", folder / "aggregator.log"
    secrets = make_tokens(tokens, silos={SILO_HOST: list(federation.silos)}, analysts=[ANALYST])
    roster = folder / "roster.txt"
    roster.write_text("\n".join(federation.silos) + "\n", encoding="utf-8")
    ready.unlink(missing_ok=True)
    command = [
        sys.executable, "-m", "stillhouse", "serve",
        "--address", f"[{host}]:0" if host and ":" in host else f"{host or LOOPBACK}:0",
        "--dataset", federation.dataset,
        "--ensemble", federation.ensemble,
        "--roster", str(roster),
        "--classes", str(federation.classes),
        "--quorum", str(federation.quorum),
        "--deadline", str(federation.deadline_seconds),
        "--ledger", federation.ledger_url,
        "--tokens", str(tokens),
        "--ready-file", str(ready),
        "--stop-with-stdin",
    ]  # fmt: skip
    if federation.high_water:
        command += ["--high-water", federation.high_water]
    # The key stays on this machine; the run's folder may be on a file system that others mount.
    with tempfile.TemporaryDirectory(prefix="stillhouse-") as private:
        certificate = None
        if host:
            tls = make_certificate(host, public=folder, private=Path(private))
            certificate = tls.cert.resolve()
            command += ["--tls-cert", str(certificate), "--tls-key", str(tls.key)]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.PIPE, env=_environment())
        try:
            address = _wait_ready(process, ready, log)
            silos, analyst = (Endpoint(address, secrets[name], ca=certificate) for name in (SILO_HOST, ANALYST))
            yield Running(silos, analyst, process.pid)
        finally:
            _stop(process)


def _environment() -> dict[str, str]:
    # One thread is enough for counting votes; the cores belong to the teachers.
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def _wait_ready(process: subprocess.Popen[bytes], ready: Path, log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if ready.exists():
            return str(json.loads(ready.read_text(encoding="utf-8"))["address"])
        if process.poll() is not None:
            raise _refused(process.returncode, _last_words(log), log)
        time.sleep(0.05)
    raise TimedOut(f"the aggregator did not start within {START_SECONDS:.0f} s", mend=f"look into {log}")


def _last_words(log: Path) -> str:
    """The error that the command ended with, which may be of several lines; else its last line."""
    said = log.read_text(encoding="utf-8", errors="replace").strip()
    _, found, error = f"\n{said}".rpartition("\nerror: ")
    return error if found else said.rpartition("\n")[2] or "it said nothing"


def _refused(code: int, why: str, log: Path) -> StillhouseError:
    kinds = {kind.exit_code: kind for kind in (RunFailed, Unreachable, TimedOut, BadInput, BudgetExhausted)}
    return kinds.get(code, RunFailed)("the aggregator refused to start", why=why, mend=f"look into {log}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdin:
        process.stdin.close()
