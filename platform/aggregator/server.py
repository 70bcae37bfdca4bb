"""The aggregator as a gRPC server: silos dial in for work, analysts ask, officers look and grant.

One worker thread does everything that touches the ledger, in the order it was asked for, so the event loop never waits for a disk.
Log lines name batches and counts of silos; never a vote, a margin or a cost that depends on votes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import grpc
import numpy as np
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ..errors import BadInput, NotAuthorised, StillhouseError
from ..ledger.answers import AnswerStore
from ..ledger.ledger import Ledger
from ..ledger.records import Budget
from ..privacy.budget import BudgetKind
from ..privacy.mechanisms import mechanism_from_json
from ..privacy.noise import Noise, SystemNoise
from . import aggregator_pb2 as pb
from . import aggregator_pb2_grpc as pb_grpc
from .batches import Batch, BatchState, Result
from .config import MAX_MESSAGE_BYTES, ServerConfig
from .engine import Engine
from .rounds import Round
from .store import BatchStore
from .tokens import Caller, Tokens
from .wire import images_from_message, images_to_message, status_of, votes_from_bytes

log = logging.getLogger(__name__)
T = TypeVar("T")

LONGEST_WAIT = 60.0
TICK_SECONDS = 0.2
GRACE_SECONDS = 5.0
OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),  # a second aggregator on the same port must fail, not share its calls
]


class Service(pb_grpc.SiloServicer, pb_grpc.AnalystServicer, pb_grpc.OfficerServicer):
    """All three services of one aggregator."""

    def __init__(self, config: ServerConfig, ledger: Ledger, noise: Noise) -> None:
        self._config, self._ledger, self._tokens = config, ledger, Tokens(config.tokens)
        self._engine = Engine(
            ledger,
            AnswerStore(ledger.engine),
            BatchStore(ledger.engine),
            noise,
            dataset=config.dataset,
            ensemble=config.ensemble,
            teachers=len(config.silos),
            classes=config.classes,
        )
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._rounds: dict[str, Round] = {}
        self._troubles: dict[str, StillhouseError] = {}
        self._changed = asyncio.Condition()
        self._closing = False

    async def start(self) -> None:
        """Take up the batches that an earlier start left open."""
        for batch in await self._off_loop(self._engine.open):
            if (batch.dataset, batch.ensemble) == (self._config.dataset, self._config.ensemble):
                self._open_round(batch, deadline=time.time() + self._config.deadline_seconds)
        if self._rounds:
            log.info("%d open batches taken up again", len(self._rounds))

    async def watch_deadlines(self) -> None:
        """End rounds whose deadline has passed, until cancelled."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            for round_ in [r for r in self._rounds.values() if r.due(time.time())]:
                await self._end_round(round_)

    async def stop(self) -> None:
        """Let waiting calls go and finish what the worker has begun."""
        self._closing = True
        await self._notify()
        self._worker.shutdown(wait=True)

    # --- silos

    async def Join(self, request: pb.JoinRequest, context: Any) -> pb.JoinReply:
        """Tell a silo what is served, and check that it has the rostered names."""
        caller = await self._caller(context, "silo")
        strangers = caller.silos - set(self._config.silos)
        if strangers:
            error = NotAuthorised(
                f"{len(strangers)} of this token's silos are not in the roster", mend="ask the operator"
            )
            await _abort(context, error)
        log.info("joined: %s with %d silos", caller.name, len(caller.silos))
        return pb.JoinReply(dataset=self._config.dataset, ensemble=self._config.ensemble, classes=self._config.classes)

    async def NextBatch(self, request: pb.NextBatchRequest, context: Any) -> pb.NextBatchReply:
        """Wait for a batch that lacks a vote of the caller's silos."""
        caller = await self._caller(context, "silo")

        def waiting() -> Round | None:
            return next((r for r in self._rounds.values() if r.awaits(caller.silos)), None)

        round_ = await self._until(waiting, request.wait_seconds)
        if round_ is None:
            return pb.NextBatchReply(found=False)
        batch = round_.batch
        return pb.NextBatchReply(found=True, id=batch.id, hash=batch.hash, images=images_to_message(batch.images))

    async def SendVotes(self, request: pb.SendVotesRequest, context: Any) -> pb.SendVotesReply:
        """Take votes in: of own silos only, one each, in range, for a batch that is open."""
        caller = await self._caller(context, "silo")
        async with _own_errors(context):
            if not set(request.silos) <= caller.silos:
                raise NotAuthorised("this token may not vote for one of these silos")
            round_ = self._rounds.get(request.id)
            if round_ is None:
                raise BadInput(
                    "this batch has ended", why="its deadline passed, or it never was", mend="go on with the next"
                )
            if request.hash != round_.batch.hash:
                raise BadInput("these votes are for a batch with other content", mend="fetch the batch again")
            silos, queries = len(request.silos), len(round_.batch.contents)
            votes = votes_from_bytes(request.votes, silos=silos, queries=queries, classes=self._config.classes)
            round_.add(list(request.silos), votes)
        if round_.complete:
            await self._end_round(round_)
        return pb.SendVotesReply()

    async def ReportFailure(self, request: pb.ReportFailureRequest, context: Any) -> pb.ReportFailureReply:
        """Note that the caller's silos cannot vote on a batch. Only a short identifier is kept of the reason."""
        caller = await self._caller(context, "silo")
        kind = request.kind if request.kind.isidentifier() and len(request.kind) <= 80 else "unnamed"
        log.warning("%s cannot vote on batch %s: %s", caller.name, request.id, kind)
        round_ = self._rounds.get(request.id)
        if round_ is not None:
            round_.failed |= caller.silos - set(round_.votes)
            if round_.complete:
                await self._end_round(round_)
        return pb.ReportFailureReply()

    # --- analysts

    async def Submit(self, request: pb.SubmitRequest, context: Any) -> pb.BatchStatus:
        """Take a batch in; it is on disk when this returns."""
        await self._caller(context, "analyst")
        async with _own_errors(context):
            batch = self._batch(request)
            result = await self._off_loop(lambda: self._engine.submit(batch))
            self._troubles.pop(batch.id, None)
            if result is not None:
                return await self._status(result)
            if batch.id not in self._rounds:
                self._open_round(batch, deadline=batch.deadline)
                await self._notify()
            return await self._status(Result.without_answers(BatchState.OPEN, len(batch.contents)))
        raise AssertionError("aborted calls do not come here")

    async def Answers(self, request: pb.AnswersRequest, context: Any) -> pb.BatchStatus:
        """Wait for the end of a batch."""
        await self._caller(context, "analyst")
        async with _own_errors(context):
            await self._until(lambda: request.id not in self._rounds or None, request.wait_seconds)
            if request.id in self._troubles:
                raise self._troubles[request.id]
            return await self._status(await self._off_loop(lambda: self._engine.result(request.id)))
        raise AssertionError("aborted calls do not come here")

    # --- officers

    async def Budget(self, request: pb.BudgetRequest, context: Any) -> pb.BudgetReply:
        """What was granted and spent."""
        await self._caller(context, "officer")
        async with _own_errors(context):
            dataset = request.dataset or self._config.dataset
            return _budget_message(await self._off_loop(lambda: self._ledger.budget(dataset)))
        raise AssertionError("aborted calls do not come here")

    async def Grant(self, request: pb.GrantRequest, context: Any) -> pb.BudgetReply:
        """Set a cap; the token's holder is who granted it."""
        caller = await self._caller(context, "officer")
        async with _own_errors(context):
            if request.kind and request.kind not in [kind.value for kind in BudgetKind]:
                raise BadInput(f"unknown kind of budget '{request.kind}'")
            kind = BudgetKind(request.kind or BudgetKind.GAUSSIAN.value)
            dataset = request.dataset or self._config.dataset
            budget = await self._off_loop(
                lambda: self._ledger.grant(
                    dataset,
                    epsilon=request.epsilon,
                    delta=request.delta,
                    kind=kind,
                    orders=tuple(request.orders),
                    by=caller.name,
                )
            )
            return _budget_message(budget)
        raise AssertionError("aborted calls do not come here")

    async def Entries(self, request: pb.EntriesRequest, context: Any) -> pb.EntriesReply:
        """The ledger's entries, each as JSON."""
        await self._caller(context, "officer")
        async with _own_errors(context):
            entries = await self._off_loop(lambda: self._ledger.entries(request.dataset or None))
            return pb.EntriesReply(entries_json=[json.dumps(entry._asdict()) for entry in entries])
        raise AssertionError("aborted calls do not come here")

    # --- inside

    async def _caller(self, context: Any, role: str) -> Caller:
        metadata = {key: value for key, value in context.invocation_metadata() or ()}
        secret = str(metadata.get("authorization", "")).removeprefix("Bearer ")
        caller = self._tokens.caller(secret)
        if caller is None:
            await _abort(context, NotAuthorised("the token is not known here", mend="ask the operator for a new one"))
            raise AssertionError("aborted")
        if caller.role != role:
            await _abort(context, NotAuthorised(f"this call is for a token of role {role}, not {caller.role}"))
        return caller

    def _batch(self, request: pb.SubmitRequest) -> Batch:
        images = images_from_message(request.images)
        try:
            mechanism = mechanism_from_json(json.loads(request.mechanism_json))
        except json.JSONDecodeError:
            raise BadInput("the mechanism is not JSON") from None
        student = None
        if request.student:
            if len(request.student) != 8 * len(images) * self._config.classes:
                raise BadInput("the student's probabilities do not fit the queries")
            student = np.frombuffer(request.student, "<f8").reshape(len(images), self._config.classes)
        return Batch(
            id=request.id,
            dataset=request.dataset or self._config.dataset,
            ensemble=request.ensemble,
            mechanism=mechanism,
            images=images,
            deadline=time.time() + self._config.deadline_seconds,
            student=student,
        )

    def _open_round(self, batch: Batch, *, deadline: float) -> None:
        self._rounds[batch.id] = Round(batch, self._config.silos, self._config.quorum, deadline)

    async def _end_round(self, round_: Round) -> None:
        """Decide a batch: by its votes, or as failed for want of them."""
        batch_id = round_.batch.id
        if round_.ending:
            return
        round_.ending = True
        try:
            if round_.has_quorum:
                table = round_.table()
                await self._off_loop(lambda: self._engine.evaluate(batch_id, table))
                log.info("batch %s: evaluated with %d of %d silos", batch_id, len(table), len(round_.roster))
            else:
                reason = f"quorum: {len(round_.votes)} of {len(round_.roster)} silos voted, {round_.quorum} are needed"
                await self._off_loop(lambda: self._engine.fail(batch_id, reason))
                log.warning("batch %s: %s", batch_id, reason)
        except StillhouseError as error:
            # It stays open on disk; whoever asks hears why, and a new submission or a restart takes it up again.
            self._troubles[batch_id] = error
            log.error("batch %s: %s", batch_id, error)
        finally:
            self._rounds.pop(batch_id, None)
            await self._notify()

    async def _status(self, result: Result) -> pb.BatchStatus:
        budget = await self._off_loop(lambda: self._ledger.budget(self._config.dataset))
        return pb.BatchStatus(
            state=result.state.value,
            labels=result.labels.tolist(),
            statuses=result.statuses,
            from_store=result.from_store.tolist(),
            cost_nano_rho=result.cost_nano_rho,
            reason=result.reason,
            budget=_budget_message(budget),
        )

    async def _until(self, found: Callable[[], T | None], seconds: float) -> T | None:
        """Wait until `found` gives something, at most so long."""
        deadline = time.monotonic() + min(max(seconds, 0.0), LONGEST_WAIT)
        async with self._changed:
            while (value := found()) is None and not self._closing:
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), left)
            return value

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _off_loop(self, work: Callable[[], T]) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._worker, work)


def _budget_message(budget: Budget) -> pb.BudgetReply:
    return pb.BudgetReply(
        dataset=budget.dataset,
        epsilon=budget.epsilon,
        delta=budget.delta,
        kind=budget.kind.value,
        neighbouring=budget.neighbouring,
        spent_epsilon=budget.spent_epsilon,
        entries=budget.entries,
    )


async def _abort(context: Any, error: StillhouseError) -> None:
    await context.abort(*status_of(error))


@contextlib.asynccontextmanager
async def _own_errors(context: Any) -> Any:
    try:
        yield
    except StillhouseError as error:
        await _abort(context, error)


def serve(
    config: ServerConfig, ready: Callable[[int], None] = lambda port: None, *, noise: Noise | None = None
) -> None:
    """Serve until SIGTERM or SIGINT. `ready(port)` is called when calls are taken. `noise` is for tests only."""
    ledger = Ledger(config.ledger_url, high_water=config.high_water)
    try:
        asyncio.run(_serve(config, ledger, ready, noise or SystemNoise()))
    finally:
        ledger.close()


async def _serve(config: ServerConfig, ledger: Ledger, ready: Callable[[int], None], noise: Noise) -> None:
    server = grpc.aio.server(options=OPTIONS)
    service = Service(config, ledger, noise)
    pb_grpc.add_SiloServicer_to_server(service, server)
    pb_grpc.add_AnalystServicer_to_server(service, server)
    pb_grpc.add_OfficerServicer_to_server(service, server)
    alive = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(alive, server)
    names = [s.full_name for s in pb.DESCRIPTOR.services_by_name.values()]
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    port = _listen(server, config)
    await service.start()
    await server.start()
    for name in ("", *names):
        await alive.set(name, health_pb2.HealthCheckResponse.SERVING)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    deadlines = asyncio.create_task(service.watch_deadlines())
    ready(port)
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait({waiting, deadlines}, return_when=asyncio.FIRST_COMPLETED)
    log.info("shutting down")
    waiting.cancel()
    await alive.enter_graceful_shutdown()
    ended = deadlines.done() and not deadlines.cancelled() and deadlines.exception()
    deadlines.cancel()
    await service.stop()
    await server.stop(GRACE_SECONDS)
    if ended:
        raise ended


def _listen(server: grpc.aio.Server, config: ServerConfig) -> int:
    try:
        if config.tls is None:
            return int(server.add_insecure_port(config.address))
        tls = config.tls
        assert tls.key is not None
        pair = (tls.key.read_bytes(), tls.cert.read_bytes())
        authority = tls.client_ca.read_bytes() if tls.client_ca else None
        credentials = grpc.ssl_server_credentials([pair], authority, require_client_auth=authority is not None)
        return int(server.add_secure_port(config.address, credentials))
    except RuntimeError:
        raise BadInput(
            f"cannot listen on {config.address}", why="the port is taken or the address is not this machine's",
            mend="choose another port, or stop the program that has it",
        ) from None  # fmt: skip
