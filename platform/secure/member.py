"""A member's side of secure aggregation: one message in, one message out, in a fixed order, or a refusal.

A message that does not fit (forged, replayed, malformed, of another round, too early) changes nothing; the right one may still come.
Where a message is properly signed and yet asks for what the protocol excludes, the round's secrets are forgotten and the round is over
for this member. So they are after the last step, and by the first message, whatever it is, after a round has taken too long.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

import numpy as np

from ..errors import BadInput, RunFailed, TimedOut
from ..privacy.validate import positive
from . import masks, messages
from .keys import CHANNEL, MASK, Identity, Verifier, seal, unseal
from .memory import RoundMemory
from .messages import SERVER, Kind, Message
from .protocol import (
    OF_OWN_SEED,
    OF_PAIR_KEY,
    SEALED_BYTES,
    Opening,
    Terms,
    seed_commitment,
    shares_context,
    survivors_digest,
)
from .round_state import RoundState
from .shamir import SHARE_BYTES, split

Contribute = Callable[[Opening], np.ndarray]


class Member:
    """One silo.

    Args:
        number: its number in the terms.
        contribute: given the opening, the vector (length,) uint32 to be added up, with its noise; it raises where it will not answer.
            It is asked once a round, after secrets have been shared.
        memory: of the rounds it was in. Give it a file, so that a restart does not make it forget.
        seconds: how long a round may take, counted from its opening.
        clock: seconds; where messages are answered by several processes, one that they share (`time.time`).
        state: what `state` was after the message before, where this is another process.
    """

    def __init__(
        self,
        number: int,
        identity: Identity,
        terms: Terms,
        contribute: Contribute,
        *,
        memory: RoundMemory | None = None,
        seconds: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
        state: bytes = b"",
    ) -> None:
        positive(seconds=seconds)
        if number not in terms.numbers or terms.key(number) != identity.public:
            raise BadInput(f"member {number} of these terms has another key", mend="check the list of members")
        self.number, self.terms = number, terms
        self._identity, self._contribute = identity, contribute
        self._memory = RoundMemory() if memory is None else memory
        self._seconds, self._clock = seconds, clock
        self._server = {SERVER: Verifier(terms.server)}
        self._members = {n: Verifier(terms.key(n)) for n in terms.numbers}
        self._round = RoundState.from_bytes(state, terms) if state else None

    @property
    def state(self) -> bytes:
        """What another process has to know for the next message; empty outside of a round. Secret, see `round_state`."""
        return b"" if self._round is None else self._round.to_bytes()

    def handle(self, raw: bytes) -> bytes:
        """Answer a message of the server.

        Raises:
            BadInput, NotAuthorised: it does not fit; nothing has changed.
            RunFailed: it asks for what the protocol excludes, or too few members are left; the round is over here.
            TimedOut: the round has taken too long; it is over here.
        """
        current = self._round
        late = current is not None and current.late(self._clock(), seconds=self._seconds)
        if late:
            self._round = None
        kind, round_id, body = messages.peek(raw)
        if kind is Kind.OPENING:
            return self._open(raw, round_id, body)
        if late:
            raise TimedOut("the round has taken too long", why="a member keeps a round's secrets for a while only")
        if current is None:
            raise BadInput(
                f"a message of kind {kind.name} outside of a round", why="no round is open here, or it is over"
            )
        steps = {
            Kind.PEERS: self._share,
            Kind.DELIVERY: self._mask,
            Kind.SURVIVORS: self._consent,
            Kind.CONSENTS: self._reveal,
        }
        message = messages.read(raw, kind=current.expected, round_id=current.opening.round_id, senders=self._server)
        try:
            return steps[message.kind](current, message)
        except BaseException:
            # The server said it and signed it, so there is nothing better to wait for.
            self._round = None
            raise

    def _open(self, raw: bytes, round_id: bytes, body: bytes) -> bytes:
        messages.read(raw, kind=Kind.OPENING, round_id=round_id, senders=self._server)
        opening = Opening.from_body(body, self.terms)
        if opening.round_id != round_id:
            raise BadInput("an opening names another round than its own")
        self._memory.take(round_id)
        fresh = RoundState(opening, self._clock())
        keys = fresh.channel_key.public + fresh.mask_key.public
        fresh.own_keys = self._write(Kind.KEYS, fresh, keys)
        self._round = fresh
        return fresh.own_keys

    def _share(self, current: RoundState, message: Message) -> bytes:
        """Check who is there, and share both secrets among them."""
        found = {}
        for raw in messages.unbundle(message.body):
            told = messages.read(raw, kind=Kind.KEYS, round_id=current.opening.round_id, senders=self._members)
            if told.sender in found or len(told.body) != 64:
                raise RunFailed(
                    "the list of keys is not in order", why=f"member {told.sender} is in it twice, or has no two keys"
                )
            if told.sender == self.number and raw != current.own_keys:
                raise RunFailed("the list of keys holds other keys for this member than its own")
            found[told.sender] = told.body[:32], told.body[32:]
        self._enough(found, "have sent keys")
        current.peers = {number: keys for number, keys in found.items() if number != self.number}
        both = [key for pair in found.values() for key in pair]
        if len(set(both)) != len(both):
            raise RunFailed("two members have sent the same key")
        threshold = self.terms.threshold
        of_pairs = split(current.mask_key.private, threshold=threshold, holders=found)
        of_seed = split(current.own_seed, threshold=threshold, holders=found)
        current.held[self.number] = of_pairs[self.number] + of_seed[self.number]
        rows = {
            peer: seal(
                self._channel(current, peer, sender=self.number),
                of_pairs[peer] + of_seed[peer],
                shares_context(current.opening.round_id, self.number, peer),
            )
            for peer in current.peers
        }
        current.expected = Kind.DELIVERY
        commitment = seed_commitment(current.opening.round_id, self.number, current.own_seed)
        return self._write(Kind.SHARES, current, commitment + messages.write_rows(rows))

    def _mask(self, current: RoundState, message: Message) -> bytes:
        """Take the others' shares in, and send the vector under its masks."""
        rows = messages.read_rows(message.body, width=SEALED_BYTES)
        if not rows.keys() <= current.peers.keys():
            raise RunFailed("shares of somebody who sent no keys")
        self._enough({*rows, self.number}, "have shared their secrets")
        for peer, sealed in rows.items():
            key = self._channel(current, peer, sender=peer)
            current.held[peer] = unseal(key, sealed, shares_context(current.opening.round_id, peer, self.number))
        length = current.opening.length
        vector = self._contribute(current.opening)
        if not isinstance(vector, np.ndarray) or vector.dtype != np.uint32 or vector.shape != (length,):
            raise BadInput(f"a contribution must be {length} numbers of type uint32")
        seeds = {peer: self._pair_seed(current, peer) for peer in rows}
        masked = vector + masks.expand(current.own_seed, length) + masks.pairwise(self.number, seeds, length)
        current.expected = Kind.SURVIVORS
        return self._write(Kind.MASKED, current, masks.to_bytes(masked))

    def _consent(self, current: RoundState, message: Message) -> bytes:
        """Sign one list of survivors, and no other."""
        survivors = messages.read_numbers(message.body)
        if not survivors <= current.held.keys():
            raise RunFailed("a vector is said to have come from somebody who shared no secrets")
        if self.number not in survivors:
            raise RunFailed(
                "this member's vector is said to be lost", why="it was sent, but came too late or was dropped"
            )
        self._enough(survivors, "have sent their vectors")
        current.survivors = survivors
        current.expected = Kind.CONSENTS
        return self._write(Kind.CONSENT, current, survivors_digest(current.held, survivors))

    def _reveal(self, current: RoundState, message: Message) -> bytes:
        """One share of each who shared: of its own mask if its vector came, else of the key to its pairs."""
        agreed = survivors_digest(current.held, current.survivors)
        among = {number: self._members[number] for number in current.survivors}
        consenting = set()
        for raw in messages.unbundle(message.body):
            told = messages.read(raw, kind=Kind.CONSENT, round_id=current.opening.round_id, senders=among)
            if told.body != agreed:
                raise RunFailed(
                    "members were told different lists of survivors",
                    why=f"member {told.sender} consented to another one; revealing shares for both could unmask a vector",
                )
            consenting.add(told.sender)
        if len(consenting) < self.terms.threshold:
            raise RunFailed(
                f"{len(consenting)} members consent", why=f"{self.terms.threshold} must before anything is revealed"
            )
        rows = {}
        for number, both in current.held.items():
            lost = number not in current.survivors
            rows[number] = OF_PAIR_KEY + both[:SHARE_BYTES] if lost else OF_OWN_SEED + both[SHARE_BYTES:]
        answer = self._write(Kind.REVEAL, current, messages.write_rows(rows))
        self._round = None
        return answer

    def _enough(self, members: Collection[int], what: str) -> None:
        count = len(members)
        if count < self.terms.least:
            raise RunFailed(
                f"{count} of {len(self.terms.members)} members {what}",
                why=f"a sum needs at least {self.terms.least}, or it would hold too little noise and hide too little",
                mend="ask again when more silos are there",
            )

    def _channel(self, current: RoundState, peer: int, *, sender: int) -> bytes:
        """The key that seals what `sender`, one of the two, sends the other."""
        if peer not in current.channels:
            current.channels[peer] = current.channel_key.derive(
                current.peers[peer][0], purpose=CHANNEL, round_id=current.opening.round_id, own=self.number, other=peer
            )
        return current.channels[peer](b"from" + sender.to_bytes(4, "big"))

    def _pair_seed(self, current: RoundState, peer: int) -> bytes:
        return current.mask_key.derive(
            current.peers[peer][1], purpose=MASK, round_id=current.opening.round_id, own=self.number, other=peer
        )(b"")

    def _write(self, kind: Kind, current: RoundState, body: bytes) -> bytes:
        return messages.write(
            kind, sender=self.number, round_id=current.opening.round_id, body=body, identity=self._identity
        )
