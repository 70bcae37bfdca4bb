"""The aggregator process of a simulation: it ends with the process that started it, and is reached from where its silos are."""

from __future__ import annotations

import ipaddress
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
from cryptography import x509
from stillhouse.cluster.aggregator import Federation, aggregator_process
from stillhouse.cluster.certificate import make_certificate
from stillhouse.cluster.session import address_for_others
from stillhouse.platform.aggregator.client import SiloClient
from stillhouse.platform.aggregator.config import is_loopback
from stillhouse.platform.errors import BadInput, NotAuthorised, Unreachable
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


def test_it_stops_with_its_context_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Watched(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *words: Any, **options: Any) -> None:
            super().__init__(*words, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Watched)
    federation = Federation("scans", "e", ["a", "b"], 2, 2, 60.0, granted(tmp_path))
    with aggregator_process(federation, tmp_path / "aggregator") as running:
        assert not ends(running.pid, 0.3)
    assert ends(running.pid, 1.0)
    assert [process.returncode for process in started if process.pid == running.pid] == [0]


@pytest.mark.parametrize(
    ("quorum", "seconds", "said"),
    [(99, 60.0, "quorum.*99|99.*quorum"), (2, 0.0, "deadline")],
    ids=["quorum", "deadline"],
)
def test_why_it_refuses_to_start_is_told_with_the_kind_of_the_error(
    tmp_path: Path, quorum: int, seconds: float, said: str
) -> None:
    federation = Federation("scans", "e", ["a", "b"], 2, quorum, seconds, granted(tmp_path))
    with pytest.raises(BadInput, match=said) as caught, aggregator_process(federation, tmp_path / "aggregator"):
        pass
    assert caught.value.exit_code == 4 and caught.value.what == "the aggregator refused to start"


def test_others_are_let_in_by_tls_only(tmp_path: Path) -> None:
    """On an address that other machines reach: the certificate handed out, and none other, opens the way; its key stays here."""
    host = str(ray.util.get_node_ip_address())
    federation = Federation("scans", "e", ["a", "b"], 2, 2, 60.0, granted(tmp_path))
    folder = tmp_path / "aggregator"
    with aggregator_process(federation, folder, host=host) as running:
        address, ca = running.silos.address, running.silos.ca
        assert address.startswith(host) and ca is not None and ca.is_absolute() and running.analyst.ca == ca
        with SiloClient(running.silos) as silo:
            silo.join({"silos": ["a", "b"]})
        with SiloClient(replace(running.silos, token="guess")) as stranger, pytest.raises(NotAuthorised):
            stranger.join({"silos": ["a", "b"]})
        (tmp_path / "other").mkdir()
        other = make_certificate(host, public=tmp_path / "other", private=tmp_path / "other")
        with SiloClient(replace(running.silos, ca=other.cert)) as misled, pytest.raises(Unreachable):
            misled.join({"silos": ["a", "b"]})
        assert b"PRIVATE KEY" not in b"".join(path.read_bytes() for path in folder.iterdir())
        if not is_loopback(address):
            with pytest.raises(NotAuthorised, match="without TLS"):
                replace(running.silos, ca=None)


def test_the_key_of_a_certificate_is_for_its_user_only(tmp_path: Path) -> None:
    files = make_certificate("fd00::2", public=tmp_path, private=tmp_path)
    assert files.key.stat().st_mode & 0o077 == 0
    assert x509.load_pem_x509_certificate(files.cert.read_bytes()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    ).value.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("fd00::2")]
    with pytest.raises(FileExistsError):  # never over a key that is there
        make_certificate("fd00::2", public=tmp_path, private=tmp_path)


@pytest.mark.parametrize(
    ("nodes", "grows", "expected"),
    [
        ([("10.0.0.1", True)], False, None),
        ([("10.0.0.1", True), ("10.0.0.1", True)], False, None),
        ([("10.0.0.1", True), ("10.0.0.2", False)], False, None),
        ([("10.0.0.1", True), ("10.0.0.2", True)], False, "10.0.0.1"),
        ([("10.0.0.1", True)], True, "10.0.0.1"),
    ],
)
def test_it_is_loopback_while_the_cluster_has_no_other_machine(
    monkeypatch: pytest.MonkeyPatch, nodes: list[tuple[str, bool]], grows: bool, expected: str | None
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [{"NodeManagerAddress": ip, "Alive": alive} for ip, alive in nodes])
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "10.0.0.1")
    assert address_for_others(grows=grows) == expected
