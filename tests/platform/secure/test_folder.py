"""A silo out of its folder: a new process for every message, losses in every step, one turn at a time, nothing left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stillhouse.platform.errors import BadInput, RunFailed, StillhouseError, TimedOut
from stillhouse.platform.privacy.discrete_noise import ShareNoise
from stillhouse.platform.secure import messages
from stillhouse.platform.secure.agreement import Agreement
from stillhouse.platform.secure.carrying import conduct
from stillhouse.platform.secure.folder import AGREEMENT, HOME, IDENTITY, SecureFolder, make_identity
from stillhouse.platform.secure.messages import SERVER, Kind
from stillhouse.platform.secure.protocol import Opening
from stillhouse.platform.secure.server import Server
from support.noise import RepeatableBytes
from support.secure_folders import CLASSES, CONTENT, GNMAX, SILOS, VOTES, Folders, charged


@pytest.mark.parametrize("step", [None, Kind.KEYS, Kind.SHARES, Kind.MASKED, Kind.CONSENT, Kind.REVEAL], ids=str)
def test_the_sum_is_right_whenever_a_silo_is_lost(tmp_path: Path, step: Kind | None) -> None:
    """Nothing outlives a message but the folder; the noise is the very one that the silos of the sum drew."""
    carrier = Folders(tmp_path, {} if step is None else {2: step})
    with charged(tmp_path) as ledger:
        found = carrier.ballot(ledger).ask(CONTENT, 4)
        assert ledger.budget("scans").spent[0] == found.cost_nano_rho == GNMAX.answer_event().times(4).nano_rho()
    counted = {1, 2, 3, 4, 5} if step in (None, Kind.CONSENT, Kind.REVEAL) else {1, 3, 4, 5}
    plain = sum(np.eye(CLASSES, dtype=int)[VOTES[n - 1]] for n in counted)
    drawn = sum(GNMAX.answer.draw((4, CLASSES), ShareNoise(RepeatableBytes(n))) for n in counted)
    assert np.array_equal(found.noisy["answer"], plain + drawn)
    assert carrier.refused == []
    left = {p.name for n in counted - {2} for p in (carrier.folders[n - 1] / HOME).iterdir()}
    assert left == {"question.npz", "rounds", "lock"}


def test_a_silo_that_was_lost_is_in_the_next_round(tmp_path: Path) -> None:
    carrier = Folders(tmp_path, {3: Kind.MASKED})
    with charged(tmp_path) as ledger:
        assert carrier.ballot(ledger).ask(CONTENT, 4).voted == {"answer": 4}
        assert (carrier.folders[2] / HOME / "round").exists()
        carrier.lost_before = {}
        assert carrier.ballot(ledger).ask(CONTENT, 4).voted == {"answer": 5}
        assert not (carrier.folders[2] / HOME / "round").exists()


def test_too_many_lost_is_a_refusal(tmp_path: Path) -> None:
    carrier = Folders(tmp_path, {1: Kind.MASKED, 2: Kind.MASKED})
    with charged(tmp_path) as ledger, pytest.raises(RunFailed, match="the round needs 4"):
        carrier.ballot(ledger).ask(CONTENT, 4)


class Cheating(Folders):
    """A server's carrier that sends each list of survivors twice at the same time: as it is, and another one."""

    def exchange(self, sent: Mapping[int, bytes], *, seconds: float) -> Iterable[bytes]:
        answers: list[bytes] = []
        for number, raw in sent.items():
            if raw[5] == Kind.SURVIVORS:
                rivals = [threading.Thread(target=self._answer, args=(number, raw, answers)) for _ in range(4)]
                for rival in rivals:
                    rival.start()
                for rival in rivals:
                    rival.join()
            else:
                self._answer(number, raw, answers)
        return answers

    def _answer(self, number: int, raw: bytes, answers: list[bytes]) -> None:
        try:
            answers.append(self.silo(number).handle(raw))
        except StillhouseError as error:
            self.refused.append(str(error))


def test_a_silo_takes_one_step_once_though_it_is_asked_by_several_at_a_time(tmp_path: Path) -> None:
    """What a silo signs in a step it signs once: the other three of four find it past that step."""
    carrier = Cheating(tmp_path)
    with charged(tmp_path) as ledger:
        assert carrier.ballot(ledger).ask(CONTENT, 4).voted == {"answer": 5}
    assert len(carrier.refused) == 3 * SILOS and all("CONSENTS is expected now" in told for told in carrier.refused)


def test_a_round_that_was_opened_before_is_refused_after_a_restart(tmp_path: Path) -> None:
    carrier = Folders(tmp_path)
    opening = Opening.new(carrier.agreement.terms, length=3, request="add up")
    sent = Server(carrier.server, carrier.agreement.terms, opening).start()
    carrier.silo(1).handle(sent[1])
    with pytest.raises(BadInput, match="has been in that round"):
        carrier.silo(1).handle(sent[1])


def test_a_batch_that_was_not_asked_adds_nothing(tmp_path: Path) -> None:
    carrier = Folders(tmp_path)
    with charged(tmp_path) as ledger, pytest.raises(RunFailed):
        carrier.ballot(ledger).ask("d" * 64, 4)
    assert len(carrier.refused) == 2 * SILOS and "not asked to vote on" in carrier.refused[0]


def test_a_damaged_state_loses_its_round_and_no_other(tmp_path: Path) -> None:
    carrier = Folders(tmp_path)
    (carrier.folders[0] / HOME / "round").write_bytes(b"nonsense")
    with charged(tmp_path) as ledger:
        assert carrier.ballot(ledger).ask(CONTENT, 4).voted == {"answer": 5}


def opened(carrier: Folders, *, at: float) -> bytes:
    """The first silo is in a round since then; a message of that round which comes too late is given back."""
    terms = carrier.agreement.terms
    server = Server(carrier.server, terms, Opening.new(terms, length=3, request="add up"))
    at_the_time = SecureFolder(carrier.folders[0], clock=lambda: at)
    keys = {1: at_the_time.handle(server.start()[1])}
    assert (carrier.folders[0] / HOME / "round").exists()
    return messages.write(
        Kind.PEERS, sender=SERVER, round_id=messages.peek(keys[1])[1], body=b"", identity=carrier.server
    )


@pytest.mark.parametrize("age", [599.0, 601.0])
def test_secrets_of_a_round_that_takes_too_long_are_forgotten_whatever_the_silo_is_told_next(
    tmp_path: Path, age: float
) -> None:
    carrier = Folders(tmp_path)
    silo = SecureFolder(carrier.folders[0], clock=lambda: 1000.0 + age)
    kept = carrier.folders[0] / HOME / "round"

    def another_question() -> None:
        silo.keep_question("d" * 64, np.zeros(3, np.int64))

    def nonsense() -> None:
        with pytest.raises(BadInput):
            silo.handle(b"nonsense")

    def a_round_on_other_terms() -> None:
        terms = replace(carrier.agreement.terms, threshold=4)
        with pytest.raises(BadInput, match="other terms"):
            silo.handle(Server(carrier.server, terms, Opening.new(terms, length=3, request="add up")).start()[1])

    for told in (another_question, nonsense, a_round_on_other_terms):
        opened(carrier, at=1000.0)
        told()
        assert kept.exists() == (age < 600)
    late = opened(carrier, at=1000.0)
    with pytest.raises(TimedOut if age > 600 else RunFailed):
        silo.handle(late)
    assert not kept.exists()


def test_what_is_left_of_a_damaged_state_goes_with_the_next_question(tmp_path: Path) -> None:
    carrier = Folders(tmp_path)
    (carrier.folders[0] / HOME / "round").write_bytes(b"nonsense")
    carrier.silo(1).keep_question("d" * 64, np.zeros(3, np.int64))
    assert not (carrier.folders[0] / HOME / "round").exists()


def test_secrets_are_their_owners_alone(tmp_path: Path) -> None:
    carrier = Folders(tmp_path, {1: Kind.MASKED})
    server = Server(
        carrier.server, carrier.agreement.terms, Opening.new(carrier.agreement.terms, length=3, request="x")
    )
    with pytest.raises(RunFailed):
        conduct(server, carrier, seconds=1.0)
    folder = carrier.folders[0]
    assert make_identity(folder / IDENTITY).public == carrier.agreement.terms.key(1)
    for path in (folder / IDENTITY, folder / HOME / "question.npz"):
        assert path.stat().st_mode & 0o077 == 0


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    carrier = Folders(tmp_path)
    folder = carrier.folders[0]
    assert Agreement.read(folder / AGREEMENT) == carrier.agreement
    assert Agreement.read(folder / AGREEMENT).digest == carrier.agreement.digest
    (folder / IDENTITY).write_bytes(b"short")
    with pytest.raises(BadInput, match="no signing key"):
        carrier.silo(1).handle(b"")
    (folder / IDENTITY).unlink()
    with pytest.raises(BadInput, match="no signing key"):
        carrier.silo(1).handle(b"")
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    carrier.agreement.write(stranger / AGREEMENT)
    with pytest.raises(BadInput, match="not among those"):
        SecureFolder(stranger)
    for wrong in ({}, {"silos": ["a"]}, {**carrier.agreement.to_json(), "silos": ["a", "a", "b", "c", "d"]}):
        with pytest.raises(BadInput):
            Agreement.from_json(wrong)
