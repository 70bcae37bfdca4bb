"""The forward process and what a network predicts of it, on diffusers' schedulers. Steps count from 0 (least noise) to T - 1.

x_r = sqrt(abar_r) x_0 + sqrt(1 - abar_r) noise (Ho, Jain & Abbeel 2020, arXiv 2006.11239). A network predicts the noise, the image
("sample") or v = sqrt(abar_r) noise - sqrt(1 - abar_r) x_0 (Salimans & Ho 2022, arXiv 2202.00512); from each of them follows an
estimate of the clean image. Where nearly all is noise, that of a noise prediction is divided by sqrt(abar_r): it needs the clamp most.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ..errors import BadInput
from ..privacy.validate import positive_int, probability
from .library import from_diffusers

PREDICTIONS = ("epsilon", "sample", "v_prediction")
# Of the last step's abar: a student starts from pure noise, so a training must end there.
MOST_SIGNAL = 1e-3


@dataclass(frozen=True)
class Schedule:
    """A linear schedule of `steps` variances from `beta_start` to `beta_end`.

    The widely used range up to 0.02 is made for 1,000 steps; at 500 it leaves abar = 6.4e-3, and 0.04 leaves 3.9e-5.

    Raises:
        BadInput: the last step is not noise (abar of 0.001 or more), or a value is out of range.
    """

    steps: int = 500
    beta_start: float = 1e-4
    beta_end: float = 0.04
    prediction: str = "v_prediction"

    def __post_init__(self) -> None:
        positive_int(steps=self.steps)
        probability(beta_start=self.beta_start, beta_end=self.beta_end)
        if self.prediction not in PREDICTIONS:
            raise BadInput(f"unknown prediction {self.prediction!r}", mend=f"use one of {', '.join(PREDICTIONS)}")
        left = float(torch.cumprod(1 - torch.linspace(self.beta_start, self.beta_end, self.steps).double(), 0)[-1])
        if left >= MOST_SIGNAL:
            raise BadInput(
                f"after {self.steps} steps abar is {left:.2g}",
                why=f"the chain starts from pure noise, so it must be below {MOST_SIGNAL:g}",
                mend="raise beta_end or the number of steps",
            )

    def scheduler(self, *, clip: bool = True) -> Any:
        """A DDIM scheduler (Song, Meng & Ermon 2021, arXiv 2010.02502) whose first step is the last of the chain."""
        return from_diffusers("schedulers.scheduling_ddim", "DDIMScheduler")(
            num_train_timesteps=self.steps, beta_start=self.beta_start, beta_end=self.beta_end, beta_schedule="linear",
            prediction_type=self.prediction, clip_sample=clip, timestep_spacing="trailing",
        )  # fmt: skip

    def ladder(self, rungs: int) -> list[int]:
        """The steps that a chain of `rungs` steps visits, falling from T - 1.

        >>> Schedule(steps=500).ladder(4)
        [499, 374, 249, 124]

        Raises:
            BadInput: `rungs` does not divide T; the rungs would not be where the scheduler steps to.
        """
        positive_int(rungs=rungs)
        if self.steps % rungs:
            raise BadInput(f"{rungs} steps of a chain of {self.steps}", mend="use a number that divides it")
        return list(range(self.steps - 1, -1, -(self.steps // rungs)))

    def noisy(self, images: Tensor, step: Tensor, noise: Tensor) -> Tensor:
        """x_r of images (B, c, h, w) in [-1, 1] at steps (B,)."""
        added: Tensor = _scheduler(self).add_noise(images, noise, step)
        return added

    def target(self, images: Tensor, step: Tensor, noise: Tensor) -> Tensor:
        """What the network should predict."""
        if self.prediction == "epsilon":
            return noise
        if self.prediction == "sample":
            return images
        velocity: Tensor = _scheduler(self).get_velocity(images, noise, step)
        return velocity

    def clean(self, prediction: Tensor, noisy: Tensor, step: Tensor, *, clamp: bool = True) -> Tensor:
        """The estimate of the clean images that follows from a prediction at x_r, in [-1, 1] unless `clamp` is off."""
        signal, spread = self.parts(noisy, step)
        if self.prediction == "epsilon":
            found = (noisy - spread * prediction) / signal
        elif self.prediction == "sample":
            found = prediction
        else:
            found = signal * noisy - spread * prediction
        return found.clamp(-1, 1) if clamp else found

    def signal(self, step: Tensor) -> Tensor:
        """abar_r at steps (B,): (B,) float32, on the CPU. It is what two parties must agree on who speak of the same x_r."""
        bars: Tensor = _scheduler(self).alphas_cumprod
        return bars.float().cpu()[step.cpu()]

    def same_levels(self, other: Schedule) -> bool:
        """Whether both mix the same noise in at every step; what a network predicts of it is each party's own affair.

        >>> Schedule().same_levels(Schedule(prediction="epsilon")), Schedule().same_levels(Schedule(beta_end=0.05))
        (True, False)
        """
        mine, theirs = ((s.steps, s.beta_start, s.beta_end) for s in (self, other))
        return mine == theirs

    def parts(self, like: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(abar_r) and sqrt(1 - abar_r), (B, 1, 1, 1), in the type and on the device of `like`."""
        bars = _scheduler(self).alphas_cumprod.to(like)[step.to(like.device)].view(-1, 1, 1, 1)
        return bars.sqrt(), (1 - bars).sqrt()


@lru_cache(maxsize=8)
def _scheduler(schedule: Schedule) -> Any:
    return schedule.scheduler()
