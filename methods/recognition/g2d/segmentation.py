"""Where the mask is: a small network that predicts how much of each pixel is hidden.

On real masks nobody knows the map that synthetic ones come with, so it is predicted, or left out.

>>> Segmenter()(torch.rand(2, 3, 64, 64)).shape
torch.Size([2, 1, 64, 64])
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ....platform.training.loop import Trained, train
from ....platform.training.run import Run
from .batches import FaceBatches
from .training import Training, row_batches

GROUPS = 4


class Segmenter(nn.Module):
    """Pictures (B, 3, s, s) in [0, 1] to logits (B, 1, s, s) that a pixel is hidden. No statistic of a batch enters."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.to_half = _layer(3, width, stride=2)
        self.to_quarter = _layer(width, 2 * width, stride=2)
        self.around = nn.Sequential(_layer(2 * width, 2 * width, dilation=2), _layer(2 * width, 2 * width, dilation=4))
        self.join = _layer(3 * width, width)
        self.logit = nn.Conv2d(width, 1, 1)

    def forward(self, seen: Tensor) -> Tensor:
        """The logits."""
        half = self.to_half(seen)
        wide = functional.interpolate(self.around(self.to_quarter(half)), size=half.shape[-2:], mode="bilinear")
        logits: Tensor = self.logit(self.join(torch.cat([half, wide], dim=1)))
        return functional.interpolate(logits, size=seen.shape[-2:], mode="bilinear")


def map_overlap(predicted: Tensor, true: Tensor) -> float:
    """Intersection over union of maps (B, 1, s, s), cut at one half, over all pixels together; 1 where nothing is hidden in either."""
    ours, theirs = predicted >= 0.5, true >= 0.5
    union = int((ours | theirs).sum())
    return int((ours & theirs).sum()) / union if union else 1.0


def train_segmenter(
    run: Run, segmenter: Segmenter, faces: FaceBatches, training: Training, *, inputs: object
) -> Trained:
    """Train in place, by cross entropy with the synthetic masks' own maps."""
    loader = row_batches(run, len(faces), training.batch_size)
    optimizer, scheduler = training.start(segmenter.parameters(), training.epochs * len(loader))

    def loss(model: nn.Module, rows: Tensor) -> Tensor:
        batch = faces.draw(rows, device=run.device)
        return functional.binary_cross_entropy_with_logits(model(batch.seen).float(), batch.hidden)

    return train(
        run, segmenter, loss, loader, optimizer, epochs=training.epochs, name="segmenter", scheduler=scheduler,
        scheduler_every="step", clip_norm=training.clip_norm, inputs=inputs,
    )  # fmt: skip


def _layer(before: int, after: int, *, stride: int = 1, dilation: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=dilation, dilation=dilation),
        nn.GroupNorm(GROUPS, after), nn.ReLU(),
    )  # fmt: skip
