"""CC: correlation congruence of a batch's embeddings (Peng et al. 2019, arXiv 1904.01802).

This is the paper's loss with its Gaussian kernel, on unit embeddings, where the kernel is a series in the cosine:

    K(x, y) = exp(-gamma |x - y|^2) = exp(-2 gamma) sum_p (2 gamma)^p / p! <x, y>^p,   cut after p = order

RepDistiller has something simpler under this name, which compares each picture with the next in the batch only; its weight of
0.02 is therefore not one for this loss.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..seen import Batch


def correlations(embedding: Tensor, *, gamma: float = 0.4, order: int = 2) -> Tensor:
    """The kernel of every pair of a batch, (B, B)."""
    rows = F.normalize(embedding, dim=1)
    cosines = rows @ rows.T
    terms = [(2 * gamma) ** p / math.factorial(p) * cosines**p for p in range(order + 1)]
    return math.exp(-2 * gamma) * torch.stack(terms).sum(0)


def correlation(batch: Batch, *, gamma: float = 0.4, order: int = 2) -> Tensor:
    """Mean squared difference of the two networks' kernels over B^2."""
    teacher = correlations(batch.teacher.embedding.detach(), gamma=gamma, order=order)
    return F.mse_loss(correlations(batch.student.embedding, gamma=gamma, order=order), teacher)
