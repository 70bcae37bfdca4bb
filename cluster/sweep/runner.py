"""A sweep from its plan to its table: what was made before is found, what fails is recorded, one ledger pays for all."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import ray

from ...platform.errors import BadInput, BudgetExhausted
from ...platform.ledger.records import Budget
from ...platform.report.report import delta_text, epsilon_text
from ...platform.report.sweep import Attempt, PointResult, SweepResult
from ..budget import charges
from ..session import ray_session
from ..study.spending import budgets
from .file import Search
from .granting import SweepBudget
from .kept import Identities, kept_points, look
from .optuna_search import check_search
from .plan import Plan, Trial
from .room import room_for
from .space import Choices, Dimension, Point, Range
from .trial import unlogged
from .tuning import Setup, keep_stopped, quiet_tune, run_trials

Say = Callable[[str], None]


def sweep(plan: Plan, *, only_table: bool = False, say: Say) -> SweepResult:
    """Make the trials that are not kept yet, then tabulate all. A trial that fails, or finds no budget, does not stop the others.

    Raises:
        BadInput: data are missing, the budget cannot be granted, or (`only_table`) nothing was ever run.
    """
    if only_table and not plan.folder.is_dir():
        raise BadInput(f"nothing of this sweep lies in {plan.folder}", mend="run it first, without --only-table")
    identities = Identities(plan.folder)
    if not only_table:
        check_search(plan.sweep.search)
        _make(plan, identities, say)
    return gather(plan, identities)


def gather(plan: Plan, identities: Identities) -> SweepResult:
    """Put what is kept into one table, with what the ledger says."""
    planned = {} if plan.adaptive else {(trial.point, trial.seed): trial for trial in plan.planned}
    results, waited = [], list[Trial]()
    for point in _known(plan, identities) if plan.adaptive else plan.points:
        trials = [planned.get((point, seed)) or plan.trial(point, seed) for seed in plan.seeds]
        results.append(PointResult(point, tuple(_look(plan, trial, identities) for trial in trials)))
        waited += [t for t, a in zip(trials, results[-1].attempts, strict=True) if a.state == "done"]
    sweep, spent = plan.sweep, budgets(plan.composed[0].placed(plan.folder, ""))
    return SweepResult(
        title=sweep.title,
        metric=sweep.metric,
        mode=sweep.mode,
        seeds=plan.seeds,
        keys=tuple(d.key for d in sweep.space),
        points=tuple(results),
        common=(*sweep.common, *plan.overrides),
        search=_search_line(plan),
        ledger=tuple(map(_spending_line, spent)),
        limit=sweep.budget,
        remarks=_remarks(plan, waited),
    )


def _remarks(plan: Plan, done: Sequence[Trial]) -> tuple[str, ...]:
    """That the scheduler waited for what no trial logs."""
    told = [unlogged(trial.home, plan.sweep.scheduler.metric) for trial in done] if plan.sweep.scheduler else []
    return (f"Attention: {told[0]}.",) if told and all(told) else ()


def _make(plan: Plan, identities: Identities, say: Say) -> None:
    attempts = {} if plan.adaptive else {trial: _look(plan, trial, identities) for trial in plan.planned}
    pending = tuple(trial for trial, attempt in attempts.items() if attempt.state not in ("done", "stopped"))
    settled = _settled(plan, identities) if plan.adaptive else []
    count = (plan.sweep.search.trials or 0) - len(settled) if plan.adaptive else len(pending)
    found = len(settled) if plan.adaptive else len(attempts) - len(pending)
    say(_announcement(plan, found))
    if count < 1:
        return
    budget = _budget(plan)
    cluster = plan.composed[0].config.cluster
    with quiet_tune(), ray_session(address=cluster.address, num_cpus=cluster.num_cpus):
        room = room_for(plan.composed, plan.sweep.concurrent, cluster=ray.cluster_resources())
        if room.why:
            say(room.why)
        if budget is not None and not plan.asks:
            _grant_all(plan, budget, pending, count, say)
        finished = [(point, score) for point, score in settled if score is not None]
        setup = Setup(plan, pending, identities, room.threads, Path.cwd(), budget if plan.asks else None)
        stopped = run_trials(setup, count=count, side_by_side=room.trials, finished=finished, say=say)
    for trial, last in stopped:
        # Its supervisor keeps that itself, unless it went with it.
        if _look(plan, trial, identities).state == "missing":
            keep_stopped(trial, identities.of(trial.resolved), plan.sweep.scheduler, last, seconds=0.0)


def _budget(plan: Plan) -> SweepBudget | None:
    """The officer, if some trial charges. For points not known yet the largest target stands, as often as there are trials."""
    charging = [r.placed(plan.folder, "") for r in plan.composed if charges(r)]
    if not charging:
        return None
    if not plan.adaptive:
        return SweepBudget([r for r in charging for _ in plan.seeds], limit=plan.sweep.budget)
    worst = max(charging, key=lambda r: r.config.privacy.target_epsilon)
    return SweepBudget([*charging, *([worst] * plan.trials)], limit=plan.sweep.budget)


def _grant_all(plan: Plan, budget: SweepBudget, pending: Sequence[Trial], count: int, say: Say) -> None:
    """Room for all that is to be made; where the limit is spent, the ledger refuses each trial by itself."""
    charging = [trial.resolved for trial in pending]
    if plan.adaptive:
        placed_ones = [r.placed(plan.folder, "") for r in plan.composed if charges(r)]
        charging = [max(placed_ones, key=lambda r: r.config.privacy.target_epsilon)] * count * len(plan.seeds)
    try:
        budget.grant_all(charging)
    except BudgetExhausted as error:
        say(str(error))


def _settled(plan: Plan, identities: Identities) -> list[tuple[Point, float | None]]:
    """Points all of whose seeds are done or were stopped, with their mean scores where all have one."""
    found: list[tuple[Point, float | None]] = []
    for point in _known(plan, identities):
        attempts = [_look(plan, plan.trial(point, seed), identities) for seed in plan.seeds]
        scores = [score for a in attempts if (score := a.metric(plan.sweep.metric)) is not None]
        if all(a.state in ("done", "stopped") for a in attempts):
            found.append((point, statistics.fmean(scores) if len(scores) == len(attempts) else None))
    return found


def _known(plan: Plan, identities: Identities) -> list[Point]:
    """The points of this sweep's space of which something is kept."""
    return [
        point
        for point in kept_points(plan.folder)
        if _within(plan.sweep.space, point)
        and any(_look(plan, plan.trial(point, seed), identities).state != "missing" for seed in plan.seeds)
    ]


def _within(space: Sequence[Dimension], point: Point) -> bool:
    if tuple(key for key, _ in point) != tuple(d.key for d in space):
        return False
    return all(
        value in d.values if isinstance(d, Choices) else isinstance(d, Range) and d.low <= value <= d.high
        for d, (_, value) in zip(space, point, strict=True)
    )


def _look(plan: Plan, trial: Trial, identities: Identities) -> Attempt:
    return look(trial, identities.of(trial.resolved), plan.sweep.scheduler)


def _announcement(plan: Plan, found: int) -> str:
    seeds = f" x {len(plan.seeds)} seeds" if len(plan.seeds) > 1 else ""
    points = plan.sweep.search.trials if plan.adaptive else len(plan.points)
    old = f"; {found} found from an earlier start, not run again" if found else ""
    return f"{_search_line(plan)}: {points} points{seeds} = {plan.trials} trials{old}"


def _search_line(plan: Plan) -> str:
    search: Search = plan.sweep.search
    line = {"grid": "grid", "random": "random search", "optuna": "Optuna (TPE)"}[search.name]
    line += "" if search.name == "grid" else f" from seed {search.seed}"
    scheduler = plan.sweep.scheduler
    if scheduler is None:
        return line
    return (
        f"{line}, ASHA on {scheduler.metric} ({scheduler.mode}, grace {scheduler.grace}, factor {scheduler.factor:g})"
    )


def _spending_line(budget: Budget) -> str:
    spent, delta = epsilon_text(budget.spent_epsilon), delta_text(budget.delta)
    return (
        f"All trials of this sweep together have spent epsilon {spent} at delta {delta} on \u201c{budget.dataset}\u201d "
        f"({budget.neighbouring}), by its ledger. On data that are really private a sweep has to pay that, whichever trial is used."
    )
