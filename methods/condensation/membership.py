"""How well a condensed set, or a network that learnt from it, tells which records it was made from.

Area under the ROC curve of a guess: 1/2 is chance, 1 is certainty. Condensed images are no private release: they start from records
and are pulled towards the mean of records, so areas above 1/2 are expected, and one near 1/2 proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F

from ...platform.data.images import ImageData
from .forward import Forward
from .recipe import as_floats, logits_of
from .standard import Standard


@dataclass(frozen=True, eq=False)
class Membership:
    """Records that the set was made from, the ones that it started from among them, and as many that it never saw."""

    members: ImageData
    strangers: ImageData
    start: ImageData | None

    @classmethod
    def draw(cls, train: ImageData, test: ImageData, start: np.ndarray | None, *, count: int, seed: int) -> Membership:
        """At most `count` of each, at random; `start`: numbers of the records that the set started from."""
        generator = np.random.default_rng(seed)
        part = min(count, len(train), len(test))
        own, other = (generator.choice(len(data), part, replace=False) for data in (train, test))
        return cls(train.take(own), test.take(other), None if start is None or not len(start) else train.take(start))

    def by_distance(self, images: Tensor, labels: Tensor, device: torch.device) -> dict[str, float]:
        """Areas of guessing by the distance to the nearest decoded image (n, c, h, w) of the record's class."""
        near = lambda data: -nearest_distances(data, images, labels, device)
        strangers = near(self.strangers)
        areas = {"membership_auc_distance": area(near(self.members), strangers)}
        if self.start is not None:
            areas["membership_auc_start"] = area(near(self.start), strangers)
        return areas

    def by_loss(self, network: nn.Module, standard: Standard, forward: Forward, device: torch.device) -> float:
        """Area of guessing by a network's loss on the record."""

        def score(data: ImageData) -> np.ndarray:
            logits = logits_of(network, torch.from_numpy(data.images), standard, forward, device)
            return -F.cross_entropy(logits, torch.from_numpy(data.labels), reduction="none").numpy()

        return area(score(self.members), score(self.strangers))


def nearest_distances(data: ImageData, images: Tensor, labels: Tensor, device: torch.device) -> np.ndarray:
    """Euclidean pixel distance of each record to the nearest of the images with its label; infinite where there is none."""
    found = torch.full((len(data),), float("inf"))
    records, answers = torch.from_numpy(data.images), torch.from_numpy(data.labels)
    for c in range(data.classes):
        own, other = answers == c, labels.cpu() == c
        if own.any() and other.any():
            there = images[other.to(images.device)].flatten(1).to(device)
            found[own] = torch.cdist(as_floats(records[own]).flatten(1).to(device), there).min(1).values.cpu()
    return found.numpy()


def area(members: np.ndarray, strangers: np.ndarray) -> float:
    """Area under the ROC curve of scores that should be higher for members."""
    truth = np.concatenate([np.ones(len(members)), np.zeros(len(strangers))])
    return float(roc_auc_score(truth, np.concatenate([members, strangers])))
