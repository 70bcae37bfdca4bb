"""The PATE student: fixed scattering features, a projection learnt on the public pool, and a small network on top.

Everything below the head is public (a fixed transform, and principal components of the public unlabelled pool), so that the few bought
labels have only the head to train. On Fashion-MNIST with 2,500 labels this beats a ridge on all features and a network on them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ...platform.nn.scattering import Scattering2D, features

PROJECTED_AT_ONCE = 2000


class ScatterStudent(nn.Module):
    """Classifier of uint8 images (n, c, h, w): scattering, standardised projection to at most `components`, head.

    The projection is buffers, set by `fit_projection`; only `head` has parameters.
    """

    mean: torch.Tensor
    directions: torch.Tensor

    def __init__(
        self, shape: tuple[int, int, int], classes: int, *, components: int, hidden: int, dropout: float
    ) -> None:
        super().__init__()
        self.scattering = Scattering2D(shape)
        features = self.scattering.features
        components = min(components, features)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("directions", torch.zeros(features, components))
        self.head = nn.Sequential(
            nn.Dropout(dropout / 2),
            nn.Linear(components, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )

    def fit_projection(self, pool: np.ndarray) -> torch.Tensor:
        """Set the projection from public images, uint8 (n, c, h, w); return their projected features (n, components)."""
        found = features(self.scattering, pool)
        mean, spread = found.mean(0), found.std(0) + 0.01 * found.std()
        components = self.directions.shape[1]
        # Directions of the standardised features; one common scale keeps the leading components large on purpose.
        _, values, directions = torch.pca_lowrank((found - mean) / spread, q=components, center=False, niter=4)
        scale = values.square().mean().sqrt() / len(found) ** 0.5
        self.mean.copy_(mean)
        self.directions.copy_(directions / spread[:, None] / scale)
        return (found - self.mean) @ self.directions

    def project(self, images: np.ndarray) -> torch.Tensor:
        """Return the public features of uint8 images, (n, components)."""
        parts = [images[start : start + PROJECTED_AT_ONCE] for start in range(0, len(images), PROJECTED_AT_ONCE)]
        return torch.cat([(features(self.scattering, part) - self.mean) @ self.directions for part in parts])

    def forward(self, images: np.ndarray) -> torch.Tensor:
        """Return logits (n, K) of uint8 images (n, c, h, w)."""
        return self.head(self.project(images))
