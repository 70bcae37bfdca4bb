"""AT: both look at the same places (Zagoruyko, Komodakis 2017, arXiv 1612.03928)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..seen import Batch
from .maps import map_pairs


def attention_map(features: Tensor) -> Tensor:
    """Where a map (B, C, h, w) is large: its mean square over channels, (B, h w), at length 1."""
    return F.normalize(features.square().mean(1).flatten(1), dim=1)


def attention(batch: Batch) -> Tensor:
    """Mean squared difference of the attention maps, summed over the pairs of maps."""
    return torch.stack([F.mse_loss(attention_map(s), attention_map(t)) for t, s in map_pairs(batch)]).sum()
