"""FitNet: a hidden map of the student, put through a linear map, resembles one of the teacher (Romero et al. 2015, arXiv 1412.6550)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ....platform.errors import BadInput
from ..seen import Batch, Sizes
from .maps import at_one_size, check_maps, matched


class FitNet(nn.Module):
    """Mean squared difference of one pair of maps; the regressor is a 1x1 convolution from the student's channels.

    Args:
        sizes: channels of the maps.
        hint: which of the matched pairs of maps; None: the middle one.
    """

    def __init__(self, sizes: Sizes, hint: int | None = None) -> None:
        check_maps("fitnet", sizes)
        super().__init__()
        pairs = matched(len(sizes.teacher_maps), len(sizes.student_maps))
        hint = len(pairs) // 2 if hint is None else hint
        if not 0 <= hint < len(pairs):
            raise BadInput(f"hint {hint} of {len(pairs)} pairs of maps", mend=f"use 0 to {len(pairs) - 1}")
        self.teacher_map, self.student_map = pairs[hint]
        channels = sizes.student_maps[self.student_map], sizes.teacher_maps[self.teacher_map]
        self.regressor = nn.Conv2d(*channels, kernel_size=1)

    def forward(self, batch: Batch) -> Tensor:
        """The difference, a mean over all entries."""
        teacher = batch.teacher.maps[self.teacher_map].detach()
        teacher, student = at_one_size(teacher, batch.student.maps[self.student_map])
        return F.mse_loss(self.regressor(student), teacher)

    def after_step(self, batch: Batch) -> None:
        """There is nothing to remember."""
