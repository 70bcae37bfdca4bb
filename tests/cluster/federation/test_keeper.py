"""The keeper of a local Flower, with stand-ins for Flower's programs: it starts them, notices their end, ends all that they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from stillhouse.cluster.federation.keeper import (
    LOG,
    MARK,
    NOT_STARTED,
    RUN_ENDED,
    RUN_LOG,
    STARTED,
    TOO_SLOW,
    alive,
    family,
    kill_marked,
    marked,
)
from stillhouse.cluster.federation.local import _free_port

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found by their environment in /proc")

# Answers /health, and leaves a process behind in a session of its own, as Flower's does.
SUPERLINK = """
import http.server, subprocess, sys
subprocess.Popen(["sleep", "300"], start_new_session=True)
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Health).serve_forever()
"""
STAYS = "import time; time.sleep(300)"


class Town:
    def __init__(self, home: Path, superlink: str = SUPERLINK, flwr: str = STAYS) -> None:
        self.home, self.mark = home, os.urandom(8).hex()
        programs = home / "bin"
        programs.mkdir()
        for name, text in (("flower-superlink", superlink), ("flwr", flwr)):
            (programs / name).write_text(f"#!{sys.executable}\n{text}\n")
            (programs / name).chmod(0o700)
        self.scratch = home / "scratch"
        self.scratch.mkdir()
        own = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", MARK: self.mark, "RAY_TMPDIR": str(self.scratch)}
        words = [str(home), str(_free_port()), self.mark, "num-supernodes=2"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stillhouse.cluster.federation.keeper", *words],
            stdin=subprocess.PIPE, env={**os.environ, **own}, start_new_session=True,
        )  # fmt: skip

    def kept(self) -> list[int]:
        return [pid for pid in marked(self.mark) if pid != self.process.pid]

    def close(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(60)


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_all_ends_when_the_pipe_closes_also_what_was_detached(tmp_path: Path) -> None:
    town = Town(tmp_path)
    until(
        lambda: (tmp_path / STARTED).exists() and len(town.kept()) == 3
    )  # the SuperLink, what it left behind, the run
    assert town.close() == 0
    assert not town.kept() and not town.scratch.exists()


@pytest.mark.parametrize(
    ("superlink", "flwr", "code"),
    [("raise SystemExit('port taken')", STAYS, NOT_STARTED), (SUPERLINK, "print('bad app')", RUN_ENDED)],
    ids=["superlink", "run"],
)
def test_an_end_by_itself_is_told(tmp_path: Path, superlink: str, flwr: str, code: int) -> None:
    town = Town(tmp_path, superlink, flwr)
    assert town.process.wait(60) == code
    assert not town.kept()
    log = tmp_path / (LOG if code == NOT_STARTED else RUN_LOG)
    assert log.read_text().strip() in ("port taken", "bad app")


def test_a_ray_that_was_too_slow_is_tried_again(tmp_path: Path) -> None:
    once = f"""
import pathlib, time
tried = pathlib.Path({str(tmp_path)!r}) / "tried"
if not tried.exists():
    tried.touch()
    raise SystemExit("The current node {TOO_SLOW}.")
{STAYS}
"""
    town = Town(tmp_path, flwr=once)
    until(lambda: (tmp_path / "tried").exists() and len(town.kept()) == 3)
    time.sleep(0.5)
    assert town.process.poll() is None
    assert town.close() == 0 and not town.kept()


def test_the_killed_are_seen_gone() -> None:
    """What is deaf to a request, also if it was started a moment ago and is not yet its own program."""
    mark = os.urandom(8).hex()
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); b = bytearray(1 << 28); time.sleep(300)"
    started = [
        subprocess.Popen([sys.executable, "-c", deaf], env={**os.environ, MARK: mark}, start_new_session=True)
        for _ in range(3)
    ]
    kill_marked(mark)
    assert not marked(mark)
    assert [process.wait(10) for process in started] == [-signal.SIGKILL] * 3


# As Ray's agents do: the environment is overwritten in place, and shows nothing of what was inherited.
FORGETS = """
import ctypes, os, time
words = open("/proc/self/stat").read().rpartition(")")[2].split()
start, end = int(words[47]), int(words[48])
ctypes.memset(start, 0, end - start)
time.sleep(300)
"""


def test_children_that_overwrote_their_environment_are_ended_too() -> None:
    mark = os.urandom(8).hex()
    start = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {FORGETS!r}]); time.sleep(300)"
    parent = subprocess.Popen([sys.executable, "-c", start], env={**os.environ, MARK: mark}, start_new_session=True)
    try:
        until(lambda: set(family(mark)) - set(marked(mark)))
        known = family(mark)
        assert parent.pid in known and len(known) == 2
        kill_marked(mark)
        assert not alive(known)
    finally:
        parent.kill()
        parent.wait()
