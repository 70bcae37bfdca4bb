"""All runs of a study in one Ray session, on one ledger; what was made before is found, what fails is recorded."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ...platform.errors import BadInput, StillhouseError
from ...platform.report.comparison import SCORE, ArmResult, Comparison, Trial
from ...platform.report.report import epsilon_text
from ..budget import charges
from ..config.choices import IMAGES
from ..run import run
from ..session import ray_session
from ..simulation import naming_key
from .kept import keep, keep_failure, look, make_room
from .plan import Plan, PlannedRun
from .spending import StudyBudget, budgets, spending_line

Identities = Mapping[PlannedRun, dict[str, str]]


def compare(plan: Plan, *, only_table: bool = False, say: Callable[[str], None]) -> Comparison:
    """Make the runs that are wanted and not kept yet, then compare all that are kept. A failed run does not stop the others.

    Raises:
        BadInput: data are missing, the budget cannot be granted, or (`only_table`) nothing was ever run.
    """
    if only_table and not plan.folder.is_dir():
        raise BadInput(f"nothing of this study lies in {plan.folder}", mend="run it first, without --only-table")
    identities = _identities(plan)
    if not only_table:
        _make(plan, identities, say)
    return gather(plan, {p: look(p.home, p.seed, identity) for p, identity in identities.items()})


def gather(plan: Plan, trials: Mapping[PlannedRun, Trial]) -> Comparison:
    """Put what is kept into one comparison, with what the ledger says."""
    arms = [
        ArmResult(a.name, a.label, a.overrides, tuple(trials[p] for p in plan.runs if p.arm is a))
        for a in plan.study.arms
    ]
    return Comparison(
        title=plan.study.title,
        seeds=plan.seeds,
        arms=tuple(arms),
        reference=plan.study.reference,
        common=(*plan.study.common, *plan.overrides),
        ledger=tuple(map(spending_line, budgets(plan.runs[0].resolved))),
        metrics=plan.study.metrics or (SCORE,),
        remarks=tuple(remark for p, trial in trials.items() if (remark := _over_target(p, trial))),
    )


def _identities(plan: Plan) -> Identities:
    """What each run's result depends on.

    Data are named under the study's key: a plain hash of private records would tell a guessed data set from its neighbour.
    """
    key, known = naming_key(plan.folder), dict[str, str]()
    identities = {}
    for planned in plan.runs:
        data, seed = planned.resolved.config.data, planned.seed
        where = json.dumps([planned.resolved.plain["data"], seed if data.provides != IMAGES else None], sort_keys=True)
        if where not in known:
            parts = data.load(seed=seed, key=key).content_hash()
            known[where] = hmac.new(key, parts.encode(), hashlib.sha256).hexdigest()[:16]
        identities[planned] = {"config": planned.resolved.digest, "data": known[where]}
    return identities


def _make(plan: Plan, identities: Identities, say: Callable[[str], None]) -> None:
    pending = []
    for planned in (p for p in plan.runs if p.wanted):
        if look(planned.home, planned.seed, identities[planned]).state == "done":
            say(f"{planned}: found from an earlier start, not run again")
        else:
            pending.append(planned)
    if not pending:
        return
    budget = StudyBudget([p.resolved for p in plan.runs], limit=plan.study.budget)
    if any(charges(p.resolved) for p in pending):
        say("each run is granted its own privacy.target_epsilon on top of what the study has spent (simulated officer)")
    cluster = pending[0].resolved.config.cluster
    with ray_session(address=cluster.address, num_cpus=cluster.num_cpus):
        for number, planned in enumerate(pending, 1):
            say(f"[{number}/{len(pending)}] {planned}: {planned.arm.label}")
            _run(planned, identities[planned], budget, say)


def _run(planned: PlannedRun, identity: dict[str, str], budget: StudyBudget, say: Callable[[str], None]) -> None:
    folder: Path = planned.resolved.folder
    make_room(folder, planned.resolved)
    began = time.monotonic()
    try:
        budget.grant(planned.resolved)
        finished = run(planned.resolved)
    except StillhouseError as error:
        say(f"{planned} failed: {error}")
        keep_failure(folder, planned.home, identity, error, seconds=time.monotonic() - began)
    else:
        keep(folder, planned.home, identity, seconds=time.monotonic() - began, found=finished.report.this_start)


def _over_target(planned: PlannedRun, trial: Trial) -> str | None:
    """Answers that were paid for before cost nothing again, so no budget ends them; that must not go unsaid."""
    target = planned.resolved.config.privacy.target_epsilon
    spent = trial.outcome.privacy.epsilon if trial.outcome else 0.0
    if math.isinf(spent) or spent <= target * (1 + 1e-9):
        return None
    return (
        f"{planned.arm.label}, seed {planned.seed}: epsilon {epsilon_text(spent)} is over its own target of {target:g}: "
        "it found answers that were paid for before; alone, its budget would have ended the questions."
    )
