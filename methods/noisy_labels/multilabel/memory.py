"""What a training has to remember between its epochs, kept with its checkpoints: the best weights, and what the selection looks at."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .selection import scaled_losses


class BestWeights:
    """The weights of the epoch with the highest score so far; the first of equals."""

    def __init__(self) -> None:
        self.score = -math.inf
        self.epoch = 0
        self.seen = 0
        self.weights: dict[str, Tensor] = {}

    def offer(self, score: float, network: nn.Module) -> None:
        """One epoch more."""
        self.seen += 1
        if score > self.score:
            self.score, self.epoch = score, self.seen
            self.weights = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """The state."""
        return {"score": self.score, "epoch": self.epoch, "seen": self.seen, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take a state over."""
        self.score, self.epoch, self.seen = state_dict["score"], state_dict["epoch"], state_dict["seen"]
        self.weights = dict(state_dict["weights"])


class Looks:
    """What the epochs of the first network say of its training rows: averaged losses, and each class's posterior at its best epoch.

    Args:
        labels: given labels of the training rows, (N, q).
        first, last: epochs (from 1) whose scaled losses are averaged.
    """

    def __init__(self, labels: Tensor, *, first: int, last: int) -> None:
        self._labels, self._first, self._last = labels, first, last
        self.epoch = 0
        self.total = torch.zeros(labels.shape)
        self.posterior = torch.zeros(labels.shape)
        self.least = torch.full((labels.shape[1],), math.inf)

    @property
    def losses(self) -> Tensor:
        """Scaled losses averaged over the epochs, (N, q)."""
        return self.total / (self._last - self._first + 1)

    def look(self, posterior: Tensor, validation_losses: Tensor) -> None:
        """One epoch more: posteriors (N, q) of the training rows, and the validation loss of each class (q,)."""
        self.epoch += 1
        better = validation_losses < self.least
        self.least = torch.where(better, validation_losses, self.least)
        self.posterior = torch.where(better, posterior, self.posterior)
        if self._first <= self.epoch <= self._last:
            losses = label_losses(posterior, self._labels)
            self.total += torch.from_numpy(scaled_losses(losses.numpy(), self._labels.numpy())).float()

    def state_dict(self) -> dict[str, Any]:
        """The state."""
        return {"epoch": self.epoch, "total": self.total, "posterior": self.posterior, "least": self.least}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take a state over."""
        self.epoch = state_dict["epoch"]
        self.total, self.posterior, self.least = (state_dict[name] for name in ("total", "posterior", "least"))


def label_losses(posterior: Tensor, labels: Tensor) -> Tensor:
    """Binary cross entropy of each entry (n, q). PyTorch keeps its logarithms above -100."""
    return F.binary_cross_entropy(posterior, labels.float(), reduction="none")
