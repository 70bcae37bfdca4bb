"""What a condensed set is compared with: real images under the same augmentation (DM, M3D, DANCE), and a trained network's answers.

Each is a term of the loop in `condensing.py`: decoded synthetic images of some classes in, one loss a class out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ...platform.errors import BadInput
from .augment import Augmentation
from .discrepancy import Discrepancy
from .encoders import Encoders, MiddleEncoders, Seeds
from .forward import Forward
from .real import RealImages
from .standard import Standard


class Term(Protocol):
    """A part of what the synthetic images are moved by."""

    @property
    def name(self) -> str:
        """What it is called in the log."""

    def __call__(self, images: Sequence[Tensor], classes: Sequence[int], number: int) -> list[Tensor]:
        """Losses of decoded images in [0, 1], (n, c, h, w) for each of these classes, in iteration `number`."""


@dataclass(frozen=True)
class Reuse:
    """How often a real batch, its augmentation and its encoder are used, so that its features are computed once.

    `times` = 1: never again, as published. Otherwise `bank` of them take turns, each `times` times, and are then replaced: the real
    side costs 1 / times, and `bank` batches of features are held in memory.

    >>> [Reuse(times=2, bank=3).key(n) for n in range(8)]
    [0, 1, 2, 0, 1, 2, 3, 4]
    """

    times: int = 1
    bank: int = 50

    def __post_init__(self) -> None:
        for name in ("times", "bank"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise BadInput(f"reuse.{name} is {value!r}", why="it is a whole number from 1 up")

    def key(self, number: int) -> int:
        """Which draw iteration `number` uses."""
        if self.times == 1:
            return number
        return number // (self.bank * self.times) * self.bank + number % self.bank


@dataclass(eq=False)
class RealMatching:
    """The discrepancy between features of real and synthetic images under one augmentation, class by class.

    Both sides get the same draw ("Siamese" augmentation, Zhao & Bilen 2021). The draw follows from iteration and class.
    """

    real: RealImages
    standard: Standard
    encoders: Encoders
    discrepancy: Discrepancy
    augmentation: Augmentation
    forward: Forward
    seed_for: Seeds
    reuse: Reuse = field(default_factory=Reuse)
    name: str = "matching"

    def __post_init__(self) -> None:
        self._kept: dict[tuple[int, int], Tensor] = {}

    def __call__(self, images: Sequence[Tensor], classes: Sequence[int], number: int) -> list[Tensor]:
        """One loss for each class."""
        key = self.reuse.key(number)
        encoder = self.encoders.at(key)
        real = self._real(encoder.features, classes, key, images[0])
        augmented = [
            self.augmentation.shared(self.standard(own), self._generator(key, c))
            for own, c in zip(images, classes, strict=True)
        ]
        synthetic = self.forward(encoder.features, augmented)
        return [self.discrepancy(own, other) for own, other in zip(synthetic, real, strict=True)]

    @torch.no_grad()
    def _real(
        self, features: Callable[[Tensor], Tensor], classes: Sequence[int], key: int, like: Tensor
    ) -> list[Tensor]:
        missing = [c for c in classes if (key, c) not in self._kept]
        if missing:
            batches = [
                self.augmentation.shared(self.standard(self.real.batch(c, key).to(like)), self._generator(key, c))
                for c in missing
            ]
            found = dict(zip(missing, self.forward(features, batches), strict=True))
            if self.reuse.times == 1:
                return [found[c] for c in classes]
            for other in [k for k in self._kept if k[0] <= key - self.reuse.bank]:
                del self._kept[other]
            self._kept |= {(key, c): own for c, own in found.items()}
        return [self._kept[key, c] for c in classes]

    def _generator(self, key: int, which: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed_for("augmentation", key, which))


@dataclass(frozen=True, eq=False)
class Calibration:
    """DANCE's distribution calibration: cross entropy of a trained network on the synthetic images, with their class as label.

    `reuse` is that of the matching, so that both ask the same expert in an iteration.
    """

    standard: Standard
    encoders: MiddleEncoders
    augmentation: Augmentation
    forward: Forward
    seed_for: Seeds
    reuse: Reuse = field(default_factory=Reuse)
    name: str = "calibration"

    def __call__(self, images: Sequence[Tensor], classes: Sequence[int], number: int) -> list[Tensor]:
        """One loss for each class."""
        expert = self.encoders.expert(self.reuse.key(number))
        augmented = []
        for own, c in zip(images, classes, strict=True):
            generator = torch.Generator().manual_seed(self.seed_for("calibration", number, c))
            augmented.append(self.augmentation.shared(self.standard(own), generator))
        return [
            F.cross_entropy(logits, torch.full((len(logits),), c, device=logits.device))
            for logits, c in zip(self.forward(expert, augmented), classes, strict=True)
        ]
