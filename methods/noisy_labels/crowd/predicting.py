"""What networks say of items: in eval mode, piece by piece, without gradients."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PIECE = 512


@torch.no_grad()
def log_probabilities(network: nn.Module, items: Tensor) -> Tensor:
    """Return (N, C) of items (N, ...), wherever they lie, on the network's device. Its mode is as before afterwards."""
    weight = next(network.parameters())
    before = network.training
    network.eval()
    # Logits may come in a lower precision.
    found = [F.log_softmax(network(part.to(weight.device)).to(weight), dim=1) for part in items.split(PIECE)]
    network.train(before)
    return torch.cat(found)


def joint_probabilities(networks: Iterable[nn.Module], items: Tensor) -> Tensor:
    """Return the mean (N, C) of all networks' probabilities: the models are taken together, as CCC does at test time."""
    return torch.stack([log_probabilities(network, items).exp() for network in networks]).mean(0)
