"""Private moments for the generator: the joint mean of label and features, E[1(y = k) f(x)], with Gaussian noise, charged.

The data-free generator of the paper sees the discriminator's answers only, and answers leave most of an image open. DeepInversion
fills the gap with batch-normalisation statistics, which are raw statistics of the data: a leak. Here the statistic is one bounded
vector a record, e_y (x) f(x) with |f(x)| <= 1, summed over the records and released once with noise; matching it is what DP-MERF
and DP-MEPF do (Harder et al. 2021, arXiv 2002.11603; 2023, arXiv 2205.12900). With 60,000 records and noise of 20 records' size it
costs rho = 1/800.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ...platform.data.images import ImageData
from ...platform.privacy.events import Event
from ...platform.privacy.noise import Noise, SystemNoise
from ...platform.privacy.sums import HEADROOM, SUM_UNITS, integer_sums, sums_event
from ...platform.training.run import Run
from .baseline import Baseline
from .classifiers import public_projection, remembered_vectors


@dataclass(frozen=True)
class PrivateMoments:
    """Release the joint moments (K, F) once: noise of standard deviation `sigma` on a sum to which a record adds at most length 1."""

    settings: Baseline
    sigma: float
    noise: Noise = field(default_factory=SystemNoise)

    purpose: ClassVar[str] = "joint moments of labels and features"
    uncovered: ClassVar[str | None] = None

    def events(self, records: int) -> list[tuple[str, Event]]:
        """One Gaussian release. Its sensitivity is that of adding or removing one record."""
        return [(self.purpose, sums_event(self.sigma))]

    def compute(self, private: ImageData, run: Run) -> Tensor:
        """Return the moments, (K, F)."""
        projection = public_projection(private.shape, self.settings.components)
        vectors = remembered_vectors(projection, private.images)
        total = integer_sums(vectors, private.labels, private.classes, bound=SUM_UNITS / self.sigma)
        noisy = total + self.noise.gaussian(SUM_UNITS, total.shape)
        # The number of records is public, and fixed: removing one does not change the divisor.
        return torch.from_numpy(noisy * (self.sigma / SUM_UNITS / HEADROOM) / len(private)).float()
