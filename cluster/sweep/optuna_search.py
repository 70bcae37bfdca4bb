"""Optuna as a sweep's search: what it is told, and what its choices mean. The library is an extra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...platform.errors import MissingExtra
from .file import Search
from .plan import Plan
from .space import Choices, Point, Range


def check_search(search: Search) -> None:
    """See that the library of a search is there, before anything starts.

    Raises:
        MissingExtra: it is not.
    """
    if search.name != "optuna":
        return
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            "search: optuna needs the library optuna",
            why="it is not installed",
            mend="pip install -e '.[sweep]' in the source folder, or use search: {name: random, ...}",
        ) from error


def optuna_search(plan: Plan, finished: Sequence[tuple[Point, float]], *, metric: str) -> Any:
    """Optuna's tree-structured Parzen estimator, told what is known already; each start has a stream of its own."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    class Optuna(OptunaSearch):
        def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
            """What is reported for the scheduler is no score."""

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    known = [
        {
            _name(place): d.values.index(value) if isinstance(d, Choices) else value
            for place, (d, (_, value)) in enumerate(zip(plan.sweep.space, point, strict=True))
        }
        for point, _ in finished
    ]
    return Optuna(
        _distributions(plan),
        metric=metric,
        mode=plan.sweep.mode,
        seed=plan.sweep.search.seed + len(finished),
        points_to_evaluate=known or None,
        evaluated_rewards=[score for _, score in finished] or None,
    )


def _distributions(plan: Plan) -> dict[str, Any]:
    """The space in Optuna's words. Keys with dots would be taken apart on the way, so they are numbered."""
    from optuna import distributions as of

    found: dict[str, Any] = {}
    for place, d in enumerate(plan.sweep.space):
        if isinstance(d, Choices):
            found[_name(place)] = of.CategoricalDistribution(list(range(len(d.values))))
        elif isinstance(d, Range) and d.scale == "int_uniform":
            found[_name(place)] = of.IntDistribution(int(d.low), int(d.high))
        else:
            found[_name(place)] = of.FloatDistribution(d.low, d.high, log=d.scale == "log_uniform")
    return found


def _name(place: int) -> str:
    return f"key_{place}"


def point_of(plan: Plan, config: dict[str, Any]) -> Point:
    """The point behind what a search chose: places of choices, values of ranges, under the names of `_distributions`."""
    chosen = [config[_name(place)] for place in range(len(plan.sweep.space))]
    return tuple(
        (d.key, d.values[value] if isinstance(d, Choices) else value)
        for d, value in zip(plan.sweep.space, chosen, strict=True)
    )
