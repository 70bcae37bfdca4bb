"""Messages: one envelope for all of them, signed, and bodies of fixed layouts. Whatever does not fit exactly is refused.

| bytes | what |
| --- | --- |
| 4, 1, 1 | "SHSA", version, kind |
| 32 | the round: a digest of its opening, so that a message of another round is told apart |
| 4 | sender: 0 for the server, or a member's number |
| 4 | length of the body |
| ... | body |
| 64 | the sender's Ed25519 signature of all that stands before |

A reader says which kind it expects, from whom, in which round. A replayed message is of another round, or of a kind that is not
expected any more, or its sender has been heard already; that last is for the server to see.

>>> read_rows(write_rows({2: b"ab", 7: b"cd"}), width=2)
{2: b'ab', 7: b'cd'}
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from ..errors import BadInput
from .keys import SIGNATURE_BYTES, Identity, Verifier

MAGIC = b"SHSA"
VERSION = 1
SERVER = 0
_HEAD = struct.Struct(">4sBB32sII")
_NUMBER = struct.Struct(">I")
LONGEST = 1 << 30


class Kind(IntEnum):
    """What a message is. Numbers are never used for anything else."""

    OPENING = 1  # server: a round, what is asked in it, on which terms
    KEYS = 2  # member: two public keys for this round
    PEERS = 3  # server: the members' KEYS messages, whole
    SHARES = 4  # member: sealed shares of its two secrets, one for each peer
    DELIVERY = 5  # server: what the others sealed for this member
    MASKED = 6  # member: its masked vector
    SURVIVORS = 7  # server: whose vectors are being added up
    CONSENT = 8  # member: its word for that list
    CONSENTS = 9  # server: the members' CONSENT messages, whole
    REVEAL = 10  # member: for each other either the one share or the other


_KINDS = frozenset(Kind)


@dataclass(frozen=True)
class Message:
    """A message whose form and signature are in order; `raw` is the whole of it."""

    kind: Kind
    sender: int
    body: bytes
    raw: bytes


def write(kind: Kind, *, sender: int, round_id: bytes, body: bytes, identity: Identity) -> bytes:
    """A signed envelope."""
    signed = _HEAD.pack(MAGIC, VERSION, kind, round_id, sender, len(body)) + body
    return signed + identity.sign(signed)


def peek(raw: bytes) -> tuple[Kind, bytes, bytes]:
    """Kind, round and body of an envelope of this version; nothing is verified but the form.

    Raises:
        BadInput: it is no such envelope.
    """
    if not isinstance(raw, bytes) or not _HEAD.size + SIGNATURE_BYTES <= len(raw) <= LONGEST:
        raise BadInput("a message is too short or too long to be one")
    magic, version, kind, round_id, _, length = _HEAD.unpack_from(raw)
    if magic != MAGIC:
        raise BadInput("these bytes are no message of secure aggregation")
    if version != VERSION:
        raise BadInput(
            f"a message of version {version}", why=f"this side speaks version {VERSION}", mend="use one release"
        )
    if kind not in _KINDS:
        raise BadInput(f"a message of unknown kind {kind}")
    if len(raw) != _HEAD.size + length + SIGNATURE_BYTES:
        raise BadInput("a message's length is not what it says")
    return Kind(kind), round_id, raw[_HEAD.size : -SIGNATURE_BYTES]


def read(raw: bytes, *, kind: Kind, round_id: bytes, senders: Mapping[int, Verifier]) -> Message:
    """The message, if it is of this kind and round, from one of these senders, and its signature holds.

    Raises:
        BadInput: it is malformed, or of another kind, round or version, or from somebody who has no say here.
        NotAuthorised: the signature is not that of the sender it names.
    """
    found, its_round, body = peek(raw)
    if its_round != round_id:
        raise BadInput("a message of another round", why="it was replayed, or its sender is out of step")
    if found is not kind:
        raise BadInput(
            f"a message of kind {found.name}", why=f"{kind.name} is expected now; it came late, early or twice"
        )
    sender = _HEAD.unpack_from(raw)[4]
    if sender not in senders:
        raise BadInput(f"a message from number {sender}", why="it has no part in this step of the round")
    senders[sender].check(raw[-SIGNATURE_BYTES:], raw[:-SIGNATURE_BYTES])
    return Message(kind, sender, body, raw)


def write_rows(rows: Mapping[int, bytes]) -> bytes:
    """Numbers (from 0, below 2^32) and equally long entries, in the order of the numbers."""
    return b"".join(_NUMBER.pack(number) + rows[number] for number in sorted(rows))


def read_rows(body: bytes, *, width: int) -> dict[int, bytes]:
    """What `write_rows` wrote with entries of `width` bytes; each number once, in order."""
    step = _NUMBER.size + width
    if len(body) % step:
        raise BadInput("a list's length is no whole number of entries")
    rows: dict[int, bytes] = {}
    last = -1
    for start in range(0, len(body), step):
        (number,) = _NUMBER.unpack_from(body, start)
        if number <= last:
            raise BadInput("a list is out of order or names a number twice")
        rows[number] = body[start + _NUMBER.size : start + step]
        last = number
    return rows


def write_numbers(numbers: Collection[int]) -> bytes:
    """A set of numbers."""
    return write_rows(dict.fromkeys(numbers, b""))


def read_numbers(body: bytes) -> frozenset[int]:
    """What `write_numbers` wrote."""
    return frozenset(read_rows(body, width=0))


def bundle(messages: Iterable[bytes]) -> bytes:
    """Several whole messages as one body."""
    return b"".join(_NUMBER.pack(len(raw)) + raw for raw in messages)


def unbundle(body: bytes) -> list[bytes]:
    """What `bundle` put together."""
    found, place = [], 0
    while place < len(body):
        end = place + _NUMBER.size
        length = _NUMBER.unpack_from(body, place)[0] if end <= len(body) else LONGEST
        if end + length > len(body):
            raise BadInput("a bundle of messages is cut off")
        found.append(body[end : end + length])
        place = end + length
    return found
