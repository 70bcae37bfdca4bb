"""What a client of federated averaging does in a round: some epochs of SGD on its own records, from weights that it is given."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import BadInput
from ..privacy.validate import positive, positive_int
from .dpsgd import put_weights, trainable
from .seeds import seeded


@dataclass(frozen=True)
class LocalSgd:
    """Settings of a client's training, all public.

    Args:
        epochs: passes over the client's records in a round.
        batch_size: records in a step; the last batch of a pass may be smaller.
        learning_rate, momentum: of SGD on the mean cross entropy of a batch. Momentum starts anew in each round.
    """

    epochs: int = 1
    batch_size: int = 32
    learning_rate: float = 0.1
    momentum: float = 0.0

    def __post_init__(self) -> None:
        positive_int(epochs=self.epochs, batch_size=self.batch_size)
        positive(learning_rate=self.learning_rate)
        if not 0 <= self.momentum < 1:
            raise BadInput(f"momentum must be at least 0 and below 1, not {self.momentum!r}")

    def update(self, model: nn.Module, inputs: Tensor, labels: Tensor, weights: Tensor, *, seed: int) -> Tensor:
        """Return how far training on inputs (n, ...) and labels (n,) takes these weights (d,); (d,) single precision.

        `model` is a place to compute in: its trainable parameters are overwritten. Batches and dropout are drawn from the seed. A
        client without records goes nowhere.
        """
        parameters = trainable(model)
        put_weights(parameters, weights)
        if len(labels):
            model.train()
            optimizer = torch.optim.SGD(parameters, self.learning_rate, self.momentum)
            with seeded(seed):
                for _ in range(self.epochs):
                    for batch in torch.randperm(len(labels)).split(self.batch_size):
                        optimizer.zero_grad(set_to_none=True)
                        F.cross_entropy(model(inputs[batch]), labels[batch]).backward()
                        optimizer.step()
        return nn.utils.parameters_to_vector(parameters).detach() - weights
