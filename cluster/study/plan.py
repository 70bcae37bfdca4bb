"""From a study's file to runs that are all checked before the first one starts.

Arms of one seed whose data and silos are the same share a run folder: stages are kept there by their inputs, and so are trained
teachers, so an arm finds what another one made and computes only what differs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from ...platform.errors import ConfigError
from ..config.choices import nearest
from ..config.compose import Resolved, compose
from .file import Arm, Study, read_study

# One ledger, one Ray session, one folder: these are the study's.
SHARED = ("root", "privacy.ledger", "privacy.high_water", "cluster.address", "cluster.num_cpus")
SET_BY_THE_STUDY = {"seed": "seeds are the study's (`seeds:`, `--seeds`)", "name": "run folders are named by the study"}


@dataclass(frozen=True, eq=False)
class PlannedRun:
    """One run of one arm; `home` is where its result is kept, `wanted` whether this start may make it."""

    arm: Arm
    seed: int
    resolved: Resolved
    home: Path
    wanted: bool

    def __str__(self) -> str:
        return f"{self.arm.name}, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """A study's folder and its runs, seed by seed: an interrupted study has whole pairs to compare."""

    study: Study
    overrides: tuple[str, ...]
    seeds: tuple[int, ...]
    folder: Path
    runs: tuple[PlannedRun, ...]


def make_plan(
    file: Path, overrides: Sequence[str] = (), *, seeds: Sequence[int] | None = None, arms: Sequence[str] | None = None
) -> Plan:
    """Read a study and compose all its runs. `seeds` replaces the study's, `arms` says which arms this start may run.

    Raises:
        ConfigError: listing every problem of the file and of every arm.
    """
    study, problems = read_study(file)
    names = [arm.name for arm in study.arms]
    problems += [f"--arms: '{name}' is no arm{nearest(name, names)}" for name in arms or () if name not in names]
    problems += _set_elsewhere(study, overrides)
    composed, wrong = _compose(study, overrides)
    problems += wrong or _clashes(study, composed)
    if problems:
        raise ConfigError(problems, mend=f"correct {file} or the command line; nothing was run")
    chosen = tuple(seeds if seeds is not None else study.seeds)
    folder = Path(composed[0].config.root) / study.name
    runs = []
    for seed in chosen:
        for arm, base in zip(study.arms, composed, strict=True):
            resolved = base.seeded(seed).placed(folder, f"seed-{seed}-{sharing_key(base)}")
            home = folder / "arms" / arm.name / f"seed-{seed}"
            runs.append(PlannedRun(arm, seed, resolved, home, arms is None or arm.name in arms))
    return Plan(study, tuple(overrides), chosen, folder, tuple(runs))


def sharing_key(resolved: Resolved) -> str:
    """Return 8 hex digits of what a run folder's shards and teachers depend on, beside the seed.

    A method that keeps a share of the records from the teachers (`record_split`) cuts other shards than one that does not.
    """
    split = getattr(resolved.method, "record_split", None)
    cut = json.dumps([resolved.plain["data"], resolved.plain["silos"], split], sort_keys=True)
    return hashlib.sha256(cut.encode()).hexdigest()[:8]


def _compose(study: Study, overrides: Sequence[str]) -> tuple[list[Resolved], list[str]]:
    composed, arms_of = [], dict[str, list[str]]()
    for arm in study.arms:
        try:
            composed.append(compose([*study.common, *arm.overrides, *overrides]))
        except ConfigError as error:
            for problem in error.problems:
                arms_of.setdefault(problem, []).append(arm.name)
    every = len(study.arms)
    return composed, [
        f"{'every arm' if len(names) == every > 1 else f'arm {_list(names)}'}: {problem}"
        for problem, names in arms_of.items()
    ]


def _set_elsewhere(study: Study, overrides: Sequence[str]) -> list[str]:
    places = [
        ("common", study.common),
        *((f"arm '{a.name}'", a.overrides) for a in study.arms),
        ("command line", overrides),
    ]
    return [
        f"{where}: '{line}': {SET_BY_THE_STUDY[key]}"
        for where, lines in places
        for line in lines
        if (key := line.lstrip("+").partition("=")[0].strip()) in SET_BY_THE_STUDY
    ]


def _clashes(study: Study, composed: Sequence[Resolved]) -> list[str]:
    """What makes arms, each right by itself, no study."""
    problems = []
    for key in SHARED:
        values = {str(attrgetter(key)(resolved.config)) for resolved in composed}
        if len(values) > 1:
            problems.append(f"{key} differs between arms ({', '.join(sorted(values))}): it is one for the whole study")
    deltas, same = dict[str, set[float]](), dict[str, list[str]]()
    for arm, resolved in zip(study.arms, composed, strict=True):
        deltas.setdefault(resolved.config.data.name, set()).add(resolved.config.privacy.target_delta)
        same.setdefault(resolved.digest, []).append(arm.name)
        if resolved.config.silos.address:
            problems.append(f"arm '{arm.name}': silos.address is set: a study spends on simulated silos only")
    for dataset, found in deltas.items():
        if len(found) > 1:
            values_of = ", ".join(f"{delta:g}" for delta in sorted(found))
            problems.append(
                f"privacy.target_delta differs between arms on '{dataset}' ({values_of}): epsilons at other deltas do not compare"
            )
    problems += [f"arms {_list(names)} are the same run" for names in same.values() if len(names) > 1]
    return problems


def _list(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
