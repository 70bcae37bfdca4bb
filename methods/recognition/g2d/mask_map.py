"""What the encoder is told about the mask, when it learns and when it is used."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ....platform.errors import BadInput
from .batches import Batch, FaceBatches
from .segmentation import Segmenter, map_overlap

KINDS = ("predicted", "dropped", "zeros")
DROPPED = 0.5


class MaskMap(nn.Module):
    """Maps (B, 1, s, s) in [0, 1] of what is hidden.

    Args:
        kind: predicted (by a small network of its own, both in training and in use); dropped (in use zeros; in training the true map
            for half of the faces and zeros for the others); zeros (always).
    """

    def __init__(self, kind: str = "predicted") -> None:
        super().__init__()
        if kind not in KINDS:
            raise BadInput(f"mask_map is {kind!r}", mend=f"use one of {', '.join(KINDS)}")
        self.kind = kind
        self.segmenter = Segmenter() if kind == "predicted" else None

    def forward(self, seen: Tensor) -> Tensor:
        """What is told in use, from pictures (B, 3, s, s) alone."""
        if self.segmenter is None:
            return torch.zeros_like(seen[:, :1])
        told: Tensor = torch.sigmoid(self.segmenter(seen))
        return told

    @torch.no_grad()
    def in_training(self, batch: Batch) -> Tensor:
        """What is told while others learn; `dropped` draws from torch's stream."""
        if self.kind != "dropped":
            told: Tensor = self(batch.seen)
            return told
        kept = torch.rand(len(batch.seen), device=batch.seen.device) >= DROPPED
        return batch.hidden * kept.view(-1, 1, 1, 1)


@torch.no_grad()
def overlap(maps: MaskMap, faces: FaceBatches, *, seed: int, device: torch.device) -> float:
    """Intersection over union of predicted and true maps, over all faces, masked."""
    found = [(maps(batch.seen), batch.hidden) for batch in faces.fixed(seed, device=device)]
    return map_overlap(torch.cat([told for told, _ in found]), torch.cat([hidden for _, hidden in found]))
