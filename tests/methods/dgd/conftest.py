"""Small smooth networks in double precision: a classifier of 12 numbers and a decoder of 5 latents to them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

IMAGE, LATENTS, CLASSES, BATCH = 12, 5, 4, 6


@pytest.fixture
def classifier() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(IMAGE, 16), nn.Tanh(), nn.Linear(16, CLASSES)).double().eval()
    with torch.no_grad():
        net[2].weight *= 3
    return net


@pytest.fixture
def decoder() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(LATENTS, 16), nn.Tanh(), nn.Linear(16, IMAGE)).double().eval()


@pytest.fixture
def z() -> torch.Tensor:
    return torch.randn(BATCH, LATENTS, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def x(decoder: nn.Module, z: torch.Tensor) -> torch.Tensor:
    return decoder(z).detach()


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)
