"""Self-blended clips: a face pasted over itself with other colours, sharpness and place, so that there is a seam and nothing else.

Shiohara & Yamasaki, "Detecting Deepfakes with Self-Blended Images" (CVPR 2022), for baselines. The face is taken to lie where a
canonical crop puts it, in an upright oval of three quarters of the side; landmarks are not needed, so crops that are centred otherwise
are blended in the wrong place. Lengths are told for a crop of 128 pixels and scaled.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

REFERENCE = 128
# Half axes and centre of the oval, as shares of the side.
HALF_HEIGHT, HALF_WIDTH, CENTRE = 0.375, 0.285, (0.5, 0.5)
ERODED, BLURRED, ALPHAS = (3.0, 5.0, 9.0, 13.0), (5.0, 9.0, 15.0), (0.5, 0.75, 1.0, 1.0)
WAVES = 4  # of the oval's outline


def self_blended(frames: Tensor, generator: Generator, *, each: str = "frame") -> Tensor:
    """Blend clips, uint8 (n, T, 3, S, S), with themselves; what is drawn is drawn anew for each frame, or once a clip.

    Args:
        frames: of tracks, before any augmentation.
        generator: of the draws.
        each: frame (there is flicker besides the seam) or clip.
    """
    clips, length = frames.shape[:2]
    count = clips * length if each == "frame" else clips
    whole = frames.flatten(0, 1).float() / 255
    draw = _Draws(count, 1 if each == "frame" else length, generator, whole.device)
    other = _moved(_sharpened(_coloured(whole, draw), draw), draw)
    mask = draw.pick(ALPHAS)[:, None, None, None] * _mask(whole.shape[-1], draw)
    mixed = whole + mask * (other - whole)
    return (mixed * 255).round().clamp(0, 255).to(torch.uint8).unflatten(0, (clips, length))


class _Draws:
    """Numbers for each frame; those of one clip are alike where they are drawn once a clip."""

    def __init__(self, count: int, repeats: int, generator: Generator, device: torch.device) -> None:
        self._count, self._repeats, self._generator, self.device = count, repeats, generator, device

    def uniform(self, low: float, high: float, columns: int = 1) -> Tensor:
        drawn = low + (high - low) * torch.rand(self._count, columns, generator=self._generator)
        return self._spread(drawn)

    def normal(self, deviation: float, columns: int) -> Tensor:
        return self._spread(deviation * torch.randn(self._count, columns, generator=self._generator))

    def pick(self, values: tuple[float, ...]) -> Tensor:
        at = torch.randint(len(values), (self._count,), generator=self._generator)
        return self._spread(torch.tensor(values)[at])

    def _spread(self, drawn: Tensor) -> Tensor:
        return drawn.repeat_interleave(self._repeats, dim=0).to(self.device)


def _coloured(frames: Tensor, draw: _Draws) -> Tensor:
    gain, shift = draw.uniform(0.92, 1.08, 3), draw.uniform(-8 / 255, 8 / 255, 3)
    return frames * gain[:, :, None, None] + shift[:, :, None, None]


def _sharpened(frames: Tensor, draw: _Draws) -> Tensor:
    """Half of them lose resolution, the others are sharpened."""
    side = frames.shape[-1]
    kind, amount = draw.pick((0.0, 0.0, 2.0, 3.0)), draw.uniform(0.3, 0.7)[:, :, None, None]
    soft = F.avg_pool2d(F.pad(frames, (1, 1, 1, 1), mode="replicate"), 3, 1)
    found = frames + amount * (frames - soft)
    for divisor in (2, 3):
        small = F.interpolate(frames, (side // divisor, side // divisor), mode="bilinear", antialias=True)
        found = torch.where(
            (kind == divisor)[:, None, None, None], F.interpolate(small, (side, side), mode="bilinear"), found
        )
    return found


def _moved(frames: Tensor, draw: _Draws) -> Tensor:
    """Turned by up to 1.5 degrees, scaled by up to 3 %, moved by up to 2 % of the side."""
    angle, scale = draw.uniform(-1.5, 1.5)[:, 0] * math.pi / 180, draw.uniform(0.97, 1.03)[:, 0]
    offset = 2 * draw.uniform(-0.02, 0.02, 2)
    cos, sin = angle.cos() / scale, angle.sin() / scale
    affine = torch.stack([torch.stack([cos, -sin, offset[:, 0]], 1), torch.stack([sin, cos, offset[:, 1]], 1)], 1)
    grid = F.affine_grid(affine, list(frames.shape), align_corners=False)
    return F.grid_sample(frames, grid, padding_mode="reflection", align_corners=False)


def _mask(side: int, draw: _Draws) -> Tensor:
    """The oval with a wavy outline, eroded, with a soft edge: (n, 1, S, S) in 0 .. 1."""
    at = (torch.arange(side) + 0.5) / side
    y, x = (at[:, None] - CENTRE[1]).expand(side, side), (at - CENTRE[0]).expand(side, side)
    angle = torch.atan2(y / HALF_HEIGHT, x / HALF_WIDTH)
    orders = torch.arange(1, WAVES + 1)[:, None, None]
    waves = torch.cat([(orders * angle).sin(), (orders * angle).cos()]).to(draw.device)
    # About 2 pixels of deviation at every place of the outline.
    outline = torch.einsum("nw,whv->nhv", draw.normal(2.0 / math.sqrt(WAVES), 2 * WAVES), waves)
    radius = ((y / HALF_HEIGHT).square() + (x / HALF_WIDTH).square()).sqrt().to(waves.device)
    # Pixels from the outline, inwards positive; exact at its ends, near enough between.
    inside = (1 - radius) * math.sqrt(HALF_HEIGHT * HALF_WIDTH) * REFERENCE + outline
    soft = draw.pick(BLURRED)[:, None, None]
    depth = inside - draw.pick(ERODED)[:, None, None]
    return (0.5 + depth / soft).clamp(0, 1)[:, None]
