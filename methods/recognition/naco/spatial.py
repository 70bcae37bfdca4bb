"""The Spatial Predictive Module: masked features of a clip are predicted from the representation of what is visible.

Features are (B, S, T, C). The target of a masked frame is what it differs by from the mean of the visible frames, in units of how much
such deviations vary: raw features would be predicted by copying a neighbour, for who is seen hardly changes within a clip.

>>> features = torch.tensor([[0.0, 2.0, 4.0], [1.0, 3.0, 8.0]]).reshape(2, 1, 3, 1)
>>> masked = torch.tensor([[False, True, False], [False, False, True]]).reshape(2, 1, 3)
>>> deviations(features, masked)[masked].flatten().tolist()
[0.0, 6.0]
>>> interpolated(features, masked)[masked].flatten().tolist()
[2.0, 3.0]
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from ....platform.errors import BadInput
from .settings import Spatial
from .tokens import LEAST_DEVIATION, MOMENTUM, visible_mean


class SpatialPrediction(nn.Module):
    """The predictor, and the scale of what it predicts.

    Args:
        settings: of the module.
        width: D of the representation.
        channels: C of the features.
    """

    scale: Tensor
    seen: Tensor

    def __init__(self, settings: Spatial, width: int, channels: int) -> None:
        super().__init__()
        self._target, self._loss = settings.target, settings.loss
        self.predict = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, channels))
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, represented: Tensor, features: Tensor, masked: Tensor) -> Tensor:
        """The loss, a scalar.

        Args:
            represented: (B, S, T, D), computed with these frames masked.
            features: (B, S, T, C); no gradient goes into them from here.
            masked: bool (B, S, T).
        """
        wanted = self.targets(features, masked)[masked]
        return prediction_loss(self.predict(represented[masked]).float(), wanted, self._loss)

    def targets(self, features: Tensor, masked: Tensor) -> Tensor:
        """What is to be predicted, at every frame, without gradients: (B, S, T, C). In training the scale follows."""
        raw = self._raw(features.detach().float(), masked)
        if self.training:
            self.follow(raw[masked])
        return raw / self.scale

    def references(self, features: Tensor, masked: Tensor) -> dict[str, Tensor]:
        """What would be predicted without learning, in the units of the target: (B, S, T, C) each.

        "zero" is the mean of the visible frames, "interpolation" a straight line between the nearest visible ones.
        """
        plain = features.detach().float()
        guesses = {
            "zero": visible_mean(plain, masked).expand_as(plain),
            "interpolation": interpolated(plain, masked),
        }
        less = visible_mean(plain, masked) if self._target == "deviation" else 0.0
        return {name: (guess - less) / self.scale for name, guess in guesses.items()}

    @torch.no_grad()
    def follow(self, raw: Tensor) -> None:
        """Move the scale a little towards the deviation of these targets (N, C); the first ones are taken as they are."""
        if self._target == "deviation":
            found = raw.square().mean(0).sqrt()
        else:
            found = raw.std(0, correction=0)
        share = torch.where(self.seen == 0, 1.0, MOMENTUM).to(found.dtype)
        self.scale.lerp_(found.clamp(min=LEAST_DEVIATION), share)
        self.seen += 1

    def _raw(self, features: Tensor, masked: Tensor) -> Tensor:
        return deviations(features, masked) if self._target == "deviation" else features


def draw_mask(clips: int, cells: int, length: int, ratio: float, generator: Generator) -> Tensor:
    """Which frames are masked, bool (clips, cells, length): exactly round(ratio * length) of each cell, uniformly, at least one and
    never all.

    Raises:
        BadInput: the ratio does not lie between 0 and 1, or there is one frame only.
    """
    if not 0 < ratio < 1 or length < 2:
        raise BadInput(f"{ratio!r} of {length} frames cannot be masked", why="one must be masked and one visible")
    count = min(max(round(ratio * length), 1), length - 1)
    ranks = torch.rand(clips, cells, length, generator=generator).argsort(-1).argsort(-1)
    return ranks < count


def deviations(features: Tensor, masked: Tensor) -> Tensor:
    """Each frame less the mean of the visible ones."""
    return features - visible_mean(features, masked)


def interpolated(features: Tensor, masked: Tensor) -> Tensor:
    """Masked frames on a straight line between the nearest visible ones before and after; beyond the last, that one."""
    length = features.shape[2]
    frames = torch.arange(length, device=features.device).expand(masked.shape)
    before = torch.where(masked, -1, frames).cummax(-1).values
    after = torch.where(masked, length, frames).flip(-1).cummin(-1).values.flip(-1)
    none_before, none_after = before < 0, after >= length
    before, after = torch.where(none_before, after, before), torch.where(none_after, before, after)
    gap = (after - before).clamp(min=1)
    part = ((frames - before) / gap).clamp(0, 1)[..., None].to(features.dtype)
    first, last = (features.gather(2, at[..., None].expand_as(features)) for at in (before, after))
    return first + part * (last - first)


def prediction_loss(predicted: Tensor, wanted: Tensor, kind: str = "mse") -> Tensor:
    """How far predictions (n, C) lie from targets: mean over both of squares, of Huber's function, or 1 less the cosine."""
    if kind == "mse":
        return F.mse_loss(predicted, wanted)
    if kind == "smooth_l1":
        return F.smooth_l1_loss(predicted, wanted)
    return (1 - F.cosine_similarity(predicted, wanted, dim=-1)).mean()
