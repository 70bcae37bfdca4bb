"""From embeddings to class scores while a network is trained: cosines with a margin, or a plain linear layer.

ArcFace: Deng et al., CVPR 2019. CosFace: Wang et al., CVPR 2018. With unit embedding e and unit class centres w_k, cos a_k = <e, w_k>:

    logits      s cos a_k                          what is distilled, and what is answered: no margin
    arcface     s cos(a_y + m) for the true class y, in the loss
    cosface     s (cos a_y - m) likewise
    softmax     a linear layer with bias; no cosine, no margin

>>> head = Head(Margin("cosface", scale=10.0, margin=0.2), length=2, classes=2)
>>> head.margined(torch.tensor([[10.0, 0.0]]), torch.tensor([0]))
tensor([[8., 0.]])
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...platform.errors import BadInput
from ...platform.privacy.validate import non_negative, positive

KINDS = ("arcface", "cosface", "softmax")
FEW = 1000  # identities below which a gentler margin learns
# (scale, margin) for few and for many identities. Those for many are the papers'; ArcFace's for few were measured to learn.
USUAL = {"arcface": ((24.0, 0.2), (64.0, 0.5)), "cosface": ((24.0, 0.15), (64.0, 0.35))}
LEAST_SINE = 1e-6


@dataclass(frozen=True)
class Margin:
    """Settings of a `Head`: arcface, cosface or softmax; None: the usual scale and margin for the number of identities."""

    kind: str = "arcface"
    scale: float | None = None
    margin: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadInput(f"head is {self.kind!r}", mend=f"use one of {', '.join(KINDS)}")
        if self.scale is not None:
            positive(scale=self.scale)
        if self.margin is not None:
            non_negative(margin=self.margin)
            if self.kind == "arcface" and self.margin >= math.pi / 2:
                raise BadInput(f"margin {self.margin} of an angle", why="it must be below half of pi")

    def for_classes(self, classes: int) -> tuple[float, float]:
        """Scale and margin; (1, 0) for softmax."""
        if self.kind == "softmax":
            return 1.0, 0.0
        scale, margin = USUAL[self.kind][classes >= FEW]
        return (scale if self.scale is None else self.scale), (margin if self.margin is None else self.margin)


class Head(nn.Module):
    """Embeddings (B, length) to logits (B, classes), without margin.

    Args:
        settings: which kind.
        length: of the embeddings.
        classes: 2 or more.
    """

    def __init__(self, settings: Margin, *, length: int, classes: int) -> None:
        super().__init__()
        if classes < 2:
            raise BadInput(
                f"a head for {classes} classes", why="there is nothing to tell apart", mend="give more people"
            )
        self.kind = settings.kind
        self.scale, self.margin = settings.for_classes(classes)
        self.weight = nn.Parameter(torch.empty(classes, length))
        nn.init.normal_(self.weight, std=1 / math.sqrt(length))
        self.bias = nn.Parameter(torch.zeros(classes)) if self.kind == "softmax" else None

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return scaled cosines, or plain logits."""
        if self.kind == "softmax":
            return F.linear(embeddings, self.weight, self.bias)
        return self.scale * F.linear(F.normalize(embeddings, dim=1), F.normalize(self.weight, dim=1))

    def margined(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The logits with the margin taken from each true class. Beyond 180 degrees, where a cosine rises again, ArcFace's falls on."""
        if not self.margin:
            return logits
        cosines = (logits.gather(1, labels[:, None]) / self.scale).clamp(-1, 1)
        if self.kind == "cosface":
            moved = cosines - self.margin
        else:
            sines = (1 - cosines.square()).clamp(min=LEAST_SINE**2).sqrt()
            moved = cosines * math.cos(self.margin) - sines * math.sin(self.margin)
            beyond = cosines <= math.cos(math.pi - self.margin)
            moved = torch.where(beyond, cosines - self.margin * math.sin(self.margin), moved)
        return logits.scatter(1, labels[:, None], (self.scale * moved).to(logits.dtype))

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross entropy with the margin; `logits` are what `forward` gave."""
        return F.cross_entropy(self.margined(logits, labels), labels)
