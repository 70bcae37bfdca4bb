"""A whole aggregator for tests: in a thread of this process, or as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from stillhouse.platform.aggregator.client import Analyst, Endpoint, OfficerClient, QueryBatch, SiloClient
from stillhouse.platform.aggregator.config import ServerConfig
from stillhouse.platform.aggregator.server import Aggregator
from stillhouse.platform.aggregator.tokens import make_tokens
from stillhouse.platform.errors import Unreachable
from stillhouse.platform.ledger.ledger import Ledger
from stillhouse.platform.privacy.noise import Noise

from .noise import ZeroNoise

DATASET, ENSEMBLE, CLASSES = "records", "teachers", 5
SILOS = ("a", "b", "c")

_PROCESS = textwrap.dedent("""
    import json, sys
    from pathlib import Path
    from stillhouse.platform.aggregator.config import ServerConfig
    from stillhouse.platform.aggregator.server import serve
    given = json.loads(sys.argv[1])
    ready = Path(given.pop("ready"))
    def tell(port):
        ready.with_suffix(".part").write_text(str(port))
        ready.with_suffix(".part").replace(ready)
    given |= {"tokens": Path(given["tokens"]), "silos": tuple(given["silos"])}
    serve(ServerConfig(**given), ready=tell)
""")


def questions(count: int, *, first: int = 0) -> np.ndarray:
    """Images that all differ; `trivial_votes` knows their labels."""
    images = np.zeros((count, 1, 4, 4), np.uint8)
    numbers = np.arange(first, first + count)
    for byte in range(4):
        images[:, 0, 0, byte] = numbers >> (8 * byte) & 255
    return images


def trivial_votes(images: np.ndarray, silos: int = 1) -> np.ndarray:
    """The same label from every silo: the first pixel modulo the classes."""
    return np.tile(images[:, 0, 0, 0].astype(np.int64) % CLASSES, (silos, 1))


@dataclass
class Served:
    """A running aggregator, and who may call it."""

    config: ServerConfig
    secrets: dict[str, str]
    address: str
    noise: Any = None
    metrics_port: int | None = None

    def endpoint(self, name: str, **files: Path) -> Endpoint:
        return Endpoint(self.address, self.secrets[name], **files)

    def analyst(self, name: str = "ana") -> Analyst:
        return Analyst(self.endpoint(name))

    def officer(self) -> OfficerClient:
        return OfficerClient(self.endpoint("olga"))

    def silo(self, name: str) -> SiloClient:
        return SiloClient(self.endpoint(name))


def set_up(
    folder: Path, *, epsilon: float = 50.0, port: int = 0, **changes: Any
) -> tuple[ServerConfig, dict[str, str]]:
    """A ledger with a budget, tokens, a config."""
    folder.mkdir(parents=True, exist_ok=True)
    silos = {name: [name] for name in changes.get("silos", SILOS)} | {"all": list(changes.get("silos", SILOS))}
    tokens = folder / "tokens.json"
    secrets = make_tokens(tokens, silos=silos, analysts=["ana", "bob"], officers=["olga"])
    url = f"sqlite:///{folder / 'ledger.db'}"
    if epsilon:
        with Ledger(url) as ledger:
            ledger.grant(DATASET, epsilon=epsilon, delta=1e-5, by="olga")
    settings: dict[str, Any] = {
        "address": f"127.0.0.1:{port}", "dataset": DATASET, "ensemble": ENSEMBLE, "silos": SILOS, "classes": CLASSES,
        "quorum": 2, "deadline_seconds": 30.0, "ledger_url": url, "tokens": tokens,
    }  # fmt: skip
    return ServerConfig(**(settings | changes)), secrets


@contextlib.contextmanager
def served(folder: Path, *, noise: Noise | None = None, **changes: Any) -> Iterator[Served]:
    """An aggregator in a thread of this process, without noise unless given some."""
    config, secrets = set_up(folder, **changes)
    noise = noise or ZeroNoise()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    async def make() -> Aggregator:
        return Aggregator(config, noise=noise)

    try:
        aggregator = run(make())
        port = run(aggregator.start())
        host = config.address.rpartition(":")[0]
        try:
            yield Served(config, secrets, f"{host}:{port}", noise, aggregator.metrics_port)
        finally:
            run(aggregator.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@contextlib.contextmanager
def voting(
    server: Served, names: Sequence[str] = SILOS, votes: Callable[[np.ndarray], np.ndarray] = trivial_votes
) -> Iterator[None]:
    """Silos that vote on all that comes, a thread each."""
    stop = threading.Event()

    def loop(name: str) -> None:
        with server.silo(name) as client:
            while not stop.is_set():
                try:
                    batch = client.next_batch(0.2)
                    if batch is not None:
                        client.send_votes(batch, [name], votes(batch.images))
                except Unreachable:  # connections of one process share their pause after a failure
                    stop.wait(0.1)

    threads = [threading.Thread(target=loop, args=(name,), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)


@contextlib.contextmanager
def asking(ask: Callable[[], Any]) -> Iterator[Callable[[], Any]]:
    """A question put from a thread; what it gives yields its answers, or raises what it raised."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(ask())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def answers() -> Any:
        thread.join(30)
        assert outcome, "no answers within 30 s"
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]

    try:
        yield answers
    finally:
        thread.join(30)


def fetched(client: SiloClient) -> QueryBatch:
    """The next batch; it must be there within seconds."""
    batch = client.next_batch(10)
    assert batch is not None
    return batch


class ServerProcess:
    """`serve` in a process of its own, to be stopped and started again on the same port and folder."""

    def __init__(self, config: ServerConfig, secrets: dict[str, str]) -> None:
        self._config, self._secrets = config, secrets
        self._ready = Path(config.tokens).with_name("ready")
        self.log = Path(config.tokens).with_name("log")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Served:
        self._ready.unlink(missing_ok=True)
        config = self._config
        given = {
            "address": config.address, "dataset": config.dataset, "ensemble": config.ensemble, "silos": config.silos,
            "classes": config.classes, "quorum": config.quorum, "deadline_seconds": config.deadline_seconds,
            "ledger_url": config.ledger_url, "tokens": str(config.tokens), "ready": str(self._ready),
        }  # fmt: skip
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _PROCESS, json.dumps(given)], stdout=output, stderr=output,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        end = time.monotonic() + 60
        while not self._ready.exists():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, "the aggregator did not start"
            time.sleep(0.02)
        port = int(self._ready.read_text())
        self._config = replace(config, address=f"127.0.0.1:{port}")
        return Served(self._config, self._secrets, self._config.address)

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(100)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
