"""Work on all records in one place: a denoiser trained by DP-SGD, a noisy histogram of classes, and a teacher without privacy."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ...platform.data.images import ImageData
from ...platform.diffusion.denoising import Training, drawn_losses, train_denoiser
from ...platform.diffusion.networks import Network, Shape, fresh
from ...platform.diffusion.sampling import centred
from ...platform.diffusion.schedule import Schedule
from ...platform.privacy.events import Event
from ...platform.privacy.noise import Noise, SystemNoise
from ...platform.privacy.sums import sums_event
from ...platform.training.dpsgd import DpSgd, dp_sgd, refuse_unless_trainable
from ...platform.training.run import Run
from ..condensation.private import noisy_sums
from .distilling import refuse_coupled_student


@dataclass(frozen=True)
class PrivateDenoiser:
    """Train a denoiser by DP-SGD on the usual loss, with noise multiplicity inside the clip (DPDM: Dockhorn et al., TMLR 2023)."""

    network: Network
    schedule: Schedule
    settings: DpSgd
    draws: int
    noise_multiplier: float
    noise: Noise = field(default_factory=SystemNoise)

    purpose: ClassVar[str] = "denoiser by DP-SGD"
    uncovered: ClassVar[str | None] = None

    def events(self, records: int) -> list[tuple[str, Event]]:
        """The whole training. How often the loss is drawn within the clip changes nothing in it."""
        return [(self.purpose, self.settings.event(records, self.noise_multiplier))]

    def refuse_unless_trainable(self, shape: Shape, classes: int) -> None:
        """See, before anything is charged, whether DP-SGD can train this network with this noise.

        Raises:
            BadInput: it cannot.
        """
        network = fresh(self.network, shape, classes, 0)
        refuse_coupled_student(network, shape)
        refuse_unless_trainable(network, self.settings, noise_multiplier=self.noise_multiplier)

    def compute(self, private: ImageData, run: Run) -> dict[str, Tensor]:
        """Train; nothing of the training is logged."""
        network = fresh(self.network, private.shape, private.classes, run.seed_for("denoiser")).to(run.device)

        def losses(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            return drawn_losses(model, self.schedule, centred(images), labels)

        torch.manual_seed(run.seed_for("draws"))
        dp_sgd(
            network, torch.from_numpy(private.images), torch.from_numpy(private.labels), self.settings,
            noise_multiplier=self.noise_multiplier, noise=self.noise, run=run, name="denoiser", losses=losses,
            draws=self.draws,
        )  # fmt: skip
        return {name: value.detach().cpu() for name, value in network.state_dict().items()}


@dataclass(frozen=True)
class PrivateHistogram:
    """Release how many records each class has, with Gaussian noise."""

    sigma: float
    noise: Noise = field(default_factory=SystemNoise)

    purpose: ClassVar[str] = "histogram of classes"
    uncovered: ClassVar[str | None] = None

    def events(self, records: int) -> list[tuple[str, Event]]:
        """A record that comes or goes moves one count by one."""
        return [(self.purpose, sums_event(self.sigma))]

    def compute(self, private: ImageData, run: Run) -> Tensor:
        """The noisy counts (K,)."""
        ones = torch.ones(len(private), 1)
        return noisy_sums([ones], private.labels, private.classes, self.sigma, self.noise)[:, 0]


def shares(counts: Tensor) -> tuple[float, ...]:
    """Noisy counts as probabilities; a class whose count came out below one keeps a little of it."""
    known = counts.double().clamp(min=1.0).numpy()
    return tuple(float(share) for share in known / np.sum(known))


def nonprivate_teacher(
    run: Run, network: Network, schedule: Schedule, data: ImageData, training: Training, inputs: Any
) -> dict[str, Tensor]:
    """The averaged weights of a teacher trained on all records without noise. Never released as they are under a guarantee."""
    denoiser = fresh(network, data.shape, data.classes, run.seed_for("teacher"))
    key = {"network": asdict(network), "schedule": asdict(schedule), "training": asdict(training), "of": inputs}
    return train_denoiser(run, denoiser, schedule, data, training, name="teacher", inputs=key)
