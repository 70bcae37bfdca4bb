"""Queries per second through a whole aggregator: gRPC on loopback, real silo processes, system noise, every charge on disk.

    python benchmarks/aggregator_queries.py [--silos 8] [--queries 20000] [--pixels 28] [--folder .]

The silos vote by a trivial rule, so that what is measured is the aggregator: a batch goes from the analyst to the disk and to
all silos, their votes come back, are charged for and get their noise, and the answers go to the disk and to the analyst.
No query is repeated; nothing comes from the store.
One analyst asks one batch at a time; then several analysts ask at once. Latency is a batch's, from submission to answers.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from stillhouse.platform.aggregator.client import Analyst, Endpoint, SiloClient
from stillhouse.platform.aggregator.config import ServerConfig
from stillhouse.platform.aggregator.server import serve
from stillhouse.platform.aggregator.tokens import make_tokens
from stillhouse.platform.ledger import Ledger
from stillhouse.platform.privacy.mechanisms import ConfidentGNMax

DATASET, ENSEMBLE, CLASSES = "bench", "trivial", 10
MECHANISM = ConfidentGNMax(threshold=2, sigma1=300.0, sigma2=200.0)
TARGET = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--silos", type=int, default=8)
    parser.add_argument("--queries", type=int, default=20_000, help="queries of the largest arm")
    parser.add_argument("--pixels", type=int, default=28, help="images are this wide and high")
    parser.add_argument("--folder", type=Path, default=Path(), help="where the ledger lies")
    parser.add_argument("--process", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.process:
        given = json.loads(options.process)
        return run_silo(**given) if "name" in given else run_server(**given)
    with tempfile.TemporaryDirectory(dir=options.folder) as name, federation(Path(name), options.silos) as analyst:
        fresh = Questions(options.pixels)
        ask(analyst, fresh.take(1))  # makes the noise tables, and waits for the first silos
        print(
            f"{options.silos} silo processes, {options.pixels}x{options.pixels} images, {MECHANISM}, {os.cpu_count()} cores"
        )
        best = 0.0
        for size, analysts in ((1, 1), (64, 1), (512, 1), (2048, 1), (64, 8), (512, 4)):
            batches = max(4 * analysts, min(options.queries // size, 100))
            best = max(best, measure(analyst, fresh, size, batches, analysts))
        verdict = "met" if best >= TARGET else "MISSED"
        print(f"target of {TARGET:,} queries a second in batches: {verdict} (best {best:,.0f})")
    return None


def measure(endpoint: Endpoint, fresh: Questions, size: int, batches: int, analysts: int) -> float:
    """Ask so many batches; queries per second."""
    asked = [fresh.take(size) for _ in range(batches)]
    started = time.monotonic()
    with ThreadPoolExecutor(analysts) as pool:
        seconds = np.array(list(pool.map(lambda images: ask(endpoint, images), asked)))
    rate = size * batches / (time.monotonic() - started)
    p50, p99 = np.percentile(1000 * seconds, [50, 99])
    print(
        f"{batches:5d} batches of {size:5d}, {analysts} at once: {rate:9,.0f} queries/s; "
        f"a batch takes p50 {p50:7.1f} ms, p99 {p99:7.1f} ms",
        flush=True,
    )
    return rate


_local = threading.local()


def ask(endpoint: Endpoint, images: np.ndarray) -> float:
    """Seconds for one batch; each thread has a connection of its own."""
    if not hasattr(_local, "analyst"):
        _local.analyst = Analyst(endpoint)
    started = time.monotonic()
    answers = _local.analyst.ask(images, MECHANISM, ensemble=ENSEMBLE)
    assert not answers.from_store.any() and "budget" not in answers.statuses
    return time.monotonic() - started


class Questions:
    """Images that never repeat."""

    def __init__(self, pixels: int) -> None:
        self._pixels, self._next = pixels, 0

    def take(self, count: int) -> np.ndarray:
        """The next so many, uint8 (count, 1, pixels, pixels)."""
        images = np.zeros((count, self._pixels * self._pixels), np.uint8)
        numbers = np.arange(self._next, self._next + count, dtype="<u8")
        images[:, :8] = numbers[:, None].view(np.uint8)
        self._next += count
        return images.reshape(count, 1, self._pixels, self._pixels)


@contextmanager
def federation(folder: Path, silos: int) -> Iterator[Endpoint]:
    """A server process and its silo processes."""
    names = [f"silo-{i}" for i in range(silos)]
    tokens, ready = folder / "tokens.json", folder / "ready"
    secrets = make_tokens(tokens, silos={name: [name] for name in names}, analysts=["analyst"])
    url = f"sqlite:///{folder / 'ledger.db'}"
    with Ledger(url) as ledger:
        ledger.grant(DATASET, epsilon=1000, delta=1e-6, by="benchmark")
    processes = [start({"url": url, "tokens": str(tokens), "silos": names, "ready": str(ready)})]
    try:
        while not ready.exists():
            if processes[0].poll() is not None:
                raise SystemExit("the aggregator did not start")
            time.sleep(0.02)
        address = f"127.0.0.1:{ready.read_text()}"
        processes += [start({"name": name, "address": address, "token": secrets[name]}) for name in names]
        yield Endpoint(address, secrets["analyst"])
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(30)


def start(given: dict[str, object]) -> subprocess.Popen[bytes]:
    """This script as another process."""
    command = [sys.executable, str(Path(__file__).resolve()), "--process", json.dumps(given)]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})


def run_server(url: str, tokens: str, silos: list[str], ready: str) -> None:
    """The aggregator's process."""
    config = ServerConfig(
        address="127.0.0.1:0", dataset=DATASET, ensemble=ENSEMBLE, silos=tuple(silos), classes=CLASSES, quorum=len(silos),
        deadline_seconds=300, ledger_url=url, tokens=Path(tokens),
    )  # fmt: skip

    def tell(port: int) -> None:
        Path(ready + ".part").write_text(str(port))
        Path(ready + ".part").replace(ready)

    serve(config, ready=tell)


def run_silo(name: str, address: str, token: str) -> None:
    """A silo's process: the same label from each, by the first byte."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with SiloClient(Endpoint(address, token)) as client:
        client.join({"silos": [name], "classes": CLASSES})
        while not stop.is_set():
            batch = client.next_batch(1.0)
            if batch is not None:
                client.send_votes(batch, [name], batch.images[:, 0, 0, 0].astype(np.int64)[None] % CLASSES)


if __name__ == "__main__":
    main()
