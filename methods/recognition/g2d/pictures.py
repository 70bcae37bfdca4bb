"""What a run shows of its first stages: faces with masks, as they were drawn without, as they are; and where the mask was found."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .batches import Batch

SHOWN_SIDE = 96
GAP = 4


def inpainting_sheet(batch: Batch, drawn: Tensor) -> np.ndarray:
    """Pixels uint8 (h, w, 3): one column a face; rows: with the mask, as it was drawn without, as it is without."""
    return _sheet([batch.seen, drawn, batch.true])


def map_sheet(batch: Batch, told: Tensor) -> np.ndarray:
    """Pixels uint8 (h, w, 3): one column a face; rows: with the mask, the map that was found, the true map."""
    return _sheet([batch.seen, told.expand_as(batch.seen), batch.hidden.expand_as(batch.seen)])


def _sheet(rows: list[Tensor]) -> np.ndarray:
    tiles = []
    for row in rows:
        large = functional.interpolate(row.detach().float().cpu(), size=(SHOWN_SIDE, SHOWN_SIDE), mode="nearest")
        padded = functional.pad(large.clamp(0, 1), (GAP, 0, GAP, 0), value=1.0)
        tiles.append(torch.cat(list(padded), dim=2))
    sheet = functional.pad(torch.cat(tiles, dim=1), (0, GAP, 0, GAP), value=1.0)
    return np.asarray((sheet.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())
