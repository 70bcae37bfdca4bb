"""How both stages are trained: AdamW, a rise, a cosine; weights that agree over processes; the best of them kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ....platform.training.loop import Stateful, Trained, train
from ....platform.training.run import Run
from .settings import Training

Group = tuple[Sequence[nn.Module], float]


def rounds(training: Training) -> tuple[int, int]:
    """Epochs of the loop and steps in each, so that a look at the validation videos comes about every `every` steps.

    >>> rounds(Training(steps=500, every=100)), rounds(Training(steps=70, every=100)), rounds(Training(steps=101, every=25))
    ((5, 100), (1, 70), (4, 26))
    """
    epochs = max(1, round(training.steps / training.every))
    return epochs, math.ceil(training.steps / epochs)


def factor(step: float, steps: int, warm_up: int) -> float:
    """What the learning rate is multiplied with.

    >>> factor(0, 100, 10), factor(10, 100, 10), round(factor(55, 100, 10), 6), factor(100, 100, 10)
    (0.05, 1.0, 0.5, 0.0)
    """
    warm_up = min(warm_up, steps // 2)
    if step < warm_up:
        return (step + 0.5) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up)))


def optimiser(groups: Sequence[Group], training: Training) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) over modules, each group at its rate; biases and norms (one dimension) do not decay."""
    parts: list[dict[str, Any]] = []
    for modules, rate in groups:
        weights = [weight for module in modules for weight in module.parameters() if weight.requires_grad]
        for decay, few in ((training.weight_decay, False), (0.0, True)):
            chosen = [weight for weight in weights if (weight.ndim < 2) == few]
            if chosen:
                parts.append({"params": chosen, "lr": rate, "weight_decay": decay})
    return torch.optim.AdamW(parts, training.learning_rate)


def optimise(
    run: Run, model: nn.Module, loss: Callable[[nn.Module, Any], Mapping[str, Tensor]], loader: Any, training: Training, *, name: str,
    groups: Sequence[Group], evaluate: Callable[[nn.Module], Mapping[str, float]], extras: Mapping[str, Stateful] | None = None,
    inputs: Any,
) -> Trained:  # fmt: skip
    """Train a model on its device; every process ends with the first one's weights and buffers.

    Raises:
        RunFailed: the loss is not finite any more.
    """
    epochs, steps = rounds(training)
    total = epochs * steps
    optimizer = optimiser(groups, training)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step, total, training.warm_up))

    def looked(seen: nn.Module) -> Mapping[str, float]:
        share_state(run, seen)
        return evaluate(seen)

    trained = train(
        run, model, loss, loader, optimizer, epochs=epochs, name=name, scheduler=scheduler, scheduler_every="step",
        clip_norm=training.clip_norm, evaluate=looked, extras=extras, inputs=inputs,
    )  # fmt: skip
    share_state(run, model)
    return trained


def share_state(run: Run, model: nn.Module) -> None:
    """Give every process the first one's buffers: running statistics of norms differ by what each has seen. Weights agree already."""
    if run.world.size == 1:
        return
    buffers = dict(model.named_buffers())
    first = run.gather({name: buffer.cpu() for name, buffer in buffers.items()})[0]
    with torch.no_grad():
        for name, buffer in buffers.items():
            buffer.copy_(first[name])


class Best:
    """The weights that a look at the validation videos liked best; kept with every checkpoint."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.score, self.state = -math.inf, dict[str, Tensor]()

    def offer(self, score: float) -> None:
        """Keep the weights as they are now if this score is the best so far; of equal ones, the first."""
        if score > self.score:
            self.score = score
            self.state = {name: value.detach().cpu().clone() for name, value in self._model.state_dict().items()}

    def take(self) -> None:
        """Put the best weights back; none were offered: leave them."""
        if self.state:
            self._model.load_state_dict(self.state)

    def state_dict(self) -> dict[str, Any]:
        """The score and the weights."""
        return {"score": self.score if self.state else None, "state": dict(self.state)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them over."""
        self.state = dict(state_dict["state"])
        self.score = -math.inf if state_dict["score"] is None else float(state_dict["score"])
