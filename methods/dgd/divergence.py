"""Divergence between a classifier's answers about an image and about its neighbour, and the entropy of an answer. In nats.

>>> sure, unsure = torch.tensor([[20.0, 0.0]]), torch.zeros(1, 2)
>>> round(kl(sure, unsure).item(), 4), round(entropy(unsure).item(), 4)
(0.6931, 0.6931)
"""

from __future__ import annotations

import torch


def kl(clean_logits: torch.Tensor, perturbed_logits: torch.Tensor) -> torch.Tensor:
    """Return KL(p || p') (B,) of logits (B, K); exactly zero where the logits agree bit by bit.

    The clean side is detached here: it is the target (Miyato et al. 2018, arXiv 1704.03976, theta-hat), so that a gradient moves the
    answer about the neighbour towards the answer about the image and never the other way.
    """
    target = clean_logits.detach().log_softmax(1)
    return (target.exp() * (target - perturbed_logits.log_softmax(1))).sum(1)


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """Return the entropies (B,) of softmax(logits), between 0 and log K; the gradient passes."""
    # From log-softmax, so that a probability that underflows contributes 0 and not 0 * log 0.
    log_p = logits.log_softmax(1)
    return -(log_p.exp() * log_p).sum(1)
