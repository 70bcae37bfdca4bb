"""The crowd's answers on the device that trains, so that those about a batch of items are found by one indexing.

>>> sparse = CrowdAnswers(np.array([1, 0, 1]), np.array([0, 0, 1]), np.array([2, 1, 0]), n_items=2, n_annotators=2, classes=3)
>>> [part.tolist() for part in Answers(sparse).about(torch.tensor([1]))]
[[0, 0], [0, 1], [2, 0]]
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ....platform.data.crowd import CrowdAnswers


class Answers:
    """Answers sorted by item."""

    def __init__(self, answers: CrowdAnswers, device: torch.device | str = "cpu") -> None:
        order = np.argsort(answers.items, kind="stable")
        self.items = torch.from_numpy(answers.items[order]).to(device)
        self.annotators = torch.from_numpy(answers.annotators[order]).to(device)
        self.labels = torch.from_numpy(answers.labels[order]).to(device)
        counts = np.bincount(answers.items, minlength=answers.n_items)
        self._counts = torch.from_numpy(counts).to(device)
        self._starts = torch.from_numpy(np.cumsum(counts) - counts).to(device)
        self.n_annotators, self.classes = answers.n_annotators, answers.classes
        self.per_annotator = np.bincount(answers.annotators, minlength=answers.n_annotators)

    def about(self, items: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return, for items (B,), each answer's place in the batch, its annotator and its label: three times (M,)."""
        counts = self._counts[items]
        places = torch.arange(len(items), device=items.device).repeat_interleave(counts)
        ends = counts.cumsum(0)
        rows = torch.arange(len(places), device=items.device) + (self._starts[items] - ends + counts)[places]
        return places, self.annotators[rows], self.labels[rows]
