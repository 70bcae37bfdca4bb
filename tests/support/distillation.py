"""Small batches of a distillation, drawn at random."""

from __future__ import annotations

from dataclasses import replace

import torch
from stillhouse.methods.recognition.seen import Batch, Seen, Sizes
from torch import Tensor

SIZES = Sizes(teacher=6, student=5, teacher_maps=(3, 4), student_maps=(2, 5), classes=4, records=30)


def drawn_batch(
    seed: int, size: int = 7, sizes: Sizes = SIZES, *, progress: float = 0.5, dtype: torch.dtype = torch.float64
) -> Batch:
    """Embeddings, maps (teacher's twice as large) and logits from a normal distribution; the student's carry gradients."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    def seen(length: int, channels: tuple[int, ...], side: int) -> Seen:
        maps = tuple(normal(size, count, side >> depth, side >> depth) for depth, count in enumerate(channels))
        return Seen(normal(size, length), maps)

    student = seen(sizes.student, sizes.student_maps, 4)
    return Batch(
        labels=torch.randint(sizes.classes, (size,), generator=generator),
        indices=torch.randperm(sizes.records, generator=generator)[:size],
        teacher=seen(sizes.teacher, sizes.teacher_maps, 8),
        student=Seen(student.embedding.requires_grad_(), tuple(one.requires_grad_() for one in student.maps)),
        teacher_logits=normal(size, sizes.classes),
        student_logits=normal(size, sizes.classes).requires_grad_(),
        progress=progress,
    )


def permuted(batch: Batch, order: Tensor) -> Batch:
    """The pictures of a batch in another order."""

    def seen(one: Seen) -> Seen:
        return Seen(one.embedding[order], tuple(maps[order] for maps in one.maps))

    return replace(
        batch,
        labels=batch.labels[order],
        indices=batch.indices[order],
        teacher=seen(batch.teacher),
        student=seen(batch.student),
        teacher_logits=batch.teacher_logits[order],
        student_logits=batch.student_logits[order],
    )


def with_teacher_gradients(batch: Batch) -> Batch:
    """The batch with a teacher that would take gradients, if a term let them through."""
    teacher = Seen(
        batch.teacher.embedding.clone().requires_grad_(),
        tuple(one.clone().requires_grad_() for one in batch.teacher.maps),
    )
    return replace(batch, teacher=teacher, teacher_logits=batch.teacher_logits.clone().requires_grad_())
