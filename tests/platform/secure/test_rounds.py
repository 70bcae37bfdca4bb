"""Whole rounds: the secure sum is the plain sum of those whose vectors came, or nothing at all."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from stillhouse.platform.errors import BadInput, NotAuthorised, RunFailed
from stillhouse.platform.secure.carrying import InProcess, conduct
from stillhouse.platform.secure.keys import Identity, Verifier
from stillhouse.platform.secure.messages import Kind
from support.secure_parties import Parties, Watched

STEPS = [Kind.KEYS, Kind.SHARES, Kind.MASKED, Kind.CONSENT, Kind.REVEAL]


@st.composite
def rounds(draw: st.DrawFn) -> tuple[np.ndarray, int, int, dict[int, Kind]]:
    """Vectors (n, length), how many may be lost and collude, and who is silent from which step on."""
    silos = draw(st.integers(2, 6))
    colluding = draw(st.integers(0, 1)) if silos > 3 else 0
    most = silos - ((silos + colluding) // 2 + 1)
    dropped = draw(st.integers(0, most))
    length = draw(st.integers(1, 6))
    lost = draw(st.dictionaries(st.integers(1, silos), st.sampled_from(STEPS), max_size=min(silos, dropped + 2)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    return generator.integers(0, 2**32, (silos, length), dtype=np.uint32), dropped, colluding, lost


def check(case: tuple[np.ndarray, int, int, dict[int, Kind]]) -> bool:
    """Whether the round ended with a sum, which then is the right one; who is left in each step says if it must."""
    vectors, dropped, colluding, lost = case
    parties = Parties(vectors, dropped, colluding)
    terms = parties.terms
    left = {step: {n for n in terms.numbers if lost.get(n, 99) > step} for step in STEPS}
    needed = {step: terms.threshold if step >= Kind.CONSENT else terms.least for step in STEPS}
    ends = all(len(left[step]) >= needed[step] for step in STEPS)
    server = parties.server()
    carrier = InProcess(parties.members, lost)
    if not ends:
        with pytest.raises(RunFailed, match="the round needs"):
            conduct(server, carrier, seconds=1.0)
        assert server.result is None and server.failed
        return False
    total = conduct(server, carrier, seconds=1.0)
    assert total.members == left[Kind.MASKED]
    assert np.array_equal(total.vector, parties.plain_sum(left[Kind.MASKED]))
    assert not carrier.refused
    return True


@settings(max_examples=40)
@given(case=rounds())
def test_the_secure_sum_is_the_plain_sum(case: tuple[np.ndarray, int, int, dict[int, Kind]]) -> None:
    check(case)


@pytest.fixture
def quick_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checksum in place of a signature: three quarters of a round's time are signatures, which sums do not depend on."""

    def sign(identity: Identity, message: bytes) -> bytes:
        return hashlib.sha512(identity.public + message).digest()

    def remember(verifier: Verifier, public: bytes) -> None:
        verifier.public = public  # type: ignore[attr-defined]

    def check_sum(verifier: Verifier, signature: bytes, message: bytes) -> None:
        if signature != hashlib.sha512(verifier.public + message).digest():  # type: ignore[attr-defined]
            raise NotAuthorised("a message's signature is wrong")

    monkeypatch.setattr(Identity, "sign", sign)
    monkeypatch.setattr(Verifier, "__init__", remember)
    monkeypatch.setattr(Verifier, "check", check_sum)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_the_secure_sum_is_the_plain_sum_ten_thousand_times(part: int, quick_signatures: None) -> None:
    """20 parts of 500; most of the cases must end with a sum, and some must not."""
    ended = []

    @seed(part)
    @settings(max_examples=500, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(case=rounds())
    def run(case: tuple[np.ndarray, int, int, dict[int, Kind]]) -> None:
        ended.append(check(case))

    run()
    assert 100 <= sum(ended) < len(ended) and len(ended) >= 500


@pytest.mark.parametrize("step", STEPS)
def test_a_silo_may_be_lost_in_any_step(step: Kind) -> None:
    vectors = np.arange(20, dtype=np.uint32).reshape(5, 4) + np.uint32(2**32 - 9)
    parties = Parties(vectors, dropped=2)
    total = conduct(parties.server(), InProcess(parties.members, {2: step, 5: step}), seconds=1.0)
    voted = {1, 2, 3, 4, 5} if step > Kind.MASKED else {1, 3, 4}
    assert total.members == voted and np.array_equal(total.vector, parties.plain_sum(voted))


@pytest.mark.parametrize("step", STEPS)
def test_one_more_and_the_round_is_refused(step: Kind) -> None:
    parties = Parties(np.ones((5, 4), np.uint32), dropped=2)
    server = parties.server()
    with pytest.raises(RunFailed, match="the round needs 3"):
        conduct(server, InProcess(parties.members, {1: step, 2: step, 5: step}), seconds=1.0)
    assert server.result is None and server.asked_to_reveal == (step is Kind.REVEAL)
    with pytest.raises(BadInput, match="over"):
        server.close()


def test_members_go_on_to_the_next_round_after_one_that_failed() -> None:
    parties = Parties(np.arange(8, dtype=np.uint32).reshape(4, 2), dropped=1)
    with pytest.raises(RunFailed):
        conduct(parties.server(), InProcess(parties.members, {1: Kind.CONSENT, 2: Kind.CONSENT}), seconds=1.0)
    total = conduct(parties.server(), InProcess(parties.members), seconds=1.0)
    assert np.array_equal(total.vector, parties.plain_sum([1, 2, 3, 4]))


def test_a_member_that_refuses_to_contribute_is_lost_and_nothing_more() -> None:
    parties = Parties(np.ones((4, 2), np.uint32), dropped=1)

    def refuse(opening: object) -> np.ndarray:
        raise BadInput("no votes for this content")

    members = {**parties.members, 3: parties.member(3, refuse)}
    carrier = Watched(members)
    total = conduct(parties.server(), carrier, seconds=1.0)
    assert total.members == {1, 2, 4} and carrier.refused == ["no votes for this content"]
    assert total.vector.tolist() == [3, 3]


@pytest.mark.parametrize("wrong", [np.ones(2), np.ones(3, np.uint32), np.ones((1, 2), np.uint32), [1, 1]])
def test_a_contribution_of_another_form_is_not_sent(wrong: object) -> None:
    parties = Parties(np.ones((4, 2), np.uint32), dropped=1)
    members = {**parties.members, 1: parties.member(1, lambda opening: wrong)}  # type: ignore[arg-type, return-value]
    carrier = Watched(members)
    assert conduct(parties.server(), carrier, seconds=1.0).members == {2, 3, 4}
    assert (Kind.MASKED, 1) not in carrier.seen
