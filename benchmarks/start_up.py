"""Seconds from a command to its first training step, and where they go.

    python benchmarks/start_up.py [--repeats 3] [dpsgd m3d pate]

Each run is `stillhouse run method=M data=digits` with a fresh root. It is followed through its `log.jsonl` and stopped (Ctrl-C) at its
first step: of DP-SGD, of condensing, of the first teacher that is trained. CPU seconds are those of all its processes until then: on a
machine that does other things they say more than the clock. `--help` and the imports are timed beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

FIRST_WORK = {"dpsgd": "baseline", "m3d": "condensing", "pate": "training teachers"}
TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE = 300.0
IMPORTS = ("torch", "torch, ray", "torch, ray, ray.train.torch", "stillhouse.cluster.run")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", default=list(FIRST_WORK), help=f"of {', '.join(FIRST_WORK)}")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    for label, words in [
        ("--help", ["-m", "stillhouse", "--help"]),
        *((f"import {m}", ["-c", f"import {m}"]) for m in IMPORTS),
    ]:
        wall, cpu = min(command(words) for _ in range(options.repeats))
        print(f"{label:34} {wall:6.2f} s  {cpu:6.2f} s of CPU", flush=True)
    for method in options.methods:
        for _ in range(options.repeats):
            print(f"{method:6} " + first_step(method), flush=True)


def command(words: list[str]) -> tuple[float, float]:
    """Seconds, and seconds of CPU, of one Python command."""
    before, began = os.times(), time.monotonic()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return time.monotonic() - began, cpu


def first_step(method: str) -> str:
    """Run until the first step; say what there was on the way."""
    with tempfile.TemporaryDirectory(prefix="start-up-") as root:
        began = time.time()
        words = [sys.executable, "-m", "stillhouse", "run", f"method={method}", "data=digits", f"root={root}"]
        run = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            events = until_first_step(run, Path(root), FIRST_WORK[method])
            cpu = cpu_seconds(run.pid)
        finally:
            os.kill(run.pid, signal.SIGINT)
            run.wait(60)
    steps, before = [], began
    for name, when in events:
        steps.append(f"{name} +{when - before:.2f}")
        before = when
    return f"{before - began:6.2f} s  {cpu:6.2f} s of CPU   ({', '.join(steps)})"


def until_first_step(run: subprocess.Popen[bytes], root: Path, work: str) -> list[tuple[str, float]]:
    """What the log tells, with times, up to the first step of `work`."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        lines = [json.loads(line) for log in root.glob("*/log.jsonl") for line in log.read_text().splitlines()]
        events = [(line["event"], datetime.fromisoformat(line["time"]).timestamp()) for line in lines]
        for number, line in enumerate(lines):
            if line["event"] == "work.first_step" and line["work"] == work:
                return events[: number + 1]
        if run.poll() is not None:
            raise SystemExit(f"the run ended with {run.returncode} before its first step: {lines[-1:]}")
        time.sleep(0.02)
    raise SystemExit(f"no first step within {PATIENCE:.0f} s")


def cpu_seconds(pid: int) -> float:
    """Of a process, of those it has started, and of those that have ended."""
    stats = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # It has just ended.
            stats[int(entry.name)] = (int(fields[1]), sum(map(int, fields[11:15])) / TICKS)
    total, waiting = 0.0, [pid]
    while waiting:
        one = waiting.pop()
        total += stats.get(one, (0, 0.0))[1]
        waiting += [child for child, (parent, _) in stats.items() if parent == one]
    return total


if __name__ == "__main__":
    main()
