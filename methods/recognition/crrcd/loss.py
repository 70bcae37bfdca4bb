"""CRRCD's relational contrastive loss: the student is to stand to every high-resolution anchor as its own high-resolution version does.

Zhang, Ge et al., "Cross-Resolution Relational Contrastive Distillation" (arXiv 2409.02555), equations 1, 10 and 11:

    v_t  [i, j] = F_t (teacher i, teacher j)        v_ts [i, j] = F_ts(teacher i, student j)
    positive: the two relations of one pair (i, j). Negative: of (i, j) and (i, k), where k shows somebody else.

Both modules, the critic's two maps and the queue serve the training only. The paper says what is computed; what it takes to learn
is ours: the normaliser, embeddings of length sqrt(D), no biases, an optimiser group of their own for these weights, a late start.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ....platform.errors import BadInput
from ....platform.privacy.validate import non_negative, positive_int
from ..seen import Batch, Sizes
from .critic import Critic, Normaliser
from .queue import EmbeddingQueue, Held, choose, eligible
from .relation import ProjectedRelation, unit_variance


@dataclass(frozen=True)
class Relation:
    """Settings of `RelationalContrast`.

    Args:
        dimension: length of a relation vector (the paper's ablation: 128).
        hidden: width inside a relation module.
        temperature: tau (the paper: 0.08 to 0.1 are best).
        negatives: n for each positive (the paper: 512; 256 serves small sets).
        queue: past embeddings that are held; 0: negatives come from the batch itself.
        critic, critic_norm: see `Critic`.
        momentum: of the normaliser's running mean.
        supervised: negatives are of another label, not only another picture.
        symmetric: also hold v_t[i, j] against v_ts[i, k], with past student embeddings; the two sum up. On faces better
            than one where the teacher is centred; in a very short training a student can win by differing from its own past
            (`docs/recognition.md`).
        anchors_per_sample: pairs for each picture, at most batch size - 1.
        warm_up: share of the training over which the weight rises from 0.
        rel_off_last_frac: share of the training, at its end, in which the weight is 0 (CRCD's authors advise 0.04).
    """

    dimension: int = 128
    hidden: int = 128
    temperature: float = 0.1
    negatives: int = 512
    queue: int = 2048
    critic: str = "nce"
    critic_norm: str = "z_ema"
    momentum: float = 0.95
    supervised: bool = True
    symmetric: bool = False
    anchors_per_sample: int = 1
    warm_up: float = 0.1
    rel_off_last_frac: float = 0.0

    def __post_init__(self) -> None:
        positive_int(dimension=self.dimension, hidden=self.hidden, anchors_per_sample=self.anchors_per_sample)
        least = self.formula.negatives  # (A critic checks its settings as it is made.)
        if isinstance(self.queue, bool) or not isinstance(self.queue, int) or (self.queue and self.queue < least):
            raise BadInput(
                f"a queue of {self.queue!r} for {self.negatives} negatives",
                why="it holds at least as many as are drawn from it, or is 0, for negatives from the batch",
            )
        non_negative(warm_up=self.warm_up, rel_off_last_frac=self.rel_off_last_frac)
        if self.warm_up + self.rel_off_last_frac > 1:
            raise BadInput("warm_up and rel_off_last_frac are shares of one training and together at most 1")

    @property
    def formula(self) -> Critic:
        """The critic."""
        return Critic(self.negatives, self.temperature, self.critic, self.critic_norm, self.momentum)

    def schedule(self, progress: float) -> float:
        """What the weight is multiplied with when this share of the training is done."""
        if self.rel_off_last_frac and progress >= 1 - self.rel_off_last_frac:
            return 0.0
        return min(1.0, progress / self.warm_up) if self.warm_up else 1.0


class RelationalContrast(nn.Module):
    """The loss L_rcd of a batch, and the queue and normalisers behind it. A `Term`.

    The loss is a mean over pairs, a sum over directions (two if symmetric). It is 0, without a gradient, until the queue holds n
    entries, and while no picture of the batch has a negative. Gradients reach the student and the term's own weights.

    Several processes: see `queue`. The weights' gradients are averaged if the term is wrapped together with the model.

    Args:
        sizes: of both embeddings, and the number of records.
        settings: see `Relation`.
    """

    def __init__(self, sizes: Sizes, settings: Relation) -> None:
        super().__init__()
        if settings.supervised and sizes.classes < 2:
            raise BadInput(
                f"supervised negatives among {sizes.classes} identities",
                why="a negative is a picture of somebody else",
                mend="give data with more identities, or set supervised=false",
            )
        self.settings, self.critic, self.records = settings, settings.formula, sizes.records
        shape = {"hidden": settings.hidden, "dimension": settings.dimension}
        self.teacher_relation = ProjectedRelation(sizes.teacher, sizes.teacher, **shape)
        self.cross_relation = ProjectedRelation(sizes.teacher, sizes.student, **shape)
        self.queue = EmbeddingQueue(settings.queue or 1, teacher=sizes.teacher, student=sizes.student)
        self.normalisers = nn.ModuleList(Normaliser(self.critic) for _ in range(2 if settings.symmetric else 1))
        self.measures: Mapping[str, Tensor] = {}
        self._fresh: list[Tensor] = []

    @property
    def floor(self) -> float:
        """What the loss is for relations that tell nothing apart; it has begun to learn when it falls below.

        For the standard critic log(1 + n) + n log(1 + 1 / n) a direction.
        """
        return len(self.normalisers) * self.critic.uninformed(self.records)

    def forward(self, batch: Batch) -> Tensor:
        """The unweighted loss. Afterwards `measures` holds `below_floor` and `without_negatives` (a share of the batch)."""
        now = _standardised(batch)
        candidates = self.queue.held() if self.settings.queue else now
        self._fresh = []
        allowed = eligible(batch.labels, batch.indices, candidates, supervised=self.settings.supervised)
        usable = allowed.any(1)
        self.measures = {
            "below_floor": now.student.new_zeros(()),
            "without_negatives": 1 - usable.to(now.student.dtype).mean(),
        }
        if len(candidates) < (self.settings.negatives if self.settings.queue else 1) or not usable.any():
            return silent(self)
        anchors, others = pairs(len(now), self.settings.anchors_per_sample, now.labels.device)
        with_negatives = usable[others]
        anchors, others = anchors[with_negatives], others[with_negatives]
        chosen, valid = choose(allowed[others], self.settings.negatives)
        loss = self._contrast(now, candidates, anchors, others, chosen, valid)
        self.measures = {**self.measures, "below_floor": self.floor - loss.detach()}
        return loss

    def after_step(self, batch: Batch) -> None:
        """Keep the normalisers of this batch's forward pass, and push its embeddings."""
        for normaliser, fresh in zip(self.normalisers, self._fresh, strict=False):
            normaliser.commit(fresh)  # type: ignore[operator]
        self._fresh = []
        if self.settings.queue:
            self.queue.push(_standardised(batch))

    def _contrast(
        self, now: Held, candidates: Held, anchors: Tensor, others: Tensor, chosen: Tensor, valid: Tensor
    ) -> Tensor:
        anchor = now.teacher[anchors]
        of_teacher = self.teacher_relation(anchor, now.teacher[others])
        crossed = self.cross_relation(anchor, now.student[others])
        positive = (of_teacher * crossed).sum(1)
        negatives = [self.teacher_relation.cosines(anchor, candidates.teacher, chosen, crossed)]
        if self.settings.symmetric:
            # Without a gradient to the others' students, so that a batch and a queue of candidates differ in nothing else.
            students = candidates.student.detach()
            negatives.append(self.cross_relation.cosines(anchor, students, chosen, of_teacher))
        loss = positive.new_zeros(())
        for negative, normaliser in zip(negatives, self.normalisers, strict=True):
            loss = loss + self.critic.loss(positive, negative, valid, self._offset(negative, valid, normaliser))
        return loss

    def _offset(self, negative: Tensor, valid: Tensor, normaliser: nn.Module) -> Tensor | float:
        fixed = self.critic.fixed_offset(self.records)
        if fixed is not None:
            return fixed
        log_z: Tensor = normaliser(negative, valid)
        self._fresh.append(log_z)
        return log_z + math.log(self.critic.negatives)


def pairs(batch: int, anchors_per_sample: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Anchors and others, int64 (P,): each picture with so many different anchors, never itself; from torch's own generator.

    The pictures are put into a random circle; the anchors of one are those that follow it. In a batch of b there are at most b - 1.
    BadInput for a batch of one.
    """
    if batch < 2:
        raise BadInput("a relation in a batch of one picture", mend="choose a batch size that leaves two for the last")
    circle = torch.randperm(batch, device=device)
    turns = range(1, min(anchors_per_sample, batch - 1) + 1)
    return torch.cat([circle.roll(-turn) for turn in turns]), circle.repeat(len(turns))


def silent(term: nn.Module) -> Tensor:
    """A loss of 0 that has all weights of a term in its graph, as DistributedDataParallel asks of every step."""
    total = torch.zeros(())
    for parameter in term.parameters():
        total = total.to(parameter) + 0 * parameter.sum()
    return total


def _standardised(batch: Batch) -> Held:
    teacher, student = unit_variance(batch.teacher.embedding.detach()), unit_variance(batch.student.embedding)
    return Held(teacher, student, batch.labels, batch.indices)
