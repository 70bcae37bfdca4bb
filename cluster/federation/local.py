"""A run of the Flower app on this machine: its own SuperLink, its own folder, simulated clients, and nothing left of it afterwards.

Flower's simulation starts a Ray of its own and ends whatever Ray its process has, so it never runs in this process.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...platform.errors import BadInput, RunFailed, TimedOut
from ..session import FOREIGN, private_environment
from .flower import Setting
from .keeper import APP, CONNECTION, LOG, MARK, RUN_CONFIG, RUN_LOG, START_SECONDS, STARTED, STOP_SECONDS, kill_marked
from .silo import SIMULATED

APP_FOLDER = Path(__file__).with_name("app")
_QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}


@dataclass(frozen=True)
class FlowerRun:
    """A run that was started: where its files are, and the process that keeps it."""

    home: Path
    keeper: subprocess.Popen[bytes]
    mark: str

    def check(self) -> None:
        """See to it that it goes on.

        Raises:
            RunFailed: it has ended.
        """
        if self.keeper.poll() is not None:
            raise RunFailed(
                "the Flower run has ended",
                why=_last_line(self.home),
                mend=f"look into {self.home / RUN_LOG} and {self.home / LOG}",
            )


@contextmanager
def flower_run(
    nodes: int, config: Mapping[str, Setting], folder: Path, silos: Path, *, cpus: float = 1.0, gpus: float = 0.0
) -> Iterator[FlowerRun]:
    """Run the app with so many simulated clients inside the block; `config` goes before the app's own configuration.

    Args:
        folder: for Flower's files (`flower` in it is made anew).
        silos: the folder of the silos' folders; client i has the i-th by name.
        cpus, gpus: of this machine, for each client that works at a time. Flower counts whole CPUs.

    Raises:
        BadInput: one client wants more than this machine has.
        RunFailed, TimedOut: Flower did not start.
    """
    if cpus > (os.cpu_count() or 1):
        raise BadInput(
            f"a client wants {cpus:g} CPUs, this machine has {os.cpu_count()}", mend="a smaller silos.cpus_per_actor"
        )
    home = folder.absolute() / "flower"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(APP_FOLDER, home / APP)
    port, mark = _free_port(), secrets.token_hex(16)
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\naddress = "127.0.0.1:{port}"\ninsecure = true\n',
        encoding="utf-8",
    )
    (home / RUN_CONFIG).write_text(
        # What JSON writes of these types is TOML as well.
        "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in config.items()),
        encoding="utf-8",
    )
    federation = (
        f"num-supernodes={nodes} client-resources-num-cpus={math.ceil(cpus)} client-resources-num-gpus={float(gpus)}"
    )
    command = [sys.executable, "-m", f"{__package__}.keeper", str(home), str(port), mark, federation]
    # Short on purpose: Ray puts sockets below it, whose paths may have 107 characters at most.
    aside = Path(tempfile.mkdtemp(prefix="sh-", dir="/tmp" if Path("/tmp").is_dir() else None))
    environment = {
        **os.environ, **_QUIET, **private_environment(aside), "FLWR_HOME": str(home), "RAY_TMPDIR": str(aside), MARK: mark,
        SIMULATED: str(silos.absolute()),
        # Flower starts its own programs by name.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }  # fmt: skip
    for foreign in FOREIGN:
        environment.pop(foreign, None)
    try:
        with (home / "keeper.log").open("wb") as log:
            # In a session of its own: Ctrl-C is for the command, which then ends it in order.
            keeper = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        run = FlowerRun(home, keeper, mark)
        try:
            _wait_started(run)
            yield run
        finally:
            _close(run)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_started(run: FlowerRun) -> None:
    end = time.monotonic() + START_SECONDS
    while not (run.home / STARTED).exists():
        run.check()
        if time.monotonic() > end:
            raise TimedOut(f"Flower did not start within {START_SECONDS:.0f} s", mend=f"look into {run.home / LOG}")
        time.sleep(0.1)


def _close(run: FlowerRun) -> None:
    assert run.keeper.stdin is not None
    run.keeper.stdin.close()
    try:
        run.keeper.wait(3 * STOP_SECONDS)
    except subprocess.TimeoutExpired:
        run.keeper.kill()
        run.keeper.wait()
        kill_marked(run.mark)


def _last_line(home: Path) -> str:
    for name in (RUN_LOG, LOG, "keeper.log"):
        path = home / name
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines() if path.exists() else []
        if lines:
            return lines[-1][:300]
    return "it said nothing"
