"""How a silo takes part: it dials out, asks for open batches, votes (or answers with vectors), sends that. Nothing dials in.

Errors are reported by the name of their type only; their text could hold what a record holds.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..errors import NotAuthorised, StillhouseError, TimedOut, Unreachable
from ..privacy.vector_mean import VectorMean
from .host import SiloHost, VotingFailed

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 10.0
WAIT_SECONDS = 5.0


class QueryBatch(Protocol):
    """A batch of public images to vote on."""

    @property
    def id(self) -> str:
        """The batch's name."""

    @property
    def hash(self) -> str:
        """Hash of its content."""

    @property
    def images(self) -> np.ndarray:
        """uint8 (Q, c, h, w)."""


class VectorQuestion(Protocol):
    """What teachers are asked to compute."""

    @property
    def task(self) -> str:
        """Its name."""

    @property
    def inputs(self) -> Mapping[str, np.ndarray]:
        """Arrays with one row for each vector."""

    @property
    def width(self) -> int:
        """Numbers in a vector."""

    @property
    def centre(self) -> np.ndarray | None:
        """What vectors are clipped about."""


@runtime_checkable
class VectorQuery(Protocol):
    """A batch that asks for vectors."""

    @property
    def id(self) -> str:
        """The batch's name."""

    @property
    def hash(self) -> str:
        """Hash of its content."""

    @property
    def question(self) -> VectorQuestion:
        """What is asked."""

    @property
    def mechanism(self) -> VectorMean:
        """How vectors are clipped and rounded."""


class VotingClient(Protocol):
    """A connection to an aggregator, as a silo sees it."""

    def join(self, description: dict[str, Any]) -> None:
        """Say who is here."""

    def next_batch(self, wait_seconds: float) -> QueryBatch | VectorQuery | None:
        """Wait for a batch that still lacks these silos' votes or vectors."""

    def send_votes(self, batch: Any, silos: Sequence[str], votes: np.ndarray) -> None:
        """Send votes (S, Q)."""

    def send_vectors(self, batch: Any, silo: str, vectors: np.ndarray) -> None:
        """Send one silo's vectors (rows, width)."""

    def report_failure(self, batch_id: str, kind: str) -> None:
        """Say that voting failed, by the error's type name."""


class VotingLoop:
    """Votes on every batch the aggregator offers until it is told to stop."""

    def __init__(self, host: SiloHost, client: VotingClient) -> None:
        self._host, self._client = host, client

    def run(self, stop: threading.Event, *, max_batches: int | None = None) -> int:
        """Take part until `stop` is set or `max_batches` are done. Returns how many batches were voted on.

        A lost connection is tried again with growing pauses; a refused token is not, for it will stay refused.

        Raises:
            NotAuthorised: the aggregator refuses this silo.
        """
        done, pause, joined = 0, FIRST_PAUSE, False
        while not stop.is_set() and (max_batches is None or done < max_batches):
            try:
                if not joined:
                    self._client.join(self._host.describe())
                    joined = True
                batch = self._client.next_batch(WAIT_SECONDS)
                pause = FIRST_PAUSE
                if batch is not None:
                    done += self._answer(batch) if isinstance(batch, VectorQuery) else self._vote(batch)
            except NotAuthorised:
                raise
            except (Unreachable, TimedOut) as error:
                log.info("aggregator: %s; trying again in %.1f s", type(error).__name__, pause)
                joined = False
                stop.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        return done

    def _vote(self, batch: QueryBatch) -> int:
        try:
            votes = self._host.vote(batch.images)
        except Exception as error:
            return self._failed(batch.id, error)
        try:
            self._client.send_votes(batch, self._host.silos, votes)
        except (Unreachable, TimedOut):
            raise
        except StillhouseError as error:
            # A late vote, or a batch that ended: the aggregator goes on without it.
            log.warning("votes on batch %s were not taken: %s", batch.id, type(error).__name__)
            return 0
        return 1

    def _answer(self, batch: VectorQuery) -> int:
        """Compute and send silo by silo: vectors are large."""
        question = batch.question
        taken = 0
        try:
            grid = batch.mechanism.grid(question.width)
            answers = self._host.vectors(batch.hash, question.task, question.inputs, grid, question.centre)
            for silo, vectors in answers:
                try:
                    self._client.send_vectors(batch, silo, vectors)
                    taken = 1
                except (Unreachable, TimedOut, NotAuthorised):
                    raise
                except StillhouseError as error:
                    log.warning("vectors on batch %s were not taken: %s", batch.id, type(error).__name__)
        except (Unreachable, TimedOut, NotAuthorised):
            raise
        except Exception as error:
            return self._failed(batch.id, error)
        return taken

    def _failed(self, batch_id: str, error: Exception) -> int:
        # The host has already replaced a teacher's error by the name of its type.
        kind = error.why if isinstance(error, VotingFailed) else type(error).__name__
        log.warning("voting on batch %s failed: %s", batch_id, kind)
        self._report(batch_id, kind)
        return 0

    def _report(self, batch_id: str, kind: str) -> None:
        try:
            self._client.report_failure(batch_id, kind)
        except (Unreachable, TimedOut, NotAuthorised):
            raise
        except StillhouseError as error:
            # The batch may have ended meanwhile; there is nothing left to report on.
            log.warning("the failure on batch %s was not taken: %s", batch_id, type(error).__name__)
