"""What happens between the calls: batches are opened, votes (or vectors) gathered, and a batch is decided when all voted or its time
is over.

All work on the ledger and the batches is done by one worker thread, in the order it was asked for; the event loop never waits
for a disk. What was begun is finished even if its caller hangs up.

Log lines tell batches (by their hash) and numbers of silos; never a vote, a margin or a cost that depends on votes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from ..errors import BadInput, LedgerDoubt, StillhouseError, TimedOut, Unreachable
from ..ledger.answers import AnswerStore
from ..ledger.ledger import Ledger
from ..ledger.records import Budget
from ..log_lines import about_error, event_fields
from ..privacy.noise import Noise
from ..privacy.vector_mean import ONE
from .batches import Batch, BatchState, Result
from .config import ServerConfig
from .engine import Engine
from .rounds import Round
from .store import BatchStore
from .tally import DECIDED, NO_QUORUM, TROUBLE, Tally
from .vector_batches import VectorBatch, VectorResult
from .vector_engine import VectorEngine
from .vector_rounds import VectorRound
from .vector_store import VectorStore
from .wire import sanitised

log = logging.getLogger(__name__)
T = TypeVar("T")
B = TypeVar("B", Batch, VectorBatch)
R = TypeVar("R", Result, VectorResult)
B_contra = TypeVar("B_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

LONGEST_WAIT = 60.0
PAUSES = (0.2, 1.0, 5.0)  # before another process that is at the ledger, or a database that is away, is tried again


class _Engine(Protocol[B_contra, R_co]):
    """What decides a kind of batches."""

    def submit(self, batch: B_contra) -> R_co | None:
        """Take a batch in."""

    def result(self, batch_id: str) -> R_co:
        """Where it stands."""


@dataclass(eq=False)
class _Open:
    """A batch that is voted on, its votes, the timer of its deadline, and when it began by the loop's clock."""

    batch: Batch | VectorBatch
    round: Round | VectorRound
    timer: asyncio.TimerHandle
    began: float


class Desk:
    """One aggregator's open batches. Made and used on one event loop. `on_doubt` is called when the ledger is in doubt."""

    def __init__(self, config: ServerConfig, noise: Noise, *, on_doubt: Callable[[], Awaitable[None]]) -> None:
        self._config, self._noise, self._on_doubt = config, noise, on_doubt
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._rehearsal = ThreadPoolExecutor(1, thread_name_prefix="rehearsal")
        self._rehearsed: set[str] = set()
        self._open: dict[str, _Open] = {}
        self._troubles: dict[str, StillhouseError] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._changed = asyncio.Event()
        self._closing = False
        self.tally = Tally()

    async def start(self) -> None:
        """Open the ledger and take up the batches that an earlier start left open; silos get the full time for them again."""
        self._loop = asyncio.get_running_loop()
        await self.off_loop(self._open_ledger)
        for batch in await self.off_loop(self._recover):
            self._begin(batch)
        if self._open:
            taken = event_fields("batches.taken_up", batches=len(self._open))
            log.info("%d open batches taken up again", len(self._open), extra=taken)

    def close(self) -> None:
        """Let waiting calls go; open batches stay open on disk."""
        self._closing = True
        for one in self._open.values():
            one.timer.cancel()
        self._notify()

    async def finish(self) -> None:
        """End what was begun, then let go of the ledger."""
        self.close()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if hasattr(self, "_ledger"):
            await self.off_loop(self._ledger.close)
        self._worker.shutdown()
        self._rehearsal.shutdown(wait=False, cancel_futures=True)

    async def next_batch(
        self, silos: Collection[str], wait_seconds: float, *, vectors: bool = False
    ) -> Batch | VectorBatch | None:
        """The first batch that lacks a vote of these silos, as soon as there is one: for vectors only if they have some."""

        def waiting() -> Batch | VectorBatch | None:
            fit = (one for one in self._open.values() if vectors or isinstance(one.batch, Batch))
            return next((one.batch for one in fit if one.round.awaits(silos)), None)

        return await self._until(waiting, wait_seconds)

    def vote(self, batch_id: str, batch_hash: str, silos: list[str], votes: Callable[[int], np.ndarray]) -> None:
        """Take in what `votes(queries)` reads. Silos whose votes are no votes are not asked for this batch again."""

        def add(round_: Round | VectorRound) -> None:
            if not isinstance(round_, Round):
                raise BadInput("this batch asks for vectors, not for votes")
            round_.add(silos, votes(round_.queries))

        self._take(batch_id, batch_hash, silos, add)

    def take_vectors(self, batch_id: str, batch_hash: str, silo: str, vectors: np.ndarray) -> None:
        """Take in the vectors of one silo. One whose vectors break the bound is not asked for this batch again."""

        def add(round_: Round | VectorRound) -> None:
            if not isinstance(round_, VectorRound):
                raise BadInput("this batch asks for votes, not for vectors")
            round_.add(silo, vectors)

        self._take(batch_id, batch_hash, [silo], add)

    def _take(
        self, batch_id: str, batch_hash: str, silos: list[str], add: Callable[[Round | VectorRound], None]
    ) -> None:
        open_ = self._open.get(batch_id)
        if open_ is None or open_.round.closed:
            self.tally.late(len(silos) if open_ is None else open_.round.lacks(silos))
        one = self._voted_on(batch_id)
        if batch_hash != one.batch.hash:
            raise BadInput("these votes are for a batch with other content", mend="fetch the batch again")
        try:
            add(one.round)
        except BadInput:
            self.give_up(batch_id, silos)
            raise
        self._decide_if_complete(one)

    def give_up(self, batch_id: str, silos: Collection[str]) -> None:
        """Do not wait for these silos' votes on a batch."""
        one = self._open.get(batch_id)
        if one is not None:
            one.round.give_up(silos)
            self._decide_if_complete(one)

    async def submit(self, batch: Batch) -> tuple[Result, Budget | None]:
        """Take a batch in; it is on disk when this returns. Gives where it stands, and the budget if it has ended."""
        await self._rehearse(batch, self._engine.rehearse)
        return await self._to_its_end(self._submit(self._engine, batch))

    async def submit_vectors(self, batch: VectorBatch) -> tuple[VectorResult, Budget | None]:
        """The same for a batch that asks for vectors."""
        await self._rehearse(batch, self._vector_engine.rehearse)
        return await self._to_its_end(self._submit(self._vector_engine, batch))

    async def answers(self, batch_id: str, wait_seconds: float) -> tuple[Result, Budget | None]:
        """Wait for the end of a batch; gives where it stands then."""
        return await self._end_of(self._engine, batch_id, wait_seconds)

    async def vector_answers(self, batch_id: str, wait_seconds: float) -> tuple[VectorResult, Budget | None]:
        """The same for a batch that asks for vectors."""
        return await self._end_of(self._vector_engine, batch_id, wait_seconds)

    async def _end_of(self, engine: _Engine[B, R], batch_id: str, wait_seconds: float) -> tuple[R, Budget | None]:
        await self._until(lambda: batch_id not in self._open or None, wait_seconds)
        trouble = self._troubles.get(batch_id)
        if trouble is not None:
            raise trouble
        return await self._with_budget(await self.off_loop(lambda: engine.result(batch_id)))

    async def on_ledger(self, work: Callable[[Ledger], T]) -> T:
        """Do something with the ledger, in the worker."""
        return await self._to_its_end(self.off_loop(lambda: work(self._ledger)))

    def budget_now(self) -> Budget | None:
        """What the ledger says, read in the calling thread (any but the loop's); None before the first grant.

        Raises:
            LedgerDoubt: it cannot be trusted; `on_doubt` was called.
            TimedOut: others are at it.
        """
        try:
            dataset = self._config.dataset
            return self._ledger.budget(dataset) if dataset in self._ledger.datasets() else None
        except LedgerDoubt:
            self._loop.call_soon_threadsafe(lambda: self._begin_task(self._doubted()))
            raise

    async def off_loop(self, work: Callable[[], T]) -> T:
        """Do something in the worker."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work)
        except LedgerDoubt:
            await self._on_doubt()
            raise

    # --- inside

    async def _doubted(self) -> None:
        await self._on_doubt()

    def _open_ledger(self) -> None:
        config = self._config
        self._ledger = Ledger(config.ledger_url, high_water=config.high_water)
        answers, store = AnswerStore(self._ledger.engine), BatchStore(self._ledger.engine)
        self._engine = Engine(
            self._ledger,
            answers,
            store,
            self._noise,
            dataset=config.dataset,
            ensemble=config.ensemble,
            teachers=len(config.silos),
            classes=config.classes,
            on_step=self.tally.step,
        )
        self._vector_engine = VectorEngine(
            self._ledger,
            answers,
            VectorStore(self._ledger.engine, store),
            self._noise,
            dataset=config.dataset,
            ensemble=config.ensemble,
            teachers=len(config.silos),
            on_step=self.tally.step,
        )

    def _recover(self) -> list[Batch | VectorBatch]:
        # The label engine claims the ensemble; then both may write.
        return [*self._engine.recover(), *self._vector_engine.recover()]

    async def _rehearse(self, batch: B, rehearse: Callable[[B], None]) -> None:
        """Let a mechanism that was not seen before make its noise tables beside the worker; large ones take a while."""
        known_as = batch.rehearsed_as
        if known_as not in self._rehearsed:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._rehearsal, rehearse, batch)
            self._rehearsed.add(known_as)

    async def _submit(self, engine: _Engine[B, R], batch: B) -> tuple[R, Budget | None]:
        result = await self.off_loop(lambda: engine.submit(batch))
        self._troubles.pop(batch.id, None)
        self.tally.submitted(batch.queries)
        if result is not None and result.state is not BatchState.OPEN:
            self.tally.ended(result)
        if result is not None and result.state is not BatchState.OPEN:
            return await self._with_budget(result)
        self._begin(batch)
        return await self._with_budget(await self.off_loop(lambda: engine.result(batch.id)))

    async def _with_budget(self, result: R) -> tuple[R, Budget | None]:
        if result.state is BatchState.OPEN:
            return result, None
        return result, await self.off_loop(lambda: self._ledger.budget(self._config.dataset))

    def _begin(self, batch: Batch | VectorBatch) -> None:
        if batch.id in self._open or self._closing:
            return
        config = self._config
        # Time is measured by the loop's own clock: a jump of the wall clock neither cuts a vote short nor stretches it.
        loop = asyncio.get_running_loop()
        timer = loop.call_later(config.deadline_seconds, self._deadline, batch.id)
        self._open[batch.id] = _Open(batch, self._round(batch), timer, loop.time())
        self.tally.open_rounds = len(self._open)
        self._notify()

    def _round(self, batch: Batch | VectorBatch) -> Round | VectorRound:
        config = self._config
        if isinstance(batch, Batch):
            return Round(config.silos, config.quorum, len(batch.contents), config.classes)
        question, mechanism = batch.question, batch.mechanism
        return VectorRound(
            config.silos, config.quorum, question.rows, mechanism.grid(question.width), keep=mechanism.draw == ONE
        )

    def _voted_on(self, batch_id: str) -> _Open:
        one = self._open.get(batch_id)
        if one is None:
            raise BadInput(
                "this batch is not voted on", why="it is decided, or it never was", mend="go on with the next batch"
            )
        return one

    def _deadline(self, batch_id: str) -> None:
        one = self._open.get(batch_id)
        if one is not None:
            self._decide(one)

    def _decide_if_complete(self, one: _Open) -> None:
        if one.round.complete:
            self._decide(one)

    def _decide(self, one: _Open) -> None:
        if one.round.closed or self._closing:
            return
        one.round.closed = True
        one.timer.cancel()
        # Taken here, before a vote is counted: nothing that follows can show in it.
        self.tally.closed(one.round, asyncio.get_running_loop().time() - one.began)
        self._begin_task(self._conclude(one))

    async def _conclude(self, one: _Open) -> None:
        """Answer a batch by its votes, or end it for want of them."""
        batch, round_ = one.batch, one.round
        engine: Any = self._engine if isinstance(batch, Batch) else self._vector_engine
        label, voted = batch.hash[:12], {"voted": round_.voted, "silos": len(round_.roster)}
        try:
            if round_.has_quorum:
                result = await self._patiently(lambda: engine.evaluate(batch.id, round_.table()))
                told = event_fields("batch.decided", batch=label, **voted)
                log.info("batch %s: decided, %d of %d silos voted", label, *voted.values(), extra=told)
            else:
                reason = f"quorum: {round_.voted} of {len(round_.roster)} silos voted, {round_.quorum} are needed"
                result = await self._patiently(lambda: engine.fail(batch.id, reason))
                told = event_fields("batch.failed", batch=label, **voted, quorum=round_.quorum)
                log.warning("batch %s: failed, %s", label, reason, extra=told)
            self.tally.ended(result)
            self.tally.rounds[DECIDED if round_.has_quorum else NO_QUORUM] += 1
        except Exception as error:
            # It stays open on disk. Who asks hears why; a new submission or a restart takes it up again.
            self._troubles[batch.id] = sanitised(error)
            self.tally.rounds[TROUBLE] += 1
            told = event_fields("batch.trouble", batch=label, **about_error(error))
            log.error("batch %s: not decided, %s", label, type(error).__name__, extra=told)
        finally:
            del self._open[batch.id]
            self.tally.open_rounds = len(self._open)
            self._notify()

    async def _patiently(self, work: Callable[[], T]) -> T:
        for pause in PAUSES:
            try:
                return await self.off_loop(work)
            except (TimedOut, Unreachable) as error:
                told = event_fields("ledger.again", **about_error(error))
                log.warning("the ledger: %s, trying again", type(error).__name__, extra=told)
                await asyncio.sleep(0.0 if self._closing else pause)
        return await self.off_loop(work)

    async def _until(self, found: Callable[[], T | None], seconds: float) -> T | None:
        """Wait until `found` gives something, at most so long."""
        loop = asyncio.get_running_loop()
        end = loop.time() + min(max(seconds, 0.0), LONGEST_WAIT)
        while (value := found()) is None and not self._closing and (left := end - loop.time()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)
        return value

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _begin_task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _to_its_end(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.shield(self._begin_task(work))
