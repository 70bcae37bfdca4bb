"""The other ends of an aggregator: a silo's, an analyst's, an officer's. Errors come out as those of `platform.errors`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import numpy as np

from ..data.images import check_images
from ..errors import BadInput, NotAuthorised
from ..privacy.mechanisms import Mechanism
from ..privacy.vector_mean import VectorMean
from . import aggregator_pb2 as pb
from . import aggregator_pb2_grpc as pb_grpc
from .asking import Answers, Part, ask_part, joined, split
from .asking_vectors import VectorAnswers, VectorPart, answered
from .config import is_loopback
from .tensors import read_question, write_tensor
from .tls import client_credentials
from .vector_batches import VectorQuestion
from .wire import MESSAGE_OPTIONS, TOKEN_KEY, TOKEN_PREFIX, meaning, read_images, write_integers

T = TypeVar("T")

__all__ = [
    "Analyst",
    "Answers",
    "BudgetState",
    "Endpoint",
    "EnsembleFacts",
    "OfficerClient",
    "QueryBatch",
    "SiloClient",
    "VectorAnswers",
    "VectorQuery",
    "Verified",
]

CALL_SECONDS = 60.0
OPTIONS = [
    *MESSAGE_OPTIONS,
    ("grpc.enable_http_proxy", 0),  # a token goes to the aggregator and nowhere else
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
]


@dataclass(frozen=True)
class Endpoint:
    """Where an aggregator is and who calls it. `ca` turns TLS on; `cert` and `key` are the caller's own, for mutual TLS."""

    address: str
    token: str = field(repr=False)
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if not self.token or not self.token.isascii() or not self.token.isprintable():
            raise BadInput("an access token is printable ASCII text", mend="give the token as it was handed out")
        if (self.cert is None) != (self.key is None) or (self.cert is not None and self.ca is None):
            raise BadInput(
                "mutual TLS needs a certificate, its key and the aggregator's authority", mend="give all three"
            )
        if self.ca is None and not is_loopback(self.address):
            raise NotAuthorised(
                f"refusing to send a token to {self.address} without TLS",
                why="it would cross the network in the clear",
                mend="give the authority that signed the aggregator's certificate (--ca)",
            )

    def channel(self) -> grpc.Channel:
        """Open a channel; nothing is sent yet."""
        if self.ca is None:
            return grpc.insecure_channel(self.address, OPTIONS)
        return grpc.secure_channel(self.address, client_credentials(self.ca, self.cert, self.key), OPTIONS)


class _Client:
    """A connection with a token."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._address = endpoint.address
        self._channel = endpoint.channel()
        self._metadata = ((TOKEN_KEY, TOKEN_PREFIX + endpoint.token),)
        self._met = (
            False  # Whoever was met and is gone may be starting again; an address where nobody answered may be wrong.
        )

    def close(self) -> None:
        """Let go of the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _call(self, method: Callable[..., T], request: Any, wait_seconds: float = 0.0) -> T:
        try:
            answer = method(request, timeout=wait_seconds + CALL_SECONDS, metadata=self._metadata)
        except grpc.RpcError as failure:
            raise meaning(failure, self._address) from None
        self._met = True
        return answer


@dataclass(frozen=True, eq=False)
class QueryBatch:
    """Public images to vote on, uint8 (Q, c, h, w)."""

    id: str
    hash: str
    images: np.ndarray


@dataclass(frozen=True, eq=False)
class VectorQuery:
    """A question that asks for vectors, and the mechanism that says how they are clipped and rounded."""

    id: str
    hash: str
    question: VectorQuestion
    mechanism: VectorMean


class SiloClient(_Client):
    """A silo's side: dial out, fetch, vote."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self._stub = pb_grpc.SiloStub(self._channel)
        self._silos: tuple[str, ...] = ()
        self._vectors = False

    def join(self, description: dict[str, Any]) -> None:
        """Say who is here. Batches are asked for on behalf of `description["silos"]`, or of all that the token owns.

        Raises:
            NotAuthorised: the token does not own these silos, or the roster does not name them.
            BadInput: the silos know more classes than the aggregator.
        """
        self._call(self._stub.Join, pb.JoinRequest(description_json=json.dumps(description)))
        self._silos = tuple(description.get("silos") or ())
        self._vectors = "vectors" in (description.get("answers") or ())

    def next_batch(self, wait_seconds: float) -> QueryBatch | VectorQuery | None:
        """Wait for a batch that lacks a vote of these silos, or their vectors if they said that they have some."""
        request = pb.NextBatchRequest(wait_seconds=wait_seconds, silos=self._silos, vectors=self._vectors)
        reply = self._call(self._stub.NextBatch, request, wait_seconds)
        if reply.found and reply.HasField("vectors"):
            return VectorQuery(reply.id, reply.hash, *read_question(reply.vectors))
        return QueryBatch(reply.id, reply.hash, read_images(reply.images)) if reply.found else None

    def send_votes(self, batch: QueryBatch, silos: Sequence[str], votes: np.ndarray) -> None:
        """Send votes (S, Q), one row for each silo.

        Raises:
            BadInput: the votes were not taken: wrong shape or range, voted otherwise before, or too late.
        """
        table = np.asarray(votes)
        if table.shape != (len(silos), len(batch.images)) or table.dtype.kind not in "iu":
            raise BadInput("votes must be whole numbers, one row for each silo and one column for each query")
        request = pb.SendVotesRequest(id=batch.id, hash=batch.hash, silos=silos, votes=write_integers(table))
        self._call(self._stub.SendVotes, request)

    def send_vectors(self, batch: VectorQuery, silo: str, vectors: np.ndarray) -> None:
        """Send one silo's vectors (rows, width), on the mechanism's grid.

        Raises:
            BadInput: they were not taken: wrong shape or type, too long, answered otherwise before, or too late.
        """
        request = pb.SendVectorsRequest(id=batch.id, hash=batch.hash, silo=silo, vectors=write_tensor(vectors))
        self._call(self._stub.SendVectors, request)

    def report_failure(self, batch_id: str, kind: str, silos: Sequence[str] | None = None) -> None:
        """Say that these silos (None: all that joined) cannot vote on a batch, by the type of the error."""
        whose = self._silos if silos is None else silos
        self._call(self._stub.ReportFailure, pb.ReportFailureRequest(id=batch_id, kind=kind, silos=whose))


@dataclass(frozen=True)
class EnsembleFacts:
    """Whom questions are put to: the data set, the ensemble, how many teachers it has, how many classes they know."""

    dataset: str
    ensemble: str
    teachers: int
    classes: int


class Analyst(_Client):
    """An analyst's side: put public images to the ensemble."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self._stub = pb_grpc.AnalystStub(self._channel)

    def ask(
        self,
        images: np.ndarray,
        mechanism: Mechanism,
        *,
        ensemble: str,
        student: np.ndarray | None = None,
        key: str | None = None,
        wait_seconds: float = 600.0,
    ) -> Answers:
        """Ask for labels of uint8 images (Q, c, h, w) and wait for them.

        The same question is the same batch (told by its content, or by `key`): asked again it gives the same labels and
        costs nothing; one that was refused or failed is tried again. Large questions are split, and `wait_seconds` holds for
        each part. If the budget ends within a question, the rest has the status "budget".

        Raises:
            BudgetExhausted: not a single answer fits into the budget.
            TimedOut: too few silos voted, or the wait was over; asking again goes on from there.
            Unreachable, NotAuthorised, BadInput: as they say.
        """
        queries = check_images(images, "queries")

        def send(part: Part) -> pb.BatchStatus:
            return ask_part(part, self._submit, self._answers, wait_seconds=wait_seconds, met_before=self._met)

        parts = split(queries, mechanism, ensemble=ensemble, student=student, key=key)
        return joined([(part, send(part)) for part in parts])

    def ask_vectors(
        self,
        question: VectorQuestion,
        mechanism: VectorMean,
        *,
        ensemble: str,
        key: str | None = None,
        wait_seconds: float = 600.0,
    ) -> VectorAnswers:
        """Ask for vectors and wait for them.

        The question is one batch: it is charged whole before anything is drawn. The same question again gives the same vectors
        and costs nothing; one that was refused or failed is tried again.

        Raises:
            BudgetExhausted: the budget does not hold it; nothing was drawn.
            TimedOut: too few silos answered, or the wait was over; asking again goes on from there.
            BadInput: it does not fit into one message, or as it says. Unreachable, NotAuthorised: as they say.
        """
        part = VectorPart.of(question, mechanism, ensemble=ensemble, key=key)
        return answered(
            part,
            ask_part(part, self._submit_vectors, self._vector_answers, wait_seconds=wait_seconds, met_before=self._met),
        )

    def ensemble(self) -> EnsembleFacts:
        """Public facts about the ensemble that is served."""
        reply = self._call(self._stub.Ensemble, pb.EnsembleRequest())
        return EnsembleFacts(reply.dataset, reply.ensemble, reply.teachers, reply.classes)

    def _submit_vectors(self, request: pb.SubmitVectorsRequest) -> pb.VectorStatus:
        return self._call(self._stub.SubmitVectors, request)

    def _vector_answers(self, request: pb.AnswersRequest) -> pb.VectorStatus:
        return self._call(self._stub.VectorAnswers, request, request.wait_seconds)

    def _submit(self, request: pb.SubmitRequest) -> pb.BatchStatus:
        return self._call(self._stub.Submit, request)

    def _answers(self, request: pb.AnswersRequest) -> pb.BatchStatus:
        return self._call(self._stub.Answers, request, request.wait_seconds)


@dataclass(frozen=True)
class BudgetState:
    """What was granted and spent on a data set."""

    dataset: str
    epsilon: float
    delta: float
    kind: str
    neighbouring: str
    spent_epsilon: float
    entries: int


@dataclass(frozen=True)
class Verified:
    """What a full reading of the ledger found."""

    ok: bool
    entries: int
    problems: tuple[str, ...]


class OfficerClient(_Client):
    """A data protection officer's side: look, and grant. An empty data set name means the one that is served."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self._stub = pb_grpc.OfficerStub(self._channel)

    def budget(self, dataset: str = "") -> BudgetState:
        """The budget of a data set."""
        return _state(self._call(self._stub.Budget, pb.BudgetRequest(dataset=dataset)))

    def grant(
        self, dataset: str = "", *, epsilon: float, delta: float, kind: str = "gaussian", orders: Sequence[float] = ()
    ) -> BudgetState:
        """Set its cap."""
        request = pb.GrantRequest(dataset=dataset, epsilon=epsilon, delta=delta, kind=kind, orders=orders)
        return _state(self._call(self._stub.Grant, request))

    def entries(self, dataset: str = "") -> list[dict[str, Any]]:
        """The ledger's entries, of one data set or all."""
        entries: list[dict[str, Any]] = []
        more = True
        while more:
            request = pb.EntriesRequest(dataset=dataset, after=entries[-1]["seq"] if entries else 0)
            reply = self._call(self._stub.Entries, request)
            entries += [json.loads(text) for text in reply.entries_json]
            more = reply.more
        return entries

    def verify(self) -> Verified:
        """Have the whole ledger read again and checked."""
        reply = self._call(self._stub.Verify, pb.VerifyRequest())
        return Verified(reply.ok, reply.entries, tuple(reply.problems))


def _state(reply: pb.BudgetReply) -> BudgetState:
    return BudgetState(
        reply.dataset,
        reply.epsilon,
        reply.delta,
        reply.kind,
        reply.neighbouring,
        reply.spent_epsilon,
        int(reply.entries),
    )
