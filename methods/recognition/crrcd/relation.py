"""What one embedding is relative to another, as a learnt vector: the feature relation module of CRRCD.

Zhang, Ge et al., "Cross-Resolution Relational Contrastive Distillation" (arXiv 2409.02555), section III-A:

    v = A relu(A_i e_i - A_j e_j)

There are two such modules: F_t compares teacher with teacher, F_ts teacher with student. The anchor i is always the teacher's.

Two choices are ours. Embeddings are brought to length sqrt(D) first (`unit_variance`), so that an entry is of the order of 1; and no
linear map has a bias. With unit vectors and torch's usual biases all relation vectors are nearly parallel at the start, and the
contrastive loss has nothing to tell apart.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....platform.privacy.validate import positive_int

_TINY = 1e-12


def unit_variance(embedding: Tensor) -> Tensor:
    """Embeddings (..., D) brought to length sqrt(D): entries of mean square 1. A vector of zeros stays one."""
    return F.normalize(embedding, dim=-1) * math.sqrt(embedding.shape[-1])


class FeatureRelation(nn.Module):
    """v = A relu(A_i e_i - A_j e_j), of an anchor (..., anchor) and another (..., other), to (..., dimension).

    Args:
        anchor, other: lengths of the two embeddings.
        hidden: width between.
        dimension: length of the relation vector.
    """

    def __init__(self, anchor: int, other: int, *, hidden: int = 128, dimension: int = 128) -> None:
        positive_int(anchor=anchor, other=other, hidden=hidden, dimension=dimension)
        super().__init__()
        self.anchor = nn.Linear(anchor, hidden, bias=False)
        self.other = nn.Linear(other, hidden, bias=False)
        self.out = nn.Linear(hidden, dimension, bias=False)

    def forward(self, anchor: Tensor, other: Tensor) -> Tensor:
        """The relation vectors of pairs (..., anchor) and (..., other) that broadcast."""
        difference: Tensor = self.anchor(anchor) - self.other(other)
        relation: Tensor = self.out(difference.relu())
        return relation


class ProjectedRelation(nn.Module):
    """A relation seen by the critic: u = h(v) / |h(v)|, with h linear (equation 10's h1 or h2)."""

    def __init__(self, anchor: int, other: int, *, hidden: int = 128, dimension: int = 128) -> None:
        super().__init__()
        self.relation = FeatureRelation(anchor, other, hidden=hidden, dimension=dimension)
        self.projection = nn.Linear(dimension, dimension, bias=False)

    def forward(self, anchor: Tensor, other: Tensor) -> Tensor:
        """Unit vectors (P, dimension) of pairs (P, anchor) and (P, other)."""
        return F.normalize(self._projected(self.relation.anchor(anchor) - self.relation.other(other)), dim=-1)

    def cosines(self, anchor: Tensor, others: Tensor, chosen: Tensor, units: Tensor) -> Tensor:
        """Cosines (P, n) of unit vectors (P, dimension) with the relations of anchors to the rows `chosen` (P, n) of `others`."""
        difference = self.relation.anchor(anchor).unsqueeze(1) - self.relation.other(others)[chosen]
        projected = self._projected(difference)
        # The many vectors are not brought to length 1 themselves: that would be a pass over each entry, there and back.
        lengths = torch.linalg.vector_norm(projected, dim=-1).clamp(min=_TINY)
        return torch.einsum("pnd,pd->pn", projected, units) / lengths

    def _projected(self, difference: Tensor) -> Tensor:
        # h(A r) = (h A) r: the two maps are multiplied once instead of being applied to each of the many negatives.
        return F.linear(difference.relu(), self.projection.weight @ self.relation.out.weight)
