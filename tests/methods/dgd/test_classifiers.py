"""Vectors that are remembered are those of the projection that asks."""

from __future__ import annotations

import numpy as np
import torch
from stillhouse.methods.dgd.classifiers import remembered_vectors
from torch import Tensor, nn


class Constant(nn.Module):
    """Stands for a projection: every image to the same vector of so many numbers."""

    def __init__(self, components: int) -> None:
        super().__init__()
        self.components, self.asked = components, 0

    def project(self, images: np.ndarray) -> Tensor:
        self.asked += 1
        return torch.full((len(images), self.components), float(self.components))


def vectors(projection: Constant) -> Tensor:
    return remembered_vectors(projection, np.zeros((3, 1, 8, 8), np.uint8))  # type: ignore[arg-type]


def test_a_projection_that_is_gone_does_not_answer_for_the_next_one() -> None:
    """Python puts a new object where a freed one was; its number is no name for it."""
    for components in range(1, 40):
        assert vectors(Constant(components)).shape == (3, components)


def test_the_same_images_are_projected_once() -> None:
    projection = Constant(5)
    assert vectors(projection) is vectors(projection) and projection.asked == 1
