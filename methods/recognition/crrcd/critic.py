"""How far a critic tells pairs that belong together from pairs that do not, and what that costs.

The critic of CRRCD (arXiv 2409.02555, equation 10), from a cosine s of two projected relations, with n negatives to a positive and
m records, is

    h = exp(s / tau) / (exp(s / tau) + n / m) = sigmoid(s / tau - c),    c = log(n / m)

and the loss of a positive (equation 11) is -log h(positive) - n E_negatives[log(1 - h)]. Everything here is written with the
logit s / tau - c, so that nothing overflows.

Taken literally, c is negative as soon as m > n: at m = 494,414 and n = 512 a pair that has nothing in common (s = 0) gets h = 0.999.
CRD's published code, whose paper has the same formula, divides exp(s / tau) by its mean Z instead: c = log n + log Z. So does
this module unless told otherwise, with Z as a running mean: frozen at the first batch (as in CRD), where all relations are nearly
parallel, it would keep h of the positives near 1 / n for ever.

A critic that knows nothing costs log(1 + n) + n log(1 + 1 / n), about log(n) + 1:

>>> round(Critic(negatives=512).uninformed(records=4100), 3)
7.239
>>> round(Critic(negatives=512, kind="infonce").uninformed(records=4100), 3)
6.24
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....platform.errors import BadInput
from ....platform.privacy.validate import positive, positive_int, probability

KINDS = ("nce", "sigmoid_cos", "infonce")
NORMS = ("z_ema", "z_first", "literal")


@dataclass(frozen=True)
class Critic:
    """A critic's formula.

    Args:
        negatives: n, for each positive. Where fewer can be found, their mean stands for that of n.
        temperature: tau.
        kind: nce; sigmoid_cos: h = sigmoid(s / tau) without an offset; infonce: -log of the positive's share in the sum of
            exp(s / tau) over itself and n negatives.
        norm: of nce. z_ema: c = log n + a running mean of log Z; z_first: with log Z of the first batch; literal: c = log(n / m).
        momentum: of the running mean, what is kept at a step.
    """

    negatives: int = 512
    temperature: float = 0.1
    kind: str = "nce"
    norm: str = "z_ema"
    momentum: float = 0.95

    def __post_init__(self) -> None:
        positive_int(negatives=self.negatives)
        positive(temperature=self.temperature)
        probability(momentum=self.momentum)
        for name, value, known in (("critic", self.kind, KINDS), ("critic_norm", self.norm, NORMS)):
            if value not in known:
                raise BadInput(f"{name} is {value!r}", mend=f"use one of {', '.join(known)}")

    def loss(self, positive: Tensor, negative: Tensor, valid: Tensor, offset: Tensor | float) -> Tensor:
        """Equation 11, a mean over P positives.

        Args:
            positive: cosines (P,) of positives.
            negative: cosines (P, w) of negatives.
            valid: bool (P, w), which of them count; at least one for each positive.
            offset: c; ignored by infonce.
        """
        good, bad = positive / self.temperature, negative / self.temperature
        if self.kind == "infonce":
            return F.softplus(math.log(self.negatives) + log_mean_exp(bad, valid, 1) - good).mean()
        rejected = F.softplus(bad - offset).masked_fill(~valid, 0).sum(1) / valid.sum(1)
        return (F.softplus(offset - good) + self.negatives * rejected).mean()

    def fixed_offset(self, records: int) -> float | None:
        """c where it needs no measuring, else None."""
        if self.kind != "nce":
            return 0.0
        return math.log(self.negatives / records) if self.norm == "literal" else None

    def uninformed(self, records: int) -> float:
        """The loss of the best critic that gives every pair the same cosine: what learning must fall below.

        `records` is m, in the training set; only a literal offset asks for it.
        """
        n = self.negatives
        if self.kind == "infonce":
            return math.log1p(n)
        best, offset = -math.log(n), self.fixed_offset(records)
        if offset is not None:  # The logit -log n may be out of reach of a cosine between -1 and 1.
            best = min(max(best, -1 / self.temperature - offset), 1 / self.temperature - offset)
        return _softplus(-best) + n * _softplus(best)


class Normaliser(nn.Module):
    """log Z: the log of the mean of exp(s / tau) over negatives, kept from batch to batch by `commit`.

    A buffer, so it goes into checkpoints. It carries no gradient.
    """

    log_z: Tensor
    seen: Tensor

    def __init__(self, critic: Critic) -> None:
        super().__init__()
        self.critic = critic
        self.register_buffer("log_z", torch.zeros(()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, negative: Tensor, valid: Tensor) -> Tensor:
        """log Z for a batch of cosines (P, w), of which `valid` count; the running mean includes this batch."""
        fresh = log_mean_exp(negative.detach() / self.critic.temperature, valid, (0, 1))
        kept = self.log_z.to(fresh.dtype)
        if self.critic.norm == "z_ema":
            kept = kept * self.critic.momentum + fresh * (1 - self.critic.momentum)
        return torch.where(self.seen > 0, kept, fresh)

    def commit(self, log_z: Tensor) -> None:
        """Keep what `forward` gave for a batch."""
        self.log_z.copy_(log_z)
        self.seen += 1


def log_mean_exp(values: Tensor, valid: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """The log of the mean of exp over the valid entries."""
    return values.masked_fill(~valid, -math.inf).logsumexp(dim) - valid.sum(dim).to(values.dtype).log()


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))
