"""Charges per second with every commit on disk: one writer, several writer processes, groups.

    python benchmarks/ledger_charges.py [--charges 2000] [--writers 8] [--folder .] [--url postgresql://...]

After each arm a fresh process opens the ledger, verifies the whole chain and counts: every charge that was
acknowledged must be there exactly once. `--folder` should lie on the disk that the real ledger will use.
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

import numpy as np
from sqlalchemy import create_engine, text
from stillhouse.platform.ledger import Charge, Ledger
from stillhouse.platform.privacy.events import GaussianEvent

EVENT = GaussianEvent(sigma=400.0, squared_sensitivity=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--charges", type=int, default=2000, help="charges in each arm")
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--url", default="", help="a PostgreSQL server instead of SQLite")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return work(**json.loads(options.worker))
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        print(f"fdatasync of one 4 KiB page: {syncs_per_second(folder):,.0f} per second on this disk")
        one = measure(folder, options.url, "1 writer", 1, options.charges, 1)
        many = measure(folder, options.url, f"{options.writers} writers", options.writers, options.charges, 1)
        print(f"ratio of {options.writers} writers to 1: {many / one:.2f}")
        for size in (10, 100, 1000):
            group = measure(
                folder, options.url, f"1 writer, groups of {size}", 1, 10 * max(options.charges, size), size
            )
            print(f"ratio of groups of {size} to single charges: {group / one:.1f}")
        opening(folder)
    return None


def measure(folder: Path, server: str, title: str, writers: int, charges: int, group: int) -> float:
    """Run the writers at once, then account for every charge; charges per second."""
    arm = "".join(c if c.isalnum() else "_" for c in title)
    url = f"sqlite:///{folder}/{arm}.db"
    if server:
        with create_engine(server).begin() as connection:
            connection.execute(text(f"DROP SCHEMA IF EXISTS bench_{arm} CASCADE"))
            connection.execute(text(f"CREATE SCHEMA bench_{arm}"))
        url = f"{server}?options=-csearch_path%3Dbench_{arm}"
    mark = folder / f"{arm}.mark"
    with Ledger(url, high_water=mark) as ledger:
        ledger.grant("scans", epsilon=1000.0, delta=1e-5, by="benchmark")
    each = charges // writers
    orders = {"url": url, "mark": str(mark), "charges": each, "group": group}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "--worker", json.dumps({**orders, "number": number})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(writers)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    start = time.perf_counter()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    reports = [json.loads(process.communicate()[0]) for process in processes]
    seconds = time.perf_counter() - start
    acknowledged = {int(seq): key for report in reports for seq, key in report["receipts"].items()}
    with Ledger(url, high_water=mark) as ledger:
        entries = ledger.entries("scans")[1:]
        spent = ledger.budget("scans").spent[0]
        whole = ledger.verify().ok
    exact = whole and {e.seq: e.key for e in entries} == acknowledged and len(acknowledged) == each * writers
    exact = exact and spent == (EVENT.nano_rho() or 0) * each * writers
    waits = np.concatenate([report["seconds"] for report in reports]) * 1000
    rate = each * writers / seconds
    print(
        f"{title}: {rate:,.0f} charges/s; a commit takes {np.median(waits):.2f} ms, p99 {np.percentile(waits, 99):.2f} "
        f"ms, longest {waits.max():.1f} ms; {len(entries):,} of {each * writers:,} charges accounted for "
        f"{'exactly' if exact else 'WRONGLY'}"
    )
    if not exact:
        raise SystemExit(1)
    return rate


def opening(folder: Path, entries: int = 100_000) -> None:
    """How long a start takes, which reads and checks every entry (SQLite)."""
    url = f"sqlite:///{folder}/opening.db"
    with Ledger(url) as ledger:
        ledger.grant("scans", epsilon=10_000.0, delta=1e-5, by="benchmark")
        for first in range(0, entries, 1000):
            ledger.charge_all([Charge("scans", f"{i}", EVENT, "benchmark") for i in range(first, first + 1000)])
    start = time.perf_counter()
    with Ledger(url) as ledger:
        seconds = time.perf_counter() - start
        print(f"opening a ledger of {ledger.position()[0]:,} entries, all of them verified: {seconds:.2f} s")


def work(url: str, mark: str, charges: int, group: int, number: int) -> None:
    """One writer process."""
    seconds, receipts = [], {}
    with Ledger(url, high_water=Path(mark)) as ledger:
        print("ready", flush=True)
        sys.stdin.readline()
        for first in range(0, charges, group):
            batch = [
                Charge("scans", f"{number}.{i}", EVENT, "benchmark") for i in range(first, min(first + group, charges))
            ]
            start = time.perf_counter()
            paid = ledger.charge_all(batch)
            seconds.append(time.perf_counter() - start)
            receipts.update({receipt.seq: receipt.key for receipt in paid})
    print(json.dumps({"seconds": seconds, "receipts": receipts}))


def syncs_per_second(folder: Path) -> float:
    """What the disk itself can do, as a yardstick."""
    with (folder / "syncs").open("wb", buffering=0) as file:
        file.write(bytes(4096))
        start = time.perf_counter()
        for _ in range(200):
            os.pwrite(file.fileno(), os.urandom(4096), 0)
            os.fdatasync(file.fileno())
        return 200 / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
