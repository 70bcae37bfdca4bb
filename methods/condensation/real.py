"""Real images by class, in batches that any process, and any restart, finds again.

A pass over a class is a permutation that follows from the class and the pass; no image comes twice in it, so batches differ less than
by chance. Batch number 7 is a function of 7: there is no position to keep.

>>> images = ImageData(np.zeros((6, 1, 4, 4), np.uint8), np.array([0, 1, 0, 1, 0, 0]), 2, "blank")
>>> real = RealImages(images, batch=2, seed_for=lambda *names: 0)
>>> real.batch(0, number=5).shape, real.numbers[1].tolist()
(torch.Size([2, 1, 4, 4]), [1, 3])
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...platform.data.images import ImageData
from ...platform.errors import BadInput
from .encoders import Seeds

# So many classes are named in an error; the rest are counted.
NAMED = 10


class RealImages:
    """The images of each class; batches of min(class size, `batch`), the last short batch of a pass left out.

    `at_least`: so many images each class must have (ipc * factor^2 for a start from real images).

    Raises:
        BadInput: a class has fewer.
    """

    def __init__(self, data: ImageData, *, batch: int, seed_for: Seeds, at_least: int = 1) -> None:
        self.numbers = class_numbers(data.labels, data.classes, at_least=at_least)
        self.classes, self._seed_for = data.classes, seed_for
        # One copy, sorted by class: a batch is then rows of one tensor.
        self._images = [torch.from_numpy(data.images[own]) for own in self.numbers]
        self._sizes = [min(len(own), batch) for own in self.numbers]
        self._orders: dict[int, tuple[int, Tensor]] = {}

    def of_class(self, which: int) -> Tensor:
        """All pixels of a class, (n, c, h, w) float32 in [0, 1]."""
        return self._images[which].float() / 255

    def batch(self, which: int, number: int) -> Tensor:
        """Pixels of this class's batch `number`, float32 in [0, 1]."""
        size = self._sizes[which]
        per_pass = len(self.numbers[which]) // size
        turn, place = divmod(number, per_pass)
        order = self._order(which, turn)[place * size : (place + 1) * size]
        return self._images[which][order].float() / 255

    def _order(self, which: int, turn: int) -> Tensor:
        kept = self._orders.get(which)
        if kept is None or kept[0] != turn:
            generator = torch.Generator().manual_seed(self._seed_for("real", which, turn))
            kept = turn, torch.randperm(len(self.numbers[which]), generator=generator)
            self._orders[which] = kept
        return kept[1]


def class_numbers(labels: np.ndarray, classes: int, *, at_least: int) -> list[np.ndarray]:
    """Return for each class 0 .. classes - 1 the numbers of its records, ascending.

    Raises:
        BadInput: a class has fewer than `at_least`.
    """
    found = [np.flatnonzero(labels == k) for k in range(classes)]
    short = [k for k, own in enumerate(found) if len(own) < at_least]
    if short:
        names = ", ".join(map(str, short[:NAMED])) + (f" and {len(short) - NAMED} more" if len(short) > NAMED else "")
        raise BadInput(
            f"fewer than {at_least} images in class{'' if len(short) == 1 else 'es'} {names}",
            why="every condensed image of a start from real ones takes factor^2 of them",
            mend="lower method.ipc or method.factor, start from noise (method.initial=noise), or leave these classes out",
        )
    return found
