"""The server's side of secure aggregation: it passes messages on, adds masked vectors up, and takes the masks off the sum.

It never sees a vector. Each step is open until it is closed; `close` says what to send next, or refuses if too few have answered. A
message that does not fit is refused and changes nothing: that of a stranger, a replayed one, one that comes after its step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import BadInput, RunFailed
from . import masks, messages
from .keys import MASK, Agreement, Identity, Verifier
from .messages import SERVER, Kind
from .protocol import (
    OF_OWN_SEED,
    OF_PAIR_KEY,
    SEALED_BYTES,
    Opening,
    Terms,
    seed_commitment,
    survivors_digest,
)
from .shamir import SHARE_BYTES, Recovery

_SENT_IN = {
    Kind.KEYS: Kind.PEERS,
    Kind.SHARES: Kind.DELIVERY,
    Kind.MASKED: Kind.SURVIVORS,
    Kind.CONSENT: Kind.CONSENTS,
}


@dataclass(frozen=True)
class Sum:
    """What a round ends with: the sum modulo 2^32 of the vectors of these members, (length,) uint32."""

    vector: np.ndarray
    members: frozenset[int]


class Server:
    """One round. `start`, then `take` what comes in and `close` each step; after the fifth there is a `result`."""

    def __init__(self, identity: Identity, terms: Terms, opening: Opening) -> None:
        if identity.public != terms.server:
            raise BadInput("the server of these terms has another key", mend="check the terms")
        if opening.terms != terms.digest:
            raise BadInput("this opening is for other terms")
        self.terms, self.opening = terms, opening
        self._identity = identity
        self._members = {number: Verifier(terms.key(number)) for number in terms.numbers}
        self._step = Kind.KEYS
        self._asked: frozenset[int] = frozenset()
        self._came: dict[int, messages.Message] = {}
        self._keys: dict[int, messages.Message] = {}
        self._shares: dict[int, dict[int, bytes]] = {}
        self._commitments: dict[int, bytes] = {}
        self._sum: np.ndarray | None = None
        self._survivors: frozenset[int] = frozenset()
        self.result: Sum | None = None
        self.failed = False
        self.asked_to_reveal = False
        self._checks = {
            Kind.KEYS: self._check_keys,
            Kind.SHARES: self._check_shares,
            Kind.MASKED: self._check_masked,
            Kind.CONSENT: self._check_consent,
            Kind.REVEAL: self._check_reveal,
        }
        self._afters = {
            Kind.KEYS: self._after_keys,
            Kind.SHARES: self._after_shares,
            Kind.MASKED: self._after_masked,
            Kind.CONSENT: self._after_consent,
            Kind.REVEAL: self._after_reveal,
        }

    def start(self) -> dict[int, bytes]:
        """What to send to whom first."""
        self._asked = frozenset(self.terms.numbers)
        return self._to_each(Kind.OPENING, dict.fromkeys(self._asked, self.opening.body))

    @property
    def step(self) -> Kind:
        """Which kind of message is waited for."""
        return self._step

    @property
    def waiting_for(self) -> frozenset[int]:
        """Members that were asked in this step and have not answered."""
        return frozenset() if self.failed or self.result is not None else self._asked - self._came.keys()

    def take(self, raw: bytes) -> None:
        """Take a member's message in.

        Raises:
            BadInput, NotAuthorised: it does not fit; nothing has changed.
        """
        if self.failed or self.result is not None:
            raise BadInput("a message after the end of its round")
        asked = {number: self._members[number] for number in self._asked}
        message = messages.read(raw, kind=self._step, round_id=self.opening.round_id, senders=asked)
        if message.sender in self._came:
            raise BadInput(f"member {message.sender} has answered already", why="a message was replayed")
        self._checks[self._step](message)
        self._came[message.sender] = message

    def close(self) -> dict[int, bytes]:
        """End the step: what to send to whom next; nothing after the last, when the result is there.

        Raises:
            RunFailed: too few members have answered, or what they revealed is not what they had committed to. The round is over.
        """
        if self.failed or self.result is not None:
            raise BadInput("the round is over")
        try:
            came, self._came = self._came, {}
            needed = self.terms.threshold if self._step in (Kind.CONSENT, Kind.REVEAL) else self.terms.least
            if len(came) < needed:
                raise RunFailed(
                    f"{len(came)} of {len(self.terms.members)} members have sent {self._step.name}",
                    why=f"the round needs {needed}; nothing is known of the sum",
                    mend="open a new round when more silos are there",
                )
            return self._afters[self._step](came)
        except BaseException:
            self.failed = True
            raise

    def _check_keys(self, message: messages.Message) -> None:
        if len(message.body) != 64:
            raise BadInput("a member sends two keys of 32 bytes")

    def _check_shares(self, message: messages.Message) -> None:
        rows = messages.read_rows(message.body[32:], width=SEALED_BYTES)
        if len(message.body) < 32 or rows.keys() != self._asked - {message.sender}:
            raise BadInput(f"member {message.sender} has not sealed shares for each of its peers, and for nobody else")

    def _check_masked(self, message: messages.Message) -> None:
        masks.from_bytes(message.body, self.opening.length)

    def _check_consent(self, message: messages.Message) -> None:
        if message.body != survivors_digest(self._shares, self._survivors):
            raise BadInput(f"member {message.sender} consents to another list than it was sent")

    def _check_reveal(self, message: messages.Message) -> None:
        rows = messages.read_rows(message.body, width=1 + SHARE_BYTES)
        kinds = {number: OF_OWN_SEED if number in self._survivors else OF_PAIR_KEY for number in self._shares}
        if {number: row[:1] for number, row in rows.items()} != kinds:
            raise BadInput(f"member {message.sender} has not revealed one share of each, of the right kind")

    def _after_keys(self, came: Mapping[int, messages.Message]) -> dict[int, bytes]:
        self._keys = dict(came)
        body = messages.bundle(came[number].raw for number in sorted(came))
        return self._next(dict.fromkeys(came, body))

    def _after_shares(self, came: Mapping[int, messages.Message]) -> dict[int, bytes]:
        for sender, message in came.items():
            self._commitments[sender] = message.body[:32]
            self._shares[sender] = messages.read_rows(message.body[32:], width=SEALED_BYTES)
        bodies = {
            number: messages.write_rows({s: rows[number] for s, rows in self._shares.items() if s != number})
            for number in came
        }
        return self._next(bodies)

    def _after_masked(self, came: Mapping[int, messages.Message]) -> dict[int, bytes]:
        length = self.opening.length
        total = np.zeros(length, dtype=np.uint32)
        for message in came.values():
            total += masks.from_bytes(message.body, length)
        self._sum, self._survivors = total, frozenset(came)
        return self._next(dict.fromkeys(came, messages.write_numbers(came)))

    def _after_consent(self, came: Mapping[int, messages.Message]) -> dict[int, bytes]:
        body = messages.bundle(came[number].raw for number in sorted(came))
        self.asked_to_reveal = True
        return self._next(dict.fromkeys(came, body))

    def _after_reveal(self, came: Mapping[int, messages.Message]) -> dict[int, bytes]:
        """Put the seeds together from as many shares as they need, and take their masks off."""
        assert self._sum is not None
        holders = sorted(came)[: self.terms.threshold]
        recovery = Recovery(holders)
        rows = {holder: messages.read_rows(came[holder].body, width=1 + SHARE_BYTES) for holder in holders}
        total = self._sum
        for number in sorted(self._shares):
            try:
                secret = recovery.combine({holder: rows[holder][number][1:] for holder in holders})
            except BadInput:
                raise self._not_theirs(number) from None
            if number in self._survivors:
                if seed_commitment(self.opening.round_id, number, secret) != self._commitments[number]:
                    raise self._not_theirs(number)
                total = total - masks.expand(secret, self.opening.length)
            else:
                total = total - self._left_by(number, secret)
        self._sum = None
        self.result = Sum(total, self._survivors)
        return {}

    def _left_by(self, lost: int, private: bytes) -> np.ndarray:
        """The masks of a lost member's pairs, as they stand in the sum of the others."""
        key = Agreement(private)
        if key.public != self._keys[lost].body[32:]:
            raise self._not_theirs(lost)
        left = np.zeros(self.opening.length, dtype=np.uint32)
        for number in self._survivors:
            seed = key.derive(
                self._keys[number].body[32:], purpose=MASK, round_id=self.opening.round_id, own=lost, other=number
            )(b"")
            left += masks.pairwise(number, {lost: seed}, self.opening.length)
        return left

    def _not_theirs(self, number: int) -> RunFailed:
        return RunFailed(
            f"the shares revealed for member {number} are not those of its secret",
            why="it shared something else, or somebody revealed a wrong share; the sum would be garbage",
            mend="open a new round, without the member that is at fault if it can be told",
        )

    def _next(self, bodies: dict[int, bytes]) -> dict[int, bytes]:
        """The next step, of those who are still with us."""
        self._asked = frozenset(bodies)
        sent = _SENT_IN[self._step]
        self._step = Kind(sent + 1)
        return self._to_each(sent, bodies)

    def _to_each(self, kind: Kind, bodies: Mapping[int, bytes]) -> dict[int, bytes]:
        """Signed once for each different body."""
        written: dict[bytes, bytes] = {}
        for body in bodies.values():
            if body not in written:
                written[body] = messages.write(
                    kind, sender=SERVER, round_id=self.opening.round_id, body=body, identity=self._identity
                )
        return {number: written[body] for number, body in bodies.items()}
