"""Shifts at test time: the same pictures as another camera, another light or a thrifty archive would have them.

A model is scored on them without having learnt from them. Each has five levels, as common-corruption benchmarks have (Hendrycks &
Dietterich, ICLR 2019), from hardly visible to hard. They belong before the down-sampling: a shift of the scene, not of the thumbnail.

>>> dark = shift(torch.full((1, 3, 112, 112), 0.8), "dark", 4)
>>> round(dark.max().item(), 2)
0.28
>>> SHIFTS["dark"].in_words(4)
'dark, level 4 of 5: gain 0.35'
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadInput
from . import corruptions
from .resampling import Resampler, check_pictures

LEVELS = 5
# Widths of blur are said for pictures of this many pixels and grow with larger ones.
SAID_FOR = 112
GREY = 0.5


@dataclass(frozen=True)
class Shift:
    """A shift by name: its strength at each of the five levels, what that strength is, and how it is put on."""

    name: str
    strengths: tuple[float, float, float, float, float]
    unit: str
    put: Callable[[Tensor, float, torch.Generator | None], Tensor]

    def in_words(self, level: int) -> str:
        """Its name, level and strength, for a table or a plot."""
        return f"{self.name}, level {level} of {LEVELS}: {self.unit} {self.strengths[level - 1]:g}"


def shift(images: Tensor, name: str, level: int, generator: torch.Generator | None = None) -> Tensor:
    """Return the pictures under that shift.

    Args:
        images: float (n, c, height, width) in [0, 1]; c is 1 or 3 for `jpeg`.
        name: one of `SHIFTS`.
        level: 1 .. 5.
        generator: for `noise`, the only random one.

    Raises:
        BadInput: no shift has this name or level, these are no such pictures, or the generator is missing.
    """
    if name not in SHIFTS:
        near = difflib.get_close_matches(name, list(SHIFTS), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise BadInput(f"no shift is called {name!r}{hint}", mend=f"use one of {', '.join(SHIFTS)}")
    if not isinstance(level, int) or not 1 <= level <= LEVELS:
        raise BadInput(f"level {level} of the shift '{name}'", why=f"levels are the whole numbers 1 .. {LEVELS}")
    found = SHIFTS[name]
    check_pictures(images, channels=(1, 3) if name == "jpeg" else ())
    return found.put(images, found.strengths[level - 1], generator)


def _dark(images: Tensor, gain: float, _: torch.Generator | None) -> Tensor:
    return images * gain


def _contrast(images: Tensor, factor: float, _: torch.Generator | None) -> Tensor:
    return GREY + factor * (images - GREY)


def _blur(images: Tensor, sigma: float, _: torch.Generator | None) -> Tensor:
    # torchvision's, since one width for all pictures is enough here and needs nothing optional.
    from torchvision.transforms.functional import gaussian_blur

    width = sigma * max(images.shape[2:]) / SAID_FOR
    for along in (0, 1):
        # Rows, then columns: the same as both at once, in a fraction of the time. It mirrors at the edges, so it cannot reach over a
        # whole picture.
        reach = min(max(1, math.ceil(corruptions.REACH * width)), images.shape[3 - along] - 1)
        images = gaussian_blur(images, [2 * reach + 1, 1] if along == 0 else [1, 2 * reach + 1], [width] * 2)
    return images.clamp(0, 1)


def _noise(images: Tensor, sigma: float, generator: torch.Generator | None) -> Tensor:
    if generator is None:
        raise BadInput("the shift 'noise' draws at random", mend="give a torch.Generator")
    return corruptions.gaussian_noise(images, torch.full((len(images),), sigma / 255), generator)


def _jpeg(images: Tensor, quality: float, _: torch.Generator | None) -> Tensor:
    return corruptions.jpeg(images, torch.full((len(images),), quality))


def _pixelate(images: Tensor, share: float, _: torch.Generator | None) -> Tensor:
    height, width = images.shape[2:]
    coarse = Resampler("area").resize(images, (max(1, round(height * share)), max(1, round(width * share))))
    return Resampler("nearest").resize(coarse, (height, width))


SHIFTS: dict[str, Shift] = {
    found.name: found
    for found in (
        Shift("dark", (0.8, 0.65, 0.5, 0.35, 0.2), "gain", _dark),
        Shift("contrast", (0.8, 0.65, 0.5, 0.35, 0.2), "factor about mid-grey", _contrast),
        Shift("blur", (1, 2, 4, 6, 8), f"sigma in pixels of {SAID_FOR}", _blur),
        Shift("noise", (10, 20, 40, 60, 80), "sigma of 255", _noise),
        Shift("jpeg", (50, 30, 20, 10, 5), "quality", _jpeg),
        Shift("pixelate", (1 / 2, 1 / 3, 1 / 4, 1 / 6, 1 / 8), "share of the pixels of a side", _pixelate),
    )
}
