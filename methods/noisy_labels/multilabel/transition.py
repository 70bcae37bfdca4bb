"""The estimated flip rates of all classes, with what is known of their errors, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Transition:
    """One row a class.

    Args:
        rates: (q, 2), P(given 1 | true 0) and P(given 0 | true 1); NaN for refused classes.
        intervals: (q, 2, 2), lower and upper ends; NaN where the estimator has none.
        partners: (q,), how many partners survived the rejection rules; -1 where the estimator asks none.
        statistic, freedom, probability: (q,), the test of over-identification; NaN where there was none.
        reasons: q texts: why a class is refused; empty where it is not.
        selected: (q, 2), rows selected of given value 0 and 1; -1 where the estimator selects none.
    """

    rates: np.ndarray
    intervals: np.ndarray
    partners: np.ndarray
    statistic: np.ndarray
    freedom: np.ndarray
    probability: np.ndarray
    reasons: Sequence[str]
    selected: np.ndarray

    @classmethod
    def plain(cls, rates: np.ndarray, reasons: Sequence[str]) -> Transition:
        """Rates without anything else."""
        q = len(rates)
        nothing = np.full(q, np.nan)
        kept = np.where(np.array([bool(reason) for reason in reasons])[:, None], np.nan, rates)
        none = np.full(q, -1)
        return cls(
            kept, np.full((q, 2, 2), np.nan), none, nothing, nothing, nothing, list(reasons), np.full((q, 2), -1)
        )

    @property
    def refused(self) -> np.ndarray:
        """(q,) whether a class is refused."""
        return np.array([bool(reason) for reason in self.reasons])

    def filled(self, instead: np.ndarray) -> np.ndarray:
        """Rates (q, 2) with those of `instead` for refused classes."""
        return np.where(self.refused[:, None], instead, self.rates)

    def to_value(self) -> dict[str, Any]:
        """For a stage to keep."""
        return {name: getattr(self, name) for name in FIELDS} | {"reasons": list(self.reasons)}

    @classmethod
    def from_value(cls, value: Mapping[str, Any]) -> Transition:
        """Read `to_value`'s form."""
        return cls(**{name: value[name] for name in (*FIELDS, "reasons")})


FIELDS = ("rates", "intervals", "partners", "statistic", "freedom", "probability", "selected")


def error(rates: np.ndarray, true: np.ndarray) -> np.ndarray:
    """||T - T^||_1 / ||T||_1 of each class, (q,): the sum of both rates' absolute errors, since such a matrix adds up to 2."""
    return np.abs(rates - true).sum(1)
