"""Many simulated silos against one aggregator: memory and time.

    python benchmarks/thousand_silos.py [--silos 1000] [--per-actor 250] [--queries 100] [--batches 10] [--folder .]

Each silo has a shard, a folder, a teacher and a vote of its own; an actor process holds many of them. Every batch goes from the
analyst to the aggregator's disk, to every actor, back as one vote a silo, is charged, gets its noise and is stored. No query is
repeated. Shards are scikit-learn's digits with a little noise on their pixels, since there are fewer digits than records here.
Memory is what each process had resident at most (VmHWM); pages that processes share count in each.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from stillhouse.cluster.config.schema import Silos
from stillhouse.cluster.session import ray_session
from stillhouse.cluster.simulation import Roster, simulation
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.data.sources import load
from stillhouse.platform.ledger.ledger import Ledger
from stillhouse.platform.privacy.mechanisms import GNMax
from stillhouse.platform.privacy.statement import REPLACE_ONE
from stillhouse.platform.silo.scatter_ridge import ScatterRidge
from stillhouse.platform.silo.shard import write_shard
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun

MIB = 2**20
MECHANISM = GNMax(sigma=40.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--silos", type=int, default=1000)
    parser.add_argument("--records", type=int, default=25, help="of each silo")
    parser.add_argument(
        "--per-actor", type=int, default=None, help="silos in one process (default: spread over the CPUs)"
    )
    parser.add_argument("--queries", type=int, default=100, help="of one batch")
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--cpus", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, default=Path(), help="where shards and ledger lie meanwhile")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        print(json.dumps(measure(Path(name).resolve(), options), indent=2))


def measure(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    generator = np.random.default_rng(0)
    clock = Clock()
    roster = shards(folder, options.silos, options.records, generator)
    clock.lap("writing shards")
    url = f"sqlite:///{folder / 'ledger.db'}"
    with Ledger(url) as ledger:
        ledger.grant("digits", epsilon=1000.0, delta=1e-5, neighbouring=REPLACE_ONE, by="benchmark")
    silos = Silos(teachers=options.silos, per_actor=options.per_actor, deadline_seconds=600.0)
    run = LocalRun(folder / "run", reporter=Silent())
    pool = load("digits").pool.images
    with ray_session(num_cpus=options.cpus):
        clock.lap("starting Ray")
        with simulation(
            roster, ScatterRidge(), silos, run, dataset="digits", classes=10, ledger_url=url, high_water=None, kept={}
        ) as running:
            clock.lap("starting aggregator and actors, training")
            seconds = []
            for _ in range(options.batches):
                queries = perturbed(pool[generator.integers(len(pool), size=options.queries)], generator)
                began = time.perf_counter()
                answers = running.ensemble.ask(queries, MECHANISM)
                seconds.append(time.perf_counter() - began)
                assert set(answers.voted) == {options.silos} and not answers.from_store.any()
            clock.lap("all batches")
            memory = peak_memory(os.getpid())
    with Ledger(url) as ledger:
        (spent,) = ledger.budget("digits").spent
    each = MECHANISM.answer_event().nano_rho() or 0
    assert spent == each * options.queries * options.batches, "the ledger does not hold what was answered"
    first, rest = seconds[0], seconds[1:] or seconds
    return {
        "silos": options.silos, "actors": len(memory["SiloActor"]), "teachers trained": running.trained["trained"],
        "queries of a batch": options.queries, "batches": options.batches,
        "seconds": clock.laps,
        "seconds of the first batch": round(first, 3),  # It also makes the noise's tables.
        "seconds of a batch (median of the others)": round(float(np.median(rest)), 3),
        "seconds of a batch (slowest of the others)": round(max(rest), 3),
        "queries per second": round(options.queries / float(np.median(rest)), 1),
        "votes per second": round(options.silos * options.queries / float(np.median(rest))),
        "aggregator MiB": round(sum(memory["aggregator"]) / MIB),
        "actors MiB each": [round(peak / MIB) for peak in memory["SiloActor"]],
        "driver MiB": round(sum(memory["driver"]) / MIB),
        "ledger and answers on disk MiB": round((folder / "ledger.db").stat().st_size / MIB, 1),
        "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip


class Clock:
    """Seconds from one mark to the next."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Note the seconds since the mark before."""
        now = time.perf_counter()
        self.laps[name], self._last = round(now - self._last, 2), now


def perturbed(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return np.clip(images + generator.integers(-4, 5, size=images.shape), 0, 255).astype(np.uint8)


def shards(folder: Path, silos: int, records: int, generator: np.random.Generator) -> Roster:
    """A roster with disjoint shards; each silo has its own noise, so no two have a record in common."""
    private = load("digits").private
    folders = tuple(folder / "silos" / f"silo-{i:05d}" for i in range(silos))
    for silo in folders:
        chosen = private.take(generator.integers(len(private), size=records))
        write_shard(silo, ImageData(perturbed(chosen.images, generator), chosen.labels, private.classes, private.name))
    return Roster(folders, "thousand")


def peak_memory(root: int) -> dict[str, list[int]]:
    """The peak of this process, of the aggregator and of the silo actors among its descendants, bytes."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):  # It ended meanwhile.
                continue
    family = {root}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    found: dict[str, list[int]] = {"driver": [peak(root)], "aggregator": [], "SiloActor": []}
    for process in sorted(family - {root}):
        command = (Path("/proc") / str(process) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        if "stillhouse serve" in command:
            found["aggregator"].append(peak(process))
        elif command.startswith("ray::SiloActor"):
            found["SiloActor"].append(peak(process))
    return found


def peak(process: int) -> int:
    status = (Path("/proc") / str(process) / "status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


if __name__ == "__main__":
    main()
