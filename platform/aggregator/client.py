"""The other ends of an aggregator: a silo's, an analyst's, an officer's. Errors come out as the exceptions of `platform.errors`."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import numpy as np

from ..data.images import check_images
from ..errors import BadInput, BudgetExhausted, NotAuthorised, TimedOut, Unreachable
from ..privacy.mechanisms import Mechanism
from . import aggregator_pb2 as pb
from . import aggregator_pb2_grpc as pb_grpc
from .batches import BUDGET, Batch, BatchState
from .config import MAX_MESSAGE_BYTES, is_loopback
from .wire import error_of, images_from_message, images_to_message, votes_to_bytes

T = TypeVar("T")

CALL_SECONDS = 30.0
LONG_POLL_SECONDS = 20.0
RECONNECT_SECONDS = 15.0
QUERIES_AT_ONCE = 2048
BYTES_AT_ONCE = MAX_MESSAGE_BYTES // 2


@dataclass(frozen=True)
class Endpoint:
    """Where an aggregator is and who calls it. `ca` turns TLS on; `cert` and `key` are the caller's own, for mutual TLS."""

    address: str
    token: str
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None) or (self.cert and not self.ca):
            raise BadInput(
                "mutual TLS needs a certificate, its key and the aggregator's authority", mend="give all three"
            )
        host = self.address.rpartition(":")[0]
        if self.ca is None and not is_loopback(host):
            raise NotAuthorised(
                f"refusing to send a token to {self.address} without TLS",
                why="it would cross the network in the clear",
                mend="give the authority that signed the aggregator's certificate (--ca)",
            )

    def __repr__(self) -> str:
        return f"Endpoint({self.address!r}, token=hidden)"

    def channel(self) -> grpc.Channel:
        """Open a channel; nothing is sent yet."""
        options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.enable_http_proxy", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2000),
        ]
        if self.ca is None:
            return grpc.insecure_channel(self.address, options)
        files = (self.ca, self.key, self.cert)
        missing = [f for f in files if f is not None and not f.is_file()]
        if missing:
            raise BadInput(f"no file {missing[0]}", mend="give PEM files")
        root, key, chain = (f.read_bytes() if f else None for f in files)
        return grpc.secure_channel(self.address, grpc.ssl_channel_credentials(root, key, chain), options)


class _Client:
    """A connection with a token."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._channel = endpoint.channel()
        self._metadata = (("authorization", f"Bearer {endpoint.token}"),)

    def close(self) -> None:
        """Let go of the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _call(self, method: Callable[..., T], request: Any, seconds: float = CALL_SECONDS) -> T:
        try:
            return method(request, timeout=seconds, metadata=self._metadata)
        except grpc.RpcError as failure:
            raise error_of(failure, self._endpoint.address) from None


@dataclass(frozen=True, eq=False)
class QueryBatch:
    """Public images to vote on."""

    id: str
    hash: str
    images: np.ndarray


class SiloClient(_Client):
    """A silo's side: dial out, fetch, vote."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self._stub = pb_grpc.SiloStub(self._channel)

    def join(self, description: dict[str, Any]) -> None:
        """Say who is here; refused if the token's silos are not in the roster."""
        self._call(self._stub.Join, pb.JoinRequest(description_json=json.dumps(description)))

    def next_batch(self, wait_seconds: float) -> QueryBatch | None:
        """Wait for a batch that lacks a vote of this caller's silos."""
        request = pb.NextBatchRequest(wait_seconds=wait_seconds)
        reply = self._call(self._stub.NextBatch, request, wait_seconds + CALL_SECONDS)
        return QueryBatch(reply.id, reply.hash, images_from_message(reply.images)) if reply.found else None

    def send_votes(self, batch: QueryBatch, silos: Sequence[str], votes: np.ndarray) -> None:
        """Send votes (S, Q), one row for each silo."""
        request = pb.SendVotesRequest(id=batch.id, hash=batch.hash, silos=silos, votes=votes_to_bytes(votes))
        self._call(self._stub.SendVotes, request)

    def report_failure(self, batch_id: str, kind: str) -> None:
        """Say that these silos cannot vote on a batch, by the error's type."""
        self._call(self._stub.ReportFailure, pb.ReportFailureRequest(id=batch_id, kind=kind))


@dataclass(frozen=True, eq=False)
class Answers:
    """What came back for Q queries, and where the data set's budget stands.

    Args:
        labels: (Q,) int64, -1 where there is none.
        statuses: answered, abstained, reinforced or budget (it did not fit any more), for each query.
        from_store: (Q,) true where the answer had been paid for earlier.
        cost_nano_rho: what was charged for these queries now, in billionths of rho.
        spent_epsilon, epsilon_cap, delta, neighbouring: of the data set, all its releases together.
    """

    labels: np.ndarray
    statuses: tuple[str, ...]
    from_store: np.ndarray
    cost_nano_rho: int
    spent_epsilon: float
    epsilon_cap: float
    delta: float
    neighbouring: str


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

        Asking the same again (by content, unless a `key` says otherwise) is the same batch: it costs nothing and gives the same
        labels. Large questions are split; if the budget ends within one, the rest comes back with status "budget".

        Raises:
            BudgetExhausted: not a single answer fits.
            TimedOut: no quorum of silos voted, or the wait was over; asking again goes on.
            Unreachable, NotAuthorised, BadInput: as they say.
        """
        queries = check_images(images, "queries")
        if not len(queries):
            raise BadInput("no queries", mend="ask at least one image")
        each = min(QUERIES_AT_ONCE, max(1, BYTES_AT_ONCE // max(1, queries[0].nbytes)))
        parts = []
        for start in range(0, len(queries), each):
            rows = slice(start, start + each)
            probabilities = None if student is None else np.asarray(student, dtype="<f8")[rows]
            batch = Batch("unnamed", "", ensemble, mechanism, queries[rows], 0.0, probabilities)
            name = f"{key}:{start}" if key else hashlib.sha256(batch.hash.encode()).hexdigest()
            status = self._ask_part(name, batch, wait_seconds)
            if status.state == BatchState.REFUSED:
                if not parts:
                    raise BudgetExhausted(status.reason)
                left = len(queries) - start
                parts.append(
                    pb.BatchStatus(
                        labels=[-1] * left, statuses=[BUDGET] * left, from_store=[False] * left, budget=status.budget
                    )
                )
                break
            parts.append(status)
        return _joined(parts)

    def _ask_part(self, name: str, batch: Batch, wait_seconds: float) -> pb.BatchStatus:
        request = pb.SubmitRequest(
            id=name,
            ensemble=batch.ensemble,
            mechanism_json=json.dumps(batch.mechanism.to_json()),
            images=images_to_message(batch.images),
            student=b"" if batch.student is None else np.ascontiguousarray(batch.student, dtype="<f8").tobytes(),
        )
        deadline = time.monotonic() + wait_seconds
        status = self._call(self._stub.Submit, request)
        lost_since: float | None = None
        while status.state == BatchState.OPEN:
            if time.monotonic() > deadline:
                raise TimedOut(f"no answer within {wait_seconds:g} s", mend="ask again: the batch goes on meanwhile")
            try:
                wait = max(0.1, min(LONG_POLL_SECONDS, deadline - time.monotonic()))
                status = self._call(
                    self._stub.Answers, pb.AnswersRequest(id=name, wait_seconds=wait), wait + CALL_SECONDS
                )
                lost_since = None
            except Unreachable:
                # A restarted aggregator goes on with its open batches.
                lost_since = lost_since or time.monotonic()
                if time.monotonic() - lost_since > RECONNECT_SECONDS:
                    raise
                time.sleep(0.2)
        if status.state == BatchState.FAILED:
            raise TimedOut(
                "too few silos voted in time",
                why=status.reason,
                mend="ask again when more silos have joined; nothing was charged",
            )
        return status


def _joined(parts: Sequence[pb.BatchStatus]) -> Answers:
    last = parts[-1].budget
    return Answers(
        labels=np.concatenate([np.array(p.labels, np.int64) for p in parts]),
        statuses=tuple(s for p in parts for s in p.statuses),
        from_store=np.concatenate([np.array(p.from_store, bool) for p in parts]),
        cost_nano_rho=sum(p.cost_nano_rho for p in parts),
        spent_epsilon=last.spent_epsilon,
        epsilon_cap=last.epsilon,
        delta=last.delta,
        neighbouring=last.neighbouring,
    )


@dataclass(frozen=True)
class BudgetState:
    """What was granted and spent."""

    dataset: str
    epsilon: float
    delta: float
    kind: str
    neighbouring: str
    spent_epsilon: float
    entries: int


class OfficerClient(_Client):
    """A data protection officer's side: look, and grant."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self._stub = pb_grpc.OfficerStub(self._channel)

    def budget(self, dataset: str = "") -> BudgetState:
        """The budget of a data set (empty: the one that is served)."""
        return _state(self._call(self._stub.Budget, pb.BudgetRequest(dataset=dataset)))

    def grant(
        self, dataset: str = "", *, epsilon: float, delta: float, kind: str = "gaussian", orders: Sequence[float] = ()
    ) -> BudgetState:
        """Set its cap."""
        request = pb.GrantRequest(dataset=dataset, epsilon=epsilon, delta=delta, kind=kind, orders=orders)
        return _state(self._call(self._stub.Grant, request))

    def entries(self, dataset: str = "") -> list[dict[str, Any]]:
        """The ledger's entries, of one data set or all."""
        reply = self._call(self._stub.Entries, pb.EntriesRequest(dataset=dataset))
        return [json.loads(text) for text in reply.entries_json]


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
