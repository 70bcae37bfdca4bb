"""Scattering features projected to a few directions that were learnt from public images: all of it is public structure.

>>> from stillhouse.platform.data.procedural import procedural_images
>>> projection = ScatteringProjection((1, 8, 8), components=20, whitening=0.5, unit=True)
>>> found = projection.fit(procedural_images(64, (1, 8, 8), seed=0))
>>> tuple(found.shape), bool(torch.allclose(found.norm(dim=1), torch.ones(64)))
((64, 20), True)
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from .scattering import OFFSET, Scattering2D, features

PROJECTED_AT_ONCE = 2000
POWER_STEPS = 2
SPARE = 10


class ScatteringProjection(nn.Module):
    """Images (B, c, h, w), floats in [0, 1], to (B, `components`); differentiable in the images.

    The features are fourth roots of scattering coefficients, standardised, projected on their principal components; component i is
    divided by its standard deviation to the power `whitening`. The projection is buffers, set by `fit`; nothing is a parameter.

    Args:
        shape: of the images.
        components: at most so many (there are no more than features).
        whitening: 0 keeps the components' own spread, 1 makes all alike.
        unit: scale each image's vector to length 1, which bounds a record's gradient in a linear model.
    """

    mean: torch.Tensor
    directions: torch.Tensor

    def __init__(
        self, shape: tuple[int, int, int], *, components: int, whitening: float = 0.0, unit: bool = False
    ) -> None:
        super().__init__()
        self.scattering = Scattering2D(shape)
        self.components = min(components, self.scattering.features)
        self._whitening, self._unit = whitening, unit
        self.register_buffer("mean", torch.zeros(self.scattering.features))
        self.register_buffer("directions", torch.zeros(self.scattering.features, self.components))

    def fit(self, images: np.ndarray) -> torch.Tensor:
        """Set the projection from public images, uint8 (n, c, h, w) with n > components; return their vectors."""
        found = features(self.scattering, images)
        mean, spread = found.mean(0), found.std(0) + 0.01 * found.std()
        # The last directions of a randomised decomposition are poor, so some more are found and left out.
        most = min(self.components + SPARE, *found.shape)
        _, values, directions = torch.pca_lowrank((found - mean) / spread, q=most, center=False, niter=POWER_STEPS)
        values, directions = values[: self.components], directions[:, : self.components]
        deviations = values / len(found) ** 0.5
        # One common scale beside the whitening: components of order 1 whatever the images.
        scale = (deviations ** (1 - self._whitening)).square().mean().sqrt() * deviations**self._whitening
        self.mean.copy_(mean)
        self.directions.copy_(directions / spread[:, None] / scale)
        return self._projected(found)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the vectors of float images, (B, components)."""
        return self._projected((self.scattering(images).clamp(min=0) + OFFSET).sqrt().sqrt())

    def project(self, images: np.ndarray) -> torch.Tensor:
        """Return the vectors of uint8 images, (n, components), without gradients."""
        parts = [images[start : start + PROJECTED_AT_ONCE] for start in range(0, len(images), PROJECTED_AT_ONCE)]
        return torch.cat([self._projected(features(self.scattering, part)) for part in parts])

    def _projected(self, found: torch.Tensor) -> torch.Tensor:
        vectors = (found - self.mean) @ self.directions
        return vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-9) if self._unit else vectors
