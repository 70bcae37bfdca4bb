"""Batches of faces with and without their masks.

A mask is put on the whole picture, and both are then brought to the network's size by one resampler: a mask that was painted on a
small picture would give itself away by its edge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ....platform.data.faces import FaceImages
from ....platform.data.masked_faces import PutsMasks
from ....platform.data.resampling import Resampler
from ..augmentation import Augmentation, augmented

AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Batch:
    """Faces at the network's size.

    Args:
        true: (B, 3, s, s), without masks.
        seen: (B, 3, s, s), with masks, but for those that go without.
        hidden: (B, 1, s, s), how much of each pixel the mask hides.
        rows: int64 (B,), positions among the faces that the batch is drawn from.
        mirrored: bool (B,), whether left and right were changed.
    """

    true: Tensor
    seen: Tensor
    hidden: Tensor
    rows: Tensor
    mirrored: Tensor


class FaceBatches:
    """Faces that batches are drawn from: `numbers` of a `FaceImages`, masked anew each time.

    `unmasked` of every batch go without a mask. All draws come from torch's stream, which a training keeps and restores.
    """

    def __init__(
        self, faces: FaceImages, numbers: np.ndarray, masks: PutsMasks, *, size: int, unmasked: float,
        resampler: Resampler, augmentation: Augmentation,
    ) -> None:  # fmt: skip
        self._faces, self._masks, self._resampler, self._augmentation = faces, masks, resampler, augmentation
        self.numbers, self.size, self.unmasked = np.asarray(numbers, dtype=np.int64), size, unmasked

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def identities(self) -> Tensor:
        """Who is on them, int64 (n,)."""
        return torch.from_numpy(self._faces.identities[self.numbers])

    def draw(self, rows: Tensor, *, device: torch.device) -> Batch:
        """The faces at these rows."""
        rows = rows.cpu()
        stream = torch.Generator().manual_seed(int(torch.randint(2**62, (1,))))
        draw = self._augmentation.draw(len(rows), stream)
        faces = augmented(self._read(rows), draw)
        worn = torch.randperm(len(rows), generator=stream)[round(self.unmasked * len(rows)) :]
        return self._batch(faces, rows, draw.flip, worn, stream, device)

    def fixed(
        self, seed: int, *, device: torch.device, masked: bool = True, most: int | None = None
    ) -> Iterator[Batch]:
        """All faces (or the first `most`) in order, each with a mask (or each without), the same ones for the same seed."""
        count = len(self) if most is None else min(most, len(self))
        for start in range(0, count, AT_ONCE):
            rows = torch.arange(start, min(start + AT_ONCE, count))
            stream = torch.Generator().manual_seed((seed + start) % 2**62)
            worn = rows - start if masked else rows[:0]
            mirrored = torch.zeros(len(rows), dtype=torch.bool)
            yield self._batch(self._read(rows).float() / 255, rows, mirrored, worn, stream, device)

    def _batch(
        self, faces: Tensor, rows: Tensor, mirrored: Tensor, worn: Tensor, stream: torch.Generator, device: torch.device
    ) -> Batch:
        masked, hidden = faces.clone(), faces.new_zeros(len(faces), 1, *faces.shape[2:])
        if len(worn):
            masked[worn], hidden[worn] = self._masks.put(faces[worn], stream)
        true, seen, small = (self._resampler.resize(one, self.size) for one in (faces, masked, hidden))
        moved = (true.to(device), seen.to(device), small.clamp(0, 1).to(device))
        return Batch(*moved, rows.to(device), mirrored.to(device))

    def _read(self, rows: Tensor) -> Tensor:
        return torch.from_numpy(self._faces.read(self.numbers[rows.numpy()]))
