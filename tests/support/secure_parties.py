"""Silos and a server with fresh keys, for tests of secure aggregation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from stillhouse.platform.secure.carrying import InProcess
from stillhouse.platform.secure.keys import Identity
from stillhouse.platform.secure.member import Member
from stillhouse.platform.secure.messages import Kind, peek
from stillhouse.platform.secure.protocol import Opening, Terms
from stillhouse.platform.secure.server import Server


@dataclass
class Parties:
    """Identities, terms, and members that contribute fixed vectors."""

    vectors: np.ndarray  # (n, length) uint32
    dropped: int = 0
    colluding: int = 0
    identities: list[Identity] = field(init=False)
    server_identity: Identity = field(init=False)

    def __post_init__(self) -> None:
        self.identities = [Identity.new() for _ in self.vectors]
        self.server_identity = Identity.new()
        keys = [identity.public for identity in self.identities]
        self.terms = Terms.of(keys, server=self.server_identity.public, dropped=self.dropped, colluding=self.colluding)
        self.members = {n: self.member(n) for n in self.terms.numbers}

    def member(self, number: int, contribute: Callable[[Opening], np.ndarray] | None = None) -> Member:
        def own(opening: Opening) -> np.ndarray:
            return self.vectors[number - 1]

        return Member(number, self.identities[number - 1], self.terms, contribute or own)

    def opening(self, request: str = "add up") -> Opening:
        return Opening.new(self.terms, length=self.vectors.shape[1], request=request)

    def server(self) -> Server:
        return Server(self.server_identity, self.terms, self.opening())

    def plain_sum(self, members: Iterable[int]) -> np.ndarray:
        """The oracle: Python's whole numbers, reduced at the end."""
        rows = [self.vectors[n - 1].tolist() for n in members]
        return np.array([sum(column) % 2**32 for column in zip(*rows, strict=True)], dtype=np.uint32)


@dataclass
class Watched(InProcess):
    """A carrier that keeps every message, by kind and number, as a curious server would."""

    seen: dict[tuple[Kind, int], bytes] = field(default_factory=dict)

    def exchange(self, sent: Mapping[int, bytes], *, seconds: float) -> Iterable[bytes]:
        for number, raw in sent.items():
            self.seen[peek(raw)[0], number] = raw
        for raw in super().exchange(sent, seconds=seconds):
            self.seen[peek(raw)[0], sender(raw)] = raw
            yield raw

    def body(self, kind: Kind, number: int) -> bytes:
        return peek(self.seen[kind, number])[2]


def sender(raw: bytes) -> int:
    """Bytes 38 to 42 of an envelope."""
    return int.from_bytes(raw[38:42], "big")
