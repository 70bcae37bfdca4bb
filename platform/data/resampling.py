"""Resizing of pictures, pinned: which resampler made a low-resolution picture changes every number that is measured on it.

Seven pixels become one when a face of 112 pixels is brought to 16. Interpolation without antialiasing looks at two of the seven and
is close to taking one of them; it is what `torch.nn.functional.interpolate` and OpenCV do unless told otherwise, while PIL always
antialiases. A model trained behind one resampler and scored behind another is scored on another task. A `Resampler` therefore is a
value that can be compared, stored and printed:

>>> Resampler().in_words()
'bilinear, antialiased'
>>> Resampler("bilinear", antialias=False).in_words()
'bilinear, NOT antialiased'
>>> Resampler("area").resize(torch.tensor([[[[0.0, 1.0], [1.0, 1.0]]]]), 1).item()
0.75
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import BadInput

FILTERS = ("bilinear", "bicubic")
KINDS = (*FILTERS, "area", "nearest")
Size = int | tuple[int, int]


@dataclass(frozen=True)
class Resampler:
    """One way to resize pictures.

    - `bilinear`, `bicubic`: a triangle and a cubic filter (a = -0.5) as wide as the pixels they make: PIL's filters of these names.
    - `area`: the mean over what a new pixel covers, parts of old pixels counted by their part.
    - `nearest`: the old pixel at the new one's centre. It never antialiases.

    Args:
        kind: one of `KINDS`.
        antialias: False takes `bilinear` and `bicubic` filters as narrow as the old pixels, which skips most pixels of a large picture;
            only to compare with results that were made so. The two others have no such choice.

    Raises:
        BadInput: there is no such kind, or it cannot be had without antialiasing.
    """

    kind: str = "bilinear"
    _: KW_ONLY
    antialias: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadInput(f"no resampler is called {self.kind!r}", mend=f"use one of {', '.join(KINDS)}")
        if not self.antialias and self.kind not in FILTERS:
            raise BadInput(
                f"{self.kind} with antialias=False",
                why=f"antialiasing is a choice of {' and '.join(FILTERS)} only",
                mend="leave antialias out",
            )

    def in_words(self) -> str:
        """What it does, for a checkpoint or a table."""
        if self.kind == "area":
            return "area means"
        if self.kind == "nearest":
            return "nearest pixel, NOT antialiased"
        return f"{self.kind}, {'antialiased' if self.antialias else 'NOT antialiased'}"

    def resize(self, images: Tensor, size: Size) -> Tensor:
        """Return the pictures in another size, clamped to [0, 1] because a cubic filter overshoots.

        Args:
            images: float (n, c, height, width) in [0, 1].
            size: new height and width in pixels; one number for both.

        Raises:
            BadInput: these are no such pictures, or the size is none.
        """
        check_pictures(images)
        height, width = (size, size) if isinstance(size, int) else size
        if height < 1 or width < 1:
            raise BadInput(f"{height} x {width} is no size of a picture", mend="give whole numbers of at least 1")
        if (height, width) == tuple(images.shape[2:]):
            return images
        if self.kind == "area":
            rows, columns = (
                _shares(old, new, images) for old, new in zip(images.shape[2:], (height, width), strict=True)
            )
            return (rows @ images @ columns.T).clamp(0, 1)
        if self.kind == "nearest":
            rows, columns = (
                _centres(old, new, images) for old, new in zip(images.shape[2:], (height, width), strict=True)
            )
            return images[:, :, rows[:, None], columns]
        resized = functional.interpolate(
            images, (height, width), mode=self.kind, align_corners=False, antialias=self.antialias
        )
        return resized.clamp(0, 1)


def check_pictures(images: Tensor, name: str = "pictures", channels: tuple[int, ...] = ()) -> None:
    """Refuse what is not float (n, c, height, width) in [0, 1], with c among `channels` if any are given.

    Raises:
        BadInput: says what was given instead.
    """
    if images.ndim != 4 or not images.is_floating_point():
        raise BadInput(
            f"{name} are {str(images.dtype).removeprefix('torch.')} of shape {tuple(images.shape)}",
            why="here they are floats of shape (n, channels, height, width), in [0, 1]",
            mend="divide bytes by 255; put the channels before height and width",
        )
    if channels and images.shape[1] not in channels:
        allowed = " or ".join(map(str, channels))
        raise BadInput(f"{name} of {images.shape[1]} channels", why=f"{allowed} are expected")
    if min(images.shape[1:]) < 1:
        raise BadInput(f"{name} of shape {tuple(images.shape)} hold no pixel")
    if images.numel():
        lowest, highest = images.detach().aminmax()
        # Rounding in a resampler or a network may pass an end by a little; NaN fails both comparisons.
        if not (lowest >= -1e-3 and highest <= 1 + 1e-3):
            raise BadInput(f"{name} have values outside [0, 1]", mend="divide bytes by 255; undo any normalisation")


def _centres(old: int, new: int, like: Tensor) -> Tensor:
    """(new,): the old pixel at each new one's centre; the later one of two. Whole numbers, since ties are frequent."""
    return (2 * torch.arange(new, device=like.device) + 1) * old // (2 * new)


def _shares(old: int, new: int, like: Tensor) -> Tensor:
    """(new, old): how much of each new pixel lies over each old one."""
    edges = torch.arange(new + 1, dtype=torch.float64) * old / new
    starts = torch.arange(old, dtype=torch.float64)
    right = torch.minimum(edges[1:, None], starts[None] + 1)
    left = torch.maximum(edges[:-1, None], starts[None])
    return ((right - left).clamp(min=0) * new / old).to(like)
