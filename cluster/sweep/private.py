"""A private search: a secret number of trials at random settings, of which only the best is released, at a price fixed beforehand.

What this module owes for that price to hold is listed in `platform/privacy/selection.py`. In order: the worst single trial is
priced, the search is charged to the sweep's ledger, then the number of trials is drawn; each trial draws its settings and its seed,
and runs on a ledger of its own under its own budget in a temporary folder; all but the best are deleted, whatever they were. The
number is written nowhere, and no progress is shown. A search that is broken off has released nothing, and its charge stands.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray

from ...platform.errors import StillhouseError
from ...platform.privacy.selection import draw_candidate
from ...platform.report.report import epsilon_text
from ...platform.report.selection import SelectionResult
from ...platform.training.files import read_json
from ...platform.training.outcome import Outcome
from ..config.compose import Resolved
from ..run import run
from ..session import ray_session
from .granting import opened
from .kept import Identities
from .plan import Plan
from .price import Price, charge, price_of
from .release import BEST, RECORD, release
from .room import Room, room_for
from .space import Point

PREFIX = ".search-"
SEEDS = 2**31
Say = Callable[[str], None]


def search(plan: Plan, *, say: Say) -> SelectionResult:
    """Search, or find what an earlier search of the same released.

    Raises:
        BudgetExhausted: the sweep's budget does not hold the search. Nothing was drawn, run or spent.
        BadInput: no price can be put on it, or the ledger's budget is on terms that cannot hold it.
    """
    price, home = price_of(plan), plan.folder / BEST
    identity = _identity(plan)
    if (home / RECORD).exists() and read_json(home / RECORD)["identity"] == identity:
        say("found from an earlier start, not searched or paid for again")
        return _result(plan, price)
    _clear(plan.folder, say)
    cluster = plan.composed[0].config.cluster
    with ray_session(address=cluster.address, num_cpus=cluster.num_cpus):
        room = room_for(plan.composed, plan.sweep.concurrent, cluster=ray.cluster_resources())
        position = charge(plan, price, say)
        say("searching; how many trials there are is a secret, so no progress is shown")
        with tempfile.TemporaryDirectory(dir=plan.folder, prefix=PREFIX) as aside:
            best = _best_of(plan, price.event.trials.draw(), Path(aside), room)
            if best is None:
                trouble = "no trial was drawn, which this law of their number allows"
            else:
                trouble = best.trouble and f"no trial had a score; of one of them: {best.trouble}"
            chosen = None if best is None or trouble else (best.drawn.point, best.drawn.resolved)
            release(plan, price, chosen, trouble, identity=identity, position=position)
    return _result(plan, price)


@dataclass(frozen=True)
class _Drawn:
    """A trial of the search: its place in the order of drawing, what was drawn, and where it runs."""

    number: int
    point: Point
    resolved: Resolved


@dataclass(frozen=True)
class _Ended:
    """How it ended: the value to compare (larger is better; minus infinity where there is none), and why there is none."""

    drawn: _Drawn
    value: float
    trouble: str = ""

    def beats(self, other: _Ended | None) -> bool:
        """Whether this one is released rather than the other; ties go by the order of drawing."""
        return other is None or (self.value, -self.drawn.number) > (other.value, -other.drawn.number)


def _best_of(plan: Plan, trials: int, aside: Path, room: Room) -> _Ended | None:
    """Make all trials, whatever they score, and keep no more than the best of those that have ended."""
    work: Any = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy="SPREAD")(make_secretly)
    best: _Ended | None = None
    running: dict[Any, _Drawn] = {}
    started = 0
    while started < trials or running:
        while started < trials and len(running) < room.trials:
            drawn = _draw(plan, aside, started)
            running[work.remote(drawn.resolved, plan.sweep.metric, room.threads, Path.cwd())] = drawn
            started += 1
        (ended, *_), _ = ray.wait(list(running))
        one = _ending(plan, running.pop(ended), ended)
        loser = one
        if one.beats(best):
            best, loser = one, best
        if loser is not None:
            shutil.rmtree(Path(loser.drawn.resolved.config.root), ignore_errors=True)
    return best


def _draw(plan: Plan, aside: Path, number: int) -> _Drawn:
    """Settings and seed, drawn anew for every trial, on a ledger of its own."""
    place = draw_candidate(len(plan.points))
    resolved = plan.composed[place].seeded(secrets.randbelow(SEEDS))
    return _Drawn(number, plan.points[place], alone(resolved.placed(aside / secrets.token_hex(8), "run")))


def alone(resolved: Resolved) -> Resolved:
    """The same run with its ledger in its own root, whatever ledger the configuration names."""
    own: dict[str, Any] = {"ledger": None, "high_water": None}
    privacy = replace(resolved.config.privacy, **own)
    plain = {**resolved.plain, "privacy": {**resolved.plain["privacy"], **own}}
    return replace(resolved, config=replace(resolved.config, privacy=privacy), plain=plain)


def make_secretly(resolved: Resolved, metric: str, threads: int, here: Path) -> tuple[float | None, str]:
    """Run one trial and say nothing: its score if it has one, or why it has none. What it prints would be counted."""
    import torch

    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    torch.set_num_threads(max(1, min(threads, os.cpu_count() or 1)))
    if here.is_dir():
        os.chdir(here)
    try:
        metrics = run(resolved).outcome.metrics
    except StillhouseError as error:
        return None, str(error)
    except Exception as error:
        return None, f"it ended with a {type(error).__name__}"
    return (metrics[metric].value, "") if metric in metrics else (None, f"its outcome has no metric '{metric}'")


def _ending(plan: Plan, drawn: _Drawn, reference: Any) -> _Ended:
    """A trial that fails counts as the worst, and is not made again."""
    try:
        score, trouble = ray.get(reference)
    except ray.exceptions.RayError as error:
        score, trouble = None, f"its process died ({type(error).__name__})"
    if score is None or not math.isfinite(score):
        return _Ended(drawn, -math.inf, trouble or "its score is no number")
    return _Ended(drawn, score if plan.sweep.mode == "max" else -score)


def _result(plan: Plan, price: Price) -> SelectionResult:
    """The search as it is told, from what lies in its place."""
    home, sweep = plan.folder / BEST, plan.sweep
    assert sweep.private is not None
    record, resolved = read_json(home / RECORD), plan.composed[0].placed(plan.folder, "")
    with opened(resolved) as ledger:
        budget = ledger.budget(resolved.config.data.name)
    spent = (
        f"The ledger of this sweep stands at epsilon {epsilon_text(budget.spent_epsilon)} of {epsilon_text(budget.epsilon)} "
        f"for \u201c{budget.dataset}\u201d."
    )
    return SelectionResult(
        title=sweep.title, metric=sweep.metric, mode=sweep.mode, law=sweep.private.law, mean=sweep.private.mean,
        candidates=len(plan.points), run_epsilon=price.run, epsilon=price.search, plain_epsilon=price.plain, delta=price.delta,
        neighbouring=price.neighbouring, settings=tuple((key, value) for key, value in record["settings"] or ()),
        outcome=Outcome.read(home) if record["settings"] else None, trouble=record["trouble"],
        common=(*sweep.common, *plan.overrides), ledger=spent,
    )  # fmt: skip


def _identity(plan: Plan) -> str:
    """Names the search: its candidates in order, its law, its metric, its data."""
    sweep, identities = plan.sweep, Identities(plan.folder)
    assert sweep.private is not None
    candidates: Sequence[Any] = [identities.of(resolved) for resolved in plan.composed]
    said = [candidates, sweep.private.mean, sweep.private.shape, sweep.metric, sweep.mode]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def _clear(folder: Path, say: Say) -> None:
    """Delete what a killed search left: it shows how far that came."""
    left = list(folder.glob(f"{PREFIX}*")) if folder.is_dir() else []
    for path in left:
        shutil.rmtree(path)
    if left:
        say(
            "an earlier search was broken off: what it left is deleted, its charge stands, and this one is paid for anew"
        )
