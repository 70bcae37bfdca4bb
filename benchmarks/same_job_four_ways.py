"""One small job, four ways: here, sent to a cluster of four raylets, with its training worker killed, with a node killed.

    python benchmarks/same_job_four_ways.py [--ways local,jobs,worker,node] [--folder .]

Teachers on eight shards of scikit-learn's digits, forty questions in four batches, a student. Each way has a root of its own, so
each pays for its answers into a ledger of its own. The noise of the answers comes from the operating system and can be given no seed;
here it is made so small (sigma 0.05) that no draw changes a count. So the labels are the plurality of the votes and all four ways
must end alike to the last bit: metrics, the student's weights, epsilon, the ledger's charges. (Such an epsilon protects nobody.)

The cluster is four real raylets with a token, on this machine; jobs are sent by Ray's Jobs SDK. The exit code is 1 if results differ
or a kill came too late.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from stillhouse.cluster import jobs
from stillhouse.platform.ledger import schema
from stillhouse.platform.ledger.ledger import Ledger
from stillhouse.platform.training.outcome import Outcome

BIN = Path(sys.executable).parent
WAYS = ("local", "jobs", "worker", "node")
RAYLETS = 4
ATTEMPTS = 6
JOB = [
    "method=pate", "data=digits", "silos.teachers=8", "silos.per_actor=2", "silos.deadline_seconds=240", "silos.lost_seconds=300",
    "silos.start_seconds=300", "method.queries=40", "method.batch_queries=10", "method.epochs=60", "method.batch_size=8",
    "privacy=gnmax", "privacy.mechanism.sigma=0.05", "privacy.target_epsilon=1000000", "diagnostics=false", "name=job",
]  # fmt: skip
# A dead node is noticed within seconds; a slow start is no death.
QUICK = {
    "RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "20000", "RAY_health_check_failure_threshold": "3",
    "RAY_agent_register_timeout_ms": "120000",
}  # fmt: skip


class Different(Exception):
    """What should have been shown was not."""


@dataclass(frozen=True)
class Shown:
    """What a way ended with; all but `seconds` must be the same."""

    metrics: dict[str, float]
    epsilon: float
    statement: str
    charges: tuple[int, ...]
    answers: int
    weights: str
    seconds: float = field(compare=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ways", default=",".join(WAYS), help="which of them, separated by commas")
    parser.add_argument("--folder", type=Path, default=Path(), help="where the runs lie meanwhile")
    options = parser.parse_args()
    ways = options.ways.split(",")
    if set(ways) - set(WAYS):
        parser.error(f"ways are {', '.join(WAYS)}")
    shown: dict[str, Shown] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name).resolve()
        if "local" in ways:
            shown["local"] = locally(folder / "local")
        if set(ways) - {"local"}:
            with cluster() as raylets, jobs.connected(raylets.dashboard) as client:
                for way in (way for way in WAYS[1:] if way in ways):  # The killed node comes last: it stays away.
                    shown[way] = sent(client, way, folder / way, raylets)
                    print(f"{way}: done", file=sys.stderr)
    table(shown)
    if len(set(map(str, (comparable(one) for one in shown.values())))) != 1:
        print("the results differ")
        return 1
    print(f"{len(shown)} ways, one result")
    return 0


def comparable(one: Shown) -> tuple[object, ...]:
    return (sorted(one.metrics.items()), one.epsilon, one.statement, one.charges, one.answers, one.weights)


def locally(root: Path) -> Shown:
    """By the command, in a private session on this machine."""
    began = time.monotonic()
    command = [sys.executable, "-m", "stillhouse", "run", *JOB, f"root={root}", "cluster.num_cpus=4", "--json"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    if done.returncode:
        raise Different(f"the local run ended with {done.returncode}: {done.stderr[-2000:]}")
    return look(root, time.monotonic() - began)


def sent(client: jobs.Client, way: str, root: Path, raylets: Raylets) -> Shown:
    """By the Jobs SDK, with whatever happens to it meanwhile."""
    began = time.monotonic()
    words = [*JOB, f"root={root}", "cluster.address=auto", "cluster.workers=1", "cluster.max_failures=1", "--json"]
    client.submit_job(
        entrypoint=shlex.join([sys.executable, "-m", "stillhouse", "run", *words]), submission_id=f"four-ways-{way}",
        runtime_env=None, metadata=None, entrypoint_num_cpus=None, entrypoint_num_gpus=None,
    )  # fmt: skip
    accident = {
        "jobs": lambda: None,
        "worker": lambda: kill_worker(root, raylets),
        "node": lambda: kill_node(root, raylets),
    }
    trouble: list[BaseException] = []

    def happen() -> None:
        try:
            accident[way]()
        except BaseException as error:
            trouble.append(error)

    thread = threading.Thread(target=happen)
    thread.start()
    jobs.wait(client, f"four-ways-{way}")
    thread.join()
    if trouble:
        raise trouble[0]
    return look(root, time.monotonic() - began)


def kill_worker(root: Path, raylets: Raylets) -> None:
    """Kill the process that trains the student, once its labels are paid for and before it is done."""
    until(lambda: any((root / "job" / "stages" / "labels").glob("*.safetensors")), "the labels never came")
    pids = [pid for pid in family(raylets.pids) if "RayTrainWorker" in title(pid)]
    if len(pids) != 1 or (root / "job" / "outcome.json").exists():
        raise Different(f"there were {len(pids)} training workers to kill, or the training was over")
    os.kill(pids[0], signal.SIGKILL)
    print(f"worker: killed process {pids[0]}, {title(pids[0]) or 'gone'}", file=sys.stderr)


def kill_node(root: Path, raylets: Raylets) -> None:
    """Kill a raylet that has silos, and all its processes, once a first teacher is ready and before all questions are answered."""
    until(lambda: any((root / "job" / "silos").glob("*/teacher.safetensors")), "no teacher was ever ready")
    nodes = {pid: family([pid]) for pid in raylets.pids[1:]}
    chosen = next((pid for pid, members in nodes.items() if any("SiloActor" in title(m) for m in members)), None)
    if chosen is None or any((root / "job" / "stages" / "labels").glob("*.safetensors")):
        raise Different("no node but the head had silos, or all questions were answered already")
    for pid in nodes[chosen]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    print(f"node: killed {len(nodes[chosen])} processes of one of {RAYLETS} raylets", file=sys.stderr)


def look(root: Path, seconds: float) -> Shown:
    """What lies in the root when a way is done."""
    outcome = Outcome.read(root / "job")
    with Ledger(f"sqlite:///{root / 'ledger.db'}") as ledger:
        if not ledger.verify().ok:
            raise Different(f"the ledger in {root.name} does not verify")
        entries = [entry for entry in ledger.entries("digits") if entry.what == "charge"]
        with ledger.engine.connect() as connection:
            answers = connection.execute(select(func.count()).select_from(schema.answers)).scalar_one()
    weights = hashlib.sha256((root / "job" / "student.safetensors").read_bytes()).hexdigest()
    metrics = {name: metric.value for name, metric in outcome.metrics.items()}
    charges = tuple(cost for entry in entries for cost in entry.costs)
    return Shown(metrics, outcome.privacy.epsilon, outcome.privacy.line(), charges, answers, weights, seconds)


def table(shown: dict[str, Shown]) -> None:
    """Print a row for each way."""
    head = (
        "way",
        "student accuracy",
        "answered",
        "epsilon",
        "charges",
        "nano-rho",
        "answers stored",
        "weights",
        "seconds",
    )
    rows = [
        (
            way, f"{one.metrics['student_accuracy']:.4f}", f"{one.metrics['answered']:.0f}", f"{one.epsilon:.4f}",
            str(len(one.charges)), str(sum(one.charges)), str(one.answers), one.weights[:8], f"{one.seconds:.0f}",
        )
        for way, one in shown.items()
    ]  # fmt: skip
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))


@dataclass(frozen=True)
class Raylets:
    """A cluster's job API, and the process of each raylet, the head's first."""

    dashboard: str
    pids: list[int]


@contextmanager
def cluster() -> Iterator[Raylets]:
    """A head and three more raylets, with a token, on ports of their own; all of their processes are ended afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="sh4-", dir="/tmp"))  # Short: Unix sockets lie below it.
    os.environ.update(
        environment(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32), RAY_TMPDIR=str(folder), **QUICK)
    )
    for other in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        os.environ.pop(other, None)
    from ray.cluster_utils import Cluster  # Ray reads the token when it is imported.

    each = {"num_cpus": 2, "object_store_memory": 80_000_000}

    def head() -> Any:
        dashboard, agent = free_ports(2)  # New ones each time: what a failed start leaves behind may hold the old ones.
        own = {"include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": dashboard}
        return Cluster(initialize_head=True, head_node_args={**each, **own, "dashboard_agent_listen_port": agent})

    raylets = patiently(head)
    try:
        nodes = [raylets.head_node, *(patiently(lambda: raylets.add_node(**each)) for _ in range(RAYLETS - 1))]
        yield Raylets(f"http://{raylets.webui_url}", [node.all_processes["raylet"][0].process.pid for node in nodes])
    finally:
        raylets.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def patiently(start: Callable[[], Any]) -> Any:
    """Start something of Ray's, again where its agents were later than Ray waits for them, as on a busy machine."""
    for _ in range(ATTEMPTS - 1):
        try:
            return start()
        except Exception as error:
            print(f"a raylet did not start: {str(error).splitlines()[0]}", file=sys.stderr)
    return start()


def environment(**more: str) -> dict[str, str]:
    """This environment without anybody's cluster, one thread a process."""
    others = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH", "RAY_JOB")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    path = f"{BIN}{os.pathsep}{kept.get('PATH', '')}"
    return {**kept, "PATH": path, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", **more}


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at this moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def until(condition: Callable[[], bool], otherwise: str, seconds: float = 600.0) -> None:
    """Wait for something."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Different(otherwise)
        time.sleep(0.02)


def family(roots: list[int]) -> list[int]:
    """These processes and all their descendants, the descendants first."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError):  # It ended meanwhile.
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = list(roots)
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid and child not in found]
    return found[::-1]


def title(pid: int) -> str:
    """The command line of a process; Ray writes there what it is for."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
