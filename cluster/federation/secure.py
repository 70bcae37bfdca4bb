"""Votes over Flower without a trusted aggregator: the messages of `platform.secure` to the silos and back.

The server sends the queries (`secure_question`), on which each silo votes and keeps its votes to itself, and then goes through
rounds of secure aggregation (`secure_message`), of which it learns noisy sums. It holds the ledger, and charges it before the silos
are asked; answers are stored before they are given out. A silo trusts its own files alone (`platform.secure.folder`): its agreement
names the server's key, the other silos' keys and the noise. Flower may lose, repeat or alter what it carries, and may answer two
messages of a node side by side.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from ...platform.aggregator.batches import contents_of
from ...platform.data.images import check_images
from ...platform.errors import BadInput, RunFailed, StillhouseError
from ...platform.ledger.ledger import Ledger
from ...platform.privacy.events import Event
from ...platform.secure.agreement import Agreement
from ...platform.secure.ballot import SecureBallot
from ...platform.secure.folder import AGREEMENT, IDENTITY, SecureFolder, read_identity
from ...platform.secure.stored import Served, StoredBallot
from .flower import Node, Nodes, Setting, Values, failure_of
from .mailbox import Mailbox
from .members import Members, read_roster
from .relay import Relay
from .silo import ready, silo_folder
from .standing import FAILED, VOTING, Standing
from .terms import RelayTerms

log = logging.getLogger(__name__)

QUESTION, MESSAGE = "secure_question", "secure_message"


def question(values: Values, node: Node) -> Values:
    """Vote on `images`, public uint8 (Q, c, h, w), and keep the votes in the silo's folder. Trains first if that has not been done."""
    images = check_images(values.get("images"), "queries")
    host, _ = ready(node)
    _folder(node).keep_question(batch_hash(images), host.vote(images)[0])
    return {"silo": host.silos[0]}


def message(values: Values, node: Node) -> Values:
    """Answer a `message` of secure aggregation, bytes, with another, or with the word for why not (`refused`)."""
    raw = values.get("message")
    if not isinstance(raw, bytes):
        raise BadInput("a request holds no message")
    try:
        return {"message": _folder(node).handle(raw)}
    except StillhouseError as error:
        return {"refused": failure_of(error)}


def _folder(node: Node) -> SecureFolder:
    """The silo's folder. With `ledger` and `dataset` in its owner's settings, whatever it adds is charged there first."""
    url, dataset = node.settings.get("ledger"), node.settings.get("dataset")
    if url is None:
        return SecureFolder(silo_folder(node))

    def charge(key: str, event: Event) -> None:
        with Ledger(str(url)) as ledger:
            ledger.charge(str(dataset), key=f"round:{key}", event=event, purpose="votes added up securely")

    return SecureFolder(silo_folder(node), charge=charge)


class FlowerCarrier:
    """Takes messages to the members' nodes and back, see `platform.secure.carrying`. `nodes_of`: the node of each member's number."""

    def __init__(self, nodes: Nodes, nodes_of: Mapping[int, int]) -> None:
        self._nodes, self._nodes_of = nodes, dict(nodes_of)

    def exchange(self, sent: Mapping[int, bytes], *, seconds: float) -> Iterable[bytes]:
        """Send each member its message and yield what comes back in time. A member without a node is lost."""
        requests: dict[int, Values] = {
            self._nodes_of[number]: {"message": raw} for number, raw in sent.items() if number in self._nodes_of
        }
        for reply in self._nodes.ask(MESSAGE, requests, seconds=seconds):
            answer = {} if reply.values is None else reply.values
            raw = answer.get("message")
            if isinstance(raw, bytes):
                yield raw
            else:
                log.info("node %d does not take part: %s", reply.node, answer.get("refused", reply.failure))

    def put(self, images: np.ndarray, *, seconds: float) -> int:
        """Put queries to all members; how many have voted on them in time."""
        requests: dict[int, Values] = {node: {"images": images} for node in self._nodes_of.values()}
        voted = 0
        for reply in self._nodes.ask(QUESTION, requests, seconds=seconds):
            voted += reply.values is not None
            if reply.values is None:
                log.info("node %d does not vote: %s", reply.node, reply.failure)
        return voted


class SecureDesk:
    """Answers questions: from the store what was answered before, the rest by asking the silos."""

    def __init__(self, ballot: StoredBallot, carrier: FlowerCarrier, agreement: Agreement, *, seconds: float) -> None:
        self._ballot, self._carrier, self._agreement, self._seconds = ballot, carrier, agreement, seconds

    def ask(self, images: np.ndarray) -> Served:
        """Labels of public images, uint8 (Q, c, h, w).

        Raises:
            BudgetExhausted: what is not stored does not fit into the budget. Nothing was asked in that step.
            RunFailed: too few silos voted or took part. What was charged by then stays charged.
        """
        images, queries = check_images(images, "queries"), contents_of(images)
        if self._ballot.unanswered(queries):
            voted = self._carrier.put(images, seconds=self._seconds)
            if voted < self._agreement.terms.least:
                # Nobody was asked for anything that is charged; a round would be refused all the same.
                raise RunFailed(
                    f"{voted} of {len(self._agreement.silos)} silos have voted",
                    why=f"a sum needs {self._agreement.terms.least}; nothing was charged", mend="ask again when more silos are there",
                )  # fmt: skip
        return self._ballot.ask(batch_hash(images), queries)


def secure(nodes: Nodes, settings: Mapping[str, Setting]) -> None:
    """Have the teachers trained, then answer what lies in the mailbox until this process is ended.

    The run's configuration names `secure-folder`: the server's agreement, its signing key and the mailbox lie there.

    Raises:
        TimedOut: too few clients came, or too few of them have a teacher.
        BadInput: agreement or key are not there, or the data set has no budget.
    """
    terms = RelayTerms.read(settings)
    standing = Standing(Path(terms.state_file) if terms.state_file else None)
    try:
        place = Path(str(settings["secure-folder"]))
        agreement, identity = Agreement.read(place / AGREEMENT), read_identity(place / IDENTITY)
        members = Members(read_roster(Path(terms.roster)) if terms.roster else None)
        Relay(nodes, members, terms, standing).train()
        numbers = {agreement.number(silo): node for silo, node in members.nodes.items() if silo in agreement.silos}
        carrier = FlowerCarrier(nodes, numbers)
        mark = str(settings["high-water"])
        with Ledger(str(settings["ledger"]), high_water=Path(mark) if mark else None) as ledger:
            dataset = str(settings["dataset"])
            ballot = SecureBallot(
                ledger, carrier, identity, agreement.terms, agreement.mechanism, dataset=dataset,
                ensemble=str(settings["ensemble"]), classes=agreement.classes, seconds=terms.deadline_seconds,
            )  # fmt: skip
            desk = SecureDesk(StoredBallot(ballot), carrier, agreement, seconds=terms.deadline_seconds)
            standing.tell(VOTING)
            Mailbox(place).serve(desk.ask, lambda: ledger.budget(dataset), threading.Event())
    except StillhouseError as error:
        standing.tell(FAILED, error=error)
        raise


def batch_hash(images: np.ndarray) -> str:
    """The name of a batch of queries; silo and server each make it from the images."""
    return hashlib.sha256(repr(images.shape).encode() + np.ascontiguousarray(images).tobytes()).hexdigest()
