"""Clips: which frames of a track, and how they become what the network sees.

>>> clip_frames(count=10, start=2, clips=Clips(length=4, stride=2, side=32)).tolist()
[2, 4, 6, 8]
>>> clip_frames(count=3, start=0, clips=Clips(length=8, side=32)).tolist()
[0, 1, 2, 1, 0, 1, 2, 1]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from .settings import Augmentation, Clips

# Of ImageNet's pictures in 0 .. 1, which torchvision's weights were trained on.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LUMA = (0.299, 0.587, 0.114)


def clip_frames(count: int, start: int, clips: Clips) -> np.ndarray:
    """Numbers of a clip's frames, int64 (T,). A track of `count` frames that ends too soon is mirrored at its ends."""
    at = start + clips.stride * np.arange(clips.length)
    period = max(2 * (count - 1), 1)
    at = at % period
    return np.where(at >= count, period - at, at)


def starts(count: int, clips: Clips) -> int:
    """How many places a clip of a track of `count` frames can begin at; one if the track is too short."""
    return max(count - clips.span + 1, 1)


@dataclass(frozen=True, eq=False)
class Draw:
    """What is done to each of n clips: where it is cropped (n, 2); whether it is mirrored, factor, shift, whether it is grey (n,)."""

    corner: Tensor
    flip: Tensor
    gain: Tensor
    shift: Tensor
    grey: Tensor

    def twice(self) -> Draw:
        """The same again, for as many clips more."""
        return Draw(*(torch.cat([part, part]) for part in (self.corner, self.flip, self.gain, self.shift, self.grey)))


def draw_augmentation(settings: Augmentation, clips: Clips, count: int, generator: Generator) -> Draw:
    """One draw for each of `count` clips."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    corner = torch.randint(clips.margin + 1, (count, 2), generator=generator)
    return Draw(
        corner, uniform(0, 1) < settings.flip, uniform(1 - settings.gain, 1 + settings.gain),
        uniform(-settings.shift, settings.shift), uniform(0, 1) < settings.grey,
    )  # fmt: skip


def augmented(frames: Tensor, draw: Draw, clips: Clips) -> Tensor:
    """Clips of tracks, uint8 (n, T, 3, S, S) or floats in 0 .. 1, to the network's input (n, T, 3, side, side)."""
    whole, side = fitted(frames, clips), clips.side
    cut = torch.stack([
        clip[..., y : y + side, x : x + side] for clip, (y, x) in zip(whole, draw.corner.tolist(), strict=True)
    ])  # fmt: skip

    def each(values: Tensor) -> Tensor:
        return values.to(cut.device)[:, None, None, None, None]

    cut = torch.where(each(draw.flip), cut.flip(-1), cut)
    luma = (cut * cut.new_tensor(LUMA)[:, None, None]).sum(2, keepdim=True)
    cut = torch.where(each(draw.grey), luma, cut)
    return normalised((cut * each(draw.gain) + each(draw.shift)).clamp(0, 1))


def central(frames: Tensor, clips: Clips) -> Tensor:
    """The middle of clips of tracks, as the network sees it when nothing is drawn."""
    whole, first = fitted(frames, clips), clips.margin // 2
    return normalised(whole[..., first : first + clips.side, first : first + clips.side])


def fitted(frames: Tensor, clips: Clips) -> Tensor:
    """Frames (..., 3, S, S) in 0 .. 1, of side + margin pixels a side."""
    whole = frames.float() / 255 if frames.dtype == torch.uint8 else frames
    size = clips.side + clips.margin
    if whole.shape[-1] == size:
        return whole
    lead = whole.shape[:-3]
    flat = F.interpolate(
        whole.flatten(0, -4), (size, size), mode="bilinear", antialias=True, align_corners=False
    )  # fmt: skip
    return flat.unflatten(0, lead)


def normalised(pictures: Tensor) -> Tensor:
    """Pictures (..., 3, H, W) in 0 .. 1, less ImageNet's mean, over its deviation."""
    return (pictures - pictures.new_tensor(MEAN)[:, None, None]) / pictures.new_tensor(DEVIATION)[:, None, None]
