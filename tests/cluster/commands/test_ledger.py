"""`stillhouse ledger`: a grant says what it is about, and the ledger keeps to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from stillhouse import __main__ as cli
from stillhouse.platform.errors import BadInput
from stillhouse.platform.ledger import Ledger
from stillhouse.platform.privacy.budget import BudgetKind
from stillhouse.platform.privacy.events import GaussianEvent, SubsampledGaussianEvent
from stillhouse.platform.privacy.neighbours import ADD_OR_REMOVE, REPLACE_ONE

TRAINING = SubsampledGaussianEvent(2.0, 0.01, 100)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def call(capsys: pytest.CaptureFixture[str], file: Path, *words: str) -> tuple[int, dict]:
    code = cli.main(["ledger", *words, "--ledger", str(file), "--json"])
    return code, json.loads(capsys.readouterr().out)


def grant(capsys: pytest.CaptureFixture[str], file: Path, *words: str) -> tuple[int, dict]:
    return call(capsys, file, "grant", "scans", "--epsilon", "2", "--delta", "1e-5", "--by", "officer", *words)


def test_a_grant_is_about_replacing_a_record_unless_it_says_otherwise(capsys, file):
    code, said = grant(capsys, file)
    assert code == 0 and said["data"]["neighbouring"] == REPLACE_ONE and said["data"]["kind"] == "gaussian"
    code, said = call(capsys, file, "show")
    assert [b["neighbouring"] for b in said["data"]["budgets"]] == [REPLACE_ONE]


@pytest.mark.parametrize(("word", "holds"), [("replace-one", False), ("add-or-remove-one", True)])
def test_a_granted_budget_holds_dp_sgd_only_for_its_own_neighbours(capsys, file, word, holds):
    words = ("--neighbouring", word, "--kind", "rdp", "--orders", "4", "8.5")
    code, said = grant(capsys, file, *words)
    assert code == 0 and said["data"]["neighbouring"] == (ADD_OR_REMOVE if holds else REPLACE_ONE)
    with Ledger(f"sqlite:///{file}") as ledger:
        budget = ledger.budget("scans")
        assert (budget.kind, budget.orders) == (BudgetKind.RDP, (4.0, 8.5))
        assert ledger.fits("scans", [GaussianEvent(40.0, 2)])
        if holds:
            assert ledger.fits("scans", [TRAINING])
        else:
            with pytest.raises(BadInput, match="--neighbouring add-or-remove-one"):
                ledger.fits("scans", [TRAINING])


def test_the_neighbours_of_a_budget_are_fixed(capsys, file):
    assert grant(capsys, file)[0] == 0
    code, said = grant(capsys, file, "--neighbouring", "add-or-remove-one")
    assert code == 4 and "other terms" in said["error"]["what"]


@pytest.mark.parametrize("word", ["replace one record", "add-or-remove", "user"])
def test_unknown_neighbours_are_refused_and_leave_no_ledger_behind(capsys, file, word):
    code, said = grant(capsys, file, "--neighbouring", word)
    assert code == 4 and "add-or-remove-one" in said["error"]["what"]
    assert not file.exists()
