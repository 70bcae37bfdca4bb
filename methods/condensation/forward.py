"""Features of many images in small pieces: the whole of a piece stays in the cache, which more than halves the time on a CPU.

A network without batch statistics gives the same features whatever the pieces are (to rounding). A piece never holds images of two
groups, so the features of one class do not depend on which classes are computed beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from ...platform.errors import BadInput

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Forward:
    """How images go through an encoder.

    Args:
        piece: images at once; 0: all groups in one (on a GPU, where starting a computation costs more than the cache gains).
        channels_last: the memory format of the images (faster on a CPU with single precision).
        precision: float32, or bfloat16 where the hardware multiplies it faster; what is compared is float32 in any case.
    """

    piece: int = 8
    channels_last: bool = True
    precision: str = "float32"

    def __post_init__(self) -> None:
        if isinstance(self.piece, bool) or not isinstance(self.piece, int) or self.piece < 0:
            raise BadInput(f"piece is {self.piece!r}", why="it is a whole number of images, 0 for all at once")
        if self.precision not in PRECISIONS:
            raise BadInput(f"unknown precision {self.precision!r}", mend=f"use one of {', '.join(PRECISIONS)}")

    def __call__(self, function: Callable[[Tensor], Tensor], groups: Sequence[Tensor]) -> list[Tensor]:
        """`function` of every group of images (B, c, h, w); float32 or wider."""
        sizes = [len(group) for group in groups]
        pieces = (
            [part for group in groups for part in group.split(self.piece)] if self.piece else [torch.cat(list(groups))]
        )
        with self._cast(groups[0]):
            found = torch.cat([function(self._laid_out(piece)) for piece in pieces])
        return list((found.float() if found.dtype == torch.bfloat16 else found).split(sizes))

    def _laid_out(self, piece: Tensor) -> Tensor:
        return piece.contiguous(memory_format=torch.channels_last) if self.channels_last else piece.contiguous()

    def _cast(self, images: Tensor) -> AbstractContextManager[object]:
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(images.device.type, torch.bfloat16)
