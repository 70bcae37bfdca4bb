"""From features of frames to the Transformer's tokens.

Features are (B, S, T, C): S cells of a frame (1 where a token is a whole frame), T frames. Everything here goes along time, cell by
cell, and looks at visible frames only: a clip's mean over all frames, or a difference from a masked one, would tell the answer that
the spatial module is to predict.

>>> features = torch.tensor([1.0, 2.0, 9.0]).reshape(1, 1, 3, 1)
>>> masked = torch.tensor([False, False, True]).reshape(1, 1, 3)
>>> visible_mean(features, masked).item()
1.5
>>> differences(features, masked).flatten().tolist()
[0.0, 1.0, 0.0]
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .form import Form

MOMENTUM = 0.01
LEAST_DEVIATION = 1e-5
# Of learned codes at the start.
SMALL = 0.02


class TokenLayer(nn.Module):
    """Standardise, centre, take differences, project, mark what is masked, add where and when it is.

    Args:
        form: of the network.
        channels: C of the features.
        length: T.
        cells: height and width of the grid; (1, 1): a token is a frame.
    """

    mean: Tensor
    deviation: Tensor
    seen: Tensor
    code: Tensor | None

    def __init__(self, form: Form, channels: int, length: int, cells: tuple[int, int]) -> None:
        super().__init__()
        self._scale, self._center, self._diff = form.token_scale, form.token_center, form.token_diff
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.project = nn.Linear(2 * channels if form.token_diff else channels, form.width)
        self.norm = nn.LayerNorm(form.width)
        self.masked = nn.Parameter(SMALL * torch.randn(form.width))
        code = place_and_time_code(length, cells, form.width)
        if form.code == "fixed":
            self.register_buffer("code", code, persistent=False)
        elif form.code == "learned":
            self.code = nn.Parameter(SMALL * torch.randn_like(code))
        else:
            self.code = None

    def forward(self, features: Tensor, masked: Tensor | None = None) -> Tensor:
        """Features (B, S, T, C) to tokens (B, S, T, D); `masked` bool (B, S, T), None: nothing is."""
        values = (features - self.mean) / self.deviation if self._scale != "none" else features
        if self._center:
            values = values - visible_mean(values, masked)
        if self._diff:
            values = torch.cat([values, differences(values, masked)], dim=-1)
        tokens = self.norm(self.project(values))
        # Written so that the masked vector always has a gradient, if only of zero: data-parallel training waits for one.
        where = torch.zeros(tokens.shape[:3], dtype=torch.bool, device=tokens.device) if masked is None else masked
        tokens = torch.where(where[..., None], self.masked.to(tokens.dtype), tokens)
        return tokens if self.code is None else tokens + self.code

    @torch.no_grad()
    def follow(self, features: Tensor) -> None:
        """Move mean and deviation a little towards those of these features; the first ones are taken as they are.

        Nothing moves where they are fixed (after the first) or not used.
        """
        if self._scale == "none" or (self._scale == "fixed" and bool(self.seen)):
            return
        rows = features.detach().float().flatten(0, -2)
        share = torch.where(self.seen == 0, 1.0, MOMENTUM).to(rows.dtype)
        self.mean.lerp_(rows.mean(0), share)
        self.deviation.lerp_(rows.std(0, correction=0).clamp(min=LEAST_DEVIATION), share)
        self.seen += 1

    @torch.no_grad()
    def fix(self, features: Tensor) -> None:
        """Take mean and deviation of these features (N, C) over."""
        if self._scale == "none":
            return
        self.mean.copy_(features.float().mean(0))
        self.deviation.copy_(features.float().std(0, correction=0).clamp(min=LEAST_DEVIATION))
        self.seen.fill_(1)


def visible_mean(features: Tensor, masked: Tensor | None) -> Tensor:
    """Mean over the visible frames, (B, S, 1, C). At least one of each cell must be visible."""
    if masked is None:
        return features.mean(2, keepdim=True)
    visible = (~masked)[..., None].to(features.dtype)
    # Masked values are cut out, not multiplied by zero: an infinite one would reach the others.
    kept = features.masked_fill(masked[..., None], 0.0)
    return kept.sum(2, keepdim=True) / visible.sum(2, keepdim=True)


def differences(features: Tensor, masked: Tensor | None) -> Tensor:
    """Each frame less the one before; 0 for the first, and where either is masked."""
    steps = features[:, :, 1:] - features[:, :, :-1]
    if masked is not None:
        steps = steps.masked_fill((masked[:, :, 1:] | masked[:, :, :-1])[..., None], 0.0)
    return torch.cat([torch.zeros_like(features[:, :, :1]), steps], dim=2)


def sine_code(positions: int, width: int) -> Tensor:
    """Sines and cosines of unit amplitude (Vaswani et al. 2017, section 3.5): (positions, width), width even.

    >>> sine_code(2, 4).round(decimals=3).tolist()
    [[0.0, 1.0, 0.0, 1.0], [0.8410000205039978, 0.5400000214576721, 0.009999999776482582, 1.0]]
    """
    rates = torch.exp(-math.log(10_000.0) * torch.arange(0, width, 2) / width)
    angles = torch.arange(positions)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def place_and_time_code(length: int, cells: tuple[int, int], width: int) -> Tensor:
    """A time code, and for a grid the code of the cell added to it (half of the width for its row, half for its column): (S, T, D)."""
    time = sine_code(length, width)
    height, across = cells
    if height * across == 1:
        return time[None]
    rows, columns = sine_code(height, width // 2), sine_code(across, width // 2)
    place = torch.cat([rows[:, None].expand(-1, across, -1), columns[None].expand(height, -1, -1)], dim=-1).flatten(
        0, 1
    )
    return place[:, None] + time[None]
