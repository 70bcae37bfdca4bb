"""Whether a sweep's trials fit on the cluster, and how many of them side by side.

A trial's own process asks Ray for no CPU: it would hold what its silo actors, training workers or preparations then wait for. So the
number of trials is what keeps a cluster from being overfilled, and it is found before the first one starts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...platform.errors import BadInput, ConfigError
from .. import train as ray_train
from ..config.compose import Resolved
from ..silos import Placement, packing
from .plan import asks


@dataclass(frozen=True)
class Room:
    """Trials side by side, the threads of each, and why there are fewer than was asked, if there are."""

    trials: int
    threads: int
    why: str = ""


def room_for(trials: Sequence[Resolved], wanted: int | None, *, cluster: Mapping[str, float]) -> Room:
    """Find the room for trials of all these configurations. `cluster` is what there is, under Ray's names.

    Raises:
        ConfigError: some trial does not fit even alone; it would wait for ever.
    """
    problems: dict[str, None] = {}
    fitting = math.inf
    for resolved in trials:
        needed = _needed(resolved, cluster, problems)
        fitting = min([fitting, *(cluster.get(kind, 0) // amount for kind, amount in needed.items() if amount)])
    if problems:
        raise ConfigError(list(problems), mend="change these settings, or sweep on a larger cluster; nothing was run")
    why = ""
    if any(asks(resolved) for resolved in trials):
        fitting, why = (
            1,
            "trials that question an ensemble go one after another: each has the ledger and its silos to itself",
        )
    elif wanted is not None and wanted > fitting:
        why = f"the cluster has room for {fitting:g} of the {wanted} trials side by side that were asked for"
    count = max(1, int(min(fitting, wanted or fitting)))
    return Room(count, max(1, int(cluster.get("CPU", 1) // count)), why if wanted is None or wanted > count else "")


def _needed(resolved: Resolved, cluster: Mapping[str, float], problems: dict[str, None]) -> dict[str, float]:
    """What a trial takes of the cluster while it runs: a CPU for itself, or what its training workers ask for."""
    config = resolved.config.cluster
    kept = ray_train.room(config.workers, cpus_per_worker=config.cpus_per_worker, use_gpu=config.use_gpu)
    lacking = [
        f"{amount:g} {kind}s of {cluster.get(kind, 0):g}"
        for kind, amount in kept.items()
        if amount > cluster.get(kind, 0)
    ]
    if lacking:
        problems[f"cluster.workers={config.workers}: a trial's training wants {', '.join(lacking)}"] = None
    elif asks(resolved):
        _check_silos(resolved, cluster, kept, problems)
    return {**kept, "CPU": max(1.0, kept.get("CPU", 0.0))}


def _check_silos(
    resolved: Resolved, cluster: Mapping[str, float], kept: Mapping[str, float], problems: dict[str, None]
) -> None:
    silos = resolved.config.silos
    placement = Placement(silos.cpus_per_actor, silos.gpus_per_actor, silos.label)
    try:
        per_actor = packing(silos.teachers, placement, silos.per_actor, cluster=cluster, kept=kept)
    except BadInput as error:
        problems[str(error)] = None
        return
    actors = math.ceil(silos.teachers / per_actor)
    for kind, each in (("CPU", placement.cpus), ("GPU", placement.gpus)):
        if actors * each > cluster.get(kind, 0):
            problems[
                f"{actors} silo actors want {actors * each:g} {kind}s, the cluster has {cluster.get(kind, 0):g}: "
                f"a larger silos.per_actor or a smaller silos.{kind.lower()}s_per_actor"
            ] = None
