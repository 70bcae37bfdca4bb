"""NST: the activation patterns of both have one distribution (Huang, Wang 2017, arXiv 1707.01219)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..seen import Batch
from .maps import map_pairs


def pattern_discrepancy(teacher: Tensor, student: Tensor) -> Tensor:
    """Squared MMD, under the kernel <x, y>^2, of the channels' patterns (unit vectors of h w) of maps (B, C, h, w); a mean over B."""
    x, y = (F.normalize(maps.flatten(2), dim=2) for maps in (teacher.detach(), student))

    def mean_kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.transpose(1, 2)).square().mean()

    return mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)


def nst(batch: Batch) -> Tensor:
    """Summed over the pairs of maps."""
    return torch.stack([pattern_discrepancy(t, s) for t, s in map_pairs(batch)]).sum()
