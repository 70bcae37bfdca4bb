"""The critic's two sides: its own step of training, and the gradient u = dL/dx of L_dis + lam L_adv by the student's images.

u is what a guarantee is about: it carries all that the teacher, the critic and, through them, the records have to say to the student.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..privacy.validate import non_negative
from .discriminator import Discriminator
from .losses import adversarial, discriminating, distillation


@dataclass(frozen=True)
class Adversary:
    """How the adversarial term is formed.

    Args:
        weight: lam; 0 leaves the critic out.
        saturating: log(1 - p) as published; otherwise -log p.
        pair: whether the critic sees the teacher's and the student's image side by side (see `discriminator.Critic`).
    """

    weight: float = 1.0
    saturating: bool = True
    pair: bool = False

    def __post_init__(self) -> None:
        non_negative(weight=self.weight)

    def critic_losses(self, critic: Discriminator, teacher: Tensor, student: Tensor, label: Tensor) -> Tensor:
        """L_D (B,) on images (B, c, h, w) of both; nothing flows back to them."""
        teacher, student = teacher.detach(), student.detach()
        if self.pair:
            # The teacher's image first is the positive case, and the same pair turned round the negative one.
            teacher, student = torch.cat([teacher, student], 1), torch.cat([student, teacher], 1)
        return discriminating(critic(teacher, label), critic(student, label))

    def student_losses(self, critic: Discriminator, teacher: Tensor, student: Tensor, label: Tensor) -> Tensor:
        """L_adv (B,)."""
        images = torch.cat([student, teacher.detach()], 1) if self.pair else student
        return adversarial(critic(images, label), saturating=self.saturating)


def upstream(
    student: Tensor, teacher: Tensor, label: Tensor, critic: Discriminator | None, adversary: Adversary,
    real: Tensor | None = None, blur: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """u (B, c, h, w): the gradient by the student's images of the sum of all samples' losses, so each row is its own sample's.

    The student's graph is not touched: u is computed on a copy of its images. `blur` (B, c, h, w) is added to what the critic sees of
    them: where the teacher's images come with noise, the student's must too, or the critic would only learn to see noise (AmbientGAN:
    Bora, Price & Dimakis, ICLR 2018).
    """
    images = student.detach().clone().requires_grad_()
    losses = distillation(images, teacher.detach(), None if real is None else real.detach())
    if critic is not None and adversary.weight:
        seen = images if blur is None else images + blur
        losses = losses + adversary.weight * adversary.student_losses(critic, teacher, seen, label)
    (gradient,) = torch.autograd.grad(losses.sum(), images)
    return gradient
