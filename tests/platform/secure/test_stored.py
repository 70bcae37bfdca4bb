"""The store in front of a secure ballot: what was answered is free and stays the same; charge, draw, store, release, in this order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stillhouse.platform.errors import BadInput, BudgetExhausted, RunFailed
from stillhouse.platform.ledger import Ledger
from stillhouse.platform.ledger.answers import AnswerStore
from stillhouse.platform.privacy.budget import BudgetKind, spent_epsilon
from stillhouse.platform.privacy.discrete_noise import ShareNoise
from stillhouse.platform.privacy.distributed_mechanisms import SharedConfidentGNMax
from stillhouse.platform.privacy.distributed_noise import NoiseShare
from stillhouse.platform.secure.ballot import SecureBallot
from stillhouse.platform.secure.messages import Kind
from stillhouse.platform.secure.stored import StoredBallot
from support.noise import RepeatableBytes
from support.secure_folders import CLASSES, CONTENT, GNMAX, SILOS, VOTES, Folders, charged

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


CHECK, ANSWER = TWO_STEPS.check_event().nano_rho(), TWO_STEPS.answer_event().nano_rho()
# So low a threshold that everything passes.
ALL_PASS = replace(TWO_STEPS, threshold=0.0)
LATE = {1: Kind.REVEAL, 2: Kind.REVEAL, 3: Kind.REVEAL}


def granted(folder: Path, nano_rho: int) -> Ledger:
    """A budget of this much, and a billionth or so for the rounding of epsilon."""
    return charged(folder, epsilon=spent_epsilon(BudgetKind.ZCDP, (nano_rho + 1000,), delta=1e-5))


def test_without_room_for_the_check_and_one_answer_nobody_is_asked(tmp_path: Path) -> None:
    carrier = Folders(tmp_path, mechanism=ALL_PASS)
    with granted(tmp_path, 4 * CHECK + ANSWER // 2) as ledger:
        ballot = StoredBallot(carrier.ballot(ledger))
        for _ in range(2):
            with pytest.raises(BudgetExhausted, match=r"check of 4 queries and one answer.*nothing was spent"):
                ballot.ask(CONTENT, QUERIES)
        assert carrier.steps == spent(ledger) == 0


@pytest.mark.parametrize("restarted", [False, True])
def test_a_check_that_was_paid_is_not_paid_again_when_its_answers_did_not_fit(tmp_path: Path, restarted: bool) -> None:
    carrier = Folders(tmp_path, mechanism=ALL_PASS)
    ledger = granted(tmp_path, 4 * CHECK + 2 * ANSWER)
    ballot = StoredBallot(carrier.ballot(ledger))
    with pytest.raises(BudgetExhausted) as refused:
        ballot.ask(CONTENT, QUERIES)
    assert f"The check cost rho {4 * CHECK / 1e9:g} and is kept" in refused.value.why
    assert "holds 2 of them" in refused.value.why and "4 queries that passed" in refused.value.what
    assert spent(ledger) == 4 * CHECK and ballot.unanswered(QUERIES) == (0, 1, 2, 3)
    if restarted:
        ledger.close()
        ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
        ballot = StoredBallot(carrier.ballot(ledger))
    steps = carrier.steps
    with pytest.raises(BudgetExhausted, match="had been paid for before and is kept"):
        ballot.ask(CONTENT, QUERIES)
    assert spent(ledger) == 4 * CHECK and carrier.steps == steps, "neither paid nor asked"
    # Two of them fit, and in a batch of another content their checks are the same.
    two = ballot.ask(CONTENT, QUERIES[:2] * 2)
    assert two.cost_nano_rho == 2 * ANSWER and two.voted == {"answer": SILOS}
    assert spent(ledger) == 4 * CHECK + 2 * ANSWER and ledger.verify().ok
    ledger.grant("scans", epsilon=100.0, delta=1e-5, kind=BudgetKind.ZCDP, by="officer")
    rest = ballot.ask(CONTENT, QUERIES)
    assert rest.from_store.tolist() == [True, True, False, False] and rest.cost_nano_rho == 2 * ANSWER
    assert spent(ledger) == 4 * CHECK + 4 * ANSWER
    ledger.close()


def test_a_check_is_kept_where_the_round_of_its_answers_fails(tmp_path: Path) -> None:
    """What did not pass is answered by then; labels are those of the check that was seen and of the new answers."""
    carrier = Folders(tmp_path, mechanism=TWO_STEPS)
    with charged(tmp_path) as ledger:
        ballot = StoredBallot(carrier.ballot(ledger))
        ask, checked, answered = carrier.exchange, [], []

        def fails_in_the_answer(sent: Mapping[int, bytes], *, seconds: float) -> object:
            carrier.lost_before = {} if spent(ledger) == 4 * CHECK else LATE
            return ask(sent, seconds=seconds)

        carrier.exchange = fails_in_the_answer  # type: ignore[method-assign, assignment]
        with pytest.raises(RunFailed, match=rf"The check cost rho {4 * CHECK / 1e9:g} and is kept"):
            ballot.ask(CONTENT, QUERIES)
        carrier.exchange, carrier.lost_before = ask, {}  # type: ignore[method-assign]
        waiting = ballot.unanswered(QUERIES)
        assert 0 < len(waiting) < 4 and spent(ledger) == 4 * CHECK + 2 * len(waiting) * ANSWER

        def watched(own: SharedConfidentGNMax, check: np.ndarray, answer: np.ndarray, **silos: int) -> np.ndarray:
            checked.append(check)
            answered.append(answer)
            return labels(own, check, answer, **silos)

        labels = SharedConfidentGNMax.labels
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SharedConfidentGNMax, "labels", watched)
            second = ballot.ask(CONTENT, QUERIES)
        assert second.cost_nano_rho == len(waiting) * ANSWER and second.voted == {"answer": SILOS}
        assert spent(ledger) == 4 * CHECK + 3 * len(waiting) * ANSWER
        assert [row for row in range(4) if not second.from_store[row]] == list(waiting)
        assert all(second.labels[row] == -1 for row in range(4) if row not in waiting)
        # The noise of these silos repeats itself: the check is the histogram with the noise that was drawn in the first round.
        plain = np.stack([np.bincount(column, minlength=CLASSES) for column in VOTES.T])
        drawn = sum(TWO_STEPS.check.draw((4, CLASSES), ShareNoise(RepeatableBytes(n))) for n in range(1, SILOS + 1))
        assert np.array_equal(np.concatenate(checked), (plain + drawn)[list(waiting)])
        assert ballot.ask(CONTENT, QUERIES).cost_nano_rho == 0


def test_a_check_of_some_and_no_check_of_others(tmp_path: Path) -> None:
    """Of a batch some queries were checked before: the others alone are checked, with fewer silos, and all are answered."""
    carrier = Folders(tmp_path, mechanism=ALL_PASS)
    with granted(tmp_path, 2 * CHECK + ANSWER) as ledger:
        ballot = StoredBallot(carrier.ballot(ledger))
        with pytest.raises(BudgetExhausted):
            ballot.ask(CONTENT, [QUERIES[0], QUERIES[1], QUERIES[0], QUERIES[0]])
        ledger.grant("scans", epsilon=100.0, delta=1e-5, kind=BudgetKind.ZCDP, by="officer")
        carrier.lost_before = {3: Kind.MASKED}
        found = ballot.ask(CONTENT, QUERIES)
        assert found.cost_nano_rho == 2 * CHECK + 4 * ANSWER and found.voted == {"check": 4, "answer": 4}
        assert spent(ledger) == 4 * CHECK + 4 * ANSWER and (found.labels >= 0).all()


def test_no_answer_is_asked_for_on_a_check_that_is_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    carrier = Folders(tmp_path, mechanism=ALL_PASS)
    with charged(tmp_path) as ledger:
        ballot = StoredBallot(carrier.ballot(ledger))

        def full(self: AnswerStore, labels: Mapping[str, int], histograms: object = None) -> None:
            raise OSError("no space left")

        monkeypatch.setattr(AnswerStore, "put", full)
        with pytest.raises(OSError, match="no space"):
            ballot.ask(CONTENT, QUERIES)
        assert spent(ledger) == 4 * CHECK


def test_a_check_with_other_classes_is_refused_before_anything_is_paid(tmp_path: Path) -> None:
    carrier = Folders(tmp_path, mechanism=ALL_PASS)
    with granted(tmp_path, 4 * CHECK + ANSWER) as ledger:
        with pytest.raises(BudgetExhausted):
            StoredBallot(carrier.ballot(ledger)).ask(CONTENT, QUERIES)
        more = SecureBallot(
            ledger, carrier, carrier.server, carrier.agreement.terms, ALL_PASS, dataset="scans", ensemble="e",
            classes=CLASSES + 1,
        )  # fmt: skip
        with pytest.raises(BadInput, match="another number of classes"):
            StoredBallot(more).ask(CONTENT, QUERIES)
        assert spent(ledger) == 4 * CHECK


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
