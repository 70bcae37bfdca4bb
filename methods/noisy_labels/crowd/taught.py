"""Networks that are taught one label, or one distribution over labels, an item: majority vote, Dawid-Skene, gold."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .backbones import Network


class Taught(nn.Module):
    """Item numbers (B,) to the sum of all networks' cross entropies.

    Args:
        networks: they share nothing but the labels.
        items: (N, ...) all training items, on the device that trains.
        labels: (N,) classes, or (N, C) probabilities of them.
    """

    def __init__(self, networks: Iterable[Network], items: Tensor, labels: Tensor) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self._items, self._labels = items, labels.to(items.device)

    def forward(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the loss."""
        inputs, labels = self._items[rows], self._labels[rows]
        losses = [F.cross_entropy(network(inputs), labels) for network in self.networks]
        return {"loss": torch.stack(losses).sum()}
