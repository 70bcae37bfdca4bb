"""CRD: contrastive representation distillation (Tian, Krishnan, Isola 2020, arXiv 1910.10699).

Each network's embedding is projected to a unit vector; a memory keeps one of each for every record of the training set. The student's
vector is to be near the teacher's of the same record and far from those of records of other labels, and the other way round. As in
the authors' code the critic is h = exp(s / tau) / (exp(s / tau) + n Z), Z the mean of exp(s / tau) on the first batch.

The memory takes 2 x records x 128 floats (0.5 GB for half a million faces), and so do checkpoints: CRRCD's queue does not grow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....platform.errors import BadInput
from ....platform.privacy.validate import positive, positive_int, probability
from ..crrcd.critic import log_mean_exp
from ..seen import Batch, Sizes

_UNKNOWN = -1


@dataclass(frozen=True)
class Memory:
    """Settings of `ContrastiveRepresentation`.

    Args:
        dimension: of the projections.
        negatives: n, for each record. With no more records than that all of them serve, else they are drawn with replacement.
        temperature: tau (the code: 0.07; the paper: 0.1).
        momentum: what the memory keeps of a record's vector when it is seen again.
    """

    dimension: int = 128
    negatives: int = 16384
    temperature: float = 0.07
    momentum: float = 0.5

    def __post_init__(self) -> None:
        positive_int(dimension=self.dimension, negatives=self.negatives)
        positive(temperature=self.temperature)
        probability(momentum=self.momentum)


class ContrastiveRepresentation(nn.Module):
    """The loss of CRD in both directions, a mean over the batch. A `Term`.

    A record not yet seen stands in the memory as a random vector, of a label that nobody has. Drawn records of the own label are
    struck out, and the mean over the rest stands for that over n. Several processes: each updates its own memory with what it saw.

    Args:
        sizes: lengths of both embeddings, and the number of records.
        settings: see `Memory`.
    """

    labels: Tensor
    teacher_memory: Tensor
    student_memory: Tensor
    log_z: Tensor
    seen: Tensor

    def __init__(self, sizes: Sizes, settings: Memory) -> None:
        positive_int(records=sizes.records)
        super().__init__()
        self.settings = settings
        self.teacher = nn.Linear(sizes.teacher, settings.dimension)
        self.student = nn.Linear(sizes.student, settings.dimension)
        for name in ("teacher_memory", "student_memory"):
            self.register_buffer(name, F.normalize(torch.randn(sizes.records, settings.dimension), dim=1))
        self.register_buffer("labels", torch.full((sizes.records,), _UNKNOWN))
        self.register_buffer("log_z", torch.zeros(2))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self._fresh: Tensor | None = None

    @property
    def floor(self) -> float:
        """The loss for memories that tell nothing apart: two directions of log(1 + n) + n log(1 + 1 / n)."""
        n = self.settings.negatives
        return 2 * (math.log1p(n) + n * math.log1p(1 / n))

    def forward(self, batch: Batch) -> Tensor:
        """The unweighted loss. BadInput if a record's number is not one of the training set."""
        self._check(batch.indices)
        drawn, valid = self._negatives(batch)
        student, teacher = self._project(batch)
        directions = [(student, self.teacher_memory), (teacher, self.student_memory)]
        losses, fresh = [], []
        for number, (vectors, memory) in enumerate(directions):
            # All similarities by one product, and then those that are asked for: their vectors, gathered, would be n times the batch.
            logits = (vectors @ memory.T) / self.settings.temperature
            own, others = logits.gather(1, batch.indices[:, None]), logits.gather(1, drawn)
            measured = torch.cat([own, others], 1).detach(), F.pad(valid, (1, 0), value=True)
            fresh.append(log_mean_exp(*measured, (0, 1)))
            log_z = torch.where(self.seen > 0, self.log_z[number].to(logits.dtype), fresh[-1])
            offset = math.log(self.settings.negatives) + log_z
            rejected = F.softplus(others - offset).masked_fill(~valid, 0).sum(1) / valid.sum(1).clamp(min=1)
            losses.append((F.softplus(offset - own[:, 0]) + self.settings.negatives * rejected).mean())
        self._fresh = torch.stack(fresh)
        return torch.stack(losses).sum()

    def after_step(self, batch: Batch) -> None:
        """Keep the first batch's Z, and what is now known of the batch's records."""
        if self._fresh is not None and not self.seen:
            self.log_z.copy_(self._fresh)
            self.seen += 1
        self._fresh = None
        with torch.no_grad():
            student, teacher = self._project(batch)
            for memory, vectors in ((self.student_memory, student), (self.teacher_memory, teacher)):
                kept = memory[batch.indices] * self.settings.momentum + vectors * (1 - self.settings.momentum)
                memory[batch.indices] = F.normalize(kept, dim=1).to(memory.dtype)
            self.labels[batch.indices] = batch.labels

    def _project(self, batch: Batch) -> tuple[Tensor, Tensor]:
        student = F.normalize(self.student(batch.student.embedding), dim=1)
        return student, F.normalize(self.teacher(batch.teacher.embedding.detach()), dim=1)

    def _negatives(self, batch: Batch) -> tuple[Tensor, Tensor]:
        records, size = len(self.labels), (len(batch.labels), self.settings.negatives)
        if records <= self.settings.negatives:
            drawn = torch.arange(records, device=self.labels.device).expand(len(batch.labels), records)
        else:
            drawn = torch.randint(records, size, device=self.labels.device)
        other = (self.labels[drawn] != batch.labels[:, None]) & (drawn != batch.indices[:, None])
        return drawn, other

    def _check(self, indices: Tensor) -> None:
        records = len(self.labels)
        if len(indices) and not (int(indices.min()) >= 0 and int(indices.max()) < records):
            raise BadInput(
                f"a record's number beyond the {records} of the training set",
                why="crd keeps a vector for every record, by its number",
                mend="number the training pictures from 0",
            )
