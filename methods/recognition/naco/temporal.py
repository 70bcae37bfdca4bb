"""The Temporal Contrastive Module: two clips of a video lie near each other, the same clip out of order far away.

It is the *positive* clip that is shuffled: were it the anchor, the positive alone would differ by augmentation, and shrinking every
distance would pay. The distance is not squared: its gradient would vanish where the two are alike, which is where training begins.

>>> anchor, positive = torch.zeros(1, 4), torch.ones(1, 4)
>>> shuffled = torch.full((1, 2, 4), 3.0)
>>> round(distance(anchor, positive).item(), 4), triplet_loss(anchor, positive, shuffled, margin=2.5).item()
(1.0, 0.5)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .settings import Temporal

EPSILON = 1e-8  # under the root: the gradient at equal inputs is 0, not infinite


def distance(first: Tensor, second: Tensor) -> Tensor:
    """Root of the mean square difference over the last dimension: Euclidean distance over the root of D."""
    return ((first - second).square().mean(-1) + EPSILON).sqrt()


def triplet_loss(anchor: Tensor, positive: Tensor, shuffled: Tensor, *, margin: float) -> Tensor:
    """Mean of max(0, d(anchor, positive) - d(anchor, shuffled) + margin), of anchors (B, D) and shuffled positives (B, K, D)."""
    near, far = distance(anchor, positive)[:, None], distance(anchor[:, None], shuffled)
    return ((near - far) + margin).clamp(min=0).mean()


def infonce_loss(
    anchor: Tensor, positive: Tensor, shuffled: Tensor, *, temperature: float, videos: Tensor | None = None
) -> Tensor:
    """InfoNCE (van den Oord et al. 2018) on cosines: the positive among its shuffled copies and the positives of other videos.

    `videos` (B,) are their numbers: other clips of the anchor's own video are left out; None: no video occurs twice.
    """
    anchor, positive, shuffled = (F.normalize(rows, dim=-1) for rows in (anchor, positive, shuffled))
    among = anchor @ positive.T
    own = (anchor[:, None] * shuffled).sum(-1)
    wanted = torch.arange(len(anchor), device=anchor.device)
    if videos is not None:
        alike = (videos[:, None] == videos) & (wanted[:, None] != wanted)
        among = among.masked_fill(alike, -torch.inf)
    return F.cross_entropy(torch.cat([among, own], dim=1) / temperature, wanted)


def temporal_loss(
    settings: Temporal, anchor: Tensor, positive: Tensor, shuffled: Tensor, videos: Tensor | None = None
) -> Tensor:
    """The loss that the settings name, a scalar; see above for the shapes."""
    if settings.loss == "triplet":
        return triplet_loss(anchor, positive, shuffled, margin=settings.margin)
    return infonce_loss(anchor, positive, shuffled, temperature=settings.temperature, videos=videos)
