"""SP: whom a picture resembles among the batch (Tung, Mori 2019, arXiv 1907.09682)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..seen import Batch


def similarity_difference(teacher: Tensor, student: Tensor) -> Tensor:
    """|rownorm(F_t F_t^T) - rownorm(F_s F_s^T)|^2 / B^2 of features (B, ...), whose lengths may differ."""
    return (_similarities(teacher.detach()) - _similarities(student)).square().sum() / len(student) ** 2


def sp(batch: Batch, *, on: str = "map") -> Tensor:
    """Of the last maps (`on="map"`) or of the embeddings (`on="embedding"`)."""
    if on == "map":
        return similarity_difference(batch.teacher.maps[-1], batch.student.maps[-1])
    return similarity_difference(batch.teacher.embedding, batch.student.embedding)


def _similarities(features: Tensor) -> Tensor:
    rows = features.flatten(1)
    return F.normalize(rows @ rows.T, dim=1)
