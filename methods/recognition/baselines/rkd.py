"""RKD: distances of pairs and angles of triplets agree (Park et al. 2019, arXiv 1904.05068)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ....platform.errors import BadInput
from ..seen import Batch

_TINY = 1e-12


def distance_difference(teacher: Tensor, student: Tensor) -> Tensor:
    """Huber loss of pairwise distances, each over its mean among different pictures; a mean over B^2. (B, Dt), (B, Ds).

    BadInput for a batch of one.
    """
    if len(student) < 2:
        raise BadInput("distances in a batch of one picture", mend="choose a batch size that leaves two for the last")
    return F.smooth_l1_loss(_relative_distances(student), _relative_distances(teacher.detach()))


def angle_difference(teacher: Tensor, student: Tensor) -> Tensor:
    """Huber loss of the cosines of the angles at j between i and k; a mean over B^3. (B, Dt), (B, Ds); B^3 numbers of memory."""
    return F.smooth_l1_loss(_angles(student), _angles(teacher.detach()))


def rkd(batch: Batch, *, distance: float = 25.0, angle: float = 50.0, normalise: bool = False) -> Tensor:
    """Both together, weighed. `normalise`: on unit embeddings, as cosines compare them, rather than as they come."""
    teacher, student = batch.teacher.embedding, batch.student.embedding
    if normalise:
        teacher, student = F.normalize(teacher, dim=1), F.normalize(student, dim=1)
    total = student.new_zeros(())
    if distance:
        total = total + distance * distance_difference(teacher, student)
    if angle:
        total = total + angle * angle_difference(teacher, student)
    return total


def _relative_distances(embedding: Tensor) -> Tensor:
    # From differences, not from products: two nearly equal embeddings keep their digits. The root of 0 would have no gradient.
    squared = (embedding.unsqueeze(0) - embedding.unsqueeze(1)).square().sum(2)
    apart = squared > _TINY
    distances = squared.where(apart, 1.0).sqrt() * apart
    return distances / (distances.sum() / apart.sum().clamp(min=1)).clamp(min=_TINY)


def _angles(embedding: Tensor) -> Tensor:
    # A side of no length has no direction; the larger eps keeps its gradient within bounds.
    sides = F.normalize(embedding.unsqueeze(0) - embedding.unsqueeze(1), dim=2, eps=1e-6)
    return sides @ sides.transpose(1, 2)
