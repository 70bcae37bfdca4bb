"""Taking messages of a round back and forth: what a carrier must do, one within a process, and a round from start to end.

A carrier over a network sends each member its message and gives back what came in before the deadline; who did not answer is lost. That
is all that is asked of it: messages are signed and sealed, so it may lose, repeat or alter them without harm to anybody's vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..errors import InternalBug, StillhouseError
from ..privacy.validate import positive
from .member import Member
from .messages import Kind
from .server import Server, Sum


class Carrier(Protocol):
    """Something that reaches the members."""

    def exchange(self, sent: Mapping[int, bytes], *, seconds: float) -> Iterable[bytes]:
        """Send each member its message; what came back within so many seconds, in any order."""


def conduct(
    server: Server, carrier: Carrier, *, seconds: float, on_refused: Callable[[str], None] = lambda why: None
) -> Sum:
    """One round, each of its five steps with its own deadline. A member that is late in one step is lost for the rest.

    Raises:
        RunFailed: too few members were left in some step, or what they revealed does not fit. The sum is not known then.
    """
    positive(seconds=seconds)
    sent = server.start()
    while True:
        for raw in carrier.exchange(sent, seconds=seconds):
            try:
                server.take(raw)
            except StillhouseError as error:
                on_refused(str(error))
        sent = server.close()
        if server.result is not None:
            return server.result
        if not sent:
            raise InternalBug("a round of secure aggregation went nowhere")


@dataclass
class InProcess:
    """Members of this process. `lost_before` names the step in which a member is silent from then on. Counts bytes."""

    members: Mapping[int, Member]
    lost_before: Mapping[int, Kind] = field(default_factory=dict)
    to_members: int = 0
    to_server: int = 0
    refused: list[str] = field(default_factory=list)

    def exchange(self, sent: Mapping[int, bytes], *, seconds: float) -> Iterable[bytes]:
        """Each member in turn; one that refuses does not answer."""
        for number, raw in sent.items():
            self.to_members += len(raw)
            try:
                answer = self.members[number].handle(raw)
            except StillhouseError as error:
                self.refused.append(str(error))
                continue
            lost = self.lost_before.get(number)
            # A message's kind is its sixth byte.
            if lost is not None and answer[5] >= lost:
                continue
            self.to_server += len(answer)
            yield answer
