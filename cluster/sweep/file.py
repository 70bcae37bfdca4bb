"""A sweep's file: what is varied, how it is searched, what is best. Only the form is looked at here; `plan` composes the points.

# stillhouse sweep digits_privacy
title: PATE on digits at several budgets
common: [method=pate, data=digits, diagnostics=false]
metric: student_accuracy        # of the outcome
mode: max
space:
  privacy.target_epsilon: [1, 3, 10]                  # choices; a group's too, as in `method: [pate, dpsgd]`
  method.learning_rate: {log_uniform: [1e-4, 1e-2]}   # also uniform, int_uniform
search: {name: random, trials: 12, seed: 0}           # or grid (choices only), or optuna
scheduler: {name: asha, metric: student/loss, mode: min, grace: 4, factor: 3}   # optional: ends trials that fall behind
concurrent: 2                   # optional: trials side by side; else as many as fit
seeds: [0]
budget: 5                       # optional: an epsilon that all trials together may not pass
private: null                   # or true, or {trials: truncated_negative_binomial, mean: 10, shape: 1}, or {trials: poisson, mean: 10}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import yaml

from ...platform.errors import BadInput
from ...platform.privacy.trials import PoissonTrials, TruncatedNegativeBinomial
from ..config.choices import nearest
from ..config.compose import SWEEP_DIR
from ..study.file import KeysOnce, budget_of, checked_name, override_list, seed_list, text_of
from .space import Dimension, Range
from .space_file import number, read_space

Mode = Literal["max", "min"]
KEYS = [
    "title", "common", "metric", "mode", "space", "search", "scheduler", "concurrent", "seeds", "budget", "private",
]  # fmt: skip
SEARCHES = ("grid", "random", "optuna")
TRUNCATED, POISSON = "truncated_negative_binomial", "poisson"
MEAN, SHAPE = 10.0, 0.0  # of a private search that says nothing of them
PREFIX = "sweep."  # of words on the command line that change the file's keys


@dataclass(frozen=True)
class Search:
    """How points are chosen: `grid` takes all; the others so many, from a seed."""

    name: str = "grid"
    trials: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Scheduler:
    """Asynchronous successive halving (ASHA): at steps grace, grace * factor, ... only the best 1/factor go on."""

    metric: str
    mode: Mode
    grace: int = 1
    factor: float = 3.0


@dataclass(frozen=True)
class Selection:
    """The law of the number of trials of a private search; `shape` None: Poisson."""

    mean: float
    shape: float | None

    @property
    def law(self) -> str:
        """For people."""
        if self.shape is None:
            return f"Poisson with mean {self.mean:g}"
        return f"truncated negative binomial with mean {self.mean:g} and shape {self.shape:g}"


@dataclass(frozen=True)
class Sweep:
    """What a file says, as far as it can be read. `budget` caps all trials together, in epsilon; None: their targets do."""

    name: str
    title: str
    common: tuple[str, ...]
    metric: str
    mode: Mode
    space: tuple[Dimension, ...]
    search: Search
    scheduler: Scheduler | None
    concurrent: int | None
    seeds: tuple[int, ...]
    budget: float | None
    private: Selection | None


def find_sweep(given: str) -> Path:
    """Return the file: a path, or a bare name looked up among the shipped ones."""
    if given.endswith((".yaml", ".yml")) or "/" in given:
        if not Path(given).is_file():
            raise BadInput(f"there is no sweep file {given}", mend="check the path")
        return Path(given)
    known = sorted(file.stem for file in SWEEP_DIR.glob("*.yaml"))
    if given not in known:
        raise BadInput(
            f"there is no sweep '{given}'{nearest(given, known)}",
            mend=f"use one of {', '.join(known)}, or the path of a .yaml file",
        )
    return SWEEP_DIR / f"{given}.yaml"


def read_sweep(path: Path, changes: Sequence[str] = ()) -> tuple[Sweep, list[str]]:
    """Return the sweep and all that is wrong with its form. `changes` are words like `sweep.budget=3`.

    Raises:
        BadInput: the file is not YAML, or not a mapping.
    """
    problems: list[str] = []
    tree = _load(path, problems)
    for word in changes:
        _change(tree, word, problems)
    problems += [f"unknown key '{key}'{nearest(str(key), KEYS)}" for key in tree if key not in KEYS]
    space = tuple(read_space(tree.get("space"), problems))
    sweep = Sweep(
        name=checked_name(path.stem, problems),
        title=text_of(tree.get("title", path.stem), "title", problems),
        common=override_list(tree.get("common"), "common", problems),
        metric=text_of(tree.get("metric", "student_accuracy"), "metric", problems),
        mode=_mode(tree.get("mode", "max"), "mode", problems),
        space=space,
        search=_search(tree.get("search"), space, problems),
        scheduler=_scheduler(tree.get("scheduler"), problems),
        concurrent=_count(tree.get("concurrent"), "concurrent", problems),
        seeds=seed_list(tree.get("seeds", [0]), problems),
        budget=budget_of(tree.get("budget"), problems),
        private=_private(tree.get("private"), problems),
    )
    return sweep, problems + _together(sweep, tree)


def _load(path: Path, problems: list[str]) -> dict[Any, Any]:
    try:
        with path.open(encoding="utf-8") as file:
            loader = KeysOnce(file)
            tree = loader.get_single_data()
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not YAML", why=" ".join(str(error).split())) from None
    if not isinstance(tree, dict):
        raise BadInput(f"{path} is not a sweep", mend=f"a sweep has the keys {', '.join(KEYS)}")
    problems += dict.fromkeys(loader.doubles)
    return tree


def _change(tree: dict[Any, Any], word: str, problems: list[str]) -> None:
    """Set `sweep.a.b=value` in the file's tree; the value is YAML."""
    key, equals, text = word.removeprefix(PREFIX).partition("=")
    *path, last = key.split(".") if not key.startswith("space.") else ["space", key.removeprefix("space.")]
    node = tree
    for part in path:
        inner = node.get(part)
        node[part] = inner = dict(inner) if isinstance(inner, dict) else {}
        node = inner
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value, equals = None, ""
    if not equals or not all((*path, last)):
        problems.append(f"cannot read '{word}': it looks like {PREFIX}key=value, for example {PREFIX}budget=3")
        return
    node[last] = value


def _search(found: Any, space: Sequence[Dimension], problems: list[str]) -> Search:
    said = _section(found, "search", ["name", "trials", "seed"], problems)
    name = said.get("name", "grid")
    if name not in SEARCHES:
        problems.append(
            f"search: unknown name {name!r}{nearest(str(name), list(SEARCHES))} (there are: {', '.join(SEARCHES)})"
        )
        return Search()
    trials = _count(said.get("trials"), "search: trials", problems)
    seed = said.get("seed", 0)
    if type(seed) is not int or seed < 0:
        problems.append(f"search: seed is {seed!r}: give a whole number from 0")
        seed = 0
    if name == "grid":
        if given := [key for key in ("trials", "seed") if key in said]:
            problems.append(
                f"search: {' and '.join(given)}: a grid takes all points; leave it out, or use name: random"
            )
        problems += [
            f"space: {d.key} is a range, and a grid needs choices: give a list, or use search: {{name: random, trials: 20}}"
            for d in space
            if isinstance(d, Range)
        ]
        return Search()
    if trials is None and "trials" not in said:
        problems.append(f"search: say how many trials {name} makes, for example {{name: {name}, trials: 20}}")
    return Search(name, trials, seed)


def _scheduler(found: Any, problems: list[str]) -> Scheduler | None:
    if found is None:
        return None
    said = _section(found, "scheduler", ["name", "metric", "mode", "grace", "factor"], problems)
    if said.get("name") != "asha":
        problems.append(f"scheduler: name is {said.get('name')!r}: there is asha, or scheduler: null")
        return None
    if not isinstance(metric := said.get("metric"), str) or not metric:
        problems.append("scheduler: metric is missing: one that the method logs as it goes (see a run's metrics.jsonl)")
    grace = _count(said.get("grace", 1), "scheduler: grace", problems)
    factor = number(said.get("factor", 3))
    if factor is None or factor <= 1:
        problems.append(f"scheduler: factor is {said.get('factor')!r}: give a number above 1")
    return Scheduler(
        str(metric), _mode(said.get("mode", "min"), "scheduler: mode", problems), grace or 1, factor or 3.0
    )


def _private(found: Any, problems: list[str]) -> Selection | None:
    if found is None or found is False:
        return None
    said = {} if found is True else _section(found, "private", ["trials", "mean", "shape"], problems)
    law = said.get("trials", TRUNCATED)
    if law not in (TRUNCATED, POISSON):
        problems.append(
            f"private: trials is {law!r}{nearest(str(law), [TRUNCATED, POISSON])} (there are: {TRUNCATED}, {POISSON})"
        )
        return None
    if law == POISSON and said.get("shape") is not None:
        problems.append("private: shape: the Poisson law has none; leave it out")
    mean, shape = number(said.get("mean", MEAN)), number(said.get("shape", SHAPE))
    if mean is None or (shape is None and law == TRUNCATED):
        problems.append("private: mean and shape are numbers")
        return None
    try:
        _ = PoissonTrials(mean) if law == POISSON else TruncatedNegativeBinomial.of_mean(mean, cast(float, shape))
    except BadInput as error:
        problems.append(f"private: {error}")
        return None
    return Selection(mean, None if law == POISSON else shape)


def _together(sweep: Sweep, tree: Mapping[Any, Any]) -> list[str]:
    """What is right by itself and wrong together."""
    problems = []
    if sweep.scheduler and len(sweep.seeds) > 1 and sweep.search.name == "optuna":
        problems.append(
            "scheduler: optuna runs a point's seeds one after another, and they would be judged as one; give one seed"
        )
    if sweep.private is None:
        return problems
    why = "a private search draws its trials from the list of all choices, makes them all, and takes fresh seeds"
    if sweep.search.name != "grid":
        problems.append(f"search: {sweep.search.name}: {why}; leave search out")
    problems += [f"{key}: {why}; leave it out" for key in ("scheduler", "seeds") if tree.get(key) is not None]
    return problems


def _section(found: Any, where: str, known: list[str], problems: list[str]) -> dict[Any, Any]:
    if found is None:
        return {}
    if not isinstance(found, dict):
        problems.append(f"{where} is {found!r}, not a mapping of {', '.join(known)}")
        return {}
    problems += [f"{where}: unknown key '{key}'{nearest(str(key), known)}" for key in found if key not in known]
    return found


def _count(found: Any, where: str, problems: list[str]) -> int | None:
    if found is None:
        return None
    if type(found) is not int or found < 1:
        problems.append(f"{where} is {found!r}: give a whole number from 1")
        return None
    return found


def _mode(found: Any, where: str, problems: list[str]) -> Mode:
    if found not in ("max", "min"):
        problems.append(f"{where} is {found!r}: use max or min")
        return "max"
    return cast(Mode, found)
