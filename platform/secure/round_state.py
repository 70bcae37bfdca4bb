"""What a member knows of the round it is in, and the form in which it may be kept between two messages.

A carrier may use a new process for every message. Then this is kept where the silo's records are kept, and nowhere else: it holds
the seeds of the masks. One process at a time takes it up, and the next state is written before the answer leaves; a state that is
taken up twice could sign two lists of survivors, which is what the protocol excludes.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import BadInput
from . import masks
from .keys import Agreement
from .messages import Kind, bundle, read_numbers, read_rows, unbundle, write_numbers, write_rows
from .protocol import Opening, Terms
from .shamir import SHARE_BYTES


@dataclass(repr=False)
class RoundState:
    """All of it goes when the round ends. `since` is in the member's clock."""

    opening: Opening
    since: float
    mask_key: Agreement = field(default_factory=Agreement.new)
    channel_key: Agreement = field(default_factory=Agreement.new)
    own_seed: bytes = field(default_factory=lambda: secrets.token_bytes(masks.SEED_BYTES))
    expected: Kind = Kind.PEERS
    own_keys: bytes = b""
    peers: dict[int, tuple[bytes, bytes]] = field(
        default_factory=dict
    )  # channel and mask key, by number, without its own
    channels: dict[int, Callable[[bytes], bytes]] = field(default_factory=dict)  # what is shared with each, by a label
    held: dict[int, bytes] = field(default_factory=dict)  # two shares of each who shared, its own too
    survivors: frozenset[int] = frozenset()

    def late(self, now: float, *, seconds: float) -> bool:
        """Whether it has taken more than `seconds`."""
        return now - self.since > seconds

    def to_bytes(self) -> bytes:
        """As `from_bytes` reads it; what is shared with peers is derived again."""
        head = json.dumps({"since": self.since, "expected": int(self.expected)}).encode()
        peers = write_rows({number: first + second for number, (first, second) in self.peers.items()})
        parts = (
            head, self.opening.body, self.mask_key.private, self.channel_key.private, self.own_seed, self.own_keys, peers,
            write_rows(self.held), write_numbers(self.survivors),
        )  # fmt: skip
        return bundle(parts)

    @classmethod
    def from_bytes(cls, raw: bytes, terms: Terms) -> RoundState:
        """What `to_bytes` wrote.

        Raises:
            BadInput: it is damaged, or of a round on other terms.
        """
        try:
            head, opening, mask_key, channel_key, own_seed, own_keys, peers, held, survivors = unbundle(raw)
            told = json.loads(head)
            return cls(
                Opening.from_body(opening, terms), float(told["since"]), Agreement(mask_key), Agreement(channel_key), own_seed,
                Kind(told["expected"]), own_keys,
                {number: (row[:32], row[32:]) for number, row in read_rows(peers, width=64).items()},
                held=read_rows(held, width=2 * SHARE_BYTES), survivors=read_numbers(survivors),
            )  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, BadInput):
                raise
            raise BadInput("the kept state of a round is damaged", why="the round is lost for this silo") from None
