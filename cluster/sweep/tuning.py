"""Trials under Ray Tune. What Tune runs is a supervisor: it starts the trial in a process of its own, follows what that logs, and
tells Tune. So a trial that a scheduler stops is ended with all it holds, and Tune's placement of the supervisor binds nobody else.
"""

from __future__ import annotations

import logging
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune

from ...platform.errors import StillhouseError
from ...platform.report.sweep import Attempt
from .file import Scheduler
from .granting import SweepBudget
from .kept import Identities, keep_lost, look
from .optuna_search import optuna_search, point_of
from .plan import Plan, Trial
from .space import Point
from .trial import Follower, Job, make_trial, unlogged

SCORE, STEP, WATCHED, ENDED, TROUBLE = "score", "step", "watched", "ended", "trouble"
POLL_SECONDS = 0.5
NO_END = 10**9  # steps after which ASHA would end every trial
# Tune: no files, no tables, no handler of its own for Ctrl-C; a trial without a score is no error.
_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
}


@dataclass(frozen=True)
class Setup:
    """What every supervisor is told."""

    plan: Plan
    trials: tuple[Trial, ...]  # that are to be made; none where a search chooses them
    identities: Identities
    threads: int
    here: Path
    budget: SweepBudget | None

    def chosen(self, config: dict[str, Any]) -> list[Trial]:
        """The trials that Tune's configuration stands for: one, or all seeds of a point that a search chose."""
        if "trial" in config:
            return [self.trials[config["trial"]]]
        point = point_of(self.plan, config)
        return [self.plan.trial(point, seed) for seed in self.plan.seeds]

    def score(self, attempt: Attempt) -> float | None:
        """The value that the sweep is about."""
        return attempt.metric(self.plan.sweep.metric)


def run_trials(
    setup: Setup,
    *,
    count: int,
    side_by_side: int,
    finished: Sequence[tuple[Point, float]],
    say: Callable[[str], None],
) -> list[tuple[Trial, tuple[int, float] | None]]:
    """Run `count` trials; their results are kept by themselves. `finished`: points with their scores, for a search to learn from.

    Gives the trials that a scheduler stopped, each with the last step and value that it judged.

    Raises:
        MissingExtra: the search needs optuna, which is not installed.
    """
    plan, storage = setup.plan, setup.plan.folder / ".tune"
    search = optuna_search(plan, finished, metric=SCORE) if plan.adaptive else None
    space = {} if plan.adaptive else {"trial": tune.grid_search(list(range(len(setup.trials))))}
    teller = _Teller(setup, count, say)
    trainable = tune.with_resources(tune.with_parameters(supervise, setup=setup), {"memory": 1})
    tuner = tune.Tuner(
        trainable,
        param_space=space,
        tune_config=tune.TuneConfig(
            num_samples=count if plan.adaptive else 1,
            search_alg=search,
            scheduler=_asha(plan.sweep.scheduler) if plan.sweep.scheduler else None,
            max_concurrent_trials=side_by_side,
            # A supervisor whose trial was stopped is ended with it.
            reuse_actors=plan.sweep.scheduler is None,
        ),
        run_config=tune.RunConfig(name="tune", storage_path=str(storage), verbose=0, callbacks=[teller]),
    )
    try:
        tuner.fit()
        return teller.stopped
    finally:
        shutil.rmtree(storage, ignore_errors=True)


def supervise(config: dict[str, Any], *, setup: Setup) -> None:
    """See one trial through (for Tune)."""
    try:
        chosen = setup.chosen(config)
    except StillhouseError as error:  # a point between those that were checked beforehand
        tune.report({ENDED: True, TROUBLE: str(error)})
        return
    scores = []
    for trial in chosen:
        identity = setup.identities.of(trial.resolved)
        attempt = look(trial, identity, setup.plan.sweep.scheduler)
        if attempt.state != "done":
            _see_through(trial, identity, setup)
            attempt = look(trial, identity, setup.plan.sweep.scheduler)
        scores.append(setup.score(attempt))
    whole = [score for score in scores if score is not None]
    tune.report({ENDED: True, **({SCORE: statistics.fmean(whole)} if whole and len(whole) == len(scores) else {})})


def _see_through(trial: Trial, identity: dict[str, str], setup: Setup) -> None:
    """Start the trial, report what it logs if a scheduler wants to know, and wait for its end."""
    scheduler, began = setup.plan.sweep.scheduler, time.monotonic()
    follower = Follower(trial.resolved.folder / "metrics.jsonl", scheduler.metric) if scheduler else None
    # Only the end of a process gives a GPU's memory back; without one the next trial may have it, with all that is imported.
    lives = 1 if trial.resolved.config.cluster.use_gpu else 0
    work: Any = ray.remote(num_cpus=0, max_retries=0, max_calls=lives, scheduling_strategy="SPREAD")(make_trial)
    pending = [work.remote(Job(trial, identity, setup.threads, setup.here, setup.budget))]
    ended, last = list[Any](), None
    try:
        while not ended:
            ended, _ = ray.wait(pending, timeout=POLL_SECONDS)
            for last in follower.poll() if follower else ():
                tune.report({STEP: last[0], WATCHED: last[1], ENDED: False})
        ray.get(ended)
    except ray.exceptions.RayError as error:
        trouble = f"the trial's process died ({type(error).__name__}): look for a lack of memory; the same command tries again"
        keep_lost(trial, identity, "failed", trouble, seconds=time.monotonic() - began)
    except SystemExit:  # Tune's way to end a trial that its scheduler stopped
        ray.cancel(pending[0], force=True)
        ray.wait(pending, timeout=30)
        keep_stopped(trial, identity, scheduler, last, seconds=time.monotonic() - began)
        raise


def keep_stopped(
    trial: Trial, identity: dict[str, str], scheduler: Scheduler | None, last: tuple[int, float] | None, *, seconds: float
) -> None:  # fmt: skip
    """Keep that the scheduler stopped a trial, and where it stood."""
    assert scheduler is not None
    where = f" at step {last[0]}, where {scheduler.metric} was {last[1]:.4g}" if last else ""
    keep_lost(trial, identity, "stopped", f"stopped by the scheduler{where}", seconds=seconds, scheduler=scheduler)


def _asha(scheduler: Scheduler) -> tune.schedulers.ASHAScheduler:
    return tune.schedulers.ASHAScheduler(
        time_attr=STEP, metric=WATCHED, mode=scheduler.mode, max_t=NO_END, grace_period=scheduler.grace,
        reduction_factor=scheduler.factor, stop_last_trials=False,
    )  # fmt: skip


class _Teller(tune.Callback):
    """Says when trials start and how they end."""

    def __init__(self, setup: Setup, count: int, say: Callable[[str], None]) -> None:
        self._setup, self._count, self._say, self._started = setup, count, say, 0
        self._warned = False
        self.stopped: list[tuple[Trial, tuple[int, float] | None]] = []

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune writes its tuner to disk, callbacks and all, and is never asked to restore it."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Announce it."""
        self._started += 1
        self._say(f"[{self._started}/{self._count}] {self._named(trial)}")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tell its score, or how else it ended."""
        last = trial.last_result or {}
        if last.get(ENDED):
            self._say(f"{self._named(trial)}: {self._end(trial)}")
            self._warn(trial)
            return
        self._say(f"{self._named(trial)}: stopped by the scheduler")
        where = (int(last[STEP]), float(last[WATCHED])) if WATCHED in last else None
        self.stopped += [(one, where) for one in self._setup.chosen(trial.config)]

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Its supervisor failed, which is recorded nowhere else."""
        trouble = "its supervisor failed; the same command tries again"
        self._say(f"{self._named(trial)}: {trouble}")
        for one in self._setup.chosen(trial.config):
            identity = self._setup.identities.of(one.resolved)
            if look(one, identity, self._setup.plan.sweep.scheduler).state == "missing":
                keep_lost(one, identity, "failed", trouble, seconds=0.0)

    def _warn(self, trial: Any) -> None:
        """Say once that the scheduler waits for what is never logged."""
        scheduler = self._setup.plan.sweep.scheduler
        if scheduler is None or self._warned or SCORE not in trial.last_result:
            return
        told = unlogged(self._setup.chosen(trial.config)[0].home, scheduler.metric)
        self._warned = True
        if told:
            self._say(told)

    def _named(self, trial: Any) -> str:
        try:
            chosen = self._setup.chosen(trial.config)
        except StillhouseError:
            return str(trial)
        return str(chosen[0]) if len(chosen) == 1 else f"{chosen[0]} and other seeds"

    def _end(self, trial: Any) -> str:
        score = trial.last_result.get(SCORE)
        if score is not None:
            return f"{self._setup.plan.sweep.metric} {score:.4g}"
        if TROUBLE in trial.last_result:
            return str(trial.last_result[TROUBLE])
        states = []
        for one in self._setup.chosen(trial.config):
            attempt = look(one, self._setup.identities.of(one.resolved), self._setup.plan.sweep.scheduler)
            states.append(
                f"{attempt.state}: {attempt.trouble}" if attempt.trouble else f"{attempt.state}, without that metric"
            )
        return "; ".join(states)


@contextmanager
def quiet_tune() -> Iterator[None]:
    """Tune's settings for the block; it reads them where it is called."""
    logger = logging.getLogger("ray.tune")
    level, before = logger.level, {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
