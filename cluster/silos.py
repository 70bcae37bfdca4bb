"""Silos as Ray actors: each actor is a process of its own that holds its silos' shards, trains their teachers and dials out.

An actor gives placement and process isolation inside one trust domain. A Ray cluster is not a trust boundary (whoever can submit to it
can run code in it), so separate owners run `stillhouse silo` in processes of their own instead. What is public on an actor is what is
public on a silo: `train`, `vote`, `describe`. Vectors go from the silo's own loop to its aggregator, and nowhere else.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray

from ..platform.aggregator.client import Endpoint, SiloClient
from ..platform.errors import BadInput
from ..platform.silo.host import SiloHost
from ..platform.silo.loop import VotingLoop
from ..platform.silo.teachers import TeacherKind

log = logging.getLogger(__name__)

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
        self._turn = threading.Lock()
        self._voting: threading.Thread | None = None
        self._recovery: threading.Thread | None = None
        if ray.get_runtime_context().was_current_actor_reconstructed:
            # Beside the constructor: until that returns an actor answers nobody, and would seem lost while it trains.
            self._recovery = threading.Thread(target=self._recover, daemon=True)
            self._recovery.start()

    @ray.method(max_task_retries=-1)
    def train(self) -> dict[str, Any]:
        """Train the teachers that have no checkpoint yet, then begin to vote. Returns counts and names only."""
        return self._train()

    def _train(self) -> dict[str, Any]:
        with self._turn:
            report = self._host.train()
            if self._endpoint is not None and self._voting is None:
                loop = VotingLoop(self._host, SiloClient(self._endpoint))
                self._voting = threading.Thread(target=loop.run, args=(self._stop,), daemon=True)
                self._voting.start()
        return {"silos": list(report.silos), "trained": report.trained, "reused": report.reused}

    def _recover(self) -> None:
        """Find the checkpoints of these silos and go on voting. If that fails the others go on: a silent silo is a missing vote."""
        try:
            self._train()
        except Exception as error:
            log.warning("silos of a restarted actor do not come back: %s", type(error).__name__)

    def vote(self, images: np.ndarray) -> np.ndarray:
        """Return one label per silo and image, (S, Q). Votes are what may leave a silo, towards its aggregator only."""
        if self._recovery is not None:
            self._recovery.join()
        return self._host.vote(images)

    @ray.method(max_task_retries=-1)
    def describe(self) -> dict[str, Any]:
        """Return public facts: the silos' names, the teacher kind, the shape of the images, how far training is, the node."""
        return {**self._host.describe(), "node": ray.get_runtime_context().get_node_id()}


def packing(
    silos: int,
    placement: Placement,
    per_actor: int | None,
    *,
    cluster: Mapping[str, float],
    kept: Mapping[str, float],
    grows: bool = False,
) -> int:
    """Return how many silos an actor holds: `per_actor`, or as many as spread the silos over the CPUs once.

    `cluster` is what there is and `kept` what the method's training takes beside the actors, under Ray's names. A cluster that
    `grows` by itself is asked for more than it has.

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
        if kept.get(kind) and wanted > cluster.get(kind, 0) and not grows:
            raise BadInput(
                f"{actors} silo actors and the training want {wanted:g} {kind}s, the cluster has {cluster.get(kind, 0):g}",
                why="the actors stay to answer while the method trains",
                mend=f"fewer cluster.workers, a larger silos.per_actor or a smaller silos.{kind.lower()}s_per_actor",
            )
    return per_actor
