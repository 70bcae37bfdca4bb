"""Measuring the layers of a network on faces, each on what reaches it through layers that were set before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from ....platform.errors import BadInput
from .bn_layers import BnLayer, LayerShift, face_moments, pooled, resampling_noise


@dataclass(frozen=True)
class Blend:
    """What a layer makes of the faces' statistics.

    Args:
        share: of the faces in the mixture with what the layer had.
        guard: None, or the quantile of resampling noise that the divergence must exceed; else the layer stays as it is.
        resamples, generator: of the guard's bootstrap.
    """

    share: float
    guard: float | None = None
    resamples: int = 200
    generator: Generator | None = None

    def settle(self, layer: BnLayer, first: Tensor, second: Tensor) -> LayerShift:
        """Set a layer from the faces' moments (N, C) at it, and tell how far they lay from what it had."""
        before, faces = layer.statistics(), pooled(first, second)
        noise, adapted = None, True
        if self.guard is not None:
            noise = resampling_noise(
                first, second, layer.module.eps, quantile=self.guard, resamples=self.resamples, generator=self.generator
            )
            adapted = float(faces.divergence(before, layer.module.eps)) > noise
        if adapted:
            layer.set(before.mixed(faces, self.share))
        return layer.shift(before, faces, noise=noise, adapted=adapted)


class _Reached(Exception):
    """A forward pass has come as far as it needs to."""


@torch.no_grad()
def measure(
    model: nn.Module, layers: Sequence[BnLayer], images: Tensor, blend: Blend, *, batch: int
) -> list[LayerShift]:
    """Set the layers of a model in evaluation mode from images; the shifts in the layers' order.

    One pass if all images fit into a batch; else a pass for each layer, as far as that layer. A layer that the forward pass does
    not reach keeps what it has. BadInput for one that it reaches twice.
    """
    device = layers[0].statistics().mean.device
    order = _order(model, layers, images[:1].to(device))
    shifts: dict[int, LayerShift] = {}
    if len(images) <= batch:

        def settle(number: int, features: Tensor) -> None:
            shifts[number] = blend.settle(layers[number], *face_moments(features))

        _watch(model, layers, order, images.to(device), settle)
    else:
        for number in order:
            moments: list[tuple[Tensor, Tensor]] = []

            def collect(_: int, features: Tensor, moments: list[tuple[Tensor, Tensor]] = moments) -> None:
                moments.append(face_moments(features))
                raise _Reached

            for part in images.split(batch):
                _watch(model, layers, [number], part.to(device), collect)
            first, second = (torch.cat(parts) for parts in zip(*moments, strict=True))
            shifts[number] = blend.settle(layers[number], first, second)
    return [shifts.get(number) or _untouched(layer) for number, layer in enumerate(layers)]


def _order(model: nn.Module, layers: Sequence[BnLayer], image: Tensor) -> list[int]:
    """Numbers of the layers in the order in which a forward pass reaches them."""
    order: list[int] = []
    _watch(model, layers, range(len(layers)), image, lambda number, _: order.append(number))
    twice = sorted({layers[number].name for number in order if order.count(number) > 1})
    if twice:
        raise BadInput(
            f"a normalisation layer that is used more than once: {', '.join(twice)}",
            why="its uses see different features, and one set of statistics cannot follow both",
            mend="give each place a layer of its own",
        )
    return order


def _watch(model: nn.Module, layers: Sequence[BnLayer], numbers: Sequence[int], images: Tensor, see: Any) -> None:
    """A forward pass in which `see(number, features)` is called just before each of these layers; it may raise `_Reached`."""

    def hook(number: int) -> Any:
        def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            see(number, inputs[0])

        return look

    handles = [layers[number].module.register_forward_pre_hook(hook(number)) for number in numbers]
    try:
        model(images)
    except _Reached:
        pass
    finally:
        for handle in handles:
            handle.remove()


def _untouched(layer: BnLayer) -> LayerShift:
    own = layer.statistics()
    return layer.shift(own, own, adapted=False)
