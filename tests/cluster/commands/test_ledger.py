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


@pytest.mark.parametrize(("delta", "large"), [("1e-5", False), ("1e-3", False), ("0.002", True), ("0.9", True)])
def test_a_large_delta_is_granted_with_a_warning(capsys, file, delta, large):
    words = ("grant", "scans", "--epsilon", "2", "--delta", delta, "--by", "officer")
    assert cli.main(["ledger", *words, "--ledger", str(file)]) == 0
    assert ("warning: delta" in capsys.readouterr().err) == large


def test_what_is_spent_is_shown_rounded_up_and_not_above_a_cap_that_it_keeps(capsys, file):
    event = GaussianEvent(40.0, 2).times(201)
    with Ledger(f"sqlite:///{file}") as ledger:
        ledger.grant("whole", epsilon=2.0, delta=1e-5, by="officer")
        ledger.charge("whole", key="a", event=event, purpose="votes")
        spent = ledger.budget("whole").spent_epsilon
        ledger.grant("exact", epsilon=spent, delta=1e-5, by="officer")
        ledger.charge("exact", key="b", event=event, purpose="votes")
        ledger.grant("little", epsilon=1.0, delta=1e-5, by="officer")
        ledger.charge("little", key="c", event=GaussianEvent(3000.0), purpose="votes")
        little = ledger.budget("little").spent_epsilon
    assert cli.main(["ledger", "show", "--ledger", str(file)]) == 0
    shown = {}
    for line in capsys.readouterr().out.splitlines():
        cells = [cell.strip() for cell in line.replace("┃", "│").split("│")[1:-1]]
        if len(cells) == 6 and cells[0] in ("whole", "exact", "little"):
            shown[cells[0]] = (float(cells[1]), float(cells[2]))
    assert 1.99 < spent < 2 and shown["whole"][1] == 2 and shown["whole"][0] >= spent
    assert all(told <= cap for told, cap in shown.values())
    assert shown["exact"][0] >= spent * (1 - 1e-9) and shown["exact"][1] >= spent
    assert little <= shown["little"][0] <= little * 1.001


@pytest.mark.parametrize("word", ["replace one record", "add-or-remove", "user"])
def test_unknown_neighbours_are_refused_and_leave_no_ledger_behind(capsys, file, word):
    code, said = grant(capsys, file, "--neighbouring", word)
    assert code == 4 and "add-or-remove-one" in said["error"]["what"]
    assert not file.exists()
