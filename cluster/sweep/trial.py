"""One trial in a process of its own, and the follower of what its method logs."""

from __future__ import annotations

import json
import os
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from ...platform.errors import RunFailed, StillhouseError
from ...platform.training.metrics import read_metrics
from ..config.choices import nearest
from ..run import run
from .granting import SweepBudget
from .kept import keep_done, keep_refusal, make_room
from .plan import Trial

TRACEBACK = "traceback.log"


@dataclass(frozen=True)
class Job:
    """What a trial's process is told.

    `budget` grants the trial's own target when it starts (None: room was granted to all at once). `threads` is its share of the
    machine. Relative paths of its configuration count from `here`, where there is such a folder.
    """

    trial: Trial
    identity: dict[str, str]
    threads: int
    here: Path
    budget: SweepBudget | None = None


def make_trial(job: Job) -> str:
    """Run a trial, keep its result, say how it ended. Only an interrupt comes out: a trial that fails does not end the sweep."""
    import torch

    torch.set_num_threads(max(1, min(job.threads, os.cpu_count() or 1)))
    if job.here.is_dir():
        os.chdir(job.here)
    trial, began = job.trial, time.monotonic()
    folder = trial.resolved.folder
    make_room(folder, trial.resolved)
    try:
        if job.budget is not None:
            job.budget.grant(trial.resolved)
        finished = run(trial.resolved)
    except StillhouseError as error:
        keep_refusal(trial, job.identity, error, seconds=time.monotonic() - began)
        return "ended"
    except Exception as error:
        keep_refusal(trial, job.identity, bug_of(error, trial.home), seconds=time.monotonic() - began)
        # The text of a foreign error may hold records, so it stays with the trial's files and goes into no table.
        (trial.home / TRACEBACK).write_text(traceback.format_exc(), encoding="utf-8")
        return "ended"
    keep_done(trial, job.identity, seconds=time.monotonic() - began, found=finished.report.this_start)
    return "ended"


def bug_of(error: Exception, home: Path) -> RunFailed:
    """A foreign error as one of ours, by its type's name alone."""
    return RunFailed(
        f"the trial ended with a {type(error).__name__}",
        why=f"its traceback lies in {home / TRACEBACK}",
        mend="correct the setting that leads there; if none does, this is a bug",
    )


def unlogged(home: Path, metric: str) -> str:
    """Say so, if a finished trial never logged the metric that a scheduler waits for; an empty text if it did."""
    path = home / "metrics.jsonl"
    stepped = (
        {n for n, points in read_metrics(path).items() if any(s is not None for s, _ in points)}
        if path.exists()
        else set()
    )
    if metric in stepped:
        return ""
    there = (
        f"what is logged step by step: {', '.join(sorted(stepped))}" if stepped else "nothing is logged step by step"
    )
    return f"the scheduler's metric '{metric}' was never logged, so no trial can be stopped{nearest(metric, sorted(stepped))} ({there})"


class Follower:
    """Follows one metric in a run's `metrics.jsonl`, which the run appends to. Half-written lines wait for their end."""

    def __init__(self, path: Path, metric: str) -> None:
        self._path, self._metric, self._position = path, metric, 0

    def poll(self) -> list[tuple[int, float]]:
        """The new values with their steps; values without a step or that are no number are passed over."""
        if not self._path.exists():
            return []
        found = []
        with self._path.open("rb") as file:
            file.seek(self._position)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._position += len(line)
                found += self._read(line)
        return found

    def _read(self, line: bytes) -> list[tuple[int, float]]:
        try:
            entry = json.loads(line)
        except ValueError:
            return []  # Torn by a kill; the run that went on has written it again.
        value = entry["metrics"].get(self._metric)
        return [(entry["step"], float(value))] if isinstance(value, int | float) and entry["step"] is not None else []
