"""DP-SGD (Abadi et al. 2016, arXiv 1607.00133) whose noise is exact and cannot be seeded.

Opacus gives the per-sample gradients. Its noise is a float from a seedable generator; here every clipped gradient is rounded to whole
multiples of a grid unit instead, the sum is one of integers, and the noise is round(Z) for a Gaussian Z of `SIGMA_UNITS` units, from the
operating system (`privacy.noise`). For an integer c, c + round(Z) = round(c + Z): post-processing of the continuous mechanism. The length
of every rounded gradient is checked in exact arithmetic, so the sensitivity has no rounding error to forgive, however long the sum is.

>>> DpSgd(batch_size=600, steps=100).event(records=60_000, noise_multiplier=1.1)
SubsampledGaussianEvent(noise_multiplier=1.1, sample_rate=0.01, steps=100, count=1)
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from opacus import GradSampleModule
from opacus.validators import ModuleValidator
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import BadInput, RunFailed
from ..privacy.events import SubsampledGaussianEvent
from ..privacy.noise import Noise, SystemNoise
from ..privacy.validate import positive, positive_int
from .run import Run

# Noise in grid units: the finest grid whose exact noise table is still small.
SIGMA_UNITS = 2048
# Gradients are clipped this much below the bound, so that rounding to the nearest unit seldom lifts one above it.
MARGIN = 2e-3
# Whole numbers up to twice this are exact in single precision.
LARGEST_EXACT = 2**23


@dataclass(frozen=True)
class DpSgd:
    """Settings of DP-SGD, all public.

    Args:
        batch_size: the expected size of a batch: each record is in it with probability batch_size / records, by itself (Poisson).
        steps: how many batches.
        learning_rate, momentum: m <- momentum m + (1 - momentum) g; w <- w - learning_rate m.
        clip_norm: largest L2 length of one record's gradient.
        averaging: decay of the average of the weights over steps that is the result (Polyak; bias-corrected). 0: the last weights.
        physical_batch: records whose gradients are held at once. Does not change the result's distribution.
    """

    batch_size: int = 4096
    steps: int = 200
    learning_rate: float = 100.0
    momentum: float = 0.9
    clip_norm: float = 1.0
    averaging: float = 0.95
    physical_batch: int = 256

    def __post_init__(self) -> None:
        positive_int(batch_size=self.batch_size, steps=self.steps, physical_batch=self.physical_batch)
        positive(learning_rate=self.learning_rate, clip_norm=self.clip_norm)
        for name in ("momentum", "averaging"):
            if not 0 <= getattr(self, name) < 1:
                raise BadInput(f"{name} is {getattr(self, name)!r}", why="it must be in [0, 1)")

    def sample_rate(self, records: int) -> float:
        """The probability with which each record is in a batch; at most 1."""
        positive_int(records=records)
        return min(1.0, self.batch_size / records)

    def event(self, records: int, noise_multiplier: float) -> SubsampledGaussianEvent:
        """What a whole training costs, for a public number of records."""
        return SubsampledGaussianEvent(noise_multiplier, self.sample_rate(records), self.steps)


def dp_sgd(
    model: nn.Module, inputs: Tensor, labels: Tensor, settings: DpSgd, *, noise_multiplier: float,
    noise: Noise | None = None, run: Run | None = None, name: str = "dp_sgd", random_bytes: Callable[[int], bytes] = os.urandom,
) -> None:  # fmt: skip
    """Train `model` in place on private records: cross entropy of inputs (n, ...) and labels (n,).

    The caller has charged `settings.event(n, noise_multiplier)`. Nothing of the training is logged: losses, accuracies and the
    batches' real sizes are functions of the records. There are no checkpoints: a training that is killed has spent its charge.

    Raises:
        BadInput: a layer mixes records (batch normalisation).
        RunFailed: the weights are not finite any more.
    """
    positive(noise_multiplier=noise_multiplier)
    was_training = model.training
    problems = ModuleValidator.validate(model.train())
    if problems:
        raise BadInput(
            f"{type(model).__name__} cannot be trained by DP-SGD: {str(problems[0]).splitlines()[0]}",
            why="a record's gradient must not depend on the other records",
            mend="use GroupNorm, or no normalisation",
        )
    noise = noise or SystemNoise()
    device = next(model.parameters()).device
    rate = settings.sample_rate(len(inputs))
    bound = SIGMA_UNITS / noise_multiplier
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    width = sum(parameter.numel() for parameter in parameters)
    velocity = torch.zeros(width, dtype=torch.float64)
    weights = nn.utils.parameters_to_vector(parameters).detach().double().cpu()
    average = torch.zeros_like(weights)
    # The update's denominator is the expected size of a batch: the real one is private.
    unit = settings.clip_norm / bound / (rate * len(inputs))
    wrapped = GradSampleModule(model, loss_reduction="sum")
    try:
        with warnings.catch_warnings(), run.progress(settings.steps, name) if run else nullcontext() as bar:
            # Opacus hooks the module's backward pass; torch remarks in every step that inputs need no gradients.
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            for _ in range(settings.steps):
                total = torch.zeros(width, dtype=torch.float64)
                for rows in poisson_sample(len(inputs), rate, random_bytes).split(settings.physical_batch):
                    gradients = _gradients(wrapped, parameters, inputs[rows].to(device), labels[rows].to(device))
                    total += integer_gradients(gradients, settings.clip_norm, bound).sum(0).double().cpu()
                drawn = torch.from_numpy(noise.gaussian(SIGMA_UNITS, width))
                gradient = (total + drawn.double()) * unit
                velocity = settings.momentum * velocity + (1 - settings.momentum) * gradient
                weights -= settings.learning_rate * velocity
                average = settings.averaging * average + (1 - settings.averaging) * weights
                _put(parameters, weights)
                if bar is not None:
                    bar.advance()
        result = average / (1 - settings.averaging**settings.steps)
        if not torch.isfinite(result.to(parameters[0].dtype)).all():
            raise RunFailed(
                f"training {name}: the weights are not finite", why="the training diverged", mend="lower the learning rate"
            )
        _put(parameters, result)
    finally:
        wrapped.remove_hooks()
        for parameter in parameters:
            parameter.grad = None
            for left in ("grad_sample", "_forward_counter", "summed_grad"):
                if hasattr(parameter, left):
                    delattr(parameter, left)
        model.train(was_training)


def poisson_sample(records: int, rate: float, random_bytes: Callable[[int], bytes]) -> Tensor:
    """Return the numbers of the records in one batch: each is in it with probability `rate` (never more), by itself.

    A batch that a seed could repeat would be no secret, and the accountant counts on its being one.
    """
    if rate >= 1:
        return torch.arange(records)
    drawn = np.frombuffer(random_bytes(8 * records), dtype=np.uint64)
    return torch.from_numpy(np.flatnonzero(drawn < np.uint64(math.floor(rate * 2**64))))


def integer_gradients(gradients: Tensor, clip_norm: float, bound: float) -> Tensor:
    """Clip rows (b, p) to `clip_norm`, which is `bound` units, and round to whole units; no row is longer than `bound`, exactly.

    A row that is not finite, or too long for single precision, counts as zero: still a function of its one record. Rows are rounded to
    the nearest unit; the few that end above the bound are shortened and cut towards zero, which never lengthens a row.
    """
    lengths = gradients.norm(dim=1)
    usable = torch.isfinite(lengths)
    scale = torch.where(usable, bound * (1 - MARGIN) / lengths.clamp(min=clip_norm), 0.0)
    units = (gradients * scale[:, None]).nan_to_num_(0.0, 0.0, 0.0).round_()
    # Single precision holds these sums exactly where they stay below 2^24; a sum that went beyond cannot fall back below it.
    if max(bound**2, len(units) * bound) >= LARGEST_EXACT:
        units = units.double()
    above = units.square().sum(1) > bound**2
    if above.any():
        units[above] = (units[above].double() * (1 - 2 * MARGIN)).trunc().to(units.dtype)
        still = units.square().sum(1) > bound**2
        units[still] = 0.0
    return units


def _gradients(wrapped: GradSampleModule, parameters: list[nn.Parameter], inputs: Tensor, labels: Tensor) -> Tensor:
    """Return each record's gradient, (b, p)."""
    if not len(inputs):
        return torch.zeros(0, sum(parameter.numel() for parameter in parameters))
    for parameter in parameters:
        parameter.grad = None
        parameter.grad_sample = None  # type: ignore[attr-defined]
    F.cross_entropy(wrapped(inputs), labels, reduction="sum").backward()
    samples = [parameter.grad_sample.flatten(1) for parameter in parameters]  # type: ignore[attr-defined]
    return samples[0] if len(samples) == 1 else torch.cat(samples, dim=1)


@torch.no_grad()
def _put(parameters: list[nn.Parameter], weights: Tensor) -> None:
    at = 0
    for parameter in parameters:
        parameter.copy_(weights[at : at + parameter.numel()].view_as(parameter))
        at += parameter.numel()
