"""The training of a student against a teacher's images and a critic, all variants alike: the gradient by its output is formed,
sanitised where a guarantee (or the published method) asks for it, and pulled back into the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ...platform.diffusion.average import Average
from ...platform.diffusion.coupling import refuse_coupling
from ...platform.diffusion.discriminator import Critic, Discriminator, fresh_critic
from ...platform.diffusion.networks import Denoiser, Shape
from ...platform.diffusion.sanitise import surrogate
from ...platform.diffusion.schedule import Schedule
from ...platform.diffusion.upstream import Adversary, upstream
from ...platform.errors import BadInput
from ...platform.privacy.validate import positive, positive_int
from ...platform.training.loop import train
from ...platform.training.run import Run

CRITIC_BETAS = (0.5, 0.999)


@dataclass(frozen=True)
class Distillation:
    """How a student is taught.

    Args:
        steps, batch_size: of its training (released_targets: steps of each round).
        learning_rate: of Adam; averaging: decay of the average of the weights, which is the result.
        critic, critic_rate: the discriminator, where the student's side trains one.
        adversarial: lam; saturating: log(1 - p) as published, otherwise -log p.
    """

    steps: int = 1000
    batch_size: int = 64
    learning_rate: float = 1e-3
    averaging: float = 0.99
    critic: Critic = field(default_factory=Critic)
    critic_rate: float = 2e-4
    adversarial: float = 1.0
    saturating: bool = True

    def __post_init__(self) -> None:
        positive_int(steps=self.steps, batch_size=self.batch_size)
        positive(learning_rate=self.learning_rate, critic_rate=self.critic_rate)
        if not 0 <= self.averaging < 1:
            raise BadInput(f"averaging must be at least 0 and below 1, not {self.averaging!r}")
        _ = self.adversary

    @property
    def adversary(self) -> Adversary:
        """The adversarial term."""
        return Adversary(self.adversarial, self.saturating, self.critic.pair)


@dataclass(frozen=True, eq=False)
class Question:
    """What a batch asks of the student: x_r (B, c, h, w), step (B,), label (B,), the teacher's images, and records if they are used."""

    noisy: Tensor
    step: Tensor
    label: Tensor
    targets: Tensor
    real: Tensor | None = None


class _CriticLoss(nn.Module):
    """A critic's mean loss as one call, so that several processes average its gradient."""

    def __init__(self, critic: Discriminator, adversary: Adversary) -> None:
        super().__init__()
        self.critic, self._adversary = critic, adversary

    def forward(self, teacher: Tensor, student: Tensor, label: Tensor) -> Tensor:
        """The mean over the batch."""
        return self._adversary.critic_losses(self.critic, teacher, student, label).mean()


class Opponent:
    """A critic and its optimiser; kept and restored with the training. On several processes it is the same on each of them."""

    def __init__(self, settings: Distillation, shape: Shape, classes: int, *, seed: int, run: Run) -> None:
        device = run.device
        self.critic: Discriminator = fresh_critic(settings.critic, shape, classes, seed).to(device)
        self._loss = run.prepare(_CriticLoss(self.critic, settings.adversary))
        self._optimizer = torch.optim.Adam(self.critic.parameters(), settings.critic_rate, betas=CRITIC_BETAS)
        channels = shape[0] * (2 if settings.critic.pair else 1)
        # Of its features: the head starts at zero, and through it nothing would be seen.
        refuse_coupling(self.critic, self.critic.features, (channels, *shape[1:]), "discriminator")

    def learn(self, teacher: Tensor, student: Tensor, label: Tensor) -> Tensor:
        """One step; its mean loss."""
        self._optimizer.zero_grad(set_to_none=True)
        loss: Tensor = self._loss(teacher, student, label)
        loss.backward()
        self._optimizer.step()
        return loss.detach()

    def state_dict(self) -> dict[str, Any]:
        """What is needed to go on."""
        return {"critic": self.critic.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take a state over."""
        self.critic.load_state_dict(state_dict["critic"])
        self._optimizer.load_state_dict(state_dict["optimizer"])


def refuse_coupled_student(network: Denoiser, shape: Shape) -> None:
    """See that no sample meets another in a denoiser.

    Raises:
        BadInput: they do.
    """
    parameter = next(network.parameters())
    label = torch.zeros(3, dtype=torch.int64, device=parameter.device)
    refuse_coupling(network, lambda x: network(x, label, label), shape, "student")


def distil(
    run: Run, student: Denoiser, schedule: Schedule, loader: DataLoader[Any], ask: Callable[[Any], Question],
    settings: Distillation, *, opponent: Opponent | None, name: str, inputs: Any, blur: float = 0.0,
    sanitise: Callable[[Tensor], Tensor] = lambda gradient: gradient,
) -> dict[str, Tensor]:  # fmt: skip
    """Train the student in place on what `ask` makes of each batch; return its averaged weights.

    `blur`: the standard deviation of the noise on the targets, which the critic then finds on the student's images as well.
    What is logged is the critic's loss and the squared distance to the targets: both must be post-processing, or uncovered anyway.
    """
    student.to(run.device)
    adversary = settings.adversary

    def loss(model: nn.Module, batch: Any) -> Mapping[str, Tensor]:
        asked = ask(batch)
        # Losses, clipping and noise are in single precision, whatever the student multiplies in.
        output = schedule.clean(
            model(asked.noisy, asked.step, asked.label), asked.noisy, asked.step, clamp=False
        ).float()
        images, noise = output.detach(), torch.randn_like(output) * blur if blur else None
        told: dict[str, Tensor] = {}
        if opponent is not None:
            seen = images if noise is None else images + noise
            told["critic"] = opponent.learn(asked.targets, seen, asked.label)
        gradient = upstream(
            images, asked.targets, asked.label, opponent.critic if opponent else None, adversary, asked.real, noise
        )
        told["distance"] = (images - asked.targets).square().flatten(1).sum(1).mean()
        return {"loss": surrogate(output, sanitise(gradient)), **told}

    optimizer = torch.optim.Adam(student.parameters(), settings.learning_rate)
    average = Average(student, settings.averaging)
    extras: dict[str, Any] = {"average": average} | ({"opponent": opponent} if opponent else {})
    train(
        run, student, loss, loader, optimizer, epochs=max(1, math.ceil(settings.steps / len(loader))), name=name,
        after_step=lambda step: average.update(), extras=extras,
        inputs={"settings": asdict(settings), "schedule": asdict(schedule), "blur": blur, "of": inputs},
    )  # fmt: skip
    return average.weights
