"""CutMix: a box of every image is replaced by its partner's, and the label is shared by area (Yun et al. 2019, arXiv 1905.04899)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.special import betaincinv
from torch import Tensor

from ...platform.errors import BadInput


@dataclass(frozen=True)
class Mixed:
    """A batch of which every image has two labels.

    Attributes:
        images: (B, c, h, w).
        labels: (B,), of what is left of the images.
        partners: (B,), labels of what was pasted.
        weight: of `labels`, the part of the pixels that is left; `partners` weigh what is missing from 1.
    """

    images: Tensor
    labels: Tensor
    partners: Tensor
    weight: float


def cutmix(
    images: Tensor, labels: Tensor, generator: torch.Generator, *, probability: float = 0.5, beta: float = 1.0
) -> Mixed:
    """Paste one box, the same for the batch, of a permutation of the images into the images; the gradient passes.

    Args:
        images: (B, c, h, w), any device; not modified.
        labels: (B,) int64, on the same device.
        generator: of the CPU.
        probability: that this batch is mixed at all; if not, images are returned as they are, with weight 1.
        beta: the box has a part 1 - l of the area, l ~ Beta(beta, beta), before it is cut off at the borders.

    Raises:
        BadInput: `probability` is outside of [0, 1], or `beta` is not positive.
    """
    if not 0 <= probability <= 1:
        raise BadInput(f"CutMix with probability {probability}", mend="give a probability between 0 and 1")
    if not (math.isfinite(beta) and beta > 0):
        raise BadInput(f"CutMix with beta {beta}", mend="give a positive number")
    if torch.rand((), generator=generator).item() >= probability:
        return Mixed(images, labels, labels, 1.0)
    # By the inverse of the distribution function, as torch's own Beta draws from the global generator only.
    left = float(betaincinv(beta, beta, torch.rand((), generator=generator, dtype=torch.float64).item()))
    h, w = images.shape[2:]
    top, bottom = _span(h, math.sqrt(1 - left), generator)
    start, stop = _span(w, math.sqrt(1 - left), generator)
    partner = torch.randperm(len(images), generator=generator).to(images.device)
    mixed = images.clone()
    mixed[:, :, top:bottom, start:stop] = images[:, :, top:bottom, start:stop][partner]
    return Mixed(mixed, labels, labels[partner], 1 - (bottom - top) * (stop - start) / (h * w))


def _span(size: int, part: float, generator: torch.Generator) -> tuple[int, int]:
    """Draw the centre of a box's side and return where it begins and ends within the image."""
    side = int(size * part)
    start = int(torch.randint(size, (), generator=generator)) - side // 2
    return max(start, 0), min(start + side, size)


def mixed_cross_entropy(logits: Tensor, mixed: Mixed) -> Tensor:
    """Return the mean cross-entropy () in nats of logits (B, K) to both labels, by their weights; the gradient passes."""
    kept, pasted = F.cross_entropy(logits, mixed.labels), F.cross_entropy(logits, mixed.partners)
    return mixed.weight * kept + (1 - mixed.weight) * pasted
