"""Federated averaging as work on private records, and the noise it needs beside what else is charged.

Silos are simulated one after the other, each update made from its own shard alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..platform.data.images import ImageData
from ..platform.data.partition import Manifest
from ..platform.errors import BadInput, BudgetExhausted
from ..platform.privacy.accounting import plan_epsilon
from ..platform.privacy.budget import BudgetKind, budget_cap, event_cost, near_optimal_orders
from ..platform.privacy.calibration import smallest_scale
from ..platform.privacy.events import Event
from ..platform.privacy.statement import REPLACE_ONE, epsilon_up
from ..platform.training.dpsgd import Grid, put_weights, trainable
from ..platform.training.fedavg import Client, FedAvg, federate
from ..platform.training.local_sgd import LocalSgd
from ..platform.training.run import Run
from ..platform.training.seeds import seed_for
from .transfer import BudgetTerms

PURPOSE = "classifier by DP-FedAvg over silos"
WITHOUT_NOISE = "silos' updates were averaged without noise"


class Network(Protocol):
    """A network whose trained part is averaged; what lies below it is public."""

    @property
    def trained_part(self) -> nn.Module:
        """The module that is trained."""

    def inputs(self, images: np.ndarray) -> Tensor:
        """What the trained part takes for uint8 images (n, c, h, w), each row of its own image."""

    def released(self) -> dict[str, Tensor]:
        """What was learnt."""


@dataclass(frozen=True)
class Federation:
    """Server and clients: see `FedAvg` and `LocalSgd`. The defaults are for a linear model on vectors of length 1."""

    server: FedAvg = field(default_factory=FedAvg)
    client: LocalSgd = field(default_factory=lambda: LocalSgd(epochs=3, learning_rate=3.0))

    def refuse_unless_trainable(self, model: Network, *, noise_multiplier: float) -> None:
        """See, before anything is charged, whether an update of this network survives so much noise.

        Raises:
            BadInput: it does not.
        """
        width = sum(parameter.numel() for parameter in trainable(model.trained_part))
        Grid(self.server.clip_norm, noise_multiplier, width)


@dataclass(frozen=True, eq=False)
class FederatedTraining:
    """Train the network that `build` returns over the shards of a manifest: charged whole, before the first round.

    Without a noise multiplier it is plain federated averaging, which nothing covers.
    """

    build: Callable[[], Network]
    federation: Federation
    noise_multiplier: float | None
    manifest: Manifest
    purpose: str = PURPOSE

    @property
    def uncovered(self) -> str | None:
        """Why nothing is promised, where there is no noise."""
        return WITHOUT_NOISE if self.noise_multiplier is None else None

    def events(self, records: int) -> list[tuple[str, Event]]:
        """All rounds."""
        return (
            []
            if self.noise_multiplier is None
            else [(self.purpose, self.federation.server.event(self.noise_multiplier))]
        )

    def compute(self, private: ImageData, run: Run) -> dict[str, Tensor]:
        """Train; nothing of the training is logged, since a loss on private records would be a release."""
        if len(self.manifest) != len(private):
            raise BadInput(f"a partition of {len(self.manifest)} records for {len(private)}")
        model = self.build()
        place = copy.deepcopy(
            model.trained_part
        )  # Clients compute in it; what they leave there besides weights goes nowhere.
        clients = [
            client(
                model,
                place,
                private.take(self.manifest.indices(i)),
                self.federation.client,
                seed=run.seed_for("silo", i),
            )
            for i in range(self.manifest.shards)
        ]
        parameters = trainable(model.trained_part)
        start = nn.utils.parameters_to_vector(parameters)
        weights = federate(
            start,
            clients,
            self.federation.server,
            noise_multiplier=self.noise_multiplier,
            run=run,
            name="federated averaging",
        )
        put_weights(parameters, weights.float())
        return model.released()


def client(model: Network, place: nn.Module, shard: ImageData, settings: LocalSgd, *, seed: int) -> Client:
    """A silo as a function. Its features are computed once, from its shard alone: no other silo's records can move a bit of them."""
    inputs = model.inputs(shard.images) if len(shard) else torch.zeros(0)
    labels = torch.from_numpy(shard.labels)

    def update(weights: Tensor, number: int) -> Tensor:
        return settings.update(place, inputs, labels, weights, seed=seed_for(seed, "round", number))

    return update


def terms(server: FedAvg, *, epsilon: float, delta: float) -> BudgetTerms | None:
    """The budget it needs; None where any budget for votes will do, since all silos take part and every round is a Gaussian release."""
    if server.everybody:
        return None
    return BudgetTerms(BudgetKind.RDP, near_optimal_orders(epsilon, delta), REPLACE_ONE)


def least_noise(server: FedAvg, *, beside: Sequence[Event] = (), epsilon: float, delta: float) -> float:
    """Return the least noise multiplier at which all rounds and the events `beside` them fit a budget of this epsilon.

    Raises:
        BudgetExhausted: the events beside them leave nothing.
    """
    exact = server.everybody and all(event.gaussian for event in beside)
    kind = BudgetKind.GAUSSIAN if exact else BudgetKind.RDP
    orders = () if exact else near_optimal_orders(epsilon, delta)
    cap = budget_cap(kind, epsilon=epsilon, delta=delta, orders=orders)
    costs = [event_cost(kind, event, orders=orders) for event in beside]
    totals = [sum(column) for column in zip(*costs, strict=True)] or [0] * len(cap)
    if any(total >= limit for total, limit in zip(totals, cap, strict=True)):
        raise BudgetExhausted(
            f"what is charged beside federated averaging costs epsilon {epsilon_up(plan_epsilon(beside, delta))} of {epsilon:g} at "
            f"delta {delta:g} ({REPLACE_ONE})",
            why="nothing is left for its rounds; nothing was spent", mend="ask fewer queries, or raise privacy.target_epsilon",
        )  # fmt: skip
    return smallest_scale(
        lambda scale: [*beside, server.event(scale)], epsilon=epsilon, delta=delta, kind=kind, orders=orders
    )
