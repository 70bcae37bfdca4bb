"""A process that keeps a local SuperLink and one run on it, and ends all of that when its standard input closes.

The folder `RAY_TMPDIR` goes with it. The pipe closes too when whoever started this is killed, so nothing is left behind. It is
started by `local.flower_run`, as

    python -m stillhouse.cluster.federation.keeper HOME PORT MARK FEDERATION

Flower detaches its processes, and Ray starts more: all of them inherit the environment variable that `MARK` names. By it, as
children of those that have it, and by their process ids they are found.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

MARK = "STILLHOUSE_FLOWER_RUN"
APP, RUN_CONFIG, LOG, RUN_LOG, STARTED = "app", "run.toml", "superlink.log", "run.log", "started"
CONNECTION = "local"
START_SECONDS = 120.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.1
NOT_STARTED, RUN_ENDED = 3, 4
# Ray ends its own start where that takes long; on a busy machine another try may do.
RUNS, TOO_SLOW = 3, "timed out during startup"


def main(home: Path, port: int, mark: str, federation: str) -> int:
    """Keep a SuperLink and a run. Returns 0 when asked to stop, `NOT_STARTED` or `RUN_ENDED` when there is nothing left to keep."""
    closed = threading.Event()
    threading.Thread(target=_wait_closed, args=(closed,), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: closed.set())
    processes: list[subprocess.Popen[bytes]] = []
    try:
        superlink = _start(_superlink(port), home / LOG)
        processes.append(superlink)
        if not _healthy(port, superlink, closed):
            return 0 if closed.is_set() else NOT_STARTED
        (home / STARTED).touch()
        for _ in range(RUNS):
            log = home / RUN_LOG
            log.unlink(missing_ok=True)
            run = _start(_run(home, federation), log)
            processes.append(run)
            while not closed.wait(POLL_SECONDS) and superlink.poll() is None and run.poll() is None:
                pass
            if closed.is_set():
                return 0
            if TOO_SLOW not in log.read_text(encoding="utf-8", errors="replace"):
                break
        return RUN_ENDED
    finally:
        _stop(processes, mark)
        shutil.rmtree(os.environ["RAY_TMPDIR"], ignore_errors=True)


def _superlink(port: int) -> list[str]:
    return [
        "flower-superlink", "--insecure", "--simulation", "--host", "127.0.0.1", "--port", str(port),
        "--disable-runtime-dependency-installation",
    ]  # fmt: skip


def _run(home: Path, federation: str) -> list[str]:
    # With its log streamed the command lasts as long as the run.
    options = ["--run-config", str(home / RUN_CONFIG), "--federation-config", federation, "--stream"]
    return ["flwr", "run", str(home / APP), CONNECTION, *options]


def _start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)


def _wait_closed(closed: threading.Event) -> None:
    while os.read(0, 4096):  # Not through `sys.stdin`, whose lock the interpreter wants at its end.
        pass
    closed.set()


def _healthy(port: int, superlink: subprocess.Popen[bytes], closed: threading.Event) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and superlink.poll() is None and not closed.wait(POLL_SECONDS):
        try:
            with opener.open(f"http://127.0.0.1:{port}/health", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            continue
    return False


def _stop(processes: list[subprocess.Popen[bytes]], mark: str) -> None:
    """Ask all to end, then end those that are left."""
    known = family(mark)
    for process in reversed(processes):
        if process.poll() is None:
            process.terminate()
    end = time.monotonic() + STOP_SECONDS
    while (left := alive(known := known | family(mark))) and time.monotonic() < end:
        if not any(process.poll() is None for process in processes):
            # The SuperLink is gone, and with it whatever kept the others in order.
            _signal(left, signal.SIGTERM)
        time.sleep(0.5)
    kill_marked(mark, known)
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()


def kill_marked(mark: str, known: Mapping[int, str] = MappingProxyType({})) -> None:
    """Kill whoever inherited the mark, and those `known`, and see them gone: a killed process with much memory is there for a while.

    Nobody has to be found twice: a process shows no environment in the moment in which it becomes another program.
    """
    known = dict(known)
    end = time.monotonic() + STOP_SECONDS
    empty = 0
    while empty < 2 and time.monotonic() < end:
        left = alive(known := known | family(mark))
        empty = 0 if left else empty + 1
        _signal(left, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def family(mark: str) -> dict[int, str]:
    """Who inherited the mark, and all that these started: process id to the time of its start.

    Ray's agents write their name over their environment, so the mark is not found in them; they are their raylet's children as long
    as that is there. Nobody where the system shows no processes below /proc: there only Flower's own watch over its processes counts.
    """
    stats = {int(entry.name): stat for entry in Path("/proc").glob("[0-9]*") if (stat := _stat(int(entry.name)))}
    found = set(marked(mark))
    while more := {pid for pid, (parent, _) in stats.items() if parent in found} - found:
        found |= more
    return {pid: stats[pid][1] for pid in found if pid in stats}


def marked(mark: str) -> list[int]:
    """Process ids, but this one's, in whose environment the mark is."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0") and int(entry.name) != os.getpid():
                found.append(int(entry.name))
        except OSError:
            continue  # It is gone, or another user's.
    return found


def alive(known: Mapping[int, str]) -> list[int]:
    """Those that are still there; an id that was given again is another process."""
    return [pid for pid, started in known.items() if (stat := _stat(pid)) and stat[1] == started]


def _stat(pid: int) -> tuple[int, str] | None:
    """A process's parent and when it was started; None if it has ended."""
    try:
        # The name before it is in brackets, and may hold some itself.
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if words[0] in "ZX" else (int(words[1]), words[19])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]))
