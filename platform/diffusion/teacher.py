"""A teacher of private diffusion: trained on one shard, it answers with vectors of real numbers. Nothing here is protected.

What leaves a silo is clipped, summed over the silos and noised by the aggregator; states and answers never do as they are. A state is
a flat dict of tensors, so that a silo can keep it: the averaged weights of the denoiser (`denoiser/...`), the discriminator
(`critic/...`) and its optimiser's moments (`first/...`, `second/...`, `updates`), and what its images are like (`shape`: c, h, w, K).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.images import ImageData
from ..errors import BadInput
from ..privacy.validate import positive
from ..training.progress import Reporter, Silent
from ..training.run import LocalRun
from ..training.seeds import seed_for
from .denoising import Training, train_denoiser
from .discriminator import Critic, Discriminator, fresh_critic
from .networks import Denoiser, Network, fresh
from .sanitise import normalise_rows
from .schedule import Schedule
from .upstream import Adversary, upstream

TARGETS, GRADIENTS, DIRECTIONS = "targets", "gradients", "directions"
TASKS = (TARGETS, GRADIENTS, DIRECTIONS)
AT_ONCE = 500
CRITIC_BETAS = (0.5, 0.999)
# abar from the same three numbers differs by rounding only; another schedule differs by parts in a hundred where it matters.
SAME_SIGNAL = 1e-4
State = dict[str, Tensor]


class OtherSchedule(BadInput):
    """A question about x_r whose noise is not what this teacher's schedule mixes in at those steps.

    A silo tells its aggregator the type of an error and nothing else: this name is all that reaches the log there.
    """


@dataclass(frozen=True)
class DiffusionTeacher:
    """Settings of a teacher; public information.

    Args:
        network, hidden, channels, multipliers, blocks: of the denoiser (`networks.Network`).
        timesteps, beta_end: of the forward process (`schedule.Schedule`); the student's must be the same, or nothing is answered.
        prediction: of the denoiser; answers are images, so the student's may be another.
        steps, batch_size, learning_rate, averaging: of its training (`denoising.Training`).
        critic, critic_width, critic_inputs, critic_conditional: the discriminator (`discriminator.Critic`).
        critic_rate: of its Adam.
        adversarial: lam; saturating: the form of L_adv (`upstream.Adversary`).
    """

    network: str = "mlp"
    hidden: int = 256
    channels: int = 32
    multipliers: tuple[int, ...] = (1, 2, 2)
    blocks: int = 1
    timesteps: int = 500
    beta_end: float = 0.04
    prediction: str = "v_prediction"
    steps: int = 2000
    batch_size: int = 64
    learning_rate: float = 1e-3
    averaging: float = 0.999
    critic: str = "mlp"
    critic_width: int = 128
    critic_inputs: str = "batch"
    critic_conditional: bool = True
    critic_rate: float = 2e-4
    adversarial: float = 1.0
    saturating: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "multipliers", tuple(self.multipliers))
        positive(critic_rate=self.critic_rate)
        # Each part checks its own settings.
        _ = self.denoiser, self.schedule, self.training, self.discriminator, self.adversary

    @property
    def denoiser(self) -> Network:
        """The denoiser's settings."""
        return Network(
            self.network, hidden=self.hidden, channels=self.channels, multipliers=self.multipliers, blocks=self.blocks
        )

    @property
    def schedule(self) -> Schedule:
        """The forward process."""
        return Schedule(self.timesteps, beta_end=self.beta_end, prediction=self.prediction)

    @property
    def training(self) -> Training:
        """The denoiser's training."""
        return Training(self.steps, self.batch_size, self.learning_rate, self.averaging)

    @property
    def discriminator(self) -> Critic:
        """The discriminator's settings."""
        return Critic(self.critic, self.critic_width, self.critic_conditional, self.critic_inputs)

    @property
    def adversary(self) -> Adversary:
        """The adversarial term."""
        return Adversary(self.adversarial, self.saturating, self.discriminator.pair)

    def to_json(self) -> dict[str, Any]:
        """All settings."""
        return {**asdict(self), "multipliers": list(self.multipliers)}

    def train(self, images: ImageData, seed: int, device: str = "cpu", reporter: Reporter | None = None) -> State:
        """Train on one shard; the state depends on the shard, the seed and the settings alone.

        Raises:
            BadInput: there are no images.
            MissingExtra: diffusers is not installed.
        """
        if not len(images):
            raise BadInput("a shard has no records", mend="leave its silo out of the roster")
        network = fresh(self.denoiser, images.shape, images.classes, seed_for(seed, "denoiser"))
        critic = fresh_critic(self.discriminator, images.shape, images.classes, seed_for(seed, "critic"))
        with tempfile.TemporaryDirectory() as folder:
            run = LocalRun(folder, seed=seed, device=device, reporter=reporter or Silent())
            weights = train_denoiser(run, network, self.schedule, images, self.training, name="teacher", inputs=None)
        parameters = dict(critic.named_parameters())
        return {
            "shape": torch.tensor([*images.shape, images.classes]),
            "updates": torch.tensor(0),
            **{f"denoiser/{name}": value for name, value in weights.items()},
            **{f"critic/{name}": value.detach().clone() for name, value in critic.state_dict().items()},
            **{
                f"{moment}/{name}": torch.zeros_like(value)
                for moment in ("first", "second") for name, value in parameters.items()
            },
        }  # fmt: skip

    def answer(self, state: State, task: str, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, State]:
        """Return float32 (B, d), d = c h w, and the state to go on from.

        `targets`: the estimate of the clean images at x (B, c, h, w), step (B,), label (B,); the state stays what it is. `signal`
        (B,) is abar at those steps by the asker's schedule (`Schedule.signal`), so that another schedule is found out.
        `directions`: `gradients`, each row brought to length 1. A gradient that clipping would leave short is made longer, too.
        `gradients`: the discriminator takes one step on the teacher's estimates and `student` (B, c, h, w), then u is taken from it.
        Computed on the device that the state's tensors are on.

        Raises:
            OtherSchedule: the asker's schedule is not the teacher's.
            BadInput: the task is unknown, or the inputs do not fit it or the images that the teacher was trained on.
        """
        if task not in TASKS:
            raise BadInput(f"a diffusion teacher has no task {task!r}", mend=f"use one of {', '.join(TASKS)}")
        channels, height, width, classes = (int(n) for n in state["shape"])
        shape = (channels, height, width)
        device = state["critic/head.weight"].device
        noisy, step, label, student = self._checked(task, inputs, shape, classes, device)
        targets = self._targets(state, noisy, step, label, shape, classes)
        if task == TARGETS:
            return targets.flatten(1).cpu().numpy(), state
        assert student is not None
        critic = fresh_critic(self.discriminator, shape, classes, 0).to(device)
        critic.load_state_dict(_part(state, "critic"))
        after = state if not self.adversarial else state | self._updated(state, critic, targets, student, label)
        gradient = upstream(student, targets, label, critic, self.adversary)
        if task == DIRECTIONS:
            gradient = normalise_rows(gradient)
        return gradient.flatten(1).cpu().numpy(), after

    @torch.no_grad()
    def _targets(
        self, state: State, noisy: Tensor, step: Tensor, label: Tensor, shape: tuple[int, int, int], classes: int
    ) -> Tensor:
        network: Denoiser = fresh(self.denoiser, shape, classes, 0).to(noisy.device)
        network.load_state_dict(_part(state, "denoiser"))
        network.eval()
        parts = zip(noisy.split(AT_ONCE), step.split(AT_ONCE), label.split(AT_ONCE), strict=True)
        return torch.cat([self.schedule.clean(network(x, r, y), x, r) for x, r, y in parts])

    def _updated(
        self, state: State, critic: Discriminator, targets: Tensor, student: Tensor, label: Tensor
    ) -> dict[str, Tensor]:
        """One step of the critic's training, in place; return the part of the state that it changed."""
        optimizer = torch.optim.Adam(critic.parameters(), self.critic_rate, betas=CRITIC_BETAS)
        named = dict(critic.named_parameters())
        if updates := int(state["updates"]):
            for name, parameter in named.items():
                optimizer.state[parameter] = {
                    "step": torch.tensor(float(updates)),
                    "exp_avg": state[f"first/{name}"].clone(),
                    "exp_avg_sq": state[f"second/{name}"].clone(),
                }
        self.adversary.critic_losses(critic, targets, student, label).mean().backward()
        optimizer.step()
        critic.zero_grad(set_to_none=True)
        return {
            "updates": torch.tensor(updates + 1),
            **{f"critic/{name}": value.detach().clone() for name, value in critic.state_dict().items()},
            **{f"first/{name}": optimizer.state[p]["exp_avg"] for name, p in named.items()},
            **{f"second/{name}": optimizer.state[p]["exp_avg_sq"] for name, p in named.items()},
        }

    def _checked(
        self,
        task: str,
        inputs: Mapping[str, np.ndarray],
        shape: tuple[int, int, int],
        classes: int,
        device: torch.device,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        needed = ("x", "step", "signal", "label", *(() if task == TARGETS else ("student",)))
        if set(inputs) != set(needed):
            raise BadInput(
                f"{task} is given {', '.join(sorted(inputs)) or 'nothing'}", mend=f"give {', '.join(needed)}"
            )
        count = len(inputs["x"])
        for name in needed:
            wanted = (count, *shape) if name in ("x", "student") else (count,)
            if inputs[name].shape != wanted or not count:
                raise BadInput(
                    f"{name} has shape {inputs[name].shape}", why=f"the others ask for {wanted}, at least one row"
                )
            if not np.isfinite(inputs[name]).all():
                raise BadInput(f"{name} holds values that are not finite")
        for name, top in (("step", self.timesteps), ("label", classes)):
            if inputs[name].dtype.kind not in "iu" or inputs[name].min() < 0 or inputs[name].max() >= top:
                raise BadInput(f"{name} holds something else than whole numbers from 0 to {top - 1}")
        images = {
            name: torch.tensor(inputs[name], dtype=torch.float32, device=device)
            for name in needed if name in ("x", "student")
        }  # fmt: skip
        step, label = (torch.tensor(inputs[name], dtype=torch.int64, device=device) for name in ("step", "label"))
        if not np.allclose(inputs["signal"], self.schedule.signal(step).numpy(), rtol=SAME_SIGNAL, atol=0.0):
            raise OtherSchedule(
                "the question follows another noise schedule than this teacher",
                why="it would take noise for image, or image for noise",
                mend="give the student and the silos the same steps and beta_end",
            )
        return images["x"], step, label, images.get("student")


def _part(state: State, name: str) -> dict[str, Tensor]:
    """The entries below `name/`, without it."""
    return {key.removeprefix(f"{name}/"): value for key, value in state.items() if key.startswith(f"{name}/")}
