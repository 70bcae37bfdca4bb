"""CoNAL: confusions that all annotators share, beside each one's own (Chu, Ma & Wang, AAAI 2021, "Common Confusions").

    logits of annotator r's answer about x = w p^T V_common + (1 - w) p^T V_r,    w = sigmoid(<v(x), u_r>)

The gate w says how much of an answer is due to the item: v is linear in the item, u_r is the annotator's vector, both of length 1. From
the loss, `spread` times sum_r |V_common - V_r| is taken off, so that the two do not say the same. After the published description and
code; what an item is to the gate is the item itself, standardised and flattened, so "CoNAL-like" where the backbone is another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .answers import Answers
from .backbones import Network

DIAGONAL = 2.0
HIDDEN = 128


class ConalHead(nn.Module):
    """The gate, the common matrix and the annotators' own: (C, C) and (R, C, C), rows true classes.

    Args:
        annotators, classes: R and C.
        inputs: numbers that an item has.
        size: length of v(x) and u_r.
    """

    def __init__(self, annotators: int, classes: int, inputs: int, *, size: int = 20) -> None:
        super().__init__()
        start = DIAGONAL * torch.eye(classes)
        self.common = nn.Parameter(start.clone())
        self.own = nn.Parameter(start.expand(annotators, classes, classes).clone())
        self.of_item = nn.Sequential(nn.Linear(inputs, HIDDEN), nn.Linear(HIDDEN, size))
        self.of_annotator = nn.Embedding(annotators, size)

    def gate(self, items: Tensor, places: Tensor, annotators: Tensor) -> Tensor:
        """Return w (M,) of answers by these annotators (M,) about the items at these places (M,) of a batch (B, ...)."""
        vectors = F.normalize(self.of_item(items.flatten(1)), dim=1)[places]
        return torch.sigmoid((vectors * F.normalize(self.of_annotator(annotators), dim=1)).sum(1))

    def logits(self, p: Tensor, gate: Tensor, annotators: Tensor) -> Tensor:
        """Return each answer's logits (M, C), for class probabilities p (M, C) and gates (M,)."""
        shared = gate.unsqueeze(1) * (p @ self.common)
        return shared + (1 - gate).unsqueeze(1) * (p.unsqueeze(1) @ self.own[annotators]).squeeze(1)

    def spread(self) -> Tensor:
        """Return sum_r |V_common - V_r|."""
        return (self.own - self.common).flatten(1).norm(dim=1).sum()

    def confusions(self, gates: Tensor) -> Tensor:
        """Return row-stochastic (R, C, C) at each annotator's mean gate (R,)."""
        weight = gates.view(-1, 1, 1)
        return torch.softmax(weight * self.common + (1 - weight) * self.own, dim=2)


class Conal(nn.Module):
    """Item numbers (B,) to the loss of all models' answers about them. The arguments are those of `CrowdLayer`; `spread`: see above."""

    def __init__(
        self, networks: Iterable[Network], heads: Iterable[ConalHead], items: Tensor, answers: Answers, *,
        averaged: Callable[[float], float], spread: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self._models = tuple(zip(networks, heads, strict=True))
        self.networks = nn.ModuleList([network for network, _ in self._models])
        self.heads = nn.ModuleList([head for _, head in self._models])
        self._items, self._answers, self._averaged, self._spread = items, answers, averaged, spread

    def forward(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the loss, the sum of the models'."""
        inputs = self._items[rows]
        places, annotators, labels = self._answers.about(rows)
        count = self._averaged(float(len(labels)))
        losses = []
        for network, head in self._models:
            found = network(inputs).to(head.own.dtype)
            # A run's lower precision is for the network.
            with torch.autocast(rows.device.type, enabled=False):
                p = torch.softmax(found, dim=1)[places]
                logits = head.logits(p, head.gate(network.standardised(inputs), places, annotators), annotators)
                wrong = F.cross_entropy(logits, labels, reduction="sum") / count
                losses.append(wrong - self._spread * head.spread())
        return {"loss": torch.stack(losses).sum()}

    @torch.no_grad()
    def confusions(self) -> Tensor:
        """Return the models' mean confusion matrices (R, C, C), each annotator's at the mean gate of his or her answers."""
        found = [head.confusions(self._mean_gates(network, head)) for network, head in self._models]
        return torch.stack(found).mean(0)

    def _mean_gates(self, network: Network, head: ConalHead) -> Tensor:
        total = torch.zeros(self._answers.n_annotators, device=self._items.device)
        for rows in torch.arange(len(self._items), device=self._items.device).split(512):
            places, annotators, _ = self._answers.about(rows)
            gates = head.gate(network.standardised(self._items[rows]), places, annotators)
            total.index_add_(0, annotators, gates)
        counts = torch.from_numpy(self._answers.per_annotator).to(total)
        # Of who gave no answer nothing is known: the mean of all gates.
        return torch.where(counts > 0, total / counts.clamp(min=1), total.sum() / counts.sum())
