"""Synthetic multi-label records whose labels go together: a Gaussian copula, and features that show the labels.

A record draws k standard normal factors z and one number e_j for each label. Label j is present where
    r * <w_j, z> + sqrt(1 - r^2) * e_j > t_j            (|w_j| = 1)
so r = 0 gives independent labels and r = 1 labels that are functions of the factors. The thresholds t_j make frequencies that fall like
1 / j^decay and add up to the wanted cardinality. Features are the sum of the present labels' directions, plus noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import BadInput
from ..privacy.validate import non_negative, positive, positive_int

MOST_FREQUENT = 0.5


@dataclass(frozen=True)
class Correlated:
    """Settings of the generator.

    Args:
        classes: q.
        features: D.
        cardinality: mean number of labels of a record.
        factors: k.
        correlation: r in [0, 1).
        decay: how fast the labels' frequencies fall; 0: all alike.
        noise: standard deviation of the features' noise, against directions of length 1.
    """

    classes: int = 20
    features: int = 64
    cardinality: float = 1.76
    factors: int = 4
    correlation: float = 0.8
    decay: float = 0.5
    noise: float = 0.2

    def __post_init__(self) -> None:
        positive_int(classes=self.classes, features=self.features, factors=self.factors)
        positive(cardinality=self.cardinality)
        non_negative(decay=self.decay, noise=self.noise)
        if not 0 <= self.correlation < 1:
            raise BadInput(f"correlation is {self.correlation!r}", why="it must be in [0, 1)")
        if self.cardinality >= MOST_FREQUENT * self.classes:
            raise BadInput(
                f"cardinality {self.cardinality:g} with {self.classes} labels",
                why=f"a label may be present in less than {MOST_FREQUENT:g} of the records",
                mend="lower data.cardinality or raise data.classes",
            )

    def frequencies(self) -> np.ndarray:
        """P(label j), (q,): falling, none above one half, adding up to the cardinality."""
        from scipy.optimize import brentq

        shape = np.arange(1, self.classes + 1, dtype=np.float64) ** -self.decay
        capped = lambda scale: np.minimum(scale * shape, MOST_FREQUENT)
        top = MOST_FREQUENT / shape[-1]
        scale = brentq(lambda s: float(capped(s).sum()) - self.cardinality, 0.0, top)
        return capped(scale)

    def draw(self, count: int, *, seed: int, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Features (count, D) float32 and labels (count, q) uint8. The world depends on `seed`, the records also on `part`.

        Parts of one world: the same label has the same direction in the training and the score set.
        """
        from scipy.stats import norm  # Half a second, which composing a configuration must not take.

        world = np.random.default_rng([seed, 0])
        records = np.random.default_rng([seed, 1, *part.encode()])
        directions = world.standard_normal((self.classes, self.features)) / np.sqrt(self.features)
        loadings = world.standard_normal((self.classes, self.factors))
        loadings /= np.linalg.norm(loadings, axis=1, keepdims=True)
        shared = records.standard_normal((count, self.factors)) @ loadings.T
        own = records.standard_normal((count, self.classes))
        score = self.correlation * shared + np.sqrt(1 - self.correlation**2) * own
        labels = (score > norm.isf(self.frequencies())).astype(np.uint8)
        noise = records.standard_normal((count, self.features)) * self.noise
        return (labels @ directions + noise).astype(np.float32), labels
