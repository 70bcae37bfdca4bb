"""A sum over silos of which a server learns nothing but the sum: the terms, the steps, and what each side checks.

Bonawitz et al. 2017, "Practical Secure Aggregation for Privacy-Preserving Machine Learning" (CCS 2017, figures 2 and 4): each member
adds to its vector a mask for each pair, which cancels in the sum, and one of its own. The seeds of both are held in shares by the
others. For a member whose vector came, they give shares of its own mask; for one that was lost, shares of the key to its pairs;
never both kinds for one member, since with both its vector would lie open.

| step | server sends | member answers | a member sees to it that |
| --- | --- | --- | --- |
| keys | OPENING | KEYS: two fresh X25519 public keys | it was not in that round; the terms are those it knows |
| shares | PEERS: all KEYS | SHARES: sealed for each peer; commitment to its mask's seed | each is signed by a member; they are enough |
| masked | DELIVERY: what was sealed for it | MASKED: its vector, masked | every seal opens |
| consent | SURVIVORS: whose vectors came | CONSENT: a signed word for the list | it is on it; at least `least` are |
| reveal | CONSENTS | REVEAL: for each other one share | `threshold` members signed the very same list |

`member` and `server` are the two sides as state machines, `carrying` takes messages back and forth. Vectors are sums modulo 2^32.

>>> terms = Terms.of([bytes([i]) * 32 for i in range(1, 11)], server=bytes(32), dropped=3, colluding=1)
>>> terms.least, terms.threshold
(7, 6)
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..errors import BadInput
from ..privacy.validate import positive_int
from .keys import KEY_BYTES, digest
from .masks import LONGEST
from .messages import write_numbers
from .shamir import SHARE_BYTES

MOST_MEMBERS = 1000
_LONGEST_REQUEST = 1 << 20

# What is sealed for a peer: a share of the sender's pair key, and one of its own mask's seed.
SEALED_BYTES = 2 * SHARE_BYTES + 16
OF_PAIR_KEY, OF_OWN_SEED = b"\0", b"\1"


@dataclass(frozen=True)
class Terms:
    """What all members and the server have agreed on beforehand, out of band. Members are numbered from 1 in this order.

    Args:
        members: Ed25519 public keys.
        server: the server's.
        threshold: shares that put a secret together, and words of consent that a reveal needs.
        least: vectors that a sum must be made of, else nothing is revealed.
        colluding: members that may share all they know with the server without its learning more than the sum of the others.

    Raises:
        BadInput: the numbers do not go together. Two lists of survivors can each find `threshold` words only if
            2 threshold <= members + colluding, as honest members sign one list: that is excluded.
    """

    members: tuple[bytes, ...]
    server: bytes
    threshold: int
    least: int
    colluding: int = 0

    def __post_init__(self) -> None:
        positive_int(threshold=self.threshold, least=self.least, colluding=self.colluding + 1)
        keys = {*self.members, self.server}
        if not 2 <= len(self.members) <= MOST_MEMBERS or len(keys) != len(self.members) + 1:
            raise BadInput(f"secure aggregation needs 2 to {MOST_MEMBERS} members and a server, each with its own key")
        if any(not isinstance(key, bytes) or len(key) != KEY_BYTES for key in keys):
            raise BadInput(f"a member is known by a public key of {KEY_BYTES} bytes")
        if not self.threshold <= self.least <= len(self.members):
            raise BadInput(
                f"threshold {self.threshold}, least {self.least} and {len(self.members)} members do not go together",
                why="threshold <= least <= members, or no round could end",
                mend="tolerate fewer lost or colluding members",
            )
        if 2 * self.threshold <= len(self.members) + self.colluding:
            raise BadInput(
                f"a threshold of {self.threshold} is too low for {len(self.members)} members, {self.colluding} of them colluding",
                why="a server could tell one half that a member was lost and the other that it was not, and unmask its vector",
                mend=f"use at least {smallest_threshold(len(self.members), self.colluding)}",
            )

    @classmethod
    def of(cls, members: Sequence[bytes], *, server: bytes, dropped: int, colluding: int) -> Terms:
        """Terms for rounds that stand `dropped` lost and `colluding` curious members, with the smallest safe threshold."""
        threshold = smallest_threshold(len(members), colluding)
        return cls(tuple(members), server, threshold, len(members) - dropped, colluding)

    def to_json(self) -> dict[str, Any]:
        """To be kept in a file by all who agree; keys as hexadecimal text."""
        keys = {"members": [key.hex() for key in self.members], "server": self.server.hex()}
        return {**keys, "threshold": self.threshold, "least": self.least, "colluding": self.colluding}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Terms:
        """The terms that `to_json` described; anything unknown is refused."""
        try:
            settings = dict(data)
            members = tuple(bytes.fromhex(key) for key in settings.pop("members"))
            return cls(members, bytes.fromhex(settings.pop("server")), **settings)
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, BadInput):
                raise
            raise BadInput("these are no terms of secure aggregation", mend="write them with `Terms.to_json`") from None

    @property
    def numbers(self) -> range:
        """The members' numbers."""
        return range(1, len(self.members) + 1)

    def key(self, number: int) -> bytes:
        """A member's public key."""
        return self.members[number - 1]

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of all of it."""
        numbers = (len(self.members), self.threshold, self.least, self.colluding)
        return digest(b"terms", self.server, *self.members, *(n.to_bytes(4, "big") for n in numbers))


def smallest_threshold(members: int, colluding: int) -> int:
    """The least t with 2 t > members + colluding."""
    return (members + colluding) // 2 + 1


@dataclass(frozen=True)
class Opening:
    """A round: under which terms, how long vectors are, and what they are to hold, in words that a member's side understands.

    The nonce makes two rounds with the same request differ. A round's id is the digest of all this.
    """

    terms: bytes
    length: int
    request: str
    nonce: bytes

    @classmethod
    def new(cls, terms: Terms, *, length: int, request: str) -> Opening:
        """A fresh round."""
        positive_int(length=length)
        if length > LONGEST or len(request) > _LONGEST_REQUEST:
            raise BadInput("a round of too long vectors, or too long a request", mend="ask fewer queries at once")
        return cls(terms.digest, int(length), request, os.urandom(32))

    @cached_property
    def body(self) -> bytes:
        """As an OPENING carries it."""
        content = {"terms": self.terms.hex(), "length": self.length, "request": self.request, "nonce": self.nonce.hex()}
        return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()

    @cached_property
    def round_id(self) -> bytes:
        """32 bytes."""
        return digest(b"round", self.body)

    @classmethod
    def from_body(cls, body: bytes, terms: Terms) -> Opening:
        """What an OPENING says, if it is for these terms.

        Raises:
            BadInput: it is not.
        """
        try:
            content = json.loads(body)
            opening = cls(
                bytes.fromhex(content["terms"]), content["length"], content["request"], bytes.fromhex(content["nonce"])
            )
            in_order = opening.body == body and len(opening.nonce) == 32 and isinstance(opening.request, str)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            in_order = False
        if not in_order:
            raise BadInput("an opening is malformed")
        positive_int(length=opening.length)
        if opening.length > LONGEST or len(opening.request) > _LONGEST_REQUEST:
            raise BadInput("an opening asks for too much")
        if opening.terms != terms.digest:
            raise BadInput(
                "a round on other terms", why="members, threshold or least number differ from what was agreed"
            )
        return opening


def survivors_digest(shared: Collection[int], survivors: Collection[int]) -> bytes:
    """What a member consents to: who had shared secrets, and whose vectors are in the sum."""
    return digest(b"survivors", write_numbers(shared), write_numbers(survivors))


def shares_context(round_id: bytes, sender: int, recipient: int) -> bytes:
    """Bound into a seal: whose shares for whom, in which round."""
    return digest(b"shares", round_id, sender.to_bytes(4, "big"), recipient.to_bytes(4, "big"))


def seed_commitment(round_id: bytes, member: int, seed: bytes) -> bytes:
    """By which the server sees that the shares it was given are those of the seed that was used."""
    return digest(b"own mask", round_id, member.to_bytes(4, "big"), seed)
