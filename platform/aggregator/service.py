"""The three gRPC services: who may call what, and what a request must look like."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import grpc

from ..errors import BadInput, NotAuthorised
from ..ledger.ledger import Ledger
from ..ledger.records import Budget
from ..log_lines import about_error, event_fields
from ..privacy.budget import BudgetKind
from ..privacy.mechanisms import mechanism_from_json
from ..privacy.statement import REPLACE_ONE
from . import aggregator_pb2 as pb
from . import aggregator_pb2_grpc as pb_grpc
from .batches import Batch, Result
from .config import ServerConfig
from .service_desk import Desk
from .tensors import read_question, read_tensor, write_question, write_tensor
from .tokens import Caller, Tokens, UnknownToken
from .vector_batches import VectorBatch, VectorResult
from .wire import (
    ERROR_KEY,
    TOKEN_KEY,
    TOKEN_PREFIX,
    check_counts_fit,
    code_of,
    read_images,
    read_integers,
    read_json,
    read_student,
    sanitised,
    write_counts,
    write_error,
    write_images,
)

log = logging.getLogger(__name__)
Request = TypeVar("Request")
Reply = TypeVar("Reply")

ENTRIES_AT_ONCE = 5000
LONGEST_DESCRIPTION = 2**20
LONGEST_KEY = 200
_VECTORS = "vectors"


class _HasDesk(Protocol):
    tokens: Tokens
    desk: Desk


S = TypeVar("S", bound=_HasDesk)
Handler = Callable[[S, Request, Caller], Awaitable[Reply]]


def only(role: str) -> Callable[[Handler[S, Request, Reply]], Callable[[S, Request, Any], Awaitable[Reply]]]:
    """Let callers of one role in, and send errors as our own kind with no more than may be told."""

    def guard(handler: Handler[S, Request, Reply]) -> Callable[[S, Request, Any], Awaitable[Reply]]:
        @functools.wraps(handler)
        async def call(self: S, request: Request, context: grpc.aio.ServicerContext[Any, Any]) -> Reply:
            try:
                caller = _caller(self.tokens, context, role)
                with self.desk.tally.call(role):
                    return await handler(self, request, caller)
            except Exception as error:
                ours = sanitised(error)
                if ours is not error:
                    told = event_fields("call.failed", call=handler.__name__, **about_error(error))
                    log.error("%s failed: %s", handler.__name__, type(error).__name__, extra=told)
                details = ((ERROR_KEY, write_error(ours)),)
                await context.abort(code_of(ours), ours.what[:500], trailing_metadata=details)
                raise

        return call

    return guard


def _caller(tokens: Tokens, context: grpc.aio.ServicerContext[Any, Any], role: str) -> Caller:
    presented = [str(value) for key, value in context.invocation_metadata() or () if key == TOKEN_KEY]
    secret = presented[0].removeprefix(TOKEN_PREFIX) if len(presented) == 1 else ""
    caller = tokens.identify(secret)
    if caller is None:
        raise UnknownToken(
            "the token is not known to this aggregator", mend="ask its operator for one (`stillhouse token`)"
        )
    if caller.role != role:
        raise NotAuthorised(
            f"this call needs the role {role}", why=f"the token's role is {caller.role}", mend="use another token"
        )
    return caller


class SiloService(pb_grpc.SiloServicer):
    """What data owners call."""

    def __init__(self, config: ServerConfig, tokens: Tokens, desk: Desk) -> None:
        self.tokens = tokens
        self._config, self.desk = config, desk

    @only("silo")
    async def Join(self, request: pb.JoinRequest, caller: Caller) -> pb.JoinReply:  # noqa: N802
        """Tell a silo what is served, and check that its names and classes are those expected."""
        described = _description(request.description_json)
        silos = self._owned(caller, described.get("silos") or ())
        classes = described.get("classes")
        if isinstance(classes, int) and classes > self._config.classes:
            raise BadInput(
                f"this silo knows {classes} classes, the aggregator {self._config.classes}",
                mend="serve and train with the same classes",
            )
        told = event_fields("silo.joined", caller=caller.name, silos=len(silos))
        log.info("joined: %r with %d silos", caller.name, len(silos), extra=told)
        return pb.JoinReply(dataset=self._config.dataset, ensemble=self._config.ensemble, classes=self._config.classes)

    @only("silo")
    async def NextBatch(self, request: pb.NextBatchRequest, caller: Caller) -> pb.NextBatchReply:  # noqa: N802
        """Wait for a batch that lacks a vote of the caller's silos."""
        silos, seconds = self._owned(caller, request.silos), _seconds(request.wait_seconds)
        batch = await self.desk.next_batch(silos, seconds, vectors=request.vectors)
        if batch is None:
            return pb.NextBatchReply(found=False)
        if isinstance(batch, VectorBatch):
            asked = write_question(batch.question, batch.mechanism)
            return pb.NextBatchReply(found=True, id=batch.id, hash=batch.hash, vectors=asked)
        return pb.NextBatchReply(found=True, id=batch.id, hash=batch.hash, images=write_images(batch.images))

    @only("silo")
    async def SendVotes(self, request: pb.SendVotesRequest, caller: Caller) -> pb.SendVotesReply:  # noqa: N802
        """Take votes in: of the caller's own silos only, one each, in range, for a batch that is open."""
        silos = self._owned(caller, request.silos)
        if len(silos) != len(request.silos):
            raise BadInput("votes must name their silos, each once")
        self.desk.vote(
            request.id, request.hash, silos, lambda queries: read_integers(request.votes, (len(silos), queries))
        )
        return pb.SendVotesReply()

    @only("silo")
    async def SendVectors(self, request: pb.SendVectorsRequest, caller: Caller) -> pb.SendVectorsReply:  # noqa: N802
        """Take one silo's vectors in: of the caller's own silos only, within the bound, for a batch that is open."""
        [silo] = self._owned(caller, [request.silo])
        self.desk.take_vectors(request.id, request.hash, silo, read_tensor(request.vectors, "a silo's answer"))
        return pb.SendVectorsReply()

    @only("silo")
    async def ReportFailure(self, request: pb.ReportFailureRequest, caller: Caller) -> pb.ReportFailureReply:  # noqa: N802
        """Note that the caller's silos cannot vote on a batch. Of the reason only the name of an error's type is kept."""
        kind = request.kind if request.kind.isidentifier() and len(request.kind) <= 80 else "unnamed"
        told = event_fields("silo.cannot_vote", caller=caller.name, kind=kind)
        log.warning("%r cannot vote on a batch: %s", caller.name, kind, extra=told)
        self.desk.give_up(request.id, self._owned(caller, request.silos))
        return pb.ReportFailureReply()

    def _owned(self, caller: Caller, named: Any) -> list[str]:
        """The silos that a call is for: those it names, or all of the token's."""
        silos = list(dict.fromkeys(str(silo) for silo in named or caller.silos))
        if not set(silos) <= set(caller.silos):
            raise NotAuthorised(
                "this token does not own all the silos that it speaks for",
                mend="name the silo's folder as its token and the roster do, or ask the operator for another token",
            )
        if not set(silos) <= set(self._config.silos):
            raise NotAuthorised("a silo of this token is not in the roster", mend="ask the operator to add it")
        return silos


class AnalystService(pb_grpc.AnalystServicer):
    """What analysts call."""

    def __init__(self, config: ServerConfig, tokens: Tokens, desk: Desk) -> None:
        self.tokens = tokens
        self._config, self.desk = config, desk

    @only("analyst")
    async def Submit(self, request: pb.SubmitRequest, caller: Caller) -> pb.BatchStatus:  # noqa: N802
        """Take a batch in; it is on disk when this returns."""
        return _status(*await self.desk.submit(self._batch(request, caller)))

    @only("analyst")
    async def Answers(self, request: pb.AnswersRequest, caller: Caller) -> pb.BatchStatus:  # noqa: N802
        """Wait for the end of a batch."""
        return _status(*await self.desk.answers(_id(caller, request.key), _seconds(request.wait_seconds)))

    @only("analyst")
    async def SubmitVectors(self, request: pb.SubmitVectorsRequest, caller: Caller) -> pb.VectorStatus:  # noqa: N802
        """Take a batch in that asks for vectors; it is on disk when this returns."""
        question, mechanism = read_question(request.question)
        batch = VectorBatch(
            id=_id(caller, request.key, _VECTORS),
            dataset=self._config.dataset,
            ensemble=request.ensemble,
            mechanism=mechanism,
            question=question,
            deadline=time.time() + self._config.deadline_seconds,
        )
        return self._vector_status(*await self.desk.submit_vectors(batch))

    @only("analyst")
    async def VectorAnswers(self, request: pb.AnswersRequest, caller: Caller) -> pb.VectorStatus:  # noqa: N802
        """Wait for the end of a batch that asks for vectors."""
        id_, seconds = _id(caller, request.key, _VECTORS), _seconds(request.wait_seconds)
        return self._vector_status(*await self.desk.vector_answers(id_, seconds))

    @only("analyst")
    async def Ensemble(self, request: pb.EnsembleRequest, caller: Caller) -> pb.EnsembleReply:  # noqa: N802
        """Whom questions are put to: public facts."""
        config = self._config
        return pb.EnsembleReply(
            dataset=config.dataset, ensemble=config.ensemble, teachers=len(config.silos), classes=config.classes
        )

    def _vector_status(self, result: VectorResult, budget: Budget | None) -> pb.VectorStatus:
        return pb.VectorStatus(
            state=result.state.value,
            noisy=None if result.noisy is None else write_tensor(result.noisy),
            from_store=result.paid_before,
            cost_nano_rho=result.cost_nano_rho,
            reason=result.reason,
            budget=None if budget is None else _budget(budget),
            voted=result.voted,
            teachers=len(self._config.silos),
        )

    def _batch(self, request: pb.SubmitRequest, caller: Caller) -> Batch:
        images = read_images(request.images)
        mechanism = mechanism_from_json(read_json(request.mechanism_json, "the mechanism"))
        if mechanism.releases_histograms:
            check_counts_fit(len(images), self._config.classes)
        return Batch(
            id=_id(caller, request.key),
            dataset=self._config.dataset,
            ensemble=request.ensemble,
            mechanism=mechanism,
            images=images,
            deadline=time.time() + self._config.deadline_seconds,
            student=read_student(request.student, (len(images), self._config.classes)),
        )


class OfficerService(pb_grpc.OfficerServicer):
    """What data protection officers call."""

    def __init__(self, config: ServerConfig, tokens: Tokens, desk: Desk) -> None:
        self.tokens = tokens
        self._config, self.desk = config, desk

    @only("officer")
    async def Budget(self, request: pb.BudgetRequest, caller: Caller) -> pb.BudgetReply:  # noqa: N802
        """What was granted and spent."""
        dataset = request.dataset or self._config.dataset
        return _budget(await self.desk.on_ledger(lambda ledger: ledger.budget(dataset)))

    @only("officer")
    async def Grant(self, request: pb.GrantRequest, caller: Caller) -> pb.BudgetReply:  # noqa: N802
        """Set a cap; the token's holder is on record as who granted it."""
        known = [kind.value for kind in BudgetKind]
        if request.kind and request.kind not in known:
            raise BadInput(f"unknown kind of budget {request.kind[:40]!r}", why=f"kinds are {', '.join(known)}")
        kind = BudgetKind(request.kind) if request.kind else BudgetKind.GAUSSIAN
        dataset = request.dataset or self._config.dataset

        def grant(ledger: Ledger) -> Budget:
            known = dataset in ledger.datasets()
            return ledger.grant(
                dataset,
                epsilon=request.epsilon,
                delta=request.delta,
                kind=kind,
                orders=tuple(request.orders),
                neighbouring=ledger.budget(dataset).neighbouring if known else REPLACE_ONE,
                by=caller.name,
            )

        budget = await self.desk.on_ledger(grant)
        log.info("%r granted a budget", caller.name, extra=event_fields("budget.granted", caller=caller.name))
        return _budget(budget)

    @only("officer")
    async def Entries(self, request: pb.EntriesRequest, caller: Caller) -> pb.EntriesReply:  # noqa: N802
        """Entries of the ledger, each as JSON, from the first that the caller lacks."""
        entries = await self.desk.on_ledger(lambda ledger: ledger.entries(request.dataset or None))
        rest = [entry for entry in entries if entry.seq > request.after]
        texts = [json.dumps(entry._asdict()) for entry in rest[:ENTRIES_AT_ONCE]]
        return pb.EntriesReply(entries_json=texts, more=len(rest) > len(texts))

    @only("officer")
    async def Verify(self, request: pb.VerifyRequest, caller: Caller) -> pb.VerifyReply:  # noqa: N802
        """Read the whole ledger again and check it."""
        found = await self.desk.on_ledger(lambda ledger: ledger.verify())
        return pb.VerifyReply(ok=found.ok, entries=found.entries, problems=found.problems)


def _id(caller: Caller, key: str, *kind: str) -> str:
    """A batch is its analyst's own: two who choose the same key have two batches, and neither sees the other's."""
    if not 1 <= len(key) <= LONGEST_KEY or not key.isprintable():
        raise BadInput(f"a batch's key is 1 to {LONGEST_KEY} printable characters")
    return hashlib.sha256(json.dumps([caller.name, key, *kind]).encode()).hexdigest()


def _description(text: str) -> dict[str, Any]:
    described = read_json(text, "a silo's description") if text and len(text) <= LONGEST_DESCRIPTION else {}
    if not isinstance(described, dict) or not isinstance(described.get("silos") or [], list):
        raise BadInput("a silo's description must be a JSON object with a list of silos")
    return described


def _seconds(wait: float) -> float:
    if not math.isfinite(wait):
        raise BadInput("wait_seconds must be finite")
    return wait


def _status(result: Result, budget: Budget | None) -> pb.BatchStatus:
    return pb.BatchStatus(
        state=result.state.value,
        labels=result.labels.tolist(),
        statuses=result.statuses,
        from_store=result.from_store.tolist(),
        cost_nano_rho=result.cost_nano_rho,
        reason=result.reason,
        budget=None if budget is None else _budget(budget),
        histograms=write_counts(result.histograms),
        voted=result.voted,
    )


def _budget(budget: Budget) -> pb.BudgetReply:
    return pb.BudgetReply(
        dataset=budget.dataset,
        epsilon=budget.epsilon,
        delta=budget.delta,
        kind=budget.kind.value,
        neighbouring=budget.neighbouring,
        spent_epsilon=budget.spent_epsilon,
        entries=budget.entries,
    )
