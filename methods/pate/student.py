"""The PATE student: fixed scattering features, a projection learnt on the public pool, and a small network on top.

Everything below the head is public (a fixed transform, and principal components of the public unlabelled pool), so that the few bought
labels have only the head to train. On Fashion-MNIST with 2,500 labels this beats a ridge on all features and a network on them.
"""

from __future__ import annotations

import torch
from torch import nn

from ...platform.nn.scattering import Scattering2D

FEATURE_BATCH = 32  # what fits a cache: larger batches make the transform up to three times slower


class ScatterStudent(nn.Module):
    """Classifier of images (B, c, h, w), uint8 or in [0, 1]: scattering, standardised projection to at most `components`, head.

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

    def fit_projection(self, pool: torch.Tensor) -> torch.Tensor:
        """Set the projection from public images (n, c, h, w) and return their projected features (n, components)."""
        features = self._features(pool)
        mean, spread = features.mean(0), features.std(0) + 0.01 * features.std()
        components = self.directions.shape[1]
        # Directions of the standardised features; one common scale keeps the leading components large on purpose.
        _, values, directions = torch.pca_lowrank((features - mean) / spread, q=components, center=False, niter=4)
        scale = values.square().mean().sqrt() / len(features) ** 0.5
        self.mean.copy_(mean)
        self.directions.copy_(directions / spread[:, None] / scale)
        return (features - self.mean) @ self.directions

    def project(self, images: torch.Tensor) -> torch.Tensor:
        """Return the public features of images, (B, components)."""
        return (self._features(images) - self.mean) @ self.directions

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (B, K)."""
        return self.head(self.project(images))

    @torch.no_grad()
    def _features(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.scattering(_unit(part)).flatten(1) for part in images.split(FEATURE_BATCH)])


def _unit(images: torch.Tensor) -> torch.Tensor:
    return images.float() / 255 if images.dtype == torch.uint8 else images
