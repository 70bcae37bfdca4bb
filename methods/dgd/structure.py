"""Whether images have class structure, and how often their labels are wrong: estimated from released labels by two-fold prediction.

A linear classifier learns the labels of one half and predicts those of the other. Where it does no better than naming the commonest
label, the images have no class structure that a student could follow, and smoothing or sharpening its answers there would only harm
it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...platform.silo.scatter_ridge import ridge

PENALTY = 1.0
FEWEST = 20


def cross_predicted(vectors: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return each image's predicted class (n,), by a ridge on the other half; inputs (n, d) of length about 1."""
    targets = torch.eye(classes)[labels] - 1 / classes
    predicted = torch.empty(len(labels), dtype=torch.long)
    even = torch.arange(len(labels)) % 2 == 0
    for held in (even, ~even):
        weights = ridge(vectors[~held], targets[~held], PENALTY)
        predicted[held] = (vectors[held] @ weights).argmax(1)
    return predicted


def structure(predicted: Tensor, labels: Tensor, classes: int) -> float:
    """Return 0 to 1: how far predicting beats naming the commonest label, relative to a predictor that is always right."""
    if len(labels) < FEWEST:
        return 1.0  # Too few to tell.
    right = float((predicted == labels).double().mean())
    commonest = float(torch.bincount(labels, minlength=classes).max()) / len(labels)
    return min(1.0, max(0.0, (right - commonest) / max(1e-9, 1 - commonest)))
