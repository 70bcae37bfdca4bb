"""The store in front of a secure ballot: what was answered is free and stays the same; charge, draw, store, release, in this order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stillhouse.platform.errors import BudgetExhausted, RunFailed
from stillhouse.platform.ledger import Ledger
from stillhouse.platform.ledger.answers import AnswerStore
from stillhouse.platform.privacy.distributed_mechanisms import SharedConfidentGNMax
from stillhouse.platform.privacy.distributed_noise import NoiseShare
from stillhouse.platform.secure.messages import Kind
from stillhouse.platform.secure.stored import StoredBallot
from support.secure_folders import CONTENT, GNMAX, SILOS, VOTES, Folders, charged

QUERIES = [letter * 64 for letter in "abcd"]
SHARE = NoiseShare(1.5, SILOS, dropped=1)
TWO_STEPS = SharedConfidentGNMax(4.0, check=replace(SHARE, sigma=1.2), answer=SHARE)
UNIT = GNMAX.answer_event().nano_rho()


def spent(ledger: Ledger) -> int:
    return ledger.budget("scans").spent[0]


def test_the_same_question_again_is_free_and_has_the_same_answer(tmp_path: Path) -> None:
    """Noise is drawn anew in each round here, so asking again would be seen."""
    carrier = Folders(tmp_path)
    with charged(tmp_path) as ledger:
        ballot = StoredBallot(carrier.ballot(ledger))
        assert ballot.unanswered(QUERIES) == (0, 1, 2, 3)
        first = ballot.ask(CONTENT, QUERIES)
        assert spent(ledger) == first.cost_nano_rho == 4 * UNIT and not first.from_store.any()
        steps = carrier.steps
        again = ballot.ask(CONTENT, QUERIES)
        assert np.array_equal(again.labels, first.labels) and again.from_store.all() and again.cost_nano_rho == 0
        assert (spent(ledger), carrier.steps, ballot.unanswered(QUERIES)) == (4 * UNIT, steps, ())
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as reopened:
        late = StoredBallot(carrier.ballot(reopened)).ask(CONTENT, QUERIES)
        assert np.array_equal(late.labels, first.labels) and spent(reopened) == 4 * UNIT


def test_only_what_is_new_in_a_batch_is_asked_and_paid_for_each_content_once(tmp_path: Path) -> None:
    carrier = Folders(tmp_path)
    with charged(tmp_path) as ledger:
        ballot = StoredBallot(carrier.ballot(ledger))
        first = ballot.ask(CONTENT, [QUERIES[0], QUERIES[1], QUERIES[0], QUERIES[1]])
        assert first.cost_nano_rho == 2 * UNIT and first.labels[:2].tolist() == first.labels[2:].tolist()
        # Rows 2 and 3 of the batch as the silos know it.
        second = ballot.ask(CONTENT, QUERIES)
        assert second.from_store.tolist() == [True, True, False, False] and second.cost_nano_rho == 2 * UNIT
        assert second.labels[:2].tolist() == first.labels[:2].tolist()
        assert spent(ledger) == 4 * UNIT


def test_that_a_query_did_not_pass_is_an_answer_too(tmp_path: Path) -> None:
    carrier = Folders(tmp_path, mechanism=TWO_STEPS)
    with charged(tmp_path) as ledger:
        ballot = StoredBallot(carrier.ballot(ledger))
        first = ballot.ask(CONTENT, QUERIES)
        before = spent(ledger)
        assert first.cost_nano_rho == before
        again = ballot.ask(CONTENT, QUERIES)
        assert again.labels.tolist() == first.labels.tolist() and again.from_store.all() and spent(ledger) == before


def test_the_check_on_some_rows_labels_those_rows(tmp_path: Path) -> None:
    """Sure queries in the last rows only; noise of next to nothing on many more votes than the threshold."""
    carrier = Folders(tmp_path, mechanism=replace(TWO_STEPS, threshold=0.0))
    with charged(tmp_path) as ledger:
        elected = carrier.ballot(ledger).ask(CONTENT, 4, (1, 3))
    assert elected.passed[[0, 2]].tolist() == [False, False] and elected.labels[[0, 2]].tolist() == [-1, -1]
    assert len(elected.noisy["check"]) == 2
    passed = elected.noisy["check"].max(axis=1) >= 0
    assert elected.passed[[1, 3]].tolist() == passed.tolist()
    assert VOTES.shape[1] == 4


def test_no_answer_is_given_out_that_is_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full when answers are to be stored: they are paid for and nobody sees them; asked again they are paid for again."""
    carrier = Folders(tmp_path)
    with charged(tmp_path) as ledger:
        ballot = StoredBallot(carrier.ballot(ledger))

        def full(self: AnswerStore, labels: Mapping[str, int], histograms: object = None) -> None:
            raise OSError("no space left")

        with monkeypatch.context() as patch:
            patch.setattr(AnswerStore, "put", full)
            with pytest.raises(OSError, match="no space"):
                ballot.ask(CONTENT, QUERIES)
        assert spent(ledger) == 4 * UNIT and ballot.unanswered(QUERIES) == (0, 1, 2, 3)
        assert ballot.ask(CONTENT, QUERIES).cost_nano_rho == 4 * UNIT and spent(ledger) == 8 * UNIT


def test_the_charge_is_on_disk_before_anybody_is_asked(tmp_path: Path) -> None:
    carrier = Folders(tmp_path)
    seen: list[int] = []
    with charged(tmp_path) as ledger:
        ask = carrier.exchange

        def watched(sent: Mapping[int, bytes], *, seconds: float) -> object:
            with Ledger(f"sqlite:///{tmp_path}/ledger.db") as reader:
                seen.append(spent(reader))
            return ask(sent, seconds=seconds)

        carrier.exchange = watched  # type: ignore[method-assign, assignment]
        StoredBallot(carrier.ballot(ledger)).ask(CONTENT, QUERIES)
    assert seen == [4 * UNIT] * 5


def test_a_spent_budget_asks_nobody_and_still_serves_what_is_stored(tmp_path: Path) -> None:
    carrier = Folders(tmp_path)
    with charged(tmp_path, epsilon=8.0) as ledger:
        room = ledger.would_fit("scans", GNMAX.answer_event())
        assert 2 <= room < 4
        ballot = StoredBallot(carrier.ballot(ledger))
        first = ballot.ask(CONTENT, [QUERIES[0]] * 4)
        steps = carrier.steps
        with pytest.raises(BudgetExhausted):
            ballot.ask(CONTENT, QUERIES)
        assert carrier.steps == steps and spent(ledger) == UNIT
        assert ballot.ask(CONTENT, [QUERIES[0]] * 4).labels.tolist() == first.labels.tolist()


def test_a_failed_round_stores_nothing(tmp_path: Path) -> None:
    carrier = Folders(tmp_path, {1: Kind.REVEAL, 2: Kind.REVEAL, 3: Kind.REVEAL})
    with charged(tmp_path) as ledger:
        ballot = StoredBallot(carrier.ballot(ledger))
        with pytest.raises(RunFailed):
            ballot.ask(CONTENT, QUERIES)
        # Both attempts were asked to reveal, so both are paid for.
        assert spent(ledger) == 8 * UNIT and ballot.unanswered(QUERIES) == (0, 1, 2, 3)
