"""Ray clusters of several raylets on this machine, each in a folder of its own, for tests in which nodes go away."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster
from stillhouse.cluster.session import ray_session

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


class Raylets:
    """A head without CPUs for silos, and nodes by the name of the silo that they are labelled for."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._nodes: dict[str, Any] = {}

    def add(self, home: str, **options: Any) -> None:
        """Add a node with the label home=<name> and one CPU."""
        options = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "labels": {"home": home}, **options}
        self._nodes[home] = self._cluster.add_node(**options)

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
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
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
