"""KD: the teacher's softened answers (Hinton, Vinyals, Dean 2015, arXiv 1503.02531).

CRRCD's equation 12 has the cross entropy in place of the divergence: they differ by the teacher's entropy, which no weight moves.
"""

from __future__ import annotations

from torch import Tensor

from ..seen import Batch


def softened_divergence(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)) of logits (B, K), a mean over the batch, in nats."""
    target = (teacher.detach() / temperature).log_softmax(1)
    answer = (student / temperature).log_softmax(1)
    return temperature**2 * (target.exp() * (target - answer)).sum(1).mean()


def kd(batch: Batch, *, temperature: float = 4.0) -> Tensor:
    """The divergence of the student's logits from the teacher's."""
    return softened_divergence(batch.teacher_logits, batch.student_logits, temperature)
