"""Labelled images as pictures, and how many of them a network classifies rightly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...platform.data.degradation import Degradation
from ...platform.data.images import ImageData
from ...platform.training.run import Run
from .embedding import Network
from .heads import Head
from .looking import Look

PIECE = 256


@dataclass(frozen=True, eq=False)
class LabelledPictures:
    """The images of a labelled set, of any number of channels, as `Pictures`."""

    data: ImageData

    def __len__(self) -> int:
        return len(self.data)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.data.shape[1:]

    def read(self, numbers: Any) -> np.ndarray:
        """The images with these numbers, in this order: uint8 (m, channels, height, width)."""
        return np.asarray(self.data.images[np.asarray(numbers, dtype=np.int64)])

    def content_hash(self) -> str:
        """SHA-256 that changes with any image or label."""
        return self.data.content_hash()


@torch.no_grad()
def accuracy_of(run: Run, network: Network, head: Head, test: ImageData, degradation: Degradation | None) -> float:
    """Fraction of right answers of a network, in evaluation mode, about degraded (None: whole) test images.

    Images as they are, without mirror images. Every process of the run must call it.
    """
    pictures = LabelledPictures(test)
    own = np.arange(run.world.rank, len(test), run.world.size)
    prepare, right = Look(degradation, seed=run.seed_for("degradation", "test")).started(), 0
    for start in range(0, len(own), PIECE):
        numbers = own[start : start + PIECE]
        pixels = torch.from_numpy(pictures.read(numbers)).to(run.device).float() / 255
        answers = head(network(prepare(pixels)).embedding.float()).argmax(1).cpu().numpy()
        right += int((answers == test.labels[numbers]).sum())
    return sum(run.gather(right)) / len(test)
