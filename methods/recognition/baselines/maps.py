"""Feature maps of two networks, brought together: which belongs to which, and at what size they are compared."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ....platform.errors import BadInput
from ..seen import Batch, Sizes


def check_maps(term: str, sizes: Sizes) -> None:
    """BadInput if either network shows no maps."""
    for who, maps in (("teacher", sizes.teacher_maps), ("student", sizes.student_maps)):
        if not maps:
            raise BadInput(
                f"{term} compares feature maps, and this {who} shows none",
                why="only its embedding is known",
                mend=f"use a {who} that shows its maps, or a term that compares embeddings: rkd, pkt, crd, crrcd",
            )


def depths(count: int, pairs: int) -> list[int]:
    """Numbers of `pairs` of `count` maps, evenly spaced, the last among them.

    >>> depths(4, 4), depths(5, 3), depths(3, 1)
    ([0, 1, 2, 3], [1, 3, 4], [2])
    """
    return [-(-count * (number + 1) // pairs) - 1 for number in range(pairs)]


def matched(teacher_maps: int, student_maps: int) -> list[tuple[int, int]]:
    """Which teacher map goes with which student map: by depth, as many pairs as the network with fewer has maps."""
    pairs = min(teacher_maps, student_maps)
    return list(zip(depths(teacher_maps, pairs), depths(student_maps, pairs), strict=True))


def map_pairs(batch: Batch) -> list[tuple[Tensor, Tensor]]:
    """Teacher's (detached) and student's maps that belong together, (B, C, h, w) at one h, w."""
    teacher, student = batch.teacher.maps, batch.student.maps
    return [at_one_size(teacher[t].detach(), student[s]) for t, s in matched(len(teacher), len(student))]


def at_one_size(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both average-pooled to the smaller height and the smaller width."""
    height, width = (min(a, b) for a, b in zip(first.shape[-2:], second.shape[-2:], strict=True))
    return F.adaptive_avg_pool2d(first, (height, width)), F.adaptive_avg_pool2d(second, (height, width))
