"""Values that have the right type and that no run could go with: found with all other problems, before anything starts.

>>> from .schema import RunConfig, Silos
>>> impossible(RunConfig(silos=Silos(teachers=4, quorum=5), name="../elsewhere"))[0]
'silos.quorum is 5: it must be 1 to silos.teachers, which is 4'
"""

from __future__ import annotations

import math

from ...platform.errors import BadInput
from ...platform.privacy.budget import BudgetKind
from ...platform.training.files import check_name
from .choices import nearest
from .schema import RunConfig

SECONDS = ("deadline_seconds", "start_seconds", "training_seconds", "lost_seconds")


def impossible(config: RunConfig) -> list[str]:
    """Say what is wrong with the values of the sections that have a schema of their own."""
    privacy, silos, cluster = config.privacy, config.silos, config.cluster
    kinds = [kind.value for kind in BudgetKind]
    problems = []
    if privacy.kind is not None and privacy.kind not in kinds:
        known = ", ".join(kinds)
        problems.append(f"privacy.kind is '{privacy.kind}'{nearest(privacy.kind, kinds)} (there are: {known})")
    finite = {"privacy.target_epsilon": privacy.target_epsilon} | {f"silos.{s}": getattr(silos, s) for s in SECONDS}
    problems += [
        f"{key} is {value:g}: it must be a finite number above 0"
        for key, value in finite.items()
        if not 0 < value < math.inf
    ]
    if not 0 < privacy.target_delta < 1:
        problems.append(f"privacy.target_delta is {privacy.target_delta:g}: it must be above 0 and below 1")
    counts = [("silos.teachers", silos.teachers, 1), ("cluster.workers", cluster.workers, 0)]
    if silos.per_actor is not None:
        counts.append(("silos.per_actor", silos.per_actor, 1))
    problems += [f"{key} is {value}: it must be {least} or more" for key, value, least in counts if value < least]
    # An aggregator that runs elsewhere has silos, and a quorum, of its own.
    if silos.quorum is not None and not silos.address and not 1 <= silos.quorum <= max(1, silos.teachers):
        problems.append(f"silos.quorum is {silos.quorum}: it must be 1 to silos.teachers, which is {silos.teachers}")
    if config.name:
        try:
            check_name(config.name)
        except BadInput as error:
            problems.append(str(error))
    return problems
