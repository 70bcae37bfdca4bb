"""The PATE student: fixed scattering features, a projection learnt on the public pool, and a small network on top.

Everything below the head is public (a fixed transform, and principal components of the public unlabelled pool), so that the few bought
labels have only the head to train. On Fashion-MNIST with 2,500 labels this beats a ridge on all features and a network on them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ...platform.nn.projection import ScatteringProjection


class ScatterStudent(nn.Module):
    """Classifier of uint8 images (n, c, h, w): scattering, standardised projection to at most `components`, head.

    The projection is buffers, set by `fit_projection`; only `head` has parameters. One common scale keeps the leading components
    large on purpose.
    """

    def __init__(
        self, shape: tuple[int, int, int], classes: int, *, components: int, hidden: int, dropout: float
    ) -> None:
        super().__init__()
        self.projection = ScatteringProjection(shape, components=components)
        self.head = nn.Sequential(
            nn.Dropout(dropout / 2),
            nn.Linear(self.projection.components, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )

    def fit_projection(self, pool: np.ndarray) -> torch.Tensor:
        """Set the projection from public images, uint8 (n, c, h, w); return their projected features (n, components)."""
        return self.projection.fit(pool)

    def project(self, images: np.ndarray) -> torch.Tensor:
        """Return the public features of uint8 images, (n, components)."""
        return self.projection.project(images)

    def forward(self, images: np.ndarray) -> torch.Tensor:
        """Return logits (n, K) of uint8 images (n, c, h, w)."""
        return self.head(self.project(images))
