"""The silo actors of a run, driven together: placed, trained, asked for votes, also when nodes go away meanwhile.

Ray places the actors of a node that is gone again where their CPUs, GPUs and labels are found; they read their shards again and train
what had no teacher yet. Silos for which there is no such node are waited for, then the others go on if they are a quorum.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray

from ..platform.aggregator.client import Endpoint
from ..platform.errors import RunFailed, StillhouseError, TimedOut
from ..platform.silo.teachers import TeacherKind
from .silos import Placement, SiloActor

POLL_SECONDS = 0.5


class SiloFleet:
    """All silo actors of a run, driven together.

    Args:
        quorum: how many silos are enough when others are lost or late; None: all of them.
        start_seconds: for all actors to be placed.
        lost_seconds: for the actors of a node that is gone to be placed again.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        kind: TeacherKind,
        *,
        seed: int,
        endpoint: Endpoint | None,
        per_actor: int,
        placement: Placement,
        quorum: int | None = None,
        start_seconds: float = 120.0,
        lost_seconds: float = 120.0,
    ) -> None:
        folders = [folder.absolute() for folder in folders]  # Another process may work in another directory.
        self._groups = [[f.name for f in folders[i : i + per_actor]] for i in range(0, len(folders), per_actor)]
        actor: Any = ray.remote(SiloActor)
        self._actors: list[Any] = [
            actor.options(**placement.options(group)).remote(
                folders[i * per_actor : (i + 1) * per_actor], kind, seed, endpoint
            )
            for i, group in enumerate(self._groups)
        ]
        self._quorum = len(folders) if quorum is None else quorum
        self._start_seconds, self._lost_seconds = start_seconds, lost_seconds
        self._nodes: dict[int, str] = {}
        self._missing: set[int] = set()

    @property
    def missing(self) -> list[str]:
        """The silos that the last call did without."""
        return [name for i in sorted(self._missing) for name in self._groups[i]]

    def describe(self) -> list[dict[str, Any]]:
        """Return what every actor says of itself.

        Raises:
            TimedOut: an actor could not be placed, for want of CPUs, GPUs or a node with its label.
        """
        try:
            told = ray.get([a.describe.remote() for a in self._actors], timeout=self._start_seconds)
        except ray.exceptions.GetTimeoutError as error:
            raise TimedOut(
                f"the silo actors did not start within {self._start_seconds:.0f} s",
                why="the cluster lacks the CPUs, GPUs or labelled nodes that they ask for",
                mend="compare silos.cpus_per_actor, gpus_per_actor and label with `ray status`",
            ) from error
        except ray.exceptions.RayError as error:
            raise _as_own(error) from None
        self._nodes = {i: each["node"] for i, each in enumerate(told)}
        return told

    def train(self, advance: Callable[[int], None], *, timeout_seconds: float = 24 * 3600) -> dict[str, int]:
        """Train everywhere; `advance(n)` is called with the number of teachers ready so far.

        Silos that are lost, or not ready when the time is over, are `missing` afterwards; if they come back they vote all the same.

        Raises:
            TimedOut: an actor could not be placed, or those that are ready are no quorum.
        """
        self.describe()
        ready = dict.fromkeys(range(len(self._actors)), 0)

        def told(actor: int, description: dict[str, Any]) -> None:
            ready[actor] = description["teachers_ready"]
            advance(sum(ready.values()))

        done = self._ask(lambda actor: actor.train.remote(), timeout_seconds, told).values()
        return {"trained": sum(d["trained"] for d in done), "reused": sum(d["reused"] for d in done)}

    def vote(self, images: np.ndarray, *, timeout_seconds: float = 3600) -> np.ndarray:
        """Return the votes (N, Q) of the silos that are there, in the order of the folders. Simulation only: see `cluster.diagnostics`.

        Raises:
            TimedOut: they are no quorum.
        """
        reference = ray.put(images)
        votes = self._ask(lambda actor: actor.vote.remote(reference), timeout_seconds)
        return np.concatenate([votes[i] for i in sorted(votes)])

    def close(self) -> None:
        """End the actors."""
        for actor in self._actors:
            ray.kill(actor)

    def _ask(
        self,
        call: Callable[[Any], Any],
        seconds: float,
        told: Callable[[int, dict[str, Any]], None] = lambda actor, description: None,
    ) -> dict[int, Any]:
        """Call every actor and return the answers of those that are there, a quorum. `told` hears how the others stand meanwhile."""
        pending = {call(actor): i for i, actor in enumerate(self._actors)}
        looks: dict[Any, int] = {}
        gone: dict[int, float] = {}
        answers: dict[int, Any] = {}
        self._missing = set()
        end = time.monotonic() + seconds
        while pending and time.monotonic() < end:
            for reference in ray.wait(list(pending), timeout=POLL_SECONDS)[0]:
                i = pending.pop(reference)
                try:
                    answers[i] = ray.get(reference)
                except ray.exceptions.ActorUnavailableError:
                    time.sleep(POLL_SECONDS)
                    pending[call(self._actors[i])] = i  # It comes back, or its node is found gone.
                except ray.exceptions.ActorDiedError as error:
                    if (own := _own_cause(error)) is not None:
                        raise own from None
                    self._lose([i], "a process died more often than it is started again")
                except ray.exceptions.RayError as error:
                    raise _as_own(error) from None
            self._look(set(pending.values()), looks, told)
            lost = self._gone_for_good(pending.values(), gone)
            if lost:
                pending = {reference: i for reference, i in pending.items() if i not in lost}
                self._lose(lost, f"their nodes are gone and were not replaced within {self._lost_seconds:.0f} s")
        self._lose(pending.values(), f"they were not ready within {seconds:.0f} s")
        return answers

    def _look(self, actors: set[int], looks: dict[Any, int], told: Callable[[int, dict[str, Any]], None]) -> None:
        """Take in what actors say of themselves and ask again; one that is busy or away answers later, or never."""
        if looks:
            for reference in ray.wait(list(looks), num_returns=len(looks), timeout=0)[0]:
                i = looks.pop(reference)
                try:
                    description = ray.get(reference)
                except ray.exceptions.RayError:
                    continue  # The call that is waited for tells what happened.
                self._nodes[i] = description["node"]
                told(i, description)
        for i in actors - set(looks.values()):
            looks[self._actors[i].describe.options(max_task_retries=0).remote()] = i

    def _gone_for_good(self, actors: Iterable[int], gone: dict[int, float]) -> set[int]:
        """Return the actors whose node is gone for so long that they are not waited for; `gone` keeps since when."""
        alive, now = {node["NodeID"] for node in ray.nodes() if node["Alive"]}, time.monotonic()
        for i in actors:
            if self._nodes.get(i, "") in {*alive, ""}:  # Where an actor never was heard of, its start is waited for.
                gone.pop(i, None)
            else:
                gone.setdefault(i, now)
        return {i for i in actors if i in gone and now - gone[i] >= self._lost_seconds}

    def _lose(self, actors: Iterable[int], why: str) -> None:
        """Go on without these.

        Raises:
            TimedOut: the rest is no quorum.
        """
        self._missing.update(actors)
        silos = sum(map(len, self._groups))
        left = silos - len(self.missing)
        if left < self._quorum:
            raise TimedOut(
                f"{left} of {silos} silos are left, the quorum is {self._quorum}",
                why=why,
                mend="start again when they are back (what was trained and answered is found), or lower silos.quorum",
            )


def _as_own(error: Exception) -> StillhouseError:
    """Return our own error out of Ray's wrapper. A foreign one is named by its type: its text could hold records."""
    cause = _own_cause(error)
    if cause is not None:
        return cause
    name = type(getattr(error, "cause", None) or error).__name__
    return RunFailed(
        "a silo actor failed", why=name, mend="start again: teachers that were ready are found in their folders"
    )


def _own_cause(error: Exception) -> StillhouseError | None:
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, StillhouseError) else None
