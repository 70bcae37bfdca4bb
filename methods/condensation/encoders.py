"""Encoders: whose features of real and synthetic images are compared, iteration by iteration.

`RandomEncoders` (DM, M3D): a freshly initialised network every `every` iterations. `MiddleEncoders` (DANCE): a point on the line from
a network's first weights to its trained ones, at a new place each iteration. Every encoder follows from the run's seed and a number
alone, so a restart, or another process, has the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from ...platform.nn.architectures import build_network

Seeds = Callable[..., int]
Expert = Mapping[str, Mapping[str, Tensor]]


class Encoder(Protocol):
    """A frozen network that shows its features."""

    def features(self, images: Tensor) -> Tensor:
        """Standardised images (B, c, h, w) to features (B, D)."""

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (B, K)."""


class Encoders(Protocol):
    """A source of encoders."""

    def at(self, number: int) -> Encoder:
        """The encoder of this iteration; it may be overwritten by the next call."""


class RandomEncoders:
    """Networks with fresh weights, a new one every `every` iterations (M3D's "iterations per random model"; DM: 1)."""

    def __init__(
        self, architecture: str, shape: tuple[int, int, int], classes: int, *,
        every: int, seed_for: Seeds, device: torch.device,
    ) -> None:  # fmt: skip
        self._build = lambda seed: encoder(frozen(fresh_network(architecture, shape, classes, seed), device))
        self._every, self._seed_for = every, seed_for
        self._last: tuple[int, Encoder] | None = None

    def at(self, number: int) -> Encoder:
        """The encoder."""
        which = number // self._every
        if self._last is None or self._last[0] != which:
            self._last = which, self._build(self._seed_for("encoder", which))
        return self._last[1]


class MiddleEncoders:
    """DANCE's middle encoders: weight * first + (1 - weight) * trained, weight ~ U(0, 1), both ends of one training (K of them)."""

    def __init__(
        self, experts: Sequence[Expert], architecture: str, shape: tuple[int, int, int], classes: int, *,
        seed_for: Seeds, device: torch.device,
    ) -> None:  # fmt: skip
        self._seed_for = seed_for
        build = lambda: frozen(build_network(architecture, shape, classes), device)
        self._ends = [
            [{k: v.to(device) for k, v in expert[end].items()} for end in ("first", "trained")] for expert in experts
        ]
        self._trained = [build() for _ in experts]
        for network, (_, trained) in zip(self._trained, self._ends, strict=True):
            network.load_state_dict(trained)
        self._middle, self._at = build(), -1

    def draw(self, number: int) -> tuple[int, float]:
        """Which expert, and the weight of its first weights."""
        generator = torch.Generator().manual_seed(self._seed_for("middle", number))
        which = int(torch.randint(len(self._ends), (1,), generator=generator))
        return which, float(torch.rand(1, generator=generator))

    def at(self, number: int) -> Encoder:
        """The middle encoder. The next call overwrites it."""
        if number != self._at:
            which, weight = self.draw(number)
            mix(self._middle, *self._ends[which], weight=weight)
            self._at = number
        return encoder(self._middle)

    def expert(self, number: int) -> Encoder:
        """The trained end of this iteration's line."""
        return encoder(self._trained[self.draw(number)[0]])


@torch.no_grad()
def mix(network: nn.Module, first: Mapping[str, Tensor], trained: Mapping[str, Tensor], *, weight: float) -> None:
    """Set the parameters to weight * first + (1 - weight) * trained; exactly one of the ends at 1 and 0.

    Only parameters are mixed: a network with running statistics would show those of neither end.
    """
    for name, parameter in network.named_parameters():
        if weight in (0.0, 1.0):
            parameter.copy_(first[name] if weight == 1.0 else trained[name])
        else:
            torch.lerp(trained[name], first[name], weight, out=parameter)


def fresh_network(architecture: str, shape: tuple[int, int, int], classes: int, seed: int) -> nn.Module:
    """A network with first weights that follow from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_network(architecture, shape, classes)


def frozen(network: nn.Module, device: torch.device) -> nn.Module:
    """The network on its device, without gradients for its weights: they would be computed for nothing."""
    return network.to(device).requires_grad_(False).eval()


def encoder(network: nn.Module) -> Encoder:
    """The network as what it is used for; `settings.WITH_FEATURES` names the architectures that have features."""
    return cast(Encoder, network)
