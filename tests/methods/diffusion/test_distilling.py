"""The critic of a student's side: on several processes its gradient is averaged by the run, as the student's is."""

from __future__ import annotations

from pathlib import Path

import torch
from stillhouse.methods.diffusion.distilling import Distillation, Opponent
from stillhouse.platform.diffusion.discriminator import Critic, fresh_critic
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from torch import nn

SHAPE = (1, 8, 8)


class Watched(LocalRun):
    """Keeps what was prepared, and halves its gradients as an average with an idle process would."""

    def prepare(self, model: nn.Module) -> nn.Module:
        self.prepared = model
        for parameter in model.parameters():
            parameter.register_hook(lambda gradient: gradient / 2)
        return super().prepare(model)


def test_all_that_a_critic_learns_goes_through_what_the_run_prepared(tmp_path: Path) -> None:
    settings = Distillation(critic=Critic(width=8), critic_rate=0.1)
    run = Watched(tmp_path, reporter=Silent())
    opponent = Opponent(settings, SHAPE, 10, seed=3, run=run)
    assert {id(p) for p in opponent.critic.parameters()} == {id(p) for p in run.prepared.parameters()}
    draw = torch.Generator().manual_seed(0)
    teacher, student = torch.randn(2, 6, *SHAPE, generator=draw)
    label = torch.arange(6)
    plain = fresh_critic(settings.critic, SHAPE, 10, 3)
    plain.load_state_dict(
        opponent.critic.state_dict()
    )  # The look for coupling has moved the spectral norm's vectors on.
    told = opponent.learn(teacher, student, label)
    wanted = settings.adversary.critic_losses(plain, teacher, student, label).mean()
    assert torch.allclose(told, wanted, atol=1e-6)
    # Its gradients are those that the run made of them.
    gradients = torch.autograd.grad(wanted, list(plain.parameters()))
    for own, gradient in zip(opponent.critic.parameters(), gradients, strict=True):
        assert own.grad is not None and torch.allclose(own.grad, gradient / 2, atol=1e-6)
