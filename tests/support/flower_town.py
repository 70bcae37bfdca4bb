"""A real Flower deployment on loopback: SuperLink with TLS and authentication, SuperNodes as processes, by the commands alone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from stillhouse.cluster.certificate import make_certificate
from stillhouse.cluster.federation.local import APP_FOLDER

from .flower import working_below

BIN = Path(sys.executable).parent
CONNECTION = "clinic"
Process = subprocess.Popen[bytes]


def command_of(pid: int) -> bytes:
    """Empty if it has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class FlowerTown:
    """A folder with a SuperLink, an aggregator and SuperNodes in it. `patience`: seconds for any of them to get somewhere."""

    home: Path
    patience: float = 240.0
    processes: dict[str, Process] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    run: str = ""

    def environment(self, name: str) -> dict[str, str]:
        own = {
            "FLWR_HOME": str(self.home / f"flower-{name}"), "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1",
            "OMP_NUM_THREADS": "1", "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}", "no_proxy": "127.0.0.1",
        }  # fmt: skip
        return {**os.environ, **own}

    def start(self, name: str, *command: str) -> Process:
        log = (self.home / f"{name}.log").open("wb")
        process = subprocess.Popen(
            command, cwd=self.home, stdout=log, stderr=log, env=self.environment(name), start_new_session=True
        )
        self.processes[name] = process
        return process

    def call(self, *command: str, expect: int = 0, name: str = "operator") -> str:
        done = subprocess.run(
            command, cwd=self.home, capture_output=True, text=True, timeout=self.patience, env=self.environment(name)
        )
        assert done.returncode == expect, f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def stillhouse(self, *words: str, expect: int = 0) -> dict[str, object]:
        return json.loads(self.call(sys.executable, "-m", "stillhouse", *words, "--json", expect=expect))

    def log(self, name: str) -> str:
        return (self.home / f"{name}.log").read_text(errors="replace")

    def wait(self, condition: Callable[[], bool], *names: str) -> None:
        """Until the condition holds; these processes must go on meanwhile."""
        end = time.monotonic() + self.patience
        while not condition():
            for name in names:
                assert self.processes[name].poll() is None, self.log(name)
            assert time.monotonic() < end, "\n".join(self.log(name)[-3000:] for name in names)
            time.sleep(0.2)

    def superlink(self) -> None:
        """Start it, and tell Flower's command where it is."""
        tls = make_certificate("127.0.0.1", public=self.home, private=self.home)
        self.start(
            "superlink", str(BIN / "flower-superlink"), "--host", "127.0.0.1", "--port", str(self.port), "--ssl-ca-certfile",
            str(tls.cert), "--ssl-certfile", str(tls.cert), "--ssl-keyfile", str(tls.key), "--enable-supernode-auth",
            "--database", "superlink.db", "--disable-runtime-dependency-installation",
        )  # fmt: skip
        folder = self.home / "flower-operator"
        folder.mkdir()
        (folder / "config.toml").write_text(
            f'[superlink]\ndefault = "{CONNECTION}"\n[superlink.{CONNECTION}]\naddress = "127.0.0.1:{self.port}"\n'
            f'root-certificates = "{tls.cert}"\n'
        )
        self.wait(lambda: "Application startup complete" in self.log("superlink"), "superlink")

    def key(self, silo: str) -> None:
        """What `ssh-keygen -t ecdsa -b 384` makes."""
        key = ec.generate_private_key(ec.SECP384R1())
        plain = serialization.NoEncryption()
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, plain)
        public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        (self.home / f"{silo}.key").write_bytes(private)
        (self.home / f"{silo}.key.pub").write_bytes(public)

    def register(self, silo: str) -> int:
        told = self.call(str(BIN / "flwr"), "supernode", "register", f"{silo}.key.pub", CONNECTION, "--format", "json")
        return int(json.loads(told[told.index("{") :])["node-id"])

    def supernode(self, silo: str, key: str | None = None) -> Process:
        return self.start(
            silo, str(BIN / "flower-supernode"), "--superlink", f"127.0.0.1:{self.port}", "--root-certificates",
            "certificate.pem", "--auth-supernode-private-key", f"{key or silo}.key", "--host", "127.0.0.1", "--port", str(free_port()),
            "--max-retries", "3", "--node-config", f'folder="{self.home / silo}"',
        )  # fmt: skip

    def come_back(self, silo: str) -> None:
        """Start it until it is let in: the SuperLink first has to notice that the one before is gone."""

        def there() -> bool:
            if self.processes[silo].poll() is not None:
                self.supernode(silo)
            return "SuperNode ID" in self.log(silo)

        self.supernode(silo)
        self.wait(there)

    def relay(self, config: dict[str, object]) -> None:
        (self.home / "relay.toml").write_text(
            "".join(f"{key} = {json.dumps(value)}\n" for key, value in config.items())
        )
        told = self.call(
            str(BIN / "flwr"), "run", str(APP_FOLDER), CONNECTION, "--run-config", "relay.toml", "--format", "json"
        )
        self.run = str(json.loads(told[told.index("{") :])["run-id"])

    def stop_relay(self) -> None:
        """End the run, and wait until its server is gone."""
        self.call(str(BIN / "flwr"), "stop", self.run, CONNECTION)
        self.wait(lambda: not any(b"flwr-serverapp" in command_of(pid) for pid in self.left()))

    def kill(self, name: str) -> None:
        """The process and what it started, at once."""
        os.killpg(self.processes[name].pid, signal.SIGKILL)
        self.processes.pop(name).wait()

    def end(self) -> None:
        """End all; see `left` for whether that was enough."""
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        # The others watch over whoever started them.
        limit = time.monotonic() + self.patience
        while self.left() and time.monotonic() < limit:
            time.sleep(0.2)

    def left(self) -> list[int]:
        """Processes that work for this town and are still there."""
        return working_below(self.home)
