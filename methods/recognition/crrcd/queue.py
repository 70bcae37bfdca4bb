"""Past embeddings to contrast with: a first-in, first-out queue, and which of its entries are negatives of whom.

Embeddings are kept, not relations: those are computed anew by the modules as they are now. With a queue the number of negatives
depends neither on the batch nor on the size of the data set (a memory of a whole face set would not fit).

Several processes: each pushes what it saw, so each has a queue of its own. Wrapped together with the model in
DistributedDataParallel, whose default is to hand out rank 0's buffers at each forward pass, they all use rank 0's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ....platform.privacy.validate import positive_int


@dataclass(frozen=True)
class Held:
    """Candidates: embeddings (Q, Dt) and (Q, Ds), labels and numbers of pictures (Q,), the oldest first."""

    teacher: Tensor
    student: Tensor
    labels: Tensor
    indices: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def newest(self, length: int) -> Held:
        """The last ones."""
        return Held(*(part[-length:] for part in (self.teacher, self.student, self.labels, self.indices)))


class EmbeddingQueue(nn.Module):
    """The last `length` embeddings of teacher and student, with labels; buffers, so they go into checkpoints."""

    teacher: Tensor
    student: Tensor
    labels: Tensor
    indices: Tensor
    pushed: Tensor

    def __init__(self, length: int, *, teacher: int, student: int) -> None:
        positive_int(length=length, teacher=teacher, student=student)
        super().__init__()
        self.length = length
        self.register_buffer("teacher", torch.zeros(length, teacher))
        self.register_buffer("student", torch.zeros(length, student))
        self.register_buffer("labels", torch.zeros(length, dtype=torch.int64))
        self.register_buffer("indices", torch.zeros(length, dtype=torch.int64))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        return min(int(self.pushed), self.length)

    def push(self, batch: Held) -> None:
        """Append a batch, dropping the oldest; of one longer than the queue the last are kept."""
        kept = batch.newest(self.length)
        start = int(self.pushed) + len(batch) - len(kept)
        where = torch.arange(start, start + len(kept), device=self.labels.device) % self.length
        with torch.no_grad():
            self.teacher[where] = kept.teacher.detach().to(self.teacher.dtype)
            self.student[where] = kept.student.detach().to(self.student.dtype)
            self.labels[where] = kept.labels
            self.indices[where] = kept.indices
            self.pushed += len(batch)

    def held(self) -> Held:
        """Copies of what is held, the oldest first."""
        pushed = int(self.pushed)
        order = torch.arange(max(0, pushed - self.length), pushed, device=self.labels.device) % self.length
        return Held(self.teacher[order], self.student[order], self.labels[order], self.indices[order])


def eligible(labels: Tensor, indices: Tensor, candidates: Held, *, supervised: bool) -> Tensor:
    """Who may be a negative of whom: bool (P, Q), for P pictures of these labels and numbers.

    `supervised`: whoever has another label; else: whatever is another picture.
    """
    if supervised:
        return labels.unsqueeze(1) != candidates.labels
    return indices.unsqueeze(1) != candidates.indices


def choose(allowed: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Draw up to `count` of the allowed candidates in each row, each at most once.

    Returns (numbers (P, w), valid bool (P, w)), w the smaller of `count` and Q. A row with fewer allowed than w has them all, and the
    rest marked as not valid. From torch's own generator.
    """
    keys = torch.rand(allowed.shape, device=allowed.device).masked_fill(~allowed, -1)
    chosen = keys.topk(min(count, allowed.shape[1]), dim=1, sorted=False).indices
    return chosen, allowed.gather(1, chosen)
