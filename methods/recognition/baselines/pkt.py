"""PKT: whom a picture would draw as its neighbour (Passalis, Tefas 2018, arXiv 1803.10837)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..seen import Batch

_TINY = 1e-7


def neighbour_divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """The mean over B^2 of p_t log(p_t / p_s), each p a row of (cosine + 1) / 2 with sum 1; of embeddings (B, Dt), (B, Ds)."""
    p, q = _neighbours(teacher.detach()), _neighbours(student)
    return (p * ((p + _TINY) / (q + _TINY)).log()).mean()


def pkt(batch: Batch) -> Tensor:
    """Of the embeddings."""
    return neighbour_divergence(batch.teacher.embedding, batch.student.embedding)


def _neighbours(embedding: Tensor) -> Tensor:
    rows = F.normalize(embedding, dim=1)
    similar = (rows @ rows.T + 1) / 2
    return similar / similar.sum(1, keepdim=True)
