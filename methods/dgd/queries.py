"""Which images are put to the ensemble: chosen by chance, or by what is public or private already, never by what the records say.

A choice by a *non-private* classifier's confidence would be one more leak; under `labels_only` the total is infinite for that
reason too.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...platform.errors import BadInput

SELECTIONS = ("uniform", "confident")
# So many candidates for each query are looked at.
CANDIDATES = 4


def choose(
    images: np.ndarray, count: int, *, selection: str, answers: Tensor | None, generator: torch.Generator
) -> np.ndarray:
    """Return the numbers (count,) of the images to ask, in random order.

    Args:
        images: candidates (n, c, h, w), n >= count.
        selection: "uniform", or "confident": of each class (as a classifier sees it) the images it is surest of, classes in equal
            parts.
        answers: that classifier's probabilities (n, K); needed for "confident".
        generator: for the order, and the choice under "uniform".

    Raises:
        BadInput: there are not enough images, or no classifier to choose by.
    """
    if count > len(images):
        raise BadInput(f"{count} queries, but there are {len(images)} images", mend="lower method.queries")
    order = torch.randperm(len(images), generator=generator)
    if selection == "uniform":
        return order[:count].numpy()
    if answers is None:
        raise BadInput(
            f"query selection {selection!r} needs a classifier to choose by",
            why="there is none that is private or public in this coverage",
            mend="use method.selection=uniform",
        )
    # Surest first within each class; then one of each class in turn until there are enough.
    candidates = order[: min(len(order), CANDIDATES * count)]
    sure, label = answers[candidates].max(1)
    rank = torch.empty(len(candidates), dtype=torch.long)
    for k in range(answers.shape[1]):
        own = torch.nonzero(label == k).flatten()
        rank[own[sure[own].argsort(descending=True)]] = torch.arange(len(own))
    chosen = candidates[rank.argsort(stable=True)[:count]]
    return chosen[torch.randperm(count, generator=generator)].numpy()
