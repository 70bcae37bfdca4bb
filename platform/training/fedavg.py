"""Federated averaging (McMahan et al. 2017, arXiv 1602.05629) with central noise (McMahan et al. 2018, arXiv 1710.06963).

In each round clients start from the server's weights, train on what they hold, and send how far they came. The server adds these
updates up and moves its weights by their mean. With noise, every update is clipped to a length C and rounded to whole units, the sum is
exact, and integer noise of standard deviation z C comes on top (`dpsgd.Grid`: the same grid, sums and noise as DP-SGD's). All clients
weigh the same, and the sum is divided by the expected number of clients, which is public, never by how many there were.

What is private is one client's update, whole. When one of the client's records is replaced, or taken out, the update may become any
other one of length C: the sum moves by 2 C, where DP-SGD's moves by C. So the event of a training is, for *replace one* and for
*add or remove one record* alike,

| clients in a round | event |
| --- | --- |
| all | a Gaussian of squared sensitivity 4 and standard deviation z, each round |
| a Poisson sample | `SampledSilosEvent`, which see |

and since nothing is said of what changed within the client, it covers all of the client's records together. For adding or removing
one whole client, the relation of the papers, the sum moves by C only (`without_a_client`); that says nothing of a record within a
client that stays.

>>> FedAvg(rounds=25).event(noise_multiplier=20.0).nano_rho() == 25 * 4 * 10**9 // (2 * 20**2)
True
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadInput, RunFailed
from ..privacy.events import Event, GaussianEvent, SubsampledGaussianEvent
from ..privacy.neighbours import Relation
from ..privacy.noise import Noise, SystemNoise
from ..privacy.sampled_silos_event import SampledSilosEvent
from ..privacy.validate import positive, positive_int
from .dpsgd import BytesSource, Grid, poisson_sample
from .run import Run

# Weights (d,) single precision, and the number of the round, to an update (d,): of them and of the client's own records alone.
Client = Callable[[Tensor, int], Tensor]
_SYSTEM_NOISE = SystemNoise()


@dataclass(frozen=True)
class FedAvg:
    """The server's settings, all public.

    Args:
        rounds: how often clients are asked.
        clip_norm: largest L2 length of a client's update. It counts where there is noise only.
        sample_rate: the probability with which each client is in a round, by itself (Poisson); 1: all clients, always.
        learning_rate, momentum: M <- momentum M + (1 - momentum) mean update; w <- w + learning_rate M.
        averaging: decay of the average of the weights over rounds that is the result (bias-corrected). 0: the last weights.
    """

    rounds: int = 10
    clip_norm: float = 1.0
    sample_rate: float = 1.0
    learning_rate: float = 1.0
    momentum: float = 0.0
    averaging: float = 0.0

    def __post_init__(self) -> None:
        positive_int(rounds=self.rounds)
        positive(clip_norm=self.clip_norm, sample_rate=self.sample_rate, learning_rate=self.learning_rate)
        if self.sample_rate > 1:
            raise BadInput(
                f"sample_rate is {self.sample_rate!r}", why="it is a probability", mend="use 1 for all clients"
            )
        for name in ("momentum", "averaging"):
            if not 0 <= getattr(self, name) < 1:
                raise BadInput(f"{name} must be at least 0 and below 1, not {getattr(self, name)!r}")

    @property
    def everybody(self) -> bool:
        """Whether every client is in every round."""
        return self.sample_rate == 1

    def event(self, noise_multiplier: float) -> Event:
        """What a whole training costs, where a record of a client that stays is replaced or taken out."""
        if self.everybody:
            return GaussianEvent(noise_multiplier, 4, self.rounds)
        return SampledSilosEvent(noise_multiplier, self.sample_rate, self.rounds)

    def without_a_client(self, noise_multiplier: float) -> Event:
        """What it costs where a whole client is added or removed, for comparison with the papers; nothing for replacing one."""
        if self.everybody:
            return GaussianEvent(noise_multiplier, 1, self.rounds, (Relation.ADD_OR_REMOVE_ONE,))
        return SubsampledGaussianEvent(noise_multiplier, self.sample_rate, self.rounds)


def federate(
    weights: Tensor,
    clients: Sequence[Client],
    settings: FedAvg,
    *,
    noise_multiplier: float | None,
    noise: Noise = _SYSTEM_NOISE,
    bytes_source: BytesSource = os.urandom,
    run: Run | None = None,
    name: str = "federating",
) -> Tensor:
    """Train from weights (d,); return the weights (d,), double precision. Without a noise multiplier nothing is clipped, or private.

    The caller has charged `settings.event(noise_multiplier)`. Nothing is logged but the number of rounds done. There are no
    checkpoints in the middle: a training that is killed has spent its charge, and another one draws, and pays, again.

    Raises:
        BadInput: the arguments do not fit, or so much noise on so many weights leaves nothing of an update (`Grid`).
        RunFailed: the weights are not finite any more.
    """
    if weights.ndim != 1 or not clients:
        raise BadInput("federated averaging takes a vector of weights and at least one client")
    if not noise.gdp:
        raise BadInput("discrete noise", why="federated averaging is accounted for as a continuous Gaussian mechanism")
    grid = None if noise_multiplier is None else Grid(settings.clip_norm, noise_multiplier, len(weights))
    weights = weights.detach().double().clone()
    momentum, average = torch.zeros_like(weights), torch.zeros_like(weights)
    expected = settings.sample_rate * len(clients)
    with run.progress(settings.rounds, name) if run else nullcontext() as bar:
        for number in range(1, settings.rounds + 1):
            total = torch.zeros_like(weights)
            sent = weights.float()
            for chosen in poisson_sample(len(clients), settings.sample_rate, bytes_source).tolist():
                update = clients[chosen](sent.clone(), number).detach()
                if update.shape != weights.shape:
                    raise BadInput(
                        f"an update of shape {tuple(update.shape)} for weights of shape {tuple(weights.shape)}"
                    )
                total += update.double() if grid is None else units(grid, update)
            if grid is not None:
                total = (total + grid.drawn(noise)) * grid.unit
            # Divided by the expected number of clients: the real one is private.
            momentum = settings.momentum * momentum + (1 - settings.momentum) * total / expected
            weights = weights + settings.learning_rate * momentum
            average = settings.averaging * average + (1 - settings.averaging) * weights
            if not weights.isfinite().all():
                raise RunFailed(f"{name}: the weights are not finite any more", mend="lower the learning rates")
            if bar is not None:
                bar.advance()
    return average / (1 - settings.averaging**settings.rounds)


def units(grid: Grid, update: Tensor) -> Tensor:
    """An update (d,) clipped and rounded to whole units, (d,) double precision: its squared length is at most `grid.limit`.

    One that is not finite counts as zero: that is a function of its own client.
    """
    return grid.round_(update.detach().float().cpu()[None].clone())[0].double()
