"""How sure a figure is, and whether two methods differ: bootstrap over pairs, over groups of records, or over people.

A draw gives each record a weight, the number of times it was drawn; a statistic is computed for all draws at once. Two methods
are compared on the same draws, so that what is hard for both cancels out.

>>> right_a, right_b = np.repeat([True, False], [90, 10]), np.repeat([True, False], [70, 30])
>>> found = paired_bootstrap(mean_of(right_a), mean_of(right_b), Records(np.zeros(100, int)), seed=0)
>>> round(found.value, 2), found.low > 0.1, found.p < 0.01
(0.2, True, True)

The thresholds of a verification by folds are not learnt anew in a draw; seeds of training are not drawn either, so an interval
says how the figure hangs on the test set alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import BadInput
from ..privacy.validate import positive_int, probability
from .scores import BLOCK, check_labels, check_numbers, check_scores

Statistic = Callable[[np.ndarray], np.ndarray]  # weights (draws, n) -> values (draws,), NaN where a draw has none
MOST_LOST = 0.05  # of the draws


class Units(Protocol):
    """What is drawn with replacement."""

    @property
    def records(self) -> int:
        """Number of records that get a weight."""

    def weights(self, generator: np.random.Generator, draws: int) -> np.ndarray:
        """Weights (draws, records), float64."""


@dataclass(frozen=True, eq=False)
class Records:
    """Records one by one, each stratum (n,) on its own: give the truth of the pairs, whose two kinds a protocol fixes in number."""

    strata: Any

    @property
    def records(self) -> int:
        """Number of records."""
        return len(np.asarray(self.strata))

    def weights(self, generator: np.random.Generator, draws: int) -> np.ndarray:
        """Weights (draws, records)."""
        strata = np.asarray(self.strata)
        drawn = np.empty((draws, len(strata)))
        for stratum in np.unique(strata):
            here = np.flatnonzero(strata == stratum)
            drawn[:, here] = _multiplicities(generator, draws, len(here))
        return drawn


@dataclass(frozen=True, eq=False)
class Groups:
    """Whole groups (n,) of records: the videos of a person, the frames of a video."""

    group: Any

    @property
    def records(self) -> int:
        """Number of records."""
        return len(np.asarray(self.group))

    def weights(self, generator: np.random.Generator, draws: int) -> np.ndarray:
        """Weights (draws, records)."""
        groups, which = np.unique(check_labels(self.group, self.records, "groups"), return_inverse=True)
        _several(len(groups), "groups")
        return _multiplicities(generator, draws, len(groups))[:, which]


@dataclass(frozen=True, eq=False)
class PeopleOfPairs:
    """People, where a record is a pair: people (n,) on either side.

    A pair of two people weighs as often as both were drawn, multiplied; a pair of one person as often as that one was (Owen 2007,
    "The pigeonhole bootstrap", for arrays with two margins). It errs on the side of wide intervals where pairs
    hang little on who is in them.
    """

    first: Any
    second: Any

    @property
    def records(self) -> int:
        """Number of pairs."""
        return len(np.asarray(self.first))

    def weights(self, generator: np.random.Generator, draws: int) -> np.ndarray:
        """Weights (draws, records)."""
        first = check_labels(self.first, self.records, "people of the first side")
        second = check_labels(self.second, self.records, "people of the second side")
        people, which = np.unique(np.concatenate([first, second]), return_inverse=True)
        _several(len(people), "people")
        drawn = _multiplicities(generator, draws, len(people))
        left, right = drawn[:, which[: self.records]], drawn[:, which[self.records :]]
        return np.where(first == second, left, left * right)


@dataclass(frozen=True)
class Interval:
    """A figure, the bounds of its percentile interval, and the standard deviation over the draws."""

    value: float
    low: float
    high: float
    deviation: float
    level: float
    draws: int


@dataclass(frozen=True)
class Difference(Interval):
    """The first method's figure less the second's, with a two-sided p for "they do not differ".

    p is twice the share of draws on the other side of zero (or at it), each draw and the found value counting: it is at least
    2 / (draws + 1).
    """

    p: float


def mean_of(values: Any) -> Statistic:
    """The mean of values (n,): accuracy, if they say which records were judged rightly (or in how many of several seeds)."""
    numbers = np.asarray(values)
    numbers = check_numbers(numbers.astype(np.float64) if numbers.dtype.kind == "b" else numbers, "values")

    def statistic(weights: np.ndarray) -> np.ndarray:
        _fit(weights, len(numbers))
        total = weights.sum(axis=1)
        return np.divide(weights @ numbers, total, out=np.full(len(weights), np.nan), where=total > 0)

    return statistic


def auc_of(scores: Any, positive: Any) -> Statistic:
    """Area under the ROC curve of scores (n,) and truth (n,)."""
    curve = _weighted_curve(scores, positive)

    def statistic(weights: np.ndarray) -> np.ndarray:
        far, tar = curve(weights)
        return np.asarray(np.sum(np.diff(far, axis=1) * (tar[:, 1:] + tar[:, :-1]), axis=1) / 2)

    return statistic


def eer_of(scores: Any, positive: Any) -> Statistic:
    """Equal error rate of scores (n,) and truth (n,), interpolated as `Roc.eer`."""
    curve = _weighted_curve(scores, positive)

    def statistic(weights: np.ndarray) -> np.ndarray:
        far, tar = curve(weights)
        gap = far + tar - 1
        after = np.argmax(gap >= 0, axis=1)[:, None]  # of a draw without a curve: any, all its rates are NaN
        gap_after, gap_before = (np.take_along_axis(gap, at, axis=1) for at in (after, after - 1))
        far_after, far_before = (np.take_along_axis(far, at, axis=1) for at in (after, after - 1))
        return np.asarray(far_before - gap_before / (gap_after - gap_before) * (far_after - far_before))[:, 0]

    return statistic


def average_of(*statistics: Statistic) -> Statistic:
    """The mean of several statistics, such as one a seed, on the same draws."""
    if not statistics:
        raise BadInput("no statistics have no average")
    return lambda weights: np.mean([statistic(weights) for statistic in statistics], axis=0)


def bootstrap(statistic: Statistic, units: Units, *, seed: int, draws: int = 2000, level: float = 0.95) -> Interval:
    """A figure with its percentile interval. The same seed gives the same interval.

    Raises:
        BadInput: no record, fewer than two groups, or a figure that many of the draws do not have (too few groups).
    """
    return Interval(*_bounds(statistic, units, seed, draws, level)[0])


def paired_bootstrap(
    first: Statistic, second: Statistic, units: Units, *, seed: int, draws: int = 2000, level: float = 0.95
) -> Difference:
    """The difference of two methods' figures on the same records, with interval and p.

    Raises:
        BadInput: as `bootstrap`.
    """
    figures, values = _bounds(lambda weights: first(weights) - second(weights), units, seed, draws, level)
    beyond = min(int(np.count_nonzero(values <= 0)), int(np.count_nonzero(values >= 0)))
    return Difference(*figures, p=min(1.0, 2 * (1 + beyond) / (len(values) + 1)))


def _bounds(
    statistic: Statistic, units: Units, seed: int, draws: int, level: float
) -> tuple[tuple[float, float, float, float, float, int], np.ndarray]:
    positive_int(draws=draws)
    probability(level=level)
    if not units.records:
        raise BadInput("a bootstrap of no records")
    generator = np.random.default_rng(seed)
    value = float(statistic(np.ones((1, units.records)))[0])
    step = max(1, BLOCK // units.records)
    parts = [statistic(units.weights(generator, min(step, draws - done))) for done in range(0, draws, step)]
    values = np.concatenate(parts)
    lost = int(np.count_nonzero(np.isnan(values)))
    if np.isnan(value) or lost > MOST_LOST * draws:
        raise BadInput(
            f"{lost} of {draws} draws hold no positives or no negatives",
            why="there are too few groups for an interval",
            mend="draw records, or gather more groups",
        )
    values = values[~np.isnan(values)]
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return (value, float(low), float(high), float(np.std(values)), level, len(values)), values


def _weighted_curve(scores: Any, positive: Any) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """From weights (draws, n): FAR and TAR (draws, k + 1), as `roc` has them; NaN for a draw without positives or negatives."""
    values, truth = check_scores(scores, positive)
    order = np.argsort(-values, kind="stable")
    starts = np.concatenate([[0], np.flatnonzero(np.diff(values[order])) + 1])
    kinds = (~truth[order], truth[order])

    def curve(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        _fit(weights, len(values))
        falling, rates = weights[:, order], []
        for kind in kinds:
            counts = np.cumsum(np.add.reduceat(falling * kind, starts, axis=1), axis=1)
            total = counts[:, -1:]
            share = np.divide(counts, total, out=np.full_like(counts, np.nan), where=total > 0)
            rates.append(np.concatenate([np.where(total > 0, 0.0, np.nan), share], axis=1))
        return rates[0], rates[1]

    return curve


def _multiplicities(generator: np.random.Generator, draws: int, count: int) -> np.ndarray:
    """How often each of `count` things was drawn in `count` draws with replacement: (draws, count)."""
    picked = generator.integers(0, count, size=(draws, count)) + count * np.arange(draws)[:, None]
    return np.bincount(picked.ravel(), minlength=draws * count).reshape(draws, count).astype(np.float64)


def _several(count: int, what: str) -> None:
    if count < 2:
        raise BadInput(
            f"a bootstrap over {count} {what}", why="drawing one thing again and again says nothing of its spread"
        )


def _fit(weights: np.ndarray, records: int) -> None:
    if weights.shape[1] != records:
        raise BadInput(
            f"{weights.shape[1]} units for {records} records", mend="draw from the records that have a score"
        )
