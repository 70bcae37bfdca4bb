"""Results of a sweep's trials: one folder for each point and seed. `result.json` says what the trial was and how it ended.

A result of other settings or other data is not this trial's. One that was stopped by a scheduler counts under that scheduler only.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...platform.errors import BudgetExhausted, StillhouseError
from ...platform.report.sweep import Attempt
from ...platform.training.files import read_json
from ...platform.training.outcome import Outcome
from ..config.choices import IMAGES
from ..config.compose import Resolved
from ..simulation import naming_key
from ..study.kept import RESULT, make_room, move
from .file import Scheduler
from .plan import Trial
from .space import Point

__all__ = ["Identities", "keep_done", "keep_lost", "keep_refusal", "kept_points", "look", "make_room"]


@dataclass
class Identities:
    """What trials' results depend on. Data are loaded once for each way of loading them.

    Data are named under the sweep's key: a plain hash of private records would tell a guessed data set from its neighbour.
    """

    folder: Path
    known: dict[str, str] = field(default_factory=dict)

    def of(self, resolved: Resolved) -> dict[str, str]:
        """The identity of a configuration's result."""
        data, seed = resolved.config.data, resolved.config.seed
        where = json.dumps([resolved.plain["data"], seed if data.provides != IMAGES else None], sort_keys=True)
        if where not in self.known:
            key = naming_key(self.folder)
            parts = data.load(seed=seed, key=key).content_hash()
            self.known[where] = hmac.new(key, parts.encode(), hashlib.sha256).hexdigest()[:16]
        return {"config": resolved.digest, "data": self.known[where]}


def keep_done(trial: Trial, identity: dict[str, str], *, seconds: float, found: tuple[str, ...]) -> None:
    """Move a finished trial's files to its home, its artefacts with them. Whole, or not there."""
    result = {**_common(trial, identity, seconds), "state": "done", "found": list(found), "trouble": ""}
    move(trial.resolved.folder, trial.home, result)
    if not trial.shares_folder:
        shutil.rmtree(trial.resolved.folder)


def keep_refusal(trial: Trial, identity: dict[str, str], error: StillhouseError, *, seconds: float) -> None:
    """Keep that a trial found no budget, or failed, and why; what it had made stays, for another start to go on from."""
    refused = isinstance(error, BudgetExhausted)
    trouble = str(error) if refused else f"{type(error).__name__}: {error}"
    keep_lost(trial, identity, "refused" if refused else "failed", trouble, seconds=seconds)


def keep_lost(
    trial: Trial, identity: dict[str, str], state: str, trouble: str, *, seconds: float, scheduler: Scheduler | None = None
) -> None:  # fmt: skip
    """Keep that a trial ended without a result; a scheduler's stop is final, so its files go."""
    result = {**_common(trial, identity, seconds), "state": state, "found": [], "trouble": trouble}
    if scheduler is not None:
        result["scheduler"] = asdict(scheduler)
    trial.resolved.folder.mkdir(parents=True, exist_ok=True)
    move(trial.resolved.folder, trial.home, result)
    if state == "stopped" and not trial.shares_folder:
        shutil.rmtree(trial.resolved.folder, ignore_errors=True)


def look(trial: Trial, identity: dict[str, str], scheduler: Scheduler | None) -> Attempt:
    """Return what is kept of a trial; `missing` where there is nothing, or a result of other settings, data or scheduler."""
    if not (trial.home / RESULT).exists():
        return Attempt(trial.seed, "missing")
    result: dict[str, Any] = read_json(trial.home / RESULT)
    if result["identity"] != identity:
        return Attempt(trial.seed, "missing")
    if result["state"] == "stopped" and result.get("scheduler") != (asdict(scheduler) if scheduler else None):
        return Attempt(trial.seed, "missing")
    if result["state"] == "done":
        return Attempt(trial.seed, "done", Outcome.read(trial.home), result["seconds"], found=tuple(result["found"]))
    return Attempt(trial.seed, result["state"], seconds=result["seconds"], trouble=result["trouble"])


def kept_points(folder: Path) -> list[Point]:
    """The points of which something is kept, in order of their making."""
    results = [read_json(file) for file in folder.glob(f"trials/*/seed-*/{RESULT}")]
    points = [(r["made"], tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in r["point"])) for r in results]
    return list(dict.fromkeys(point for _, point in sorted(points, key=lambda pair: pair[0])))


def _common(trial: Trial, identity: dict[str, str], seconds: float) -> dict[str, Any]:
    return {
        "identity": identity,
        "point": [list(pair) for pair in trial.point],
        "seconds": seconds,
        "made": time.time(),
    }
