"""What a teacher and a student make of one batch, and what a term of distillation is.

A network gives a `Seen`; the terms compare the teacher's with the student's. A term is a module, because some have weights of their
own, which are thrown away after the training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Seen:
    """A network's view of a batch: embedding (B, D), not normalised, and feature maps (B, C, h, w), from early to late."""

    embedding: Tensor
    maps: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Sizes:
    """What a term has to know of both networks before it is built.

    Args:
        teacher: length of the teacher's embedding.
        student: length of the student's.
        teacher_maps: channels of the teacher's maps, from early to late.
        student_maps: channels of the student's.
        classes: identities or classes in the training set.
        records: pictures in the training set.
    """

    teacher: int
    student: int
    teacher_maps: tuple[int, ...]
    student_maps: tuple[int, ...]
    classes: int
    records: int


@dataclass(frozen=True)
class Batch:
    """One batch of a distillation.

    Args:
        labels: int64 (B,).
        indices: int64 (B,), numbers of the pictures in the training set.
        teacher: of the pictures in high resolution; without gradients.
        student: of the same pictures, degraded.
        teacher_logits: (B, classes) scaled cosines or plain logits of the teacher's head; without gradients, without margin.
        student_logits: (B, classes), without margin.
        progress: fraction of the training that is done, 0 .. 1.
    """

    labels: Tensor
    indices: Tensor
    teacher: Seen
    student: Seen
    teacher_logits: Tensor
    student_logits: Tensor
    progress: float


class Term(Protocol):
    """A term of the loss: an `nn.Module`. `forward` gives a scalar; `after_step` is called once the optimiser has stepped."""

    def __call__(self, batch: Batch) -> Tensor:
        """The unweighted loss of a batch."""

    def after_step(self, batch: Batch) -> None:
        """Remember what later batches need: embeddings for a queue, a running normaliser."""
