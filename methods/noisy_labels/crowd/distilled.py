"""The distilled set: for each class, the items whose crowd label the network finds easiest to believe.

Networks fit right labels before wrong ones, so an answer with a small loss is more often right than answers are. Each network's set
corrects the other one, which has other errors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Distilled:
    """Items (n,) and the labels (n,) that are believed of them, int64."""

    items: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.items)


def distil(
    log_probabilities: np.ndarray, items: np.ndarray, labels: np.ndarray, *, size: int, duplicates: bool = False
) -> Distilled:
    """Return the answers with the smallest loss, as many of each class: size / C, or all where a class has fewer.

    Args:
        log_probabilities: (N, C), the network's, in eval mode.
        items, labels: (M,) the crowd's answers.
        size: items in all, at most.
        duplicates: as published: an item stands there once for each answer that says so, and under every class that someone gave it.
            Otherwise an item is there at most once, under the likeliest of the classes that the crowd gave it.
    """
    classes = log_probabilities.shape[1]
    losses = -log_probabilities[items, labels]
    if not duplicates:
        # Sorted by item and loss, an item's first answer is its likeliest.
        order = np.lexsort((labels, losses, items))
        first = np.ones(len(order), dtype=bool)
        first[1:] = items[order][1:] != items[order][:-1]
        kept = np.sort(order[first])
        items, labels, losses = items[kept], labels[kept], losses[kept]
    each = max(1, size // classes)
    chosen = []
    for label in range(classes):
        of_label = np.flatnonzero(labels == label)
        chosen.append(of_label[np.argsort(losses[of_label], kind="stable")[:each]])
    rows = np.concatenate(chosen)
    return Distilled(items[rows], labels[rows])
