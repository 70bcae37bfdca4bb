"""AIRD's two distillation losses: of the instance and of relations.

Zhang, Ge et al., "Low-Resolution Face Recognition via Adaptable Instance-Relation Distillation" (arXiv 2409.02049). Of the paper only
the abstract and first page were readable: that there is a loss at instance level (L_IlD) and one at relation level (L_RlD), and
what each is for, is the paper's. **The formulas are our reconstruction.** With unit embeddings e and a temperature tau:

    L_IlD = mean_i (1 - <e_s i, e_t i>) + gamma T^2 KL(softmax(z_t / T) || softmax(z_s / T))
    P_t [i, j] = softmax over j != i of <e_t i, e_t j> / tau;  P_ts of <e_s i, e_t j>;  P_s of <e_s i, e_s j>
    L_RlD = KL(P_t || P_ts) / 2 + KL(P_t || P_s) / 2

In L_RlD's place other comparisons of relations can stand: RKD, SP, CRRCD.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....platform.errors import BadInput
from ....platform.privacy.validate import non_negative, positive
from ..baselines.kd import softened_divergence
from ..baselines.rkd import rkd
from ..baselines.sp import sp
from ..baselines.stateless import Stateless
from ..crrcd.loss import Relation, RelationalContrast
from ..seen import Batch, Sizes

FEATURES = ("cosine", "l2")
FLAVOURS = ("simdist", "rkd", "crrcd", "sp")


@dataclass(frozen=True)
class InstanceRelation:
    """Settings of both losses.

    Args:
        feature: cosine: 1 - cosine; l2: squared distance of the unit embeddings, which is twice that.
        feature_weight: of the feature part (for fewer than a thousand identities 20 serves better than 1).
        logit: gamma, weight of the logit part.
        logit_temperature: T.
        flavour: what compares relations: simdist, rkd, crrcd, sp (on embeddings).
        temperature: tau of simdist.
        relation: settings of the flavour crrcd.
    """

    feature: str = "cosine"
    feature_weight: float = 1.0
    logit: float = 0.5
    logit_temperature: float = 4.0
    flavour: str = "simdist"
    temperature: float = 0.1
    relation: Relation = field(default_factory=Relation)

    def __post_init__(self) -> None:
        for name, value, known in (("feature", self.feature, FEATURES), ("flavour", self.flavour, FLAVOURS)):
            if value not in known:
                raise BadInput(f"{name} is {value!r}", mend=f"use one of {', '.join(known)}")
        non_negative(feature_weight=self.feature_weight, logit=self.logit)
        positive(logit_temperature=self.logit_temperature, temperature=self.temperature)


def adapter(sizes: Sizes) -> nn.Module:
    """From the student's embedding to the teacher's length: nothing if they agree, else one linear map that both losses share."""
    if sizes.student == sizes.teacher:
        return nn.Identity()
    return nn.Linear(sizes.student, sizes.teacher, bias=False)


class Instance(nn.Module):
    """L_IlD: each picture's embedding, and the answer about it, is the teacher's. A `Term`."""

    def __init__(self, settings: InstanceRelation, adapted: nn.Module) -> None:
        super().__init__()
        self.settings, self.adapter = settings, adapted

    def forward(self, batch: Batch) -> Tensor:
        """The unweighted loss, a mean over the batch."""
        teacher = F.normalize(batch.teacher.embedding.detach(), dim=1)
        student = F.normalize(self.adapter(batch.student.embedding), dim=1)
        away = 1 - (student * teacher).sum(1)
        if self.settings.feature == "l2":
            away = (student - teacher).square().sum(1)
        loss = self.settings.feature_weight * away.mean()
        if self.settings.logit:
            temperature = self.settings.logit_temperature
            answers = softened_divergence(batch.teacher_logits, batch.student_logits, temperature)
            loss = loss + self.settings.logit * answers
        return loss

    def after_step(self, batch: Batch) -> None:
        """There is nothing to remember."""


class SimilarityDistributions(nn.Module):
    """L_RlD: whom each picture resembles, among the batch, is what the teacher says. A `Term`; two pictures at least."""

    def __init__(self, settings: InstanceRelation, adapted: nn.Module) -> None:
        super().__init__()
        self.settings, self.adapter = settings, adapted

    def forward(self, batch: Batch) -> Tensor:
        """The unweighted loss, a mean over the batch. BadInput for a batch of one."""
        if len(batch.labels) < 2:
            raise BadInput(
                "similarities in a batch of one picture", mend="choose a batch size that leaves two for the last"
            )
        teacher = F.normalize(batch.teacher.embedding.detach(), dim=1)
        student = F.normalize(batch.student.embedding, dim=1)
        crossed = F.normalize(self.adapter(batch.student.embedding), dim=1)
        target = self._log_shares(teacher @ teacher.T)
        # Among students it is the embedding itself that is compared: it is the one that will be used.
        answers = self._log_shares(crossed @ teacher.T), self._log_shares(student @ student.T)
        return torch.stack([(target.exp() * (target - answer)).sum(1).mean() for answer in answers]).mean()

    def after_step(self, batch: Batch) -> None:
        """There is nothing to remember."""

    def _log_shares(self, cosines: Tensor) -> Tensor:
        """Log softmax (B, B - 1) over the others: the diagonal is left out."""
        size = len(cosines)
        others = ~torch.eye(size, dtype=torch.bool, device=cosines.device)
        return (cosines[others].view(size, size - 1) / self.settings.temperature).log_softmax(1)


def relation_term(sizes: Sizes, settings: InstanceRelation, adapted: nn.Module) -> nn.Module:
    """The term that compares relations, in the chosen flavour."""
    if settings.flavour == "rkd":
        return Stateless(rkd)
    if settings.flavour == "sp":
        return Stateless(lambda batch: sp(batch, on="embedding"))
    if settings.flavour == "crrcd":
        return RelationalContrast(sizes, settings.relation)
    return SimilarityDistributions(settings, adapted)
