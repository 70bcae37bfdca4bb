"""From a sweep's file to trials whose configurations are all checked before the first one starts.

Trials that question an ensemble share a run folder where seed, data and silos are the same (as the arms of a study do): trained
teachers lie there. All others have a folder of their own, so that they can run side by side.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...platform.errors import ConfigError
from ..budget import charges
from ..config.compose import Resolved, compose
from ..study.plan import sharing_key
from .file import PREFIX, Sweep, read_sweep
from .space import Point, Range, draws, grid, grid_size, in_words, key_of, override, probes

# One ledger, one Ray session, one folder, one delta: these are the sweep's.
SHARED = ("root", "privacy.ledger", "privacy.high_water", "privacy.target_delta", "cluster.address", "cluster.num_cpus")
SET_BY_THE_SWEEP = {"seed": "seeds are the sweep's (`seeds:`, `--seeds`)", "name": "run folders are named by the sweep"}
MOST = 2000  # points of a grid or a random search, which are all composed first


@dataclass(frozen=True, eq=False)
class Trial:
    """One run at one point; `home` is where its result is kept."""

    point: Point
    seed: int
    resolved: Resolved
    home: Path
    shares_folder: bool

    def __str__(self) -> str:
        return f"{in_words(self.point)}, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """A sweep's folder, its points as far as they are known beforehand, and how a point becomes a trial.

    `points` are all of them (a grid, random draws), or where a search chooses as it goes (optuna) those that show each setting once;
    `composed` are their configurations, in the same order.
    """

    sweep: Sweep
    overrides: tuple[str, ...]
    seeds: tuple[int, ...]
    folder: Path
    points: tuple[Point, ...]
    composed: tuple[Resolved, ...]

    @property
    def adaptive(self) -> bool:
        """Whether points are chosen as the sweep goes."""
        return self.sweep.search.name == "optuna"

    @property
    def asks(self) -> bool:
        """Whether some trial puts questions to an ensemble: its budget is what ends the questions, so no other may spend beside it."""
        return any(asks(resolved) for resolved in self.composed)

    @property
    def trials(self) -> int:
        """How many trials there will be, at most."""
        count = self.sweep.search.trials if self.adaptive else None
        return (count or len(self.points)) * len(self.seeds)

    @cached_property
    def planned(self) -> tuple[Trial, ...]:
        """The trials of all known points, seed by seed: an interrupted sweep has whole rounds to compare."""
        return tuple(self.trial(point, seed) for seed in self.seeds for point in self.points)

    def trial(self, point: Point, seed: int) -> Trial:
        """The trial of a point and a seed.

        Raises:
            ConfigError: the point makes no configuration (a search went where the probes were not).
        """
        known = dict(zip(self.points, self.composed, strict=True)).get(point)
        base = (known or compose(words_of(self.sweep, point, self.overrides))).seeded(seed)
        shared = asks(base)
        name = f"seed-{seed}-{sharing_key(base)}" if shared else f"trial-{key_of(point)}-seed-{seed}"
        home = self.folder / "trials" / key_of(point) / f"seed-{seed}"
        return Trial(point, seed, base.placed(self.folder, name), home, shared)


def asks(resolved: Resolved) -> bool:
    """Whether the method puts questions to an ensemble."""
    return resolved.method.works_on == "ensemble" and bool(getattr(resolved.method, "asks", True))


def words_of(sweep: Sweep, point: Point, more: Sequence[str] = ()) -> list[str]:
    """All overrides of a point: the common ones, its own, then `more`."""
    return [*sweep.common, *(override(key, value) for key, value in point), *more]


def make_plan(file: Path, overrides: Sequence[str] = (), *, seeds: Sequence[int] | None = None) -> Plan:
    """Read a sweep and compose its points. Words that begin with `sweep.` change the file, the others go to every trial.

    Raises:
        ConfigError: listing every problem of the file and of every point.
    """
    changes = [word for word in overrides if word.startswith(PREFIX)]
    overrides = [word for word in overrides if not word.startswith(PREFIX)]
    sweep, problems = read_sweep(file, changes)
    if sweep.private and seeds is not None:
        problems.append("--seeds: a private search takes fresh seeds")
    problems += _set_elsewhere(sweep, overrides)
    points = _points(sweep, problems)
    composed, wrong = _compose(sweep, points, overrides)
    problems += wrong or (_clashes(sweep, points, composed) if composed else [])
    if sweep.private and not wrong:
        problems += _not_private(composed)
    if problems:
        raise ConfigError(problems, mend=f"correct {file} or the command line; nothing was run")
    folder = (Path(composed[0].config.root) / sweep.name).resolve()
    return Plan(sweep, tuple(overrides), tuple(seeds or sweep.seeds), folder, tuple(points), tuple(composed))


def _points(sweep: Sweep, problems: list[str]) -> list[Point]:
    """The points to compose; none where their number is out of hand."""
    if not sweep.space:
        return []
    if sweep.search.name == "optuna" or (
        any(isinstance(d, Range) for d in sweep.space) and sweep.search.name == "grid"
    ):
        return probes(sweep.space)
    count = grid_size(sweep.space) if sweep.search.name == "grid" else sweep.search.trials or 1
    if count > MOST:
        problems.append(
            f"{sweep.search.name}: {count:,} points; at most {MOST:,} are composed beforehand: take fewer, or optuna"
        )
        return []
    if sweep.search.name == "grid":
        return grid(sweep.space)
    return list(dict.fromkeys(draws(sweep.space, count, sweep.search.seed)))


def _compose(sweep: Sweep, points: Sequence[Point], overrides: Sequence[str]) -> tuple[list[Resolved], list[str]]:
    composed, points_of = [], dict[str, list[Point]]()
    for point in points:
        try:
            composed.append(compose(words_of(sweep, point, overrides)))
        except ConfigError as error:
            for problem in error.problems:
                points_of.setdefault(problem, []).append(point)
    return composed, [f"{_where(found, points)}: {problem}" for problem, found in points_of.items()]


def _where(found: Sequence[Point], points: Sequence[Point]) -> str:
    """Which points: every one, those with one value of a key, or the first of them."""
    if len(found) == len(points):
        return "every trial"
    for place, (key, value) in enumerate(found[0]):
        if all(point[place] == (key, value) for point in found):
            return f"trials with {in_words(((key, value),))}"
    return f"{len(found)} of {len(points)} trials, as {in_words(found[0])}"


def _set_elsewhere(sweep: Sweep, overrides: Sequence[str]) -> list[str]:
    keys = [dimension.key for dimension in sweep.space]
    problems = [f"space: {key}: {SET_BY_THE_SWEEP[key]}" for key in keys if key in SET_BY_THE_SWEEP]
    problems += [f"space: {key} cannot be varied: it is one for the whole sweep" for key in keys if key in SHARED]
    for where, lines in (("common", sweep.common), ("command line", overrides)):
        for line in lines:
            key = line.lstrip("+").partition("=")[0].strip()
            if key in SET_BY_THE_SWEEP:
                problems.append(f"{where}: '{line}': {SET_BY_THE_SWEEP[key]}")
            if key in keys:
                problems.append(
                    f"{where}: '{line}': the sweep varies {key}; to hold it still, say {PREFIX}space.{key}=[VALUE]"
                )
    return problems


def _clashes(sweep: Sweep, points: Sequence[Point], composed: Sequence[Resolved]) -> list[str]:
    """What makes points, each right by itself, no sweep."""
    problems = []
    for key in SHARED:
        values = {str(operator.attrgetter(key)(resolved.config)) for resolved in composed}
        if len(values) > 1:
            problems.append(
                f"{key} differs between trials ({', '.join(sorted(values))}): it is one for the whole sweep"
            )
    if any(resolved.config.silos.address for resolved in composed):
        problems.append("silos.address is set: a sweep spends on simulated silos only")
    same: dict[str, list[Point]] = {}
    for point, resolved in zip(points, composed, strict=True):
        same.setdefault(resolved.digest, []).append(point)
    problems += [
        f"these trials are the same run: {'; '.join(map(in_words, found))}" for found in same.values() if len(found) > 1
    ]
    return problems


def _not_private(composed: Sequence[Resolved]) -> list[str]:
    """What a private search cannot promise anything about."""
    problems = []
    if not all(charges(resolved) for resolved in composed):
        problems.append("private: some method charges no ledger, so no epsilon can be promised for the best of them")
    if any(resolved.config.diagnostics for resolved in composed):
        problems.append("private: diagnostics look at raw votes and private records; set diagnostics=false")
    if len({resolved.config.data.name for resolved in composed}) > 1:
        problems.append("private: data differ between trials, and each data set has a budget of its own; search on one")
    return problems
