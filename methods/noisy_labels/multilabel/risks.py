"""Losses of a network's logits against given labels of which some are wrong, with or without the flip rates.

Flip rates (q, 2): fp = P(given 1 | true 0) and fn = P(given 0 | true 1). With p = sigmoid(logit), the network's P(true 1), the given
label is 1 with probability fp (1 - p) + (1 - fn) p.

- bce: binary cross entropy, as if labels were right.
- gce: (1 - p_y^r) / r, of the probability p_y of the given label (generalised cross entropy: Zhang & Sabuncu, NeurIPS 2018).
- forward: cross entropy of the given label's probability (Patrini et al., CVPR 2017).
- reweight: binary cross entropy times P(true = y) / P(given = y), a constant (Liu & Tao, TPAMI 2016; Li et al., NeurIPS 2022). Where p
  is right, its mean over given labels is the risk under true ones.

For yes-or-no labels the gradient of forward is that of reweight times 1 - fp - fn of the class: they differ in how much a class counts.

All is computed with logarithms: with rates of zero, reweight is bce, bit for bit, forward is bce up to rounding, and no logit makes
them infinite.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ....platform.errors import BadInput

RISKS = ("bce", "gce", "forward", "reweight")
WITH_RATES = ("forward", "reweight")
Risk = Callable[[Tensor, Tensor], Tensor]


def make_risk(name: str, rates: Tensor | None, *, gce_power: float) -> Risk:
    """A function of logits (n, q) and given labels (n, q) that gives the mean loss over both."""
    if name == "bce":
        return lambda logits, given: F.binary_cross_entropy_with_logits(logits, given)
    if name == "gce":
        return lambda logits, given: generalised(logits, given, gce_power)
    if rates is None:
        raise BadInput(f"the risk {name} needs flip rates", mend="choose an estimator")
    known = rates
    return lambda logits, given: (forward if name == "forward" else reweighted)(logits, given, known.to(logits))


def generalised(logits: Tensor, given: Tensor, power: float) -> Tensor:
    """Generalised cross entropy of each label, averaged."""
    chosen = _log_probability(logits, given)
    return (-torch.expm1(power * chosen) / power).mean()


def forward(logits: Tensor, given: Tensor, rates: Tensor) -> Tensor:
    """Cross entropy of what the labels would look like after the noise, averaged."""
    return -_log_given(logits, given, rates).mean()


def reweighted(logits: Tensor, given: Tensor, rates: Tensor) -> Tensor:
    """Binary cross entropy, each label weighted by `weights`, averaged."""
    losses = F.binary_cross_entropy_with_logits(logits, given, reduction="none")
    return (weights(logits, given, rates) * losses).mean()


def weights(logits: Tensor, given: Tensor, rates: Tensor) -> Tensor:
    """P(true = y) / P(given = y) at the given labels y, (n, q), without gradient. At most 1 / (1 - fn) or 1 / (1 - fp)."""
    with torch.no_grad():
        return torch.exp(_log_probability(logits, given) - _log_given(logits, given, rates))


def _log_probability(logits: Tensor, given: Tensor) -> Tensor:
    """log P(true = y) at the given labels y."""
    return F.logsigmoid(torch.where(given > 0.5, logits, -logits))


def _log_given(logits: Tensor, given: Tensor, rates: Tensor) -> Tensor:
    """log P(given = y) at the given labels y."""
    fp, fn = rates[:, 0], rates[:, 1]
    one = given > 0.5
    # The probabilities that the label comes out as given if it is truly so, and if it is truly the other.
    same = torch.where(one, 1 - fn, 1 - fp)
    other = torch.where(one, fp, fn)
    signed = torch.where(one, logits, -logits)
    return torch.logaddexp(torch.log(same) + F.logsigmoid(signed), torch.log(other) + F.logsigmoid(-signed))
