"""A Ray session that leaves nothing behind: started for one command, or joined and left again.

    with ray_session(num_cpus=2):
        outcome = fit(method, data, folder=folder, seed=0, workers=2)

Without an address a private cluster starts on this machine, with a token of its own in a folder of its own (Ray would
otherwise write `~/.ray/auth_token`), without dashboard, and it ends with the block. With an address the session joins
that cluster and leaves it running. Where the process is already connected, the block uses that connection.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from ..platform.errors import BadInput, Unreachable

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # From Ray 2.56 a worker with num_gpus=0 would see every GPU; this hides them from it.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    "RAY_DEDUP_LOGS": "1",
    # Under `uv run` Ray would build the environment again for every worker.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
# Ray Train asks every few seconds whether a machine of its workers is about to be taken away. The one machine of a private cluster is
# not, and the actor that asks takes seconds of a core to start.
_ONE_MACHINE = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}
# Ray ends its own start where its agents take more than 15 seconds, and that cannot be set; on a busy machine another try may do.
_STARTS = 3
_TOO_SLOW = "timed out during startup"
# Of these, RAY_AUTH_TOKEN would win over the path of a private token, RAY_ADDRESS would join another cluster.
FOREIGN = ("RAY_ADDRESS", "RAY_AUTH_TOKEN")


@contextmanager
def ray_session(
    num_cpus: float | None = None,
    address: str | None = None,
    *,
    num_gpus: float | None = None,
    resources: Mapping[str, float] | None = None,
    labels: Mapping[str, str] | None = None,
    object_store_memory: int | None = None,
    python_path: Sequence[Path | str] = (),
    env_vars: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[None]:
    """Be connected to Ray inside the block.

    `python_path` is put in front of the workers' module search path, so that they can import what is not installed.
    `num_cpus`, `num_gpus`, `resources`, `labels` and `object_store_memory` describe a private cluster and cannot be
    given together with an address. `say` is told where the dashboard of a cluster is that was joined here.
    """
    if ray.is_initialized():
        yield
        return
    private = {
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "resources": dict(resources) if resources else None,
        "labels": dict(labels) if labels else None,
        "object_store_memory": object_store_memory,
    }
    private = {name: value for name, value in private.items() if value is not None}
    if address is not None and private:
        raise BadInput(
            f"{', '.join(private)} cannot be set for the cluster at {address}",
            why="they describe a cluster that is started here",
            mend="leave out either them or the address",
        )
    environment = _worker_environment(python_path, env_vars or {})
    if address is None:
        with _private_cluster(private, environment):
            yield
    else:
        with _joined(address, environment, say):
            yield


def private_environment(root: Path) -> dict[str, str]:
    """Make a token in the folder `root`; return the environment of a quiet Ray that uses it. `FOREIGN` must be absent from it."""
    token = root / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    return {**_QUIET, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}


def address_for_others(*, grows: bool = False) -> str | None:
    """Return the address under which the cluster's other machines reach this one; None where it has no others.

    `grows`: others may join later.
    """
    here = str(ray.util.get_node_ip_address())
    others = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]} - {here}
    return here if others or grows else None


def _remove(root: Path, *, tries: int = 25) -> None:
    """Ray ends the last of its processes after a second, and until then they may write where it was just cleared."""
    for _ in range(tries):
        shutil.rmtree(root, ignore_errors=True)
        if not root.exists():
            return
        time.sleep(0.2)


@contextmanager
def _private_cluster(options: dict[str, Any], environment: dict[str, str]) -> Iterator[None]:
    # Short on purpose: Unix sockets below it may have paths of 107 characters at most, and Ray adds about 65.
    root = Path(tempfile.mkdtemp(prefix="sh-", dir="/tmp" if Path("/tmp").is_dir() else None))
    try:
        with _environment({**_ONE_MACHINE, **private_environment(root), **environment}, absent=FOREIGN):
            try:
                _forget_token()
                _start(include_dashboard=False, _temp_dir=str(root / "ray"), **options)
                with terminated_like_interrupted():
                    yield
            finally:
                ray.shutdown()
                _remove(root)
    finally:
        _forget_token()  # Also of a start that failed: the process would abort at the next cluster, for want of this token.


@contextmanager
def _joined(address: str, environment: dict[str, str], say: Callable[[str], None]) -> Iterator[None]:
    _check_reachable(address)
    with _environment(_QUIET):
        _forget_token()
        dashboard = _init(address=address, runtime_env={"env_vars": {**_QUIET, **environment}})
        if dashboard:
            say(f"Ray dashboard: http://{dashboard}")
        try:
            with terminated_like_interrupted():
                yield
        finally:
            ray.shutdown()  # Ends the connection; a cluster that was not started here goes on.


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM (of `ray job stop`, say) ends the block as Ctrl-C does. Ray's handler would abort the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _check_reachable(address: str, seconds: float = 10.0) -> None:
    """Ray itself would try for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # "auto", "local" and the like; Ray knows them.
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()
    except OSError as error:
        raise Unreachable(
            f"nothing answers at {address}",
            why=str(error),
            mend="check the address of the Ray cluster, or leave it out to start a private one",
        ) from None


def _start(**options: Any) -> None:
    """Start a cluster here, some times if it is too slow."""
    for _ in range(_STARTS - 1):
        try:
            _init(**options)
        except Unreachable as error:
            if _TOO_SLOW not in str(error.why):
                raise
            ray.shutdown()
        else:
            return
    _init(**options)


def _init(**options: Any) -> str:
    """Connect; give the dashboard's host and port, empty if it has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray announces its own changes of default at every start.
        try:
            context = ray.init(log_to_driver=False, logging_level=logging.ERROR, configure_logging=True, **options)
        except Exception as error:  # Ray raises a bare one when its own processes are late.
            where = options.get("address", "this machine")
            raise Unreachable(
                f"Ray on {where} does not start or answer",
                why=str(error).splitlines()[0] if str(error) else type(error).__name__,
                mend="check the address and RAY_AUTH_TOKEN, or run without an address to use a private cluster",
            ) from error
    return str(getattr(context, "dashboard_url", None) or "")


def _worker_environment(python_path: Sequence[Path | str], env_vars: Mapping[str, str]) -> dict[str, str]:
    environment = dict(env_vars)
    paths = [str(Path(path).resolve()) for path in python_path]
    paths += [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if paths:
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    return environment


@contextmanager
def _environment(values: Mapping[str, str], *, absent: Sequence[str] = ()) -> Iterator[None]:
    """Environment variables for the block; a private cluster's processes inherit them."""
    ray_sets = ("PYTHONBREAKPOINT",)  # ray.init puts its own debugger there and leaves it.
    before = {name: os.environ.get(name) for name in (*values, *absent, *ray_sets)}
    os.environ.update(values)
    for name in absent:
        os.environ.pop(name, None)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _forget_token() -> None:
    """Ray reads mode and token once per process; make it read them again (each session has its own token)."""
    try:
        from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]
    except ImportError:  # Ray before it had tokens.
        return
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
