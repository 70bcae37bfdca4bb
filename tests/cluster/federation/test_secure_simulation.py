"""`stillhouse federate ... silos.secure=true` by the command: labels without an aggregator that sees votes, and nothing spent twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from stillhouse.cluster.federation.secure_simulation import agree
from stillhouse.cluster.simulation import Roster
from stillhouse.platform.ledger.ledger import Ledger
from stillhouse.platform.privacy.budget import BudgetKind
from stillhouse.platform.privacy.distributed_event import DistributedGaussianEvent
from stillhouse.platform.privacy.distributed_mechanisms import SharedGNMax
from stillhouse.platform.privacy.distributed_noise import NoiseShare
from stillhouse.platform.privacy.events import event_from_json
from stillhouse.platform.secure.agreement import Agreement
from stillhouse.platform.secure.folder import AGREEMENT, HOME, SecureFolder

SMALL = [
    "method=pate", "data=digits", "silos.teachers=4", "silos.secure=true", "silos.dropped=1", "method.queries=30",
    "method.epochs=20", "privacy=gnmax", "privacy.mechanism.sigma=1.5", "privacy.target_epsilon=300", "diagnostics=false",
    "silos.start_seconds=900", "silos.deadline_seconds=120", "name=small",
]  # fmt: skip


def call(root: Path, *more: str, expect: int = 0) -> dict[str, object]:
    command = [sys.executable, "-m", "stillhouse", "federate", *SMALL, f"root={root}", *more, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1700)
    assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_run_without_anybody_who_sees_votes(tmp_path: Path) -> None:
    shown = call(tmp_path)["data"]
    assert isinstance(shown, dict)
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        budget = ledger.budget("digits")
        entries = ledger.entries("digits")
        assert budget.kind is BudgetKind.ZCDP and len(entries) == 2
        event = event_from_json(entries[1].content["event"])
        assert isinstance(event, DistributedGaussianEvent) and event.count == 30
    # What silos keep is their own: no vote lies in the server's folder.
    home = tmp_path / "small"
    assert len(list(home.glob(f"silos/*/{HOME}/question.npz"))) == 4
    assert not list((home / "secure").glob("**/*.npz"))
    # The labels' stage is lost, so Flower is started again: all answers come from the store.
    for kept in (home / "stages").glob("labels/*"):
        kept.unlink()
    call(tmp_path)
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        assert len(ledger.entries("digits")) == 2


def test_everybody_has_the_agreement_and_a_key_of_its_own_which_stays(tmp_path: Path) -> None:
    folders = tuple(tmp_path / "silos" / f"silo-{i}" for i in range(4))
    for folder in folders:
        folder.mkdir(parents=True)
    server = tmp_path / "secure"
    server.mkdir()
    mechanism = SharedGNMax(NoiseShare(2.0, 4, dropped=1, colluding=1))
    roster = Roster(folders, "e")
    first = agree(roster, server, mechanism, classes=10, dropped=1, colluding=1)
    assert agree(roster, server, mechanism, classes=10, dropped=1, colluding=1) == first
    assert {Agreement.read(place / AGREEMENT).digest for place in (server, *folders)} == {first.digest}
    assert [SecureFolder(folder).number for folder in folders] == [1, 2, 3, 4]
    assert len(set(first.terms.members) | {first.terms.server}) == 5
