"""Schedules, and the optimiser of two parts."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from stillhouse.methods.recognition.recipe import Recipe, TwoSteps
from stillhouse.platform.errors import BadInput
from torch import nn

PLAIN = Recipe(clip_norm=None, weight_decay=0.0, momentum=0.0)


def parts() -> tuple[nn.Parameter, nn.Parameter]:
    return nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.tensor([3.0]))


def test_milestones_and_cosine_are_what_they_say() -> None:
    recipe = Recipe(milestones=(0.5, 0.75), decay=0.1)
    assert [recipe.factor(p) for p in (0, 0.49, 0.5, 0.8)] == pytest.approx([1, 1, 0.1, 0.01])
    cosine = Recipe(schedule="cosine", warm_up=0.1)
    assert cosine.factor(0.05) == pytest.approx(0.5 * 0.5 * (1 + math.cos(math.pi * 0.05)))
    assert cosine.factor(1.0) == pytest.approx(0)


def test_each_part_steps_by_its_own_rule() -> None:
    network, own = parts()
    optimizer = TwoSteps([network], [own], replace(PLAIN, learning_rate=0.1, own_rate=0.01))
    (network.sum() * 2 + own.sum() * 50).backward()
    optimizer.step()
    assert network.tolist() == pytest.approx([0.8, 1.8])  # SGD: rate x gradient
    assert own.item() == pytest.approx(2.99, abs=1e-6)  # Adam's first step is its rate, whatever the gradient


def test_only_the_network_is_clipped_and_a_large_gradient_of_the_terms_does_not_count() -> None:
    network, own = parts()
    optimizer = TwoSteps([network], [own], replace(PLAIN, learning_rate=1.0, clip_norm=1.0))
    (network @ torch.tensor([3.0, 4.0]) + 1e6 * own.sum()).backward()
    optimizer.step()
    assert network.tolist() == pytest.approx([1 - 0.6, 2 - 0.8], rel=1e-4)
    assert own.grad is not None and own.grad.item() == 1e6


def test_a_schedule_moves_both_rates_also_after_loading() -> None:
    def make() -> tuple[list[nn.Parameter], TwoSteps, torch.optim.lr_scheduler.LambdaLR]:
        both = list(parts())
        optimizer = TwoSteps(both[:1], both[1:], replace(PLAIN, schedule="cosine", learning_rate=0.5))
        return both, optimizer, replace(PLAIN, schedule="cosine").scheduler(optimizer, 10)

    def go(
        both: list[nn.Parameter], optimizer: TwoSteps, scheduler: torch.optim.lr_scheduler.LambdaLR, steps: int
    ) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            sum((p.square().sum() for p in both), torch.zeros(())).backward()
            optimizer.step()
            scheduler.step()

    whole = make()
    go(*whole, 8)
    first = make()
    go(*first, 3)
    second = make()
    second[1].load_state_dict(first[1].state_dict())
    second[2].load_state_dict(first[2].state_dict())
    for mine, theirs in zip(second[0], first[0], strict=True):
        mine.data.copy_(theirs)
    go(*second, 5)
    assert [p.tolist() for p in second[0]] == [p.tolist() for p in whole[0]]
    rates = [group["lr"] for group in second[1].param_groups]
    assert rates == [group["lr"] for group in whole[1].param_groups]
    assert rates[0] < 0.5 / 5 and rates[1] < 1e-3 / 5


@pytest.mark.parametrize(
    ("settings", "match"),
    [({"schedule": "step"}, "schedule"), ({"batch_size": 1}, "two pictures"), ({"milestones": (1.0,)}, "shares"),
     ({"momentum": 1.0}, "shares"), ({"people_per_batch": -1}, "whole number"), ({"clip_norm": 0.0}, "clip_norm")],
)  # fmt: skip
def test_bad_settings_are_refused(settings: dict[str, object], match: str) -> None:
    with pytest.raises(BadInput, match=match):
        Recipe(**settings)  # type: ignore[arg-type]
