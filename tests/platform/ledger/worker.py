"""Another process that uses a ledger, for tests of races and crashes. Orders come as one JSON argument:

url, mark     the ledger
kill_at       name of the step at which this process kills itself with SIGKILL ("released": after the release)
keys          keys to charge one by one, one unit each; `purpose` and `dataset` are fixed
batch         the same keys as one group
released      file that stands for the outside world: a line is written there (and synced) once a charge returned
mutant        "release_first": write that line before charging, which the crash test must catch
wait          print "ready" when the ledger is open and go on when a line comes in
answer        {key: label} to store after the charges
Prints one JSON line for each result.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from stillhouse.platform.errors import StillhouseError
from stillhouse.platform.ledger import AnswerStore, Charge, Ledger
from stillhouse.platform.privacy.events import GaussianEvent


def main(orders: dict) -> None:
    def on_step(name: str) -> None:
        if name == orders.get("kill_at"):
            os.kill(os.getpid(), signal.SIGKILL)

    def release(key: str) -> None:
        if "released" in orders:
            with Path(orders["released"]).open("a") as file:
                file.write(key + "\n")
                file.flush()
                os.fsync(file.fileno())
        on_step("released")

    event = GaussianEvent(sigma=40.0, squared_sensitivity=2)
    with Ledger(orders["url"], high_water=Path(orders["mark"]), on_step=on_step) as ledger:
        if orders.get("wait"):
            say("ready")
            sys.stdin.readline()
        for key in orders.get("keys", []):
            try:
                if orders.get("mutant") == "release_first":
                    release(key)
                receipt = ledger.charge("scans", key=key, event=event, purpose="test")
                if orders.get("mutant") is None:
                    release(key)
                say({"key": key, "seq": receipt.seq, "replayed": receipt.replayed, "spent": receipt.spent_after})
            except StillhouseError as error:
                say({"key": key, "error": type(error).__name__, "text": str(error)})
        if "batch" in orders:
            receipts = ledger.charge_all([Charge("scans", key, event, "test") for key in orders["batch"]])
            for key in orders["batch"]:
                release(key)
            say([receipt.seq for receipt in receipts])
        for key, label in orders.get("answer", {}).items():
            try:
                AnswerStore(ledger.engine).put({key: label})
                say({"answer": key, "label": label})
            except StillhouseError as error:
                say({"answer": key, "error": type(error).__name__})


def say(value: object) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
