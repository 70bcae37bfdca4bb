"""What to learn from noisy answers: a hard label that may be wrong, or a whole noisy histogram.

*Hard labels.* Some are wrong, at a rate that can be estimated from what was released: the confusion T[k, j] = Pr[label j | class k] is
counted with a private classifier's own answers, and the student's answer is sent through it before it is compared (forward correction,
Patrini et al. 2017, arXiv 1609.03683).

*Histograms* (ablation A7). n + N(0, sigma^2 I) costs what its argmax costs by a data-independent bound; projected onto the simplex
  it is a
soft label.

>>> project_to_simplex(torch.tensor([[0.9, 0.4, -0.2]]))
tensor([[0.7500, 0.2500, 0.0000]])
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# How many labels the prior of a class's row weighs, and how likely it takes a label to be right.
PRIOR_LABELS = 10.0
PRIOR_RIGHT = 0.7


def project_to_simplex(values: Tensor) -> Tensor:
    """Return the nearest points of the probability simplex to rows (n, K) (Duchi et al. 2008)."""
    ordered = values.sort(dim=1, descending=True).values
    excess = ordered.cumsum(1) - 1
    counts = torch.arange(1, values.shape[1] + 1, device=values.device)
    kept = (ordered * counts > excess).sum(1, keepdim=True)
    level = excess.gather(1, kept - 1) / kept
    return (values - level).clamp(min=0)


def confusion(predicted: Tensor, labels: Tensor) -> Tensor:
    """Estimate T (K, K), rows summing to 1, from a classifier's probabilities (n, K) on the labelled images and their labels (n,).

    A Dirichlet prior keeps rows of rare classes near "mostly right, otherwise anything".
    """
    classes = predicted.shape[1]
    wrong = (1 - PRIOR_RIGHT) / max(1, classes - 1)
    prior = torch.full((classes, classes), wrong).fill_diagonal_(PRIOR_RIGHT if classes > 1 else 1.0)
    counts = predicted.T @ F.one_hot(labels, classes).to(predicted) + PRIOR_LABELS * prior.to(predicted)
    return counts / counts.sum(1, keepdim=True)


def forward_corrected(logits: Tensor, labels: Tensor, transition: Tensor) -> Tensor:
    """Cross entropy (n,) of labels that were drawn from row k of `transition` for an image of class k."""
    seen = logits.softmax(1) @ transition
    return F.nll_loss(seen.clamp(min=1e-9).log(), labels, reduction="none")


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy (n,) against soft labels (n, K)."""
    return -(targets * logits.log_softmax(1)).sum(1)
