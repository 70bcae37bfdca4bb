"""The losses of adversarial distillation, each a number a sample, (B,): sums over pixels, never means over the batch.

DP-SAD: Liu, Wang & Ge, ECCV 2024, arXiv 2408.14738. Squared errors are sums over pixels: a clipping bound of gradients by the
student's output has a meaning only together with that.

>>> import torch
>>> torch.equal(adversarial(torch.zeros(1), saturating=True), -discriminating(torch.zeros(1), torch.zeros(1)) / 2)
True
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def distillation(student: Tensor, teacher: Tensor, real: Tensor | None = None) -> Tensor:
    """L_dis: squared distance to the teacher's image, and to the record itself where there is one (never under a guarantee)."""
    loss = (student - teacher).square().flatten(1).sum(1)
    return loss if real is None else loss + (student - real).square().flatten(1).sum(1)


def adversarial(logits: Tensor, *, saturating: bool) -> Tensor:
    """L_adv at the student's images, with p = sigmoid(logit) of being the teacher's: log(1 - p), or -log p, which does not saturate."""
    return -F.softplus(logits) if saturating else F.softplus(-logits)


def discriminating(of_teacher: Tensor, of_student: Tensor) -> Tensor:
    """L_D: cross entropy of telling the teacher's images (1) from the student's (0); 2 log 2 for a critic that cannot."""
    return F.softplus(-of_teacher) + F.softplus(of_student)
