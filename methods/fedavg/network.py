"""The network that is averaged: that of PATE's student, or one of DGD's. What lies below its trained part is public."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from ...platform.errors import BadInput
from ...platform.privacy.validate import positive_int
from ...platform.training.seeds import seeded
from ..dgd.classifiers import Classifier
from ..dgd.student import KINDS as DGD_KINDS
from ..dgd.student import StudentSettings
from ..pate.student import ScatterStudent

PATE = "pate"
KINDS = (PATE, *DGD_KINDS)


class PateNetwork(Classifier):
    """PATE's student with its projection learnt on the public pool; its head is trained."""

    def __init__(self, student: ScatterStudent) -> None:
        super().__init__()
        self.student = student

    @property
    def trained_part(self) -> nn.Module:
        """The head."""
        return self.student.head

    def inputs(self, images: np.ndarray) -> Tensor:
        """Projected scattering features, (n, components)."""
        return self.student.project(images)

    def released(self) -> dict[str, Tensor]:
        """The projection, which is public, and the head."""
        return {name: value.detach().cpu().clone() for name, value in self.student.state_dict().items()}

    def take_over(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `released` gave out."""
        self.student.load_state_dict(dict(state))


@dataclass(frozen=True)
class Network:
    """Which network.

    Args:
        kind: pate (its student: scattering, a projection learnt on the public pool, a hidden layer), or scatter_linear, scatter_mlp
            or cnn (DGD's students: scattering and a projection fitted to procedural images, or pixels).
        components: dimensions of the projection, at most. hidden, dropout: of pate and scatter_mlp; width, hidden: of cnn.
    """

    kind: str = "scatter_linear"
    components: int = 200
    hidden: int = 512
    width: int = 8
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadInput(f"unknown network {self.kind!r}", mend=f"use one of {', '.join(KINDS)}")
        positive_int(components=self.components, hidden=self.hidden, width=self.width)
        if not 0 <= self.dropout < 1:
            raise BadInput(f"dropout is {self.dropout!r}", why="it must be in [0, 1)")

    def build(self, pool: np.ndarray, shape: tuple[int, int, int], classes: int, *, seed: int) -> Classifier:
        """Return the untrained network. `pool` are public images, uint8 (n, c, h, w), which the kind `pate` looks at."""
        with seeded(seed):
            if self.kind != PATE:
                return StudentSettings(
                    kind=self.kind,
                    components=self.components,
                    hidden=self.hidden,
                    width=self.width,
                    dropout=self.dropout,
                ).build(shape, classes)
            if len(pool) < 2:
                raise BadInput(
                    "PATE's student needs a public pool for its projection",
                    mend="use another method.network.kind",
                )
            components = min(self.components, len(pool) - 1)
            student = ScatterStudent(shape, classes, components=components, hidden=self.hidden, dropout=self.dropout)
            student.fit_projection(pool)
            return PateNetwork(student)
