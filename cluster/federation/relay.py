"""The server's side of a federation over Flower: it carries questions from the aggregator to the silos, and votes back.

It holds no ledger, draws no noise and decides nothing. To the aggregator (`stillhouse serve`) it is a silo's client that may speak
for all silos of the roster; what charges, draws, stores and releases, and counts quorum and deadline, is the aggregator as it stands.

    aggregator  <- gRPC ->  relay (Flower ServerApp)  <- Flower ->  silos (Flower ClientApps)
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

import numpy as np

from ...platform.aggregator.client import Endpoint, QueryBatch, SiloClient
from ...platform.errors import BadInput, StillhouseError, TimedOut, Unreachable
from ..commands.endpoint import read_token
from .flower import Nodes, Reply, Setting, Value, Values
from .members import Members, read_roster
from .standing import FAILED, TRAINING, VOTING, Standing
from .terms import RelayTerms

log = logging.getLogger(__name__)

WAIT_SECONDS = 5.0
IDLE_SECONDS = 0.5
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
RETRY_SECONDS = 10.0


def relay(nodes: Nodes, settings: Mapping[str, Setting]) -> None:
    """Have the teachers trained, then carry votes until this process is ended.

    Raises:
        TimedOut: too few clients came, or too few of them have a teacher.
        NotAuthorised: the aggregator refuses the relay's token.
    """
    terms = RelayTerms.read(settings)
    standing = Standing(Path(terms.state_file) if terms.state_file else None)
    try:
        ca = Path(terms.ca_file) if terms.ca_file else None
        endpoint = Endpoint(terms.address, read_token(Path(terms.token_file) if terms.token_file else None), ca=ca)
        members = Members(read_roster(Path(terms.roster)) if terms.roster else None)
        carrier = Relay(nodes, members, terms, standing)
        carrier.train()
        with SiloClient(endpoint) as client:
            carrier.serve(client, threading.Event())
    except StillhouseError as error:
        standing.tell(FAILED, error=error)
        raise


@dataclass
class _Collected:
    """What the clients have answered to a batch: votes by silo, who voted, and who failed when."""

    batch: str = ""
    votes: dict[str, np.ndarray] = field(default_factory=dict)
    voted: set[int] = field(default_factory=set)
    failed: dict[int, float] = field(default_factory=dict)


class Relay:
    """The clients of one federation, driven together."""

    def __init__(self, nodes: Nodes, members: Members, terms: RelayTerms, standing: Standing) -> None:
        self._nodes, self._members, self._terms, self._standing = nodes, members, terms, standing
        self._last = _Collected()

    def train(self) -> None:
        """Ask every client that connects in time for its teacher, and wait for all of them, or for a quorum when the time is over.

        Raises:
            TimedOut: too few clients are there, or too few have a teacher.
        """
        terms, began = self._terms, time.monotonic()
        self._standing.tell(TRAINING)
        self._nodes.wait(terms.least, seconds=terms.start_seconds)
        trained: dict[str, bool] = {}
        failed: dict[int, str] = {}
        asked: set[int] = set()
        while len(trained) + len(failed) < terms.silos:
            spent = time.monotonic() - began
            fresh = [node for node in self._members.known(self._nodes.present()) if node not in asked]
            if not fresh:
                if spent > min(terms.start_seconds, terms.training_seconds):
                    break
                time.sleep(IDLE_SECONDS)
            asked.update(fresh)
            left = max(terms.training_seconds - spent, 0.0)
            for reply in self._nodes.ask("train", {node: {} for node in fresh}, seconds=left):
                silo = self._who(reply)
                if silo is None or reply.values is None:
                    failed[reply.node] = reply.failure
                else:
                    trained[silo] = bool(reply.values.get("trained"))
                self._standing.tell(TRAINING, ready=len(trained), lost=list(failed.values()))
        if len(trained) < terms.least:
            reasons = ", ".join(sorted(set(failed.values()))) or "they are not there, or not ready"
            raise TimedOut(
                f"{len(trained)} of {terms.silos} silos have a teacher, the quorum is {terms.least}", why=reasons,
                mend="look into the logs of their SuperNodes; start again when they are back, what was trained is found",
            )  # fmt: skip
        new = sum(trained.values())
        self._standing.silos, self._standing.trained, self._standing.reused = sorted(trained), new, len(trained) - new

    def serve(self, client: SiloClient, stop: threading.Event) -> int:
        """Carry batches until told to stop; return how many were carried. A lost aggregator is dialled again.

        Raises:
            NotAuthorised: the aggregator refuses the token, or does not know its silos.
        """
        pause, joined, carried = FIRST_PAUSE, False, set()
        while not stop.is_set():
            try:
                if not joined:
                    client.join({})  # For all silos of the token.
                    joined = True
                    self._standing.tell(VOTING)
                    pause = FIRST_PAUSE
                batch = client.next_batch(WAIT_SECONDS)
                if not isinstance(batch, QueryBatch):
                    continue
                if batch.id != self._last.batch:
                    self._last = _Collected(batch.id)
                    carried.add(batch.id)
                if self._carry(batch, client):
                    pause = FIRST_PAUSE
                else:
                    stop.wait(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
            except (Unreachable, TimedOut) as error:
                log.info("aggregator: %s; trying again in %.1f s", type(error).__name__, pause)
                joined = False
                stop.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        return len(carried)

    def _carry(self, batch: QueryBatch, client: SiloClient) -> bool:
        """Put a batch to the clients whose votes are not known yet, and pass on each vote as it comes; whether anybody was asked.

        The aggregator offers a batch again while a silo is missing, and after a try that failed for want of votes. So votes that are
        known are sent once more, which changes nothing if they are known there, and whoever has come back meanwhile is asked.
        """
        known, now = self._last, time.monotonic()
        for known_silo, known_votes in known.votes.items():
            self._send(batch, client, known_silo, known_votes)
        fresh = [
            node
            for node in self._members.known(self._nodes.present())
            if node not in known.voted and now - known.failed.get(node, -RETRY_SECONDS) >= RETRY_SECONDS
        ]
        requests: dict[int, Values] = {node: {"images": batch.images} for node in fresh}
        for reply in self._nodes.ask("votes", requests, seconds=self._terms.deadline_seconds):
            silo = self._who(reply)
            votes = None if reply.values is None else reply.values.get("votes")
            if silo is not None and _are_labels(votes, len(batch.images)):
                known.voted.add(reply.node)
                known.votes[silo] = votes
                self._send(batch, client, silo, votes)
            else:
                known.failed[reply.node] = time.monotonic()
                if silo is not None:
                    client.report_failure(batch.id, reply.failure or "BadInput", [silo])
        return bool(fresh)

    def _send(self, batch: QueryBatch, client: SiloClient, silo: str, votes: np.ndarray) -> None:
        try:
            client.send_votes(batch, [silo], votes[None])
        except (Unreachable, TimedOut):
            raise
        except StillhouseError as error:
            # A late vote, or one that is no vote: the aggregator goes on without it.
            log.warning("votes of %s were not taken: %s", silo, type(error).__name__)

    def _who(self, reply: Reply) -> str | None:
        """The silo that a reply is from; None where that is not known, or not believed."""
        try:
            return self._members.silo(reply)
        except BadInput as error:
            log.warning("a reply of node %d was not taken: %s", reply.node, error)
            return None


def _are_labels(votes: Value | None, queries: int) -> TypeGuard[np.ndarray]:
    """Whether this is one whole number for each query. Whether they are classes, the aggregator sees to."""
    return isinstance(votes, np.ndarray) and votes.shape == (queries,) and votes.dtype.kind in "iu"
