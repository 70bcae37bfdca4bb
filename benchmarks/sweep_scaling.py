"""Wall time of one sweep of equal trials on one CPU and on several: how near `stillhouse sweep` comes to perfect scaling.

    python benchmarks/sweep_scaling.py [--trials 8] [--cpus 1 2] [--steps 150] [--folder DIR]

Every trial selects random images of the digits and trains a student for `--steps` steps on one thread; none needs another. Each count
of CPUs gets a private Ray cluster of that size and a fresh folder. Two times are taken: "whole" is the command as a user waits for it;
"trials" runs from the first trial's start to the last one's end, without Ray's own start, which one CPU and many pay alike. Efficiency
is time on the first count, times that count, divided by time times count. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SWEEP = """
title: Equal trials
common:
  - data=digits
  - method=random_real
  - method.audit=0
  - method.ipc=20
  - method.evaluation.repeats=1
  - method.evaluation.recipe.steps={steps}
space: {{method.evaluation.recipe.learning_rate: [{rates}]}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--cpus", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=150, help="of each student: the work of a trial")
    parser.add_argument("--folder", type=Path, help="where the sweeps lie; a temporary one if none is given")
    options = parser.parse_args()
    print(f"{options.trials} trials of {options.steps} steps, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}")
    with tempfile.TemporaryDirectory(dir=options.folder) as aside:
        # Step sizes that hardly differ make trials of their own with the same work.
        rates = ", ".join(f"{0.01 + number / 1e5:.5f}" for number in range(options.trials))
        file = Path(aside) / "equal.yaml"
        file.write_text(SWEEP.format(steps=options.steps, rates=rates), encoding="utf-8")
        times = {cpus: measure(file, Path(aside) / str(cpus), cpus, options.trials) for cpus in options.cpus}
    base = options.cpus[0]
    print(f"{'CPUs':>5} {'whole, s':>9} {'efficiency':>11} {'trials, s':>10} {'efficiency':>11} {'a trial, s':>11}")
    for cpus, (whole, trials, each) in times.items():
        gains = [100 * base * times[base][place] / (cpus * now) for place, now in enumerate((whole, trials))]
        print(f"{cpus:>5} {whole:>9.1f} {gains[0]:>9.1f} % {trials:>10.1f} {gains[1]:>9.1f} % {each:>11.2f}")


def measure(file: Path, root: Path, cpus: int, count: int) -> tuple[float, float, float]:
    """Run the sweep; seconds of the command, of its trials together, and of one trial on average."""
    command = [sys.executable, "-m", "stillhouse", "sweep", str(file), f"root={root}", f"cluster.num_cpus={cpus}"]
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    whole = time.monotonic() - began
    results = [json.loads(result.read_text()) for result in root.glob("equal/trials/*/seed-*/result.json")]
    if len(results) != count or any(result["state"] != "done" for result in results):
        raise SystemExit(f"{len(results)} of {count} trials are there: {sorted(result['state'] for result in results)}")
    starts = [result["made"] - result["seconds"] for result in results]
    ends = [result["made"] for result in results]
    return whole, max(ends) - min(starts), sum(result["seconds"] for result in results) / count


if __name__ == "__main__":
    main()
