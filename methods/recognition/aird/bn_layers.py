"""Batch normalisation layers of a network: their statistics, and how far two sets of statistics lie apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ....platform.errors import BadInput


@dataclass(frozen=True, eq=False)
class Statistics:
    """Means and variances (C,) of a layer's channels."""

    mean: Tensor
    variance: Tensor

    def mixed(self, other: Statistics, share: float) -> Statistics:
        """Those of a mixture, in which `other` has this share."""
        apart = (self.mean - other.mean).square()
        variance = (1 - share) * self.variance + share * other.variance + share * (1 - share) * apart
        return Statistics((1 - share) * self.mean + share * other.mean, variance)

    def divergence(self, other: Statistics, eps: float) -> Tensor:
        """KL(self || other) of normal distributions with these moments, in nats, a mean over the channels (the last dimension).

        `eps` is added to the variances, as the layer does it.
        """
        own, others = self.variance + eps, other.variance + eps
        channels = (others / own).log() + (own + (self.mean - other.mean).square()) / others - 1
        return channels.mean(-1) / 2


@dataclass(frozen=True)
class LayerShift:
    """How far the statistics of the faces lie from those of the training, in one layer.

    Args:
        name: of the layer in the model.
        channels: how many.
        shift: mean over channels of |mean - training's mean|, in the training's standard deviations.
        divergence: KL(N(faces) || N(training)) in nats, a mean over channels.
        noise: the quantile of the divergence that resampling the faces alone brings about; None: not asked for.
        adapted: whether the layer took the faces' statistics over.
    """

    name: str
    channels: int
    shift: float
    divergence: float
    noise: float | None = None
    adapted: bool = True


@dataclass(frozen=True, eq=False)
class BnLayer:
    """A layer, by name."""

    name: str
    module: _BatchNorm

    def statistics(self) -> Statistics:
        """A copy of the running statistics, in double precision."""
        mean, variance = self._buffers()
        return Statistics(mean.to(torch.float64, copy=True), variance.to(torch.float64, copy=True))

    def set(self, statistics: Statistics) -> None:
        """Let the layer normalise by these."""
        for buffer, value in zip(self._buffers(), (statistics.mean, statistics.variance), strict=True):
            buffer.copy_(value)

    def shift(
        self, source: Statistics, faces: Statistics, *, noise: float | None = None, adapted: bool = True
    ) -> LayerShift:
        """How far the statistics of the faces lie from the source's."""
        deviation = (source.variance + self.module.eps).sqrt()
        shift = ((faces.mean - source.mean).abs() / deviation).mean()
        divergence = faces.divergence(source, self.module.eps)
        return LayerShift(self.name, len(source.mean), float(shift), float(divergence), noise, adapted)

    def _buffers(self) -> tuple[Tensor, Tensor]:
        mean, variance = self.module.running_mean, self.module.running_var
        assert mean is not None and variance is not None
        return mean, variance


def bn_layers(model: nn.Module) -> list[BnLayer]:
    """The layers, in the order of the model's modules.

    BadInput if there are none, or one keeps no running statistics.
    """
    found = [BnLayer(name, module) for name, module in model.named_modules() if isinstance(module, _BatchNorm)]
    if not found:
        raise BadInput(
            "a network without batch normalisation",
            why="FaceBN replaces its statistics; layer, group and instance normalisation keep none",
            mend="adapt a network with BatchNorm layers, or do without adaptation",
        )
    without = [layer.name for layer in found if layer.module.running_mean is None or layer.module.running_var is None]
    if without:
        raise BadInput(
            f"batch normalisation without running statistics in {', '.join(without)}",
            why="it normalises each batch by itself, so there is nothing to adapt",
        )
    return found


def face_moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Each face's mean and mean square, double (N, C), over all positions of features (N, C, ...)."""
    values = features.detach().double().flatten(2) if features.ndim > 2 else features.detach().double().unsqueeze(2)
    return values.mean(2), values.square().mean(2)


def pooled(first: Tensor, second: Tensor) -> Statistics:
    """Statistics of all faces together from moments (N, C); the variance is that of the population, divided by the count."""
    mean = first.mean(0)
    return Statistics(mean, (second.mean(0) - mean.square()).clamp(min=0))


def resampling_noise(
    first: Tensor, second: Tensor, eps: float, *, quantile: float, resamples: int, generator: torch.Generator | None
) -> float:
    """The quantile of KL(resampled faces || faces): what so many faces differ by chance, from moments (N, C)."""
    count = len(first)
    drawn = torch.randint(count, (resamples, count), generator=generator)
    times = torch.zeros(resamples, count, dtype=torch.float64).scatter_add_(
        1, drawn, torch.ones(resamples, count, dtype=torch.float64)
    )
    weights = (times / count).to(first.device)
    mean = weights @ first
    again = Statistics(mean, (weights @ second - mean.square()).clamp(min=0))
    return float(again.divergence(pooled(first, second), eps).quantile(quantile))
