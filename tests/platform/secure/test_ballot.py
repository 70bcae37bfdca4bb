"""Votes without a trusted aggregator, from silos to ledger: what is charged when, what is refused, what comes out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from stillhouse.platform.errors import BadInput, BudgetExhausted, RunFailed
from stillhouse.platform.ledger import Ledger
from stillhouse.platform.privacy.budget import BudgetKind
from stillhouse.platform.privacy.curve_events import ZcdpEvent
from stillhouse.platform.privacy.discrete_noise import ShareNoise
from stillhouse.platform.privacy.distributed_mechanisms import Shared, SharedConfidentGNMax, SharedGNMax
from stillhouse.platform.privacy.distributed_noise import NoiseShare
from stillhouse.platform.privacy.events import event_from_json
from stillhouse.platform.secure.ballot import Request, SecureBallot, VoteContribution, canonical
from stillhouse.platform.secure.carrying import InProcess
from stillhouse.platform.secure.checks import Checked
from stillhouse.platform.secure.keys import Identity
from stillhouse.platform.secure.member import Member
from stillhouse.platform.secure.messages import Kind
from stillhouse.platform.secure.protocol import Opening, Terms
from support.noise import RepeatableBytes

SILOS, CLASSES, CONTENT = 6, 3, "c" * 64
# Three sure queries and one that splits the silos.
VOTES = np.array([[0, 1, 2, n % 3] for n in range(SILOS)])
SHARE = NoiseShare(1.5, SILOS, dropped=1, colluding=1)
GNMAX = SharedGNMax(SHARE)
TWO_STEPS = SharedConfidentGNMax(4.0, check=replace(SHARE, sigma=1.2), answer=SHARE)


@dataclass
class Unlucky(InProcess):
    """In its first rounds, members are lost before these steps."""

    luck: Iterator[Mapping[int, Kind]] = field(default_factory=lambda: iter(()))
    rounds: int = 0

    def exchange(self, sent: Mapping[int, bytes], *, seconds: float) -> Iterable[bytes]:
        if all(raw[5] == Kind.OPENING for raw in sent.values()):
            self.rounds += 1
            self.lost_before = next(self.luck, {})
        return super().exchange(sent, seconds=seconds)


class Setting:
    """Six silos in this process, a ledger in a file."""

    def __init__(
        self, folder: Path, mechanism: Shared, *, luck: list[Mapping[int, Kind]] | None = None, epsilon: float = 50.0
    ):
        self.identities = [Identity.new() for _ in range(SILOS)]
        server = Identity.new()
        keys = [identity.public for identity in self.identities]
        self.terms = Terms.of(keys, server=server.public, dropped=1, colluding=1)
        self.ledger = Ledger(f"sqlite:///{folder}/ledger.db")
        self.ledger.grant("scans", epsilon=epsilon, delta=1e-5, kind=BudgetKind.ZCDP, by="officer")
        self.own: list[tuple[int, str, int]] = []
        members = {n: self.silo(n, mechanism) for n in self.terms.numbers}
        self.carrier = Unlucky(members, luck=iter(luck or []))
        self.ballot = SecureBallot(
            self.ledger, self.carrier, server, self.terms, mechanism, dataset="scans", ensemble="e", classes=CLASSES
        )

    def silo(self, number: int, mechanism: Shared) -> Member:
        def charge(key: str, event: object) -> None:
            self.own.append((number, key, event.count))  # type: ignore[attr-defined]

        contribution = VoteContribution(
            lambda content: VOTES[number - 1] if content == CONTENT else np.empty(0, np.int64),
            mechanism,
            classes=CLASSES,
            terms=self.terms,
            charge=charge,
            noise=ShareNoise(RepeatableBytes(number)),
        )
        return Member(number, self.identities[number - 1], self.terms, contribution)

    def charges(self) -> list[tuple[int, str]]:
        """Units and purposes, oldest first."""
        entries = self.ledger.entries("scans")[1:]
        return [(event_from_json(e.content["event"]).count, e.content["purpose"].split(": ")[1]) for e in entries]


def test_gnmax_answers_and_charges_one_histogram_a_query(tmp_path: Path) -> None:
    setting = Setting(tmp_path, GNMAX)
    found = setting.ballot.ask(CONTENT, 4)
    assert found.labels[:3].tolist() == [0, 1, 2] and found.passed.all() and found.voted == {"answer": 6}
    assert found.labels.tolist() == found.noisy["answer"].argmax(axis=1).tolist()
    assert setting.charges() == [(4, "answer queries")]
    assert found.cost_nano_rho == setting.ledger.budget("scans").spent[0] == GNMAX.answer_event().times(4).nano_rho()
    # The sum is the plain histogram and the very noise that the silos drew.
    drawn = sum(SHARE.draw((4, CLASSES), ShareNoise(RepeatableBytes(n))) for n in range(1, SILOS + 1))
    plain = np.stack([np.bincount(column, minlength=CLASSES) for column in VOTES.T])
    assert np.array_equal(found.noisy["answer"], plain + drawn)
    assert [count for _, _, count in setting.own] == [4] * SILOS and len({key for _, key, _ in setting.own}) == 1
    assert setting.ledger.verify().ok


def test_the_check_holds_back_what_silos_disagree_on(tmp_path: Path) -> None:
    setting = Setting(tmp_path, TWO_STEPS)
    found = setting.ballot.ask(CONTENT, 4)
    passed = found.noisy["check"].max(axis=1) >= 4
    assert np.array_equal(found.passed, passed) and 0 < passed.sum() < 4
    assert np.all((found.labels == -1) == ~passed)
    assert len(found.noisy["answer"]) == passed.sum()
    assert setting.charges() == [(4, "check queries"), (int(passed.sum()), "answer queries")]
    assert found.cost_nano_rho == setting.ledger.budget("scans").spent[0]


def test_where_nothing_passes_nothing_more_is_asked(tmp_path: Path) -> None:
    setting = Setting(tmp_path, replace(TWO_STEPS, threshold=100.0))
    found = setting.ballot.ask(CONTENT, 4)
    assert (
        found.labels.tolist() == [-1] * 4
        and setting.charges() == [(4, "check queries")]
        and setting.carrier.rounds == 1
    )


def test_what_a_check_has_cost_is_said_where_its_answers_do_not_fit(tmp_path: Path) -> None:
    """Without a store in front nothing is kept, and that is not said."""
    setting = Setting(tmp_path, replace(TWO_STEPS, threshold=0.0))
    check, answer = TWO_STEPS.check_event(), TWO_STEPS.answer_event()
    left = 4 * check.nano_rho() + 3 * answer.nano_rho() - 1
    other = ZcdpEvent(setting.ledger.budget("scans").remaining[0] - left)
    setting.ledger.charge("scans", key="another", event=other, purpose="other: queries")
    with pytest.raises(BudgetExhausted) as refused:
        setting.ballot.ask(CONTENT, 4)
    assert refused.value.why == f"it holds 2 of them. The check cost rho {4 * check.nano_rho() / 1e9:g}"
    assert setting.charges()[1:] == [(4, "check queries")] and setting.carrier.rounds == 1


def test_a_check_that_is_handed_in_is_not_asked_for(tmp_path: Path) -> None:
    """Its weight is that of the silos it is a sum over: with more of them than the answer has it decides."""
    setting = Setting(tmp_path, replace(TWO_STEPS, threshold=0.0))
    told: list[tuple[dict[int, Checked], list[int]]] = []
    kept = {0: Checked(np.array([0, 0, 10_000]), 6)}
    found = setting.ballot.ask(CONTENT, 4, kept=kept, keep=lambda new, failed: told.append((dict(new), list(failed))))
    assert setting.charges() == [(3, "check queries"), (4, "answer queries")]
    assert found.labels[0] == 2 and len(found.noisy["check"]) == 3 and found.passed.all()
    [(new, failed)] = told
    assert sorted(new) == [1, 2, 3] and failed == [] and all(check.voted == 6 for check in new.values())
    assert np.array_equal(np.stack([new[row].noisy for row in (1, 2, 3)]), found.noisy["check"])


EARLY = {1: Kind.MASKED, 2: Kind.MASKED}
LATE = {1: Kind.REVEAL, 2: Kind.REVEAL, 3: Kind.REVEAL}


def test_a_round_that_fails_before_anything_could_be_known_is_tried_again_on_the_same_charge(tmp_path: Path) -> None:
    setting = Setting(tmp_path, GNMAX, luck=[EARLY])
    found = setting.ballot.ask(CONTENT, 4)
    assert setting.carrier.rounds == 2 and setting.charges() == [(4, "answer queries")]
    assert found.cost_nano_rho == setting.ledger.budget("scans").spent[0]


def test_a_round_that_fails_while_unmasking_is_paid_and_so_is_the_next(tmp_path: Path) -> None:
    setting = Setting(tmp_path, GNMAX, luck=[LATE])
    found = setting.ballot.ask(CONTENT, 4)
    assert setting.charges() == [(4, "answer queries")] * 2
    assert (
        found.cost_nano_rho == setting.ledger.budget("scans").spent[0] == 2 * GNMAX.answer_event().times(4).nano_rho()
    )


@pytest.mark.parametrize("luck", [[EARLY, EARLY], [LATE, LATE], [EARLY, LATE]])
def test_what_was_charged_stays_charged_when_a_batch_is_given_up(
    tmp_path: Path, luck: list[Mapping[int, Kind]]
) -> None:
    setting = Setting(tmp_path, GNMAX, luck=luck)
    with pytest.raises(RunFailed, match="the round needs"):
        setting.ballot.ask(CONTENT, 4)
    assert setting.charges() == [(4, "answer queries")] * (2 if luck == [LATE, LATE] else 1)


def test_nobody_is_asked_where_the_budget_is_spent(tmp_path: Path) -> None:
    setting = Setting(tmp_path, GNMAX, epsilon=1.0)
    with pytest.raises(BudgetExhausted):
        setting.ballot.ask(CONTENT, 4)
    assert setting.carrier.rounds == 0 and setting.charges() == [] and setting.own == []


def opening(setting: Setting, **change: object) -> Opening:
    request = Request(CONTENT, 4, (0, 1, 2, 3), CLASSES, "answer", canonical(GNMAX.to_json()))
    request = replace(request, **change)  # type: ignore[arg-type]
    return Opening.new(setting.terms, length=request.length, request=request.to_text())


def test_a_silo_adds_nothing_to_what_it_has_not_agreed_on(tmp_path: Path) -> None:
    setting = Setting(tmp_path, GNMAX)
    contribution = setting.silo(1, GNMAX)._contribute
    assert contribution(opening(setting)).shape == (12,)
    narrow = canonical(SharedGNMax(replace(SHARE, sigma=1.4)).to_json())
    for change in (
        {"mechanism": narrow}, {"step": "check"}, {"classes": 4}, {"content": "d" * 64}, {"queries": 5},
    ):  # fmt: skip
        with pytest.raises(BadInput):
            contribution(opening(setting, **change))
    with pytest.raises(BadInput):
        contribution(replace(opening(setting), length=13))
    for request in ("", "{}", "[1]", opening(setting).request.replace("[0,1,2,3]", "[0,0,1,2]"), '{"rows":1}'):
        with pytest.raises(BadInput):
            contribution(replace(opening(setting), request=request))


def test_a_silo_whose_own_budget_is_spent_adds_nothing(tmp_path: Path) -> None:
    """A server that asks again and again: the silo's own ledger ends it, whatever the server's says."""
    setting = Setting(tmp_path, GNMAX)
    with Ledger(f"sqlite:///{tmp_path}/own.db") as own:
        own.grant("mine", epsilon=20.0, delta=1e-5, kind=BudgetKind.ZCDP, by="silo 1")
        contribution = VoteContribution(
            lambda content: VOTES[0], GNMAX, classes=CLASSES, terms=setting.terms,
            charge=lambda key, event: own.charge("mine", key=key, event=event, purpose="votes"),
        )  # fmt: skip
        room = own.would_fit("mine", GNMAX.answer_event().times(4))
        assert room >= 1
        for _ in range(room):
            contribution(opening(setting))
        with pytest.raises(BudgetExhausted):
            contribution(opening(setting))


def test_requests_that_cannot_be_are_refused() -> None:
    fine = Request(CONTENT, 4, (0, 3), CLASSES, "answer", "{}")
    assert Request.from_text(fine.to_text()) == fine and fine.length == 6
    for change in (
        {"rows": ()}, {"rows": (3, 0)}, {"rows": (0, 0)}, {"rows": (4,)}, {"rows": (-1,)}, {"rows": (0.0,)}, {"queries": 0},
        {"classes": 1}, {"content": 3}, {"step": ["answer"]}, {"mechanism": None},
    ):  # fmt: skip
        with pytest.raises(BadInput):
            replace(fine, **change)  # type: ignore[arg-type]


def test_noise_for_other_terms_is_refused(tmp_path: Path) -> None:
    setting = Setting(tmp_path, GNMAX)
    for share in (
        replace(SHARE, silos=7), replace(SHARE, dropped=0), replace(SHARE, colluding=0), replace(SHARE, sigma=1e8),
    ):  # fmt: skip
        with pytest.raises(BadInput):
            setting.silo(1, SharedGNMax(share))
    # More caution than the terms ask for is fine.
    setting.silo(1, SharedGNMax(replace(SHARE, colluding=2)))
