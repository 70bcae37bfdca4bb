"""Test pictures as a network is shown them: degraded, brought up again, under a shift."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor, nn

from ...platform.data.degradation import Degradation
from ...platform.data.faces import Pictures
from ...platform.data.shifts import shift
from ...platform.training.run import Run
from .embedding import embed, templates


@dataclass(frozen=True)
class Look:
    """What becomes of a test picture: a shift (None: none), then a degradation (None: none). What is drawn follows from `seed`."""

    degradation: Degradation | None
    shift: str | None = None
    level: int = 4
    seed: int = 0

    def started(self) -> Prepared:
        """A function of batches, whose draws begin anew."""
        return Prepared(self, Generator().manual_seed(self.seed))


class Prepared:
    """Batches of floats (B, c, H, W) in [0, 1] to what the network sees, one after another."""

    def __init__(self, look: Look, generator: Generator) -> None:
        self._look, self._generator = look, generator

    def __call__(self, pictures: Tensor) -> Tensor:
        """Return the shifted, degraded batch."""
        look = self._look
        if look.shift is not None:
            pictures = shift(pictures, look.shift, look.level, self._generator)
        if look.degradation is not None:
            drawn = self._generator if look.degradation.random else None
            pictures = look.degradation(pictures, drawn)
        return pictures


def embedded(run: Run, network: nn.Module, pictures: Pictures, look: Look, *, flip: bool) -> np.ndarray:
    """Embeddings (n, D) of all pictures, not normalised."""
    return templates(embed(run, network, pictures, look.started()), flip=flip)


def some_pictures(run: Run, pictures: Pictures, numbers: np.ndarray, look: Look, most: int) -> Tensor:
    """A random choice of `most` of the pictures with these numbers, as a network is shown them, without labels.

    All processes of the run choose and see the same ones.
    """
    chosen = numbers[np.random.default_rng(run.seed_for("face-bn")).permutation(len(numbers))[:most]]
    prepare, found = look.started(), []
    for part in np.array_split(chosen, max(1, len(chosen) // 128)):
        found.append(prepare(torch.from_numpy(pictures.read(part)).to(run.device).float() / 255))
    return torch.cat(found)
