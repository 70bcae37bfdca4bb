"""Exact and sampled worlds for the tests: joint distributions of true labels, flip rates, and what is then given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from stillhouse.methods.noisy_labels.multilabel.pair_counts import PairCounts
from stillhouse.platform.data.multilabel_synthetic import Correlated


@dataclass(frozen=True)
class Population:
    """What infinitely many rows would count: P(true j, true i) -> P(given, given), and P(given i | true j)."""

    pairs: np.ndarray  # (q, q): P(true j = 1, true i = 1), marginals on the diagonal
    rates: np.ndarray  # (q, 2)

    def counts(self) -> PairCounts:
        marginal = np.diagonal(self.pairs)
        fp, keep = self.rates[:, 0], 1 - self.rates[:, 1]
        gain = keep - fp
        # P(given = 1) = fp + gain P(true = 1), for each label on its own given the true ones.
        given = fp + gain * marginal
        together = (
            np.outer(fp, fp)
            + np.outer(gain * marginal, fp)
            + np.outer(fp, gain * marginal)
            + np.outer(gain, gain) * self.pairs
        )
        np.fill_diagonal(together, given)
        if_true = self.pairs / marginal[:, None]
        if_false = (marginal[None, :] - self.pairs) / (1 - marginal)[:, None]
        many = np.full(len(marginal), 10**9)
        return PairCounts(together, fp + gain * if_true, fp + gain * if_false, many, many, 2 * 10**9)


def population(q: int, seed: int, rates: np.ndarray) -> Population:
    """Pairs of a table of probabilities over a few hidden kinds of records, within which labels are independent."""
    generator = np.random.default_rng(seed)
    weight = generator.dirichlet(np.full(4, 3.0))
    inside = generator.uniform(0.05, 0.75, (4, q))
    pairs = (weight[:, None] * inside).T @ inside
    np.fill_diagonal(pairs, weight @ inside)
    return Population(pairs, rates)


def sampled(
    rows: int, seed: int, rates: np.ndarray, *, q: int = 12, correlation: float = 0.9
) -> tuple[np.ndarray, np.ndarray]:
    """True and given labels (rows, q)."""
    world = Correlated(classes=q, features=2, cardinality=0.15 * q, factors=2, correlation=correlation, decay=0.3)
    _, clean = world.draw(rows, seed=0, part=f"rows {seed}")
    flipped = np.random.default_rng([seed, 7]).random(clean.shape) < np.where(clean == 1, rates[:, 1], rates[:, 0])
    return clean, clean ^ flipped.astype(np.uint8)
