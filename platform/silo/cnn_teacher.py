"""Convolutional teachers, trained one by one or together with stacked parameters.

Together, a group's parameters carry a leading axis and one batched pass serves all teachers (`torch.func.vmap`). Each teacher draws
its first weights and its batches from its own seed and stops after its own number of steps, so it ends up as it would alone, up to the
order in which floating-point sums are taken. On a CPU that only ties with training one by one; on a GPU it is several times faster.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from ..data.images import ImageData
from ..errors import BadInput
from ..nn.cnn import SmallCnn
from ..privacy.validate import positive, positive_int
from .teachers import Shape, check_group, check_queries

QUERY_BATCH = 500
Parameters = dict[str, torch.Tensor]


@dataclass(frozen=True)
class CnnTeacher:
    """PATE's kind of teacher: a small convolutional network.

    Args:
        epochs, batch_size, learning_rate, momentum, weight_decay: SGD with Nesterov momentum and a linear decay to zero.
        width, hidden: sizes of the network.
        together: how many teachers share one batched pass; 1 trains one by one.
    """

    epochs: int = 40
    batch_size: int = 32
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    width: int = 16
    hidden: int = 64
    together: int = 1

    name: ClassVar[str] = "cnn"

    def __post_init__(self) -> None:
        positive_int(
            epochs=self.epochs, batch_size=self.batch_size, width=self.width, hidden=self.hidden, together=self.together
        )
        positive(learning_rate=self.learning_rate)
        if not 0 <= self.momentum < 1 or self.weight_decay < 0:
            raise BadInput("momentum must lie in [0, 1) and weight_decay must not be negative")

    def fit(
        self,
        shards: Sequence[ImageData],
        seeds: Sequence[int],
        *,
        device: str = "cpu",
        progress: Callable[[int], None] = lambda ready: None,
    ) -> CnnTeachers:
        """Train one teacher on each shard."""
        shape, classes = check_group(shards, seeds)
        skeleton = self._network(shape, classes, seed=0).to("meta")
        trained: list[Parameters] = []
        for start in range(0, len(shards), self.together):
            group = slice(start, start + self.together)
            networks = [self._network(shape, classes, seed=seed).to(device) for seed in seeds[group]]
            trained += self._train(skeleton, networks, shards[group], seeds[group], device)
            progress(len(trained))
        return CnnTeachers(trained, skeleton, shape)

    def load(self, states: Sequence[Parameters], *, shape: Shape, classes: int, device: str = "cpu") -> CnnTeachers:
        """Make teachers of what was learnt before."""
        on_device = [{name: value.to(device) for name, value in state.items()} for state in states]
        return CnnTeachers(on_device, self._network(shape, classes, seed=0).to("meta"), shape)

    def to_json(self) -> dict[str, Any]:
        """The settings that a teacher depends on; how many train together is not one of them."""
        settings = asdict(self)
        settings.pop("together")
        return {"name": self.name, **settings}

    def _network(self, shape: Shape, classes: int, *, seed: int) -> SmallCnn:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return SmallCnn(shape, classes, width=self.width, hidden=self.hidden)

    def _train(
        self,
        skeleton: SmallCnn,
        networks: Sequence[SmallCnn],
        shards: Sequence[ImageData],
        seeds: Sequence[int],
        device: str,
    ) -> list[Parameters]:
        parameters, _ = stack_module_state(list(networks))
        schedules = [self._batches(len(shard), seed) for shard, seed in zip(shards, seeds, strict=True)]
        lengths = torch.tensor([len(schedule) for schedule in schedules], device=device)
        images = [torch.tensor(shard.images, device=device) for shard in shards]
        labels = [torch.tensor(shard.labels, device=device) for shard in shards]
        optimizer = torch.optim.SGD(
            parameters.values(), self.learning_rate, self.momentum, weight_decay=self.weight_decay, nesterov=True
        )

        def loss(
            one: Parameters, inputs: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor, rate: torch.Tensor
        ) -> torch.Tensor:
            each = F.cross_entropy(functional_call(skeleton, one, (inputs,)), targets, reduction="none")
            # The rate of each teacher's own schedule scales its loss: one optimizer serves teachers of different length.
            return (each * weight).sum() / weight.sum() * rate

        for step in range(int(lengths.max())):
            running = lengths > step
            chosen = [schedule[min(step, len(schedule) - 1)] for schedule in schedules]
            inputs = torch.stack([image[c.index].float() / 255 for image, c in zip(images, chosen, strict=True)])
            targets = torch.stack([label[c.index] for label, c in zip(labels, chosen, strict=True)])
            weights = torch.stack([c.weight for c in chosen]).to(device)
            rates = (1 - step / lengths).clamp(min=0)
            if len(networks) == 1:
                total = loss({k: v[0] for k, v in parameters.items()}, inputs[0], targets[0], weights[0], rates[0])
            else:
                total = vmap(loss)(parameters, inputs, targets, weights, rates).sum()
            before = None if bool(running.all()) else {k: v.detach().clone() for k, v in parameters.items()}
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            optimizer.step()
            if before is not None:
                with torch.no_grad():
                    for name, value in parameters.items():
                        value.copy_(torch.where(running.view(-1, *[1] * (value.ndim - 1)), value, before[name]))
        return [{k: v[i].detach().clone() for k, v in parameters.items()} for i in range(len(networks))]

    def _batches(self, records: int, seed: int) -> list[_Batch]:
        """All batches of one teacher's training; a short last one is filled up with records of weight 0."""
        generator = torch.Generator().manual_seed(seed)
        batches = []
        for _ in range(self.epochs):
            order = torch.randperm(records, generator=generator)
            for start in range(0, math.ceil(records / self.batch_size) * self.batch_size, self.batch_size):
                index = order[start : start + self.batch_size]
                weight = torch.zeros(self.batch_size)
                weight[: len(index)] = 1.0
                batches.append(_Batch(F.pad(index, (0, self.batch_size - len(index))), weight))
        return batches


@dataclass(frozen=True)
class _Batch:
    index: torch.Tensor
    weight: torch.Tensor


class CnnTeachers:
    """Trained networks of one shape."""

    def __init__(self, states: Sequence[Parameters], skeleton: SmallCnn, shape: Shape) -> None:
        self._states, self._skeleton, self._shape = list(states), skeleton, shape

    @torch.no_grad()
    def vote(self, images: np.ndarray) -> np.ndarray:
        """One label per teacher and image, (S, Q)."""
        queries = check_queries(images, self._shape)
        device = next(iter(self._states[0].values())).device
        votes = np.empty((len(self._states), len(queries)), np.int64)
        for start in range(0, len(queries), QUERY_BATCH):
            part = slice(start, start + QUERY_BATCH)
            inputs = torch.tensor(queries[part], device=device).float() / 255
            for teacher, state in enumerate(self._states):
                votes[teacher, part] = functional_call(self._skeleton, state, (inputs,)).argmax(1).cpu().numpy()
        return votes

    def state(self, index: int) -> Parameters:
        """The parameters of one teacher."""
        return self._states[index]
