"""Ray started for tests: patiently, and as clusters of several raylets on this machine, from which nodes go away."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from ray.cluster_utils import Cluster
from stillhouse.cluster.federation.keeper import RUNS, TOO_SLOW
from stillhouse.cluster.session import ray_session

T = TypeVar("T")

# Ray looks for dead nodes every few seconds and wants to see them dead many times; a test does not want to wait so long.
QUICK = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "3",
}
STORE_BYTES = 80 * 1024 * 1024
END_SECONDS = 20.0


def patiently(start: Callable[[], T]) -> T:
    """Start something of Ray's. Where Ray ends its own start for being slow, another try may do, as in the product.

    The processes that a start left behind when it failed, of whatever cause, are ended.
    """
    for left in reversed(range(RUNS)):
        before = _children(os.getpid())
        try:
            return start()
        except BaseException as error:
            _end(_children(os.getpid()) - before)
            if not left or TOO_SLOW not in str(error):
                raise
    raise AssertionError("there is no try at all")


def _children(pid: int) -> set[int]:
    found: set[int] = set()
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found.update(map(int, thread.read_text(encoding="utf-8").split()))
    return found


def _below(pid: int) -> set[int]:
    own = _children(pid)
    return own.union(*map(_below, own))


def _end(pids: set[int]) -> None:
    """End these children of this process in order, or by force, then what they started."""
    below = set[int]().union(*map(_below, pids))
    _send(pids, signal.SIGTERM)
    end = time.monotonic() + END_SECONDS
    running = {pid for pid in pids if not _gone(pid)}
    while running and time.monotonic() < end:
        time.sleep(0.1)
        running = {pid for pid in running if not _gone(pid)}
    _send(running | below, signal.SIGKILL)
    for pid in running:
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _gone(pid: int) -> bool:
    """Whether it has ended; it is then no more a child."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _send(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


class Raylets:
    """A head without CPUs for silos, and nodes by the name of the silo that they are labelled for."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._nodes: dict[str, Any] = {}

    def add(self, home: str, **options: Any) -> None:
        """Add a node with the label home=<name> and one CPU."""
        options = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "labels": {"home": home}, **options}
        self._nodes[home] = patiently(lambda: self._cluster.add_node(**options))

    def kill(self, home: str) -> None:
        """Kill all processes of a node, as when its machine loses power."""
        self._cluster.remove_node(self._nodes.pop(home), allow_graceful=False)

    @property
    def ids(self) -> dict[str, str]:
        """The node of each name."""
        return {home: str(node.node_id) for home, node in self._nodes.items()}


@contextmanager
def raylets(*homes: str) -> Iterator[Raylets]:
    """Start a head and a node for each name, and be connected to them."""
    root = Path(tempfile.mkdtemp(prefix="shc-", dir="/tmp"))  # Short: Unix sockets lie below it.
    own = {**QUICK, "RAY_TMPDIR": str(root)}
    before = {name: os.environ.get(name) for name in (*own, "RAY_ADDRESS")}
    os.environ.update(own)
    os.environ.pop("RAY_ADDRESS", None)
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    cluster = Cluster()
    try:
        patiently(lambda: cluster.add_node(**head))
        found = Raylets(cluster)
        for home in homes:
            found.add(home)
        with ray_session(address=cluster.address, python_path=[Path(__file__).parent]):
            yield found
    finally:
        cluster.shutdown()
        shutil.rmtree(root, ignore_errors=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
