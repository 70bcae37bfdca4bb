"""The ledger against a model in plain Python: any sequence of acts ends in the same state and the same refusals."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from stillhouse.platform.errors import BadInput, BudgetExhausted, LedgerDoubt
from stillhouse.platform.ledger import Charge, Ledger
from stillhouse.platform.privacy.budget import BudgetKind, budget_cap
from stillhouse.platform.privacy.events import GaussianEvent

DATASETS = st.sampled_from(["scans", "films"])
KEYS = st.integers(0, 12).map(str)
SIGMAS = st.sampled_from([20.0, 40.0, 100.0])
COUNTS = st.integers(1, 60)
EPSILONS = st.sampled_from([0.3, 1.0, 1.5, 2.0])


@dataclass
class Model:
    cap: dict[str, int] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)
    keys: dict[str, tuple[str, float, int]] = field(default_factory=dict)
    entries: int = 0


def cost(sigma: float, count: int) -> int:
    return {20.0: 2_500_000, 40.0: 625_000, 100.0: 100_000}[sigma] * count


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.ledgers = [self._open(), self._open()]
        self.turn = 0
        self.model = Model()

    def _open(self) -> Ledger:
        return Ledger(f"sqlite:///{self.folder}/ledger.db", high_water=self.folder / "mark")

    @property
    def ledger(self) -> Ledger:
        """Two objects on one file take turns."""
        self.turn += 1
        return self.ledgers[self.turn % 2]

    @rule(dataset=DATASETS, epsilon=EPSILONS)
    def grant(self, dataset: str, epsilon: float) -> None:
        cap = budget_cap(BudgetKind.GAUSSIAN, epsilon=epsilon, delta=1e-5)[0]
        fine = self.model.spent.get(dataset, 0) <= cap
        try:
            self.ledger.grant(dataset, epsilon=epsilon, delta=1e-5, by="officer")
            assert fine
        except BadInput:
            assert not fine
            return
        self.model.cap[dataset] = cap
        self.model.spent.setdefault(dataset, 0)
        self.model.entries += 1

    @rule(dataset=DATASETS, group=st.lists(st.tuples(KEYS, SIGMAS, COUNTS), min_size=1, max_size=4))
    def charge(self, dataset: str, group: list[tuple[str, float, int]]) -> None:
        charges = [
            Charge(dataset, key, GaussianEvent(sigma, squared_sensitivity=2, count=count), "test")
            for key, sigma, count in group
        ]
        known = dict(self.model.keys)
        new = 0
        expected: type[Exception] | None = None if dataset in self.model.cap else BadInput
        total = 0
        for key, sigma, count in group:
            content = (dataset, sigma, count)
            if key not in known:
                known[key] = content
                new += 1
                total += cost(sigma, count)
            elif known[key] != content and expected is None:
                expected = BadInput
        if dataset in self.model.cap and self.model.spent[dataset] + total > self.model.cap[dataset]:
            # A group that does not fit may also reuse a key wrongly; the budget is looked at first.
            expected = BudgetExhausted
        try:
            receipts = self.ledger.charge_all(charges)
        except (BadInput, BudgetExhausted) as error:
            assert expected is not None and isinstance(error, expected)
            return
        assert expected is None
        assert sum(not receipt.replayed for receipt in receipts) == new
        self.model.keys = known
        self.model.spent[dataset] += total
        self.model.entries += new

    @rule(dataset=DATASETS, sigma=SIGMAS)
    def dry_run(self, dataset: str, sigma: float) -> None:
        if dataset in self.model.cap:
            left = self.model.cap[dataset] - self.model.spent[dataset]
            event = GaussianEvent(sigma, squared_sensitivity=2)
            assert self.ledger.would_fit(dataset, event) == left // cost(sigma, 1)
            assert self.ledger.fits(dataset, [event] * 7) == (7 * cost(sigma, 1) <= left)

    @rule()
    def reopen(self) -> None:
        self.ledgers[0].close()
        self.ledgers[0] = self._open()

    @precondition(lambda self: self.model.entries > 0)
    @rule(lost=st.integers(1, 3))
    def restore_an_old_backup(self, lost: int) -> None:
        """A copy without its last entries is refused; with them back, all is as it was."""
        for ledger in self.ledgers:
            ledger.close()
        file, aside = self.folder / "ledger.db", self.folder / "aside"
        shutil.copy(file, aside)
        _forget(file, max(0, self.model.entries - lost))
        try:
            self._open()
            raise AssertionError("a restored backup was trusted")
        except LedgerDoubt:
            pass
        shutil.copy(aside, file)
        self.ledgers = [self._open(), self._open()]

    @invariant()
    def the_books_agree(self) -> None:
        ledger = self.ledger
        assert ledger.datasets() == sorted(self.model.cap)
        for dataset, cap in self.model.cap.items():
            budget = ledger.budget(dataset)
            assert (budget.cap, budget.spent) == ((cap,), (self.model.spent[dataset],))
            assert 0 <= budget.spent_epsilon <= budget.epsilon
        assert ledger.position()[0] == self.model.entries

    def teardown(self) -> None:
        assert self.ledger.verify().ok
        for ledger in self.ledgers:
            ledger.close()
        shutil.rmtree(self.folder)


def _forget(file: Path, keep: int) -> None:
    import sqlite3

    from stillhouse.platform.ledger.schema import SQLITE_TRIGGERS

    name = "ledger_entries_no_delete"
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute(f"DROP TRIGGER {name}")
    connection.execute("DELETE FROM ledger_entries WHERE seq > ?", (keep,))
    connection.execute(SQLITE_TRIGGERS[name])
    connection.close()


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
