"""DP-SGD with other losses: noise multiplicity averages inside the clip, adaptive steps are Adam's, the rest is as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from stillhouse.platform.errors import BadInput
from stillhouse.platform.training.dpsgd import DpSgd, dp_sgd
from support.noise import ZeroNoise
from torch import nn

FINE = 0.002  # a grid so fine that rounding does not show
STEP = {"steps": 1, "learning_rate": 1.0, "momentum": 0.0, "averaging": 0.0}


class Drawing:
    """A loss that draws: |w x - noise|^2. It keeps its draws."""

    def __init__(self) -> None:
        self.drawn: list[torch.Tensor] = []

    def __call__(self, model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(len(inputs), 2, generator=torch.Generator().manual_seed(len(self.drawn)))
        self.drawn.append(noise)
        return (model(inputs) - noise).square().sum(1)


def trained(
    settings: DpSgd, losses: Drawing, *, draws: int, rows: int = 8
) -> tuple[nn.Linear, nn.Linear, torch.Tensor]:
    torch.manual_seed(0)
    model, inputs = nn.Linear(3, 2), torch.randn(rows, 3)
    before = copy.deepcopy(model)
    dp_sgd(
        model, inputs, torch.zeros(rows, dtype=torch.int64), settings, noise_multiplier=FINE, noise=ZeroNoise(),
        losses=losses, draws=draws,
    )  # fmt: skip
    return before, model, inputs


def by_hand(model: nn.Linear, inputs: torch.Tensor, draws: list[torch.Tensor], clip: float) -> torch.Tensor:
    """The mean over records of the clipped mean over draws of the gradient."""
    total = torch.zeros(8)
    for row in range(len(inputs)):
        own = torch.zeros(8)
        for noise in draws:
            error = 2 * (model(inputs[row]) - noise[row])
            own += torch.cat([torch.outer(error, inputs[row]).flatten(), error]).detach() / len(draws)
        total += own * min(1.0, clip / float(own.norm()))
    return total / len(inputs)


@pytest.mark.parametrize("draws", [1, 4])
@pytest.mark.parametrize("clip", [0.5, 1e3])
def test_draws_are_averaged_before_a_record_is_clipped(draws: int, clip: float) -> None:
    losses = Drawing()
    before, after, inputs = trained(DpSgd(batch_size=8, clip_norm=clip, **STEP), losses, draws=draws)  # type: ignore[arg-type]
    assert len(losses.drawn) == draws
    moved = torch.cat([(a - b).flatten() for a, b in zip(before.parameters(), after.parameters(), strict=True)])
    assert torch.allclose(moved.detach(), by_hand(before, inputs, losses.drawn, clip), atol=2e-3 * min(clip, 10))


def test_adaptive_steps_are_those_of_adam() -> None:
    settings = DpSgd(
        batch_size=8, steps=5, learning_rate=0.1, momentum=0.9, averaging=0.0, clip_norm=1e3, adaptive=True
    )
    losses = Drawing()
    before, after, inputs = trained(settings, losses, draws=1)
    optimizer = torch.optim.Adam(before.parameters(), 0.1)
    again = Drawing()
    for _ in range(5):
        optimizer.zero_grad()
        again(before, inputs, inputs).mean().backward()
        optimizer.step()
    for a, b in zip(before.parameters(), after.parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-3)


def test_the_number_of_draws_is_no_part_of_the_cost_and_is_checked() -> None:
    settings = DpSgd(batch_size=8, **STEP)  # type: ignore[arg-type]
    assert settings.event(100, 1.0) == DpSgd(batch_size=8, adaptive=True, **STEP).event(100, 1.0)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="draws"):
        trained(settings, Drawing(), draws=0)
