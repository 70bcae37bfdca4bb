"""Another process that evaluates batches, for tests of crashes and races. Orders come as one JSON argument:

folder      where the ledger lies
batches     [{"id", "mechanism" (its JSON form), "numbers" (of images)}], submitted and evaluated in this order
wait        print "ready" when the engine is there and go on when a line comes in
kill_at     the step at which this process kills itself with SIGKILL: one of the engine's, "ledger:..." one of the
            ledger's (perhaps with "#" and which one of them), "put" the commit of answers, or "released"
mutant      "charge_late": charges reach the ledger only after the release, which the crash test must catch
Writes a line "number label status" to the file `released` for every query, synced, once an evaluation returned.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

from stillhouse.platform.errors import TimedOut
from stillhouse.platform.ledger import AnswerStore, Ledger, Receipt
from stillhouse.platform.privacy.mechanisms import mechanism_from_json
from stillhouse.platform.privacy.noise import SystemNoise


class ChargesLate:
    """A ledger whose charges are written only when `flush` is called."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def charge(self, dataset: str, **charge: Any) -> Receipt:
        self._waiting.append((dataset, charge))
        return Receipt(0, charge["key"], (0,), False, (0,))

    def flush(self) -> None:
        for dataset, charge in self._waiting:
            self._ledger.charge(dataset, **charge)


def main(orders: dict[str, Any]) -> None:
    folder, seen = Path(orders["folder"]), Counter[str]()

    def on_step(name: str) -> None:
        seen[name] += 1
        if orders.get("kill_at") in (name, f"{name}#{seen[name]}"):
            os.kill(os.getpid(), signal.SIGKILL)

    class Answers(AnswerStore):
        def put(self, labels: Any) -> None:
            super().put(labels)
            on_step("put")

    shared = shared_helpers()
    with Ledger(f"sqlite:///{folder}/ledger.db", on_step=lambda name: on_step(f"ledger:{name}")) as ledger:
        books = ChargesLate(ledger) if orders.get("mutant") == "charge_late" else ledger
        answers = Answers(ledger.engine)
        engine = shared.House(folder).engine(SystemNoise(), ledger=books, answers=answers, on_step=on_step)
        if orders.get("wait"):
            print("ready", flush=True)
            sys.stdin.readline()
        for asked in orders["batches"]:
            batch = shared.batch(asked["id"], mechanism_from_json(asked["mechanism"]), *asked["numbers"])
            result = engine.submit(batch)
            while result is None:
                try:
                    result = engine.evaluate(batch.id, shared.votes(batch.images))
                except TimedOut:
                    continue
            with (folder / "released").open("a") as file:
                for number, label, status in zip(asked["numbers"], result.labels, result.statuses, strict=False):
                    file.write(f"{number} {label} {status}\n")
                file.flush()
                os.fsync(file.fileno())
            on_step("released")
            if isinstance(books, ChargesLate):
                books.flush()
            print(json.dumps(result.to_json()), flush=True)


def shared_helpers() -> ModuleType:
    """The conftest beside this file (and `support`, which it uses)."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    spec = importlib.util.spec_from_file_location("aggregator_helpers", Path(__file__).with_name("conftest.py"))
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
