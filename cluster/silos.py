"""Silos as Ray actors: each actor is a process of its own that holds its silos' shards, trains their teachers and dials out.

An actor gives placement and process isolation inside one trust domain. A Ray cluster is not a trust boundary (whoever can submit to it
can run code in it), so separate owners run `stillhouse silo` in processes of their own instead. What is public on an actor is what is
public on a silo: `train`, `vote`, `describe`.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray

from ..platform.aggregator.client import Endpoint, SiloClient
from ..platform.errors import BadInput, RunFailed, StillhouseError, TimedOut
from ..platform.silo.host import SiloHost
from ..platform.silo.loop import VotingLoop
from ..platform.silo.teachers import TeacherKind

POLL_SECONDS = 0.5
MAX_RESTARTS = 3


@dataclass(frozen=True)
class Placement:
    """What one actor asks of the cluster.

    `label` pins an actor to the nodes whose Ray label of that name equals the name of the actor's first silo.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    label: str | None = None

    def options(self, silos: Sequence[str]) -> dict[str, Any]:
        """Return the Ray options of an actor that holds `silos`.

        Voting is never retried by Ray: it would run a call twice without knowing it. The aggregator's keys make a repeat harmless.
        `train` and `describe` are: a second `train` finds the teachers of the first. Their retries are without number because
        Ray counts every second that a process needs to come back as one; what is bounded is the restarts.
        """
        options: dict[str, Any] = {
            "num_cpus": self.cpus,
            "num_gpus": self.gpus,
            "max_restarts": MAX_RESTARTS,
            "max_task_retries": 0,
            "max_concurrency": 4,
        }
        if self.label:
            options["label_selector"] = {self.label: silos[0]}
        return options


class SiloActor:
    """One process with one or more silos."""

    def __init__(self, folders: Sequence[Path], kind: TeacherKind, seed: int, endpoint: Endpoint | None) -> None:
        import torch

        device = "cuda" if ray.get_gpu_ids() else "cpu"
        torch.set_num_threads(max(1, int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1))))
        self._host = SiloHost(folders, kind, seed=seed, device=device)
        self._endpoint = endpoint
        self._stop = threading.Event()
        self._voting: threading.Thread | None = None
        if ray.get_runtime_context().was_current_actor_reconstructed:
            self._train()  # finds the checkpoints of its silos and goes on voting

    @ray.method(max_task_retries=-1)
    def train(self) -> dict[str, Any]:
        """Train the teachers that have no checkpoint yet, then begin to vote. Returns counts and names only."""
        return self._train()

    def _train(self) -> dict[str, Any]:
        report = self._host.train()
        if self._endpoint is not None and self._voting is None:
            loop = VotingLoop(self._host, SiloClient(self._endpoint))
            self._voting = threading.Thread(target=loop.run, args=(self._stop,), daemon=True)
            self._voting.start()
        return {"silos": list(report.silos), "trained": report.trained, "reused": report.reused}

    def vote(self, images: np.ndarray) -> np.ndarray:
        """Return one label per silo and image, (S, Q). Votes are what may leave a silo, towards its aggregator only."""
        return self._host.vote(images)

    @ray.method(max_task_retries=-1)
    def describe(self) -> dict[str, Any]:
        """Return public facts: the silos' names, the teacher kind, the shape of the images, how far training is."""
        return self._host.describe()


class SiloFleet:
    """All silo actors of a run, driven together."""

    def __init__(
        self,
        folders: Sequence[Path],
        kind: TeacherKind,
        *,
        seed: int,
        endpoint: Endpoint | None,
        per_actor: int,
        placement: Placement,
        start_seconds: float = 120.0,
    ) -> None:
        groups = [folders[i : i + per_actor] for i in range(0, len(folders), per_actor)]
        actor: Any = ray.remote(SiloActor)
        self._actors: list[Any] = [
            actor.options(**placement.options([f.name for f in group])).remote(group, kind, seed, endpoint)
            for group in groups
        ]
        self._start_seconds = start_seconds

    def describe(self) -> list[dict[str, Any]]:
        """Return what every actor says of itself.

        Raises:
            TimedOut: an actor could not be placed, for want of CPUs, GPUs or a node with its label.
        """
        try:
            return ray.get([a.describe.remote() for a in self._actors], timeout=self._start_seconds)
        except ray.exceptions.GetTimeoutError as error:
            raise TimedOut(
                f"the silo actors did not start within {self._start_seconds:.0f} s",
                why="the cluster lacks the CPUs, GPUs or labelled nodes that they ask for",
                mend="compare silos.cpus_per_actor, gpus_per_actor and label with `ray status`",
            ) from error
        except ray.exceptions.RayError as error:
            raise _as_own(error) from None

    def train(self, advance: Callable[[int], None], *, timeout_seconds: float = 24 * 3600) -> dict[str, int]:
        """Train everywhere; `advance(n)` is called with the number of teachers ready so far."""
        self.describe()
        pending = [a.train.remote() for a in self._actors]
        done: list[dict[str, Any]] = []
        deadline = time.monotonic() + timeout_seconds
        while pending:
            if time.monotonic() > deadline:
                raise TimedOut(f"{len(pending)} silo actors are still training after {timeout_seconds:.0f} s")
            ready, pending = ray.wait(pending, timeout=POLL_SECONDS)
            try:
                done += ray.get(ready)
                trained = sum(
                    d["teachers_ready"] for d in ray.get([a.describe.remote() for a in self._actors], timeout=60)
                )
            except ray.exceptions.GetTimeoutError:
                continue  # a busy actor answers late; its progress shows at the next look
            except ray.exceptions.RayError as error:
                raise _as_own(error) from None
            advance(trained)
        return {"trained": sum(d["trained"] for d in done), "reused": sum(d["reused"] for d in done)}

    def vote(self, images: np.ndarray, *, timeout_seconds: float = 3600) -> np.ndarray:
        """Return the votes of all silos, (N, Q), in the order of the folders. Simulation only: see `cluster.diagnostics`."""
        reference = ray.put(images)
        try:
            return np.concatenate(ray.get([a.vote.remote(reference) for a in self._actors], timeout=timeout_seconds))
        except ray.exceptions.RayError as error:
            raise _as_own(error) from None

    def close(self) -> None:
        """End the actors."""
        for actor in self._actors:
            ray.kill(actor)


def packing(
    silos: int, placement: Placement, per_actor: int | None, *, cluster: Mapping[str, float], kept: Mapping[str, float]
) -> int:
    """Return how many silos an actor holds: `per_actor`, or as many as spread the silos over the CPUs once.

    `cluster` is what there is and `kept` what the method's training takes beside the actors, under Ray's names.

    >>> packing(250, Placement(cpus=1), None, cluster={"CPU": 2}, kept={})
    125

    Raises:
        BadInput: actors and training together do not fit. The training would wait for ever, since actors stay to answer.
    """
    free = cluster.get("CPU", 1) - kept.get("CPU", 0)
    per_actor = per_actor or math.ceil(silos / max(1, int(free // max(placement.cpus, 0.01))))
    actors = math.ceil(silos / per_actor)
    for kind, each in (("CPU", placement.cpus), ("GPU", placement.gpus)):
        wanted = actors * each + kept.get(kind, 0)
        if kept.get(kind) and wanted > cluster.get(kind, 0):
            raise BadInput(
                f"{actors} silo actors and the training want {wanted:g} {kind}s, the cluster has {cluster.get(kind, 0):g}",
                why="the actors stay to answer while the method trains",
                mend=f"fewer cluster.workers, a larger silos.per_actor or a smaller silos.{kind.lower()}s_per_actor",
            )
    return per_actor


def _as_own(error: Exception) -> StillhouseError:
    """Return our own error out of Ray's wrapper. A foreign one is named by its type: its text could hold records."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, StillhouseError):
        return cause
    name = type(cause or error).__name__
    return RunFailed(
        "a silo actor failed", why=name, mend="start again: teachers that were ready are found in their folders"
    )
