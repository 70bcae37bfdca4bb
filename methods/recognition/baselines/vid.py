"""VID: the student's maps tell the teacher's with a Gaussian's certainty (Ahn et al. 2019, arXiv 1904.05835)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..seen import Batch, Sizes
from .maps import check_maps, map_pairs, matched

_LEAST_VARIANCE = 1e-5


class VariationalInformation(nn.Module):
    """Minus the log likelihood, but for a constant, of the teacher's maps: means from the student's maps, a variance a channel.

    Args:
        sizes: channels of the maps. Every matched pair of maps has a regressor of three 1x1 convolutions.
        variance: at the start.
    """

    def __init__(self, sizes: Sizes, variance: float = 5.0) -> None:
        check_maps("vid", sizes)
        super().__init__()
        pairs = matched(len(sizes.teacher_maps), len(sizes.student_maps))
        channels = [(sizes.student_maps[s], sizes.teacher_maps[t]) for t, s in pairs]
        self.regressors = nn.ModuleList(_regressor(given, wanted) for given, wanted in channels)
        raw = math.log(math.expm1(variance - _LEAST_VARIANCE))  # softplus gives the variance back
        self.raw_variances = nn.ParameterList(torch.full((wanted,), raw) for _, wanted in channels)

    def forward(self, batch: Batch) -> Tensor:
        """(difference^2 / variance + log variance) / 2, a mean over entries, summed over the pairs of maps."""
        losses = []
        for (teacher, student), regressor, raw in zip(
            map_pairs(batch), self.regressors, self.raw_variances, strict=True
        ):
            variance = (F.softplus(raw) + _LEAST_VARIANCE)[:, None, None]
            losses.append(((regressor(student) - teacher).square() / variance + variance.log()).mean() / 2)
        return torch.stack(losses).sum()

    def after_step(self, batch: Batch) -> None:
        """There is nothing to remember."""


def _regressor(given: int, wanted: int) -> nn.Module:
    widths = [given, wanted, wanted, wanted]
    layers: list[nn.Module] = []
    for into, out in pairwise(widths):
        layers += [nn.Conv2d(into, out, kernel_size=1, bias=False), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
