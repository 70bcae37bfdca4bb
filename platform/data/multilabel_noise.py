"""Synthetic label noise that depends on the class alone: each yes-or-no label is flipped with a rate of its own.

The protocol of Li, Xia, Zhang, Zhan, Ge & Liu (Estimating Noise Transition Matrix with Label Correlations for Noisy Multi-Label
Learning, NeurIPS 2022): the same pair of rates for all classes, every entry flipped on its own.

>>> rates = class_dependent(2, false_positive=0.0, false_negative=1.0)
>>> flip(np.array([[1, 0], [1, 1]]), rates, seed=0).tolist()
[[0, 0], [0, 0]]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import BadInput


def class_dependent(classes: int, *, false_positive: float, false_negative: float) -> np.ndarray:
    """Rates (q, 2) that are the same for all classes: P(given 1 | true 0) and P(given 0 | true 1)."""
    check_rates(false_positive=false_positive, false_negative=false_negative)
    return np.tile(np.array([false_positive, false_negative], dtype=np.float64), (classes, 1))


def balanced(classes: int, *, false_negative: float, cardinality: float) -> np.ndarray:
    """Rates (q, 2) with which as many labels appear as vanish: P(1 | 0) = false_negative * cardinality / (q - cardinality).

    Args:
        classes: q.
        false_negative: P(given 0 | true 1).
        cardinality: mean number of true labels of a record.
    """
    if not 0 < cardinality < classes:
        raise BadInput(
            f"balanced noise for {cardinality:g} of {classes} labels a record", why="it needs between 0 and all"
        )
    share = cardinality / (classes - cardinality)
    return class_dependent(classes, false_positive=false_negative * share, false_negative=false_negative)


def check_rates(**rates: float) -> None:
    """Each rate is a number in [0, 1]."""
    for name, rate in rates.items():
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
            raise BadInput(f"{name} is {rate!r}", why="a flip rate is a number in [0, 1]")


def flip(labels: Any, rates: np.ndarray, *, seed: int) -> np.ndarray:
    """Return labels (N, q) of 0 and 1 with each entry flipped by its class's rate, from one uniform number an entry.

    The seed makes an experiment repeatable; nothing private hides behind this noise.
    """
    clean = np.asarray(labels, dtype=np.uint8)
    drawn = np.random.default_rng(seed).random(clean.shape)
    rate = np.where(clean == 0, rates[:, 0], rates[:, 1])
    return clean ^ (drawn < rate).astype(np.uint8)
