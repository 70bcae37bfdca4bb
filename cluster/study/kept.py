"""Results of a study's runs, kept beside the run folder that arms share: one folder for each arm and seed.

Another arm writes its outcome, report and pictures where this one wrote its own, so a run's are moved here when it ends. `result.json`
says what the run was (its configuration, its data); a result that says otherwise is not this run's.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ...platform.errors import StillhouseError
from ...platform.report.comparison import Trial
from ...platform.training.files import read_json, write_json
from ...platform.training.outcome import Outcome
from ..config.compose import Resolved
from ..record import RECORD

RESULT = "result.json"
MOVED = ("outcome.json", "report.json", "report.html", "metrics.jsonl", "log.jsonl", "images", "config.yaml", RECORD)


def make_room(folder: Path, resolved: Resolved) -> None:
    """Remove what an interrupted run of another arm left in the run folder; the same run goes on with its own."""
    record = folder / RECORD
    if record.exists() and read_json(record)["overrides"] != list(resolved.overrides):
        for name in MOVED:
            _remove(folder / name)


def keep(folder: Path, home: Path, identity: dict[str, str], *, seconds: float, found: tuple[str, ...]) -> None:
    """Move a finished run's files out of the run folder, copies of its artefacts with them. Whole, or not there."""
    move(folder, home, {"identity": identity, "seconds": seconds, "found": list(found), "trouble": ""})


def keep_failure(folder: Path, home: Path, identity: dict[str, str], error: StillhouseError, *, seconds: float) -> None:
    """Keep that a run failed, and why, with the files it left."""
    trouble = f"{type(error).__name__}: {error}"
    move(folder, home, {"identity": identity, "seconds": seconds, "found": [], "trouble": trouble})


def look(home: Path, seed: int, identity: dict[str, str]) -> Trial:
    """Return what is kept of a run; `missing` where there is nothing, or a result of other settings or data."""
    if not (home / RESULT).exists():
        return Trial(seed, "missing")
    result: dict[str, Any] = read_json(home / RESULT)
    if result["identity"] != identity:
        return Trial(seed, "missing")
    if result["trouble"]:
        return Trial(seed, "failed", seconds=result["seconds"], trouble=result["trouble"])
    return Trial(seed, "done", Outcome.read(home), result["seconds"], found=tuple(result["found"]))


def move(folder: Path, home: Path, result: dict[str, Any]) -> None:
    """Move what a run left in its folder to where its result is kept, and write down what it was. Whole, or not there."""
    aside = home.with_name(f".{home.name}.new")
    _remove(aside)
    aside.mkdir(parents=True)
    artefacts = Outcome.read(folder).artefacts.values() if not result["trouble"] else ()
    for name in MOVED:
        if (folder / name).exists():
            shutil.move(folder / name, aside / name)
    for path in artefacts:
        # Copied: a later arm may find the stage that made it and take the file for granted.
        if not (aside / path).exists():
            (aside / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(folder / path, aside / path)
    write_json(aside / RESULT, result)
    _remove(home)
    aside.rename(home)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
