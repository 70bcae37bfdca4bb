"""Who sends what does not fit: replayed, reordered, forged, malformed messages, and a server that cheats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.errors import BadInput, NotAuthorised, RunFailed, StillhouseError, TimedOut
from stillhouse.platform.secure import messages
from stillhouse.platform.secure.carrying import InProcess, conduct
from stillhouse.platform.secure.keys import Identity
from stillhouse.platform.secure.member import Member
from stillhouse.platform.secure.messages import SERVER, Kind, peek
from stillhouse.platform.secure.protocol import OF_OWN_SEED, OF_PAIR_KEY, SEALED_BYTES, survivors_digest
from stillhouse.platform.secure.shamir import PRIME
from support.secure_parties import Parties, Watched, sender


def parties_of(silos: int = 4, dropped: int = 1) -> Parties:
    return Parties(np.arange(2 * silos, dtype=np.uint32).reshape(silos, 2), dropped)


@dataclass
class Hostile(InProcess):
    """A network that sends everything twice, in reverse, with older and foreign messages in between."""

    foreign: bytes = b""

    def __post_init__(self) -> None:
        self.older: list[bytes] = []

    def exchange(self, sent: Mapping[int, bytes], *, seconds: float) -> Iterable[bytes]:
        answers = list(super().exchange(sent, seconds=seconds))
        yield from self.older
        yield self.foreign
        for raw in reversed(answers):
            flipped = bytearray(raw)
            flipped[len(raw) // 2] ^= 64
            yield bytes(flipped)
            yield raw
            yield raw
        self.older += answers


def test_a_hostile_network_changes_nothing() -> None:
    other = parties_of()
    foreign = next(iter(Watched(other.members).exchange(other.server().start(), seconds=1.0)))
    parties = parties_of()
    refused: list[str] = []
    total = conduct(parties.server(), Hostile(parties.members, foreign=foreign), seconds=1.0, on_refused=refused.append)
    assert np.array_equal(total.vector, parties.plain_sum([1, 2, 3, 4])) and total.members == {1, 2, 3, 4}
    # Each of 5 steps: 4 altered, 4 repeated, 1 foreign, and all older ones.
    assert len(refused) == 5 * 9 + 4 * (0 + 1 + 2 + 3 + 4)
    for what in ("signature is wrong", "replayed", "another round", "came late, early or twice"):
        assert any(what in why for why in refused), what


def recorded(parties: Parties, lost: dict[int, Kind] | None = None) -> Watched:
    carrier = Watched(parties.members, lost or {})
    conduct(parties.server(), carrier, seconds=1.0)
    return carrier


def test_a_member_forgets_a_finished_round_and_never_enters_it_again() -> None:
    parties = parties_of()
    carrier = recorded(parties)
    for kind in (Kind.PEERS, Kind.DELIVERY, Kind.SURVIVORS, Kind.CONSENTS):
        with pytest.raises(BadInput, match="outside of a round"):
            parties.members[1].handle(carrier.seen[kind, 1])
    with pytest.raises(BadInput, match="has been in that round"):
        parties.members[1].handle(carrier.seen[Kind.OPENING, 1])


class Puppets:
    """A server that can sign whatever it wants: the server's identity, and members that answer it step by step."""

    def __init__(self, parties: Parties) -> None:
        self.parties, self.opening = parties, parties.opening()
        self.answers: dict[int, bytes] = {}

    def write(self, kind: Kind, body: bytes, identity: Identity | None = None) -> bytes:
        by = identity or self.parties.server_identity
        return messages.write(kind, sender=SERVER, round_id=self.opening.round_id, body=body, identity=by)

    def say(self, number: int, kind: Kind, body: bytes) -> bytes:
        self.answers[number] = self.parties.members[number].handle(self.write(kind, body))
        return self.answers[number]

    def up_to_shares(self) -> list[bytes]:
        numbers = self.parties.terms.numbers
        self.keys = [self.say(n, Kind.OPENING, self.opening.body) for n in numbers]
        self.shares = {n: self.say(n, Kind.PEERS, messages.bundle(self.keys)) for n in numbers}
        self.sealed = {n: messages.read_rows(peek(raw)[2][32:], width=SEALED_BYTES) for n, raw in self.shares.items()}
        return self.keys

    def delivery(self, number: int, among: Iterable[int]) -> bytes:
        return messages.write_rows({n: self.sealed[n][number] for n in among if n != number})

    def up_to_masked(self) -> None:
        self.up_to_shares()
        numbers = self.parties.terms.numbers
        for n in numbers:
            self.say(n, Kind.DELIVERY, self.delivery(n, numbers))

    def consents(self, lists: Mapping[int, Iterable[int]]) -> dict[int, bytes]:
        return {n: self.say(n, Kind.SURVIVORS, messages.write_numbers(set(told))) for n, told in lists.items()}


def test_a_server_cannot_have_one_member_both_lost_and_not_lost() -> None:
    """The attack that consent is for: tell some that member 1 is lost and others that it is not, and get both kinds of shares."""
    puppets = Puppets(parties_of(silos=5, dropped=2))
    puppets.up_to_masked()
    with_it, without = {1, 2, 3, 4, 5}, {2, 3, 4, 5}
    words = puppets.consents({1: with_it, 2: with_it, 3: without, 4: without, 5: with_it})
    terms = puppets.parties.terms
    assert terms.threshold == 3
    for number in (1, 2, 3, 4):
        mixed = messages.bundle(words[n] for n in (2, 3, 4))
        with pytest.raises(RunFailed, match="different lists"):
            puppets.say(number, Kind.CONSENTS, mixed)
    # The one list has three words, so those who were told it reveal; two words for the other list are not enough.
    revealed = peek(puppets.say(5, Kind.CONSENTS, messages.bundle(words[n] for n in (1, 2, 5))))[2]
    kinds = {row[:1] for row in messages.read_rows(revealed, width=34).values()}
    assert kinds == {OF_OWN_SEED}


def test_too_few_words_reveal_nothing() -> None:
    puppets = Puppets(parties_of(silos=5, dropped=2))
    puppets.up_to_masked()
    words = puppets.consents({number: {2, 3, 4, 5} for number in (2, 3, 4, 5)})
    with pytest.raises(RunFailed, match="2 members consent"):
        puppets.say(3, Kind.CONSENTS, messages.bundle([words[2], words[4], words[2]]))


def test_a_member_signs_one_list_only() -> None:
    puppets = Puppets(parties_of())
    puppets.up_to_masked()
    puppets.consents({2: {1, 2, 3}})
    with pytest.raises(BadInput, match="CONSENTS is expected"):
        puppets.say(2, Kind.SURVIVORS, messages.write_numbers({2, 3, 4}))


@pytest.mark.parametrize(
    ("told", "what"), [({2, 3}, "at least 3"), ({1, 3, 4}, "said to be lost"), ({1, 2, 3, 9}, "shared no secrets")]
)
def test_lists_that_cannot_be_are_refused_and_end_the_round(told: set[int], what: str) -> None:
    puppets = Puppets(parties_of())
    puppets.up_to_masked()
    with pytest.raises(RunFailed, match=what):
        puppets.say(2, Kind.SURVIVORS, messages.write_numbers(told))
    with pytest.raises(BadInput, match="outside of a round"):
        puppets.say(2, Kind.SURVIVORS, messages.write_numbers({1, 2, 3}))


def test_a_server_cannot_stand_in_for_a_member() -> None:
    """With keys of its own making in place of member 3's it would share every pair mask with it."""
    puppets = Puppets(parties_of())
    keys = [puppets.say(n, Kind.OPENING, puppets.opening.body) for n in (1, 2, 3, 4)]
    thief = Identity.new()
    forged = messages.write(Kind.KEYS, sender=3, round_id=puppets.opening.round_id, body=bytes(64), identity=thief)
    with pytest.raises(NotAuthorised):
        puppets.say(1, Kind.PEERS, messages.bundle([keys[0], keys[1], forged, keys[3]]))
    puppets.say(2, Kind.PEERS, messages.bundle(keys))


def test_lists_of_keys_that_cannot_be_are_refused() -> None:
    for change, what in (
        (lambda keys, other: [*keys, keys[0]], "twice"),
        (lambda keys, other: keys[:2], "at least 3"),
        (lambda keys, other: [other, *keys[1:]], "another round"),
    ):
        puppets, others = Puppets(parties_of()), Puppets(parties_of())
        keys = [puppets.say(n, Kind.OPENING, puppets.opening.body) for n in (1, 2, 3, 4)]
        other = others.say(1, Kind.OPENING, others.opening.body)
        with pytest.raises((RunFailed, BadInput), match=what):
            puppets.say(1, Kind.PEERS, messages.bundle(change(keys, other)))


def test_shares_for_somebody_else_do_not_open() -> None:
    puppets = Puppets(parties_of())
    puppets.up_to_shares()
    mine = {n: puppets.sealed[n][1] for n in (2, 3, 4)}
    with pytest.raises(NotAuthorised, match="does not open"):
        puppets.say(1, Kind.DELIVERY, messages.write_rows({**mine, 2: puppets.sealed[2][3]}))
    theirs = {n: puppets.sealed[n][2] for n in (1, 3, 4)}
    with pytest.raises(NotAuthorised, match="does not open"):
        puppets.say(2, Kind.DELIVERY, messages.write_rows({**theirs, 3: theirs[4], 4: theirs[3]}))


def test_a_stranger_cannot_play_the_server() -> None:
    puppets = Puppets(parties_of())
    with pytest.raises(NotAuthorised):
        puppets.parties.members[1].handle(puppets.write(Kind.OPENING, puppets.opening.body, Identity.new()))
    puppets.up_to_shares()
    with pytest.raises(NotAuthorised):
        body = puppets.delivery(1, (2, 3, 4))
        puppets.parties.members[1].handle(puppets.write(Kind.DELIVERY, body, Identity.new()))
    assert puppets.say(1, Kind.DELIVERY, puppets.delivery(1, (2, 3, 4))), "the right one may still come"


def test_each_other_member_is_revealed_by_one_share_of_the_right_kind() -> None:
    parties = parties_of(silos=5, dropped=2)
    carrier = recorded(parties, {4: Kind.MASKED, 5: Kind.SHARES})
    for number in (1, 2, 3):
        rows = messages.read_rows(carrier.body(Kind.REVEAL, number), width=34)
        assert {n: row[:1] for n, row in rows.items()} == {
            1: OF_OWN_SEED,
            2: OF_OWN_SEED,
            3: OF_OWN_SEED,
            4: OF_PAIR_KEY,
        }


def test_a_round_that_takes_too_long_is_forgotten() -> None:
    parties, now = parties_of(), [0.0]
    member = Member(
        1, parties.identities[0], parties.terms, lambda opening: parties.vectors[0], seconds=5.0, clock=lambda: now[0]
    )
    parties.members[1] = member
    puppets = Puppets(parties)
    puppets.up_to_shares()
    now[0] = 5.1
    for error in (TimedOut, BadInput):
        with pytest.raises(error):
            puppets.say(1, Kind.DELIVERY, puppets.delivery(1, (2, 3, 4)))


@pytest.mark.parametrize("told", ["nonsense", "an opening that was"])
def test_a_late_round_is_forgotten_with_the_first_message_though_it_is_refused(told: str) -> None:
    parties, now = parties_of(), [0.0]
    member = Member(
        1, parties.identities[0], parties.terms, lambda opening: parties.vectors[0], seconds=5.0, clock=lambda: now[0]
    )
    opening = parties.server().start()[1]
    member.handle(opening)
    now[0] = 5.0
    for over in (False, True):
        with pytest.raises(BadInput):
            member.handle(b"nonsense" if told == "nonsense" else opening)
        assert (member.state == b"") == over
        now[0] = 5.1


@dataclass
class Liar(Watched):
    """Member 2 reveals other shares than it holds, or had shared another secret than it used."""

    lie: str = "reveal"

    def __post_init__(self) -> None:
        self.parties: Parties | None = None

    def exchange(self, sent: Mapping[int, bytes], *, seconds: float) -> Iterable[bytes]:
        assert self.parties is not None
        for raw in super().exchange(sent, seconds=seconds):
            kind, round_id, body = peek(raw)
            number = sender(raw)
            if number == 2 and self.lie == "reveal" and kind is Kind.REVEAL:
                rows = messages.read_rows(body, width=34)
                value = (int.from_bytes(rows[1][1:], "big") + 1) % PRIME
                body = messages.write_rows({**rows, 1: rows[1][:1] + value.to_bytes(33, "big")})
            if number == 2 and self.lie == "commit" and kind is Kind.SHARES:
                body = bytes(32) + body[32:]
            identity = self.parties.identities[number - 1]
            yield messages.write(kind, sender=number, round_id=round_id, body=body, identity=identity)


@pytest.mark.parametrize(("lie", "victim"), [("reveal", 1), ("commit", 2)])
def test_a_member_that_lies_about_shares_ends_the_round_and_gives_no_wrong_sum(lie: str, victim: int) -> None:
    parties = parties_of()
    carrier = Liar(parties.members, lie=lie)
    carrier.parties = parties
    server = parties.server()
    with pytest.raises(RunFailed, match=f"member {victim} are not"):
        conduct(server, carrier, seconds=1.0)
    assert server.result is None


@pytest.mark.parametrize("kind", [Kind.KEYS, Kind.SHARES, Kind.MASKED, Kind.CONSENT, Kind.REVEAL])
def test_signed_but_malformed_bodies_are_refused_by_the_server(kind: Kind) -> None:
    parties = parties_of()
    server = parties.server()
    carrier = Watched(parties.members)
    sent = server.start()
    while server.step is not kind:
        for raw in carrier.exchange(sent, seconds=1.0):
            server.take(raw)
        sent = server.close()
    [first, *_] = list(carrier.exchange(sent, seconds=1.0))
    body = peek(first)[2]
    for wrong in (b"", body[:-1], body + b"\0", body[: len(body) // 2], bytes(len(body) + 38)):
        raw = messages.write(
            kind, sender=1, round_id=server.opening.round_id, body=wrong, identity=parties.identities[0]
        )
        with pytest.raises(BadInput):
            server.take(raw)
    server.take(first)
    assert server.waiting_for == {2, 3, 4}


def test_a_consent_to_something_else_is_refused_by_the_server() -> None:
    parties = parties_of()
    server = parties.server()
    carrier = Watched(parties.members)
    sent = server.start()
    while server.step is not Kind.CONSENT:
        for raw in carrier.exchange(sent, seconds=1.0):
            server.take(raw)
        sent = server.close()
    body = survivors_digest({1, 2, 3, 4}, {1, 2, 3})
    raw = messages.write(
        Kind.CONSENT, sender=1, round_id=server.opening.round_id, body=body, identity=parties.identities[0]
    )
    with pytest.raises(BadInput, match="another list"):
        server.take(raw)


PARTIES = parties_of()
SERVER_SIDE = PARTIES.server()
SERVER_SIDE.start()


@settings(max_examples=60)
@given(raw=st.binary(max_size=400), kind=st.sampled_from(Kind))
def test_random_bytes_never_get_in(raw: bytes, kind: Kind) -> None:
    head = b"SHSA\x01" + bytes([kind]) + SERVER_SIDE.opening.round_id
    for wrong in (raw, head + raw):
        with pytest.raises(StillhouseError):
            SERVER_SIDE.take(wrong)
        with pytest.raises(StillhouseError):
            PARTIES.members[1].handle(wrong)


def test_identities_must_fit_the_terms() -> None:
    parties, stranger = parties_of(), Identity.new()
    with pytest.raises(BadInput):
        Member(1, stranger, parties.terms, lambda opening: parties.vectors[0])
    with pytest.raises(BadInput):
        Member(9, parties.identities[0], parties.terms, lambda opening: parties.vectors[0])
    other = parties_of()
    for identity, opening in ((stranger, parties.opening()), (parties.server_identity, other.opening())):
        with pytest.raises(BadInput):
            type(parties.server())(identity, parties.terms, opening)
