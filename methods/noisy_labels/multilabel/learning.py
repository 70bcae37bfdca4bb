"""The two trainings: the first network, which rates are read from, and the student."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ....platform.training.loop import train
from ....platform.training.run import Run
from .crops import cropped
from .memory import BestWeights, Looks, label_losses
from .metrics import score
from .networks import probabilities
from .risks import Risk
from .settings import Training


@dataclass(frozen=True, eq=False)
class Part:
    """Records and their given labels: inputs (n, D) or (n, c, h, w), labels (n, q)."""

    inputs: Tensor
    labels: Tensor


def learn_first(
    run: Run, network: nn.Module, learnt: Part, held: Part, settings: Training, risk: Risk, looks: Looks, *,
    augment: bool, inputs: Any,
) -> None:  # fmt: skip
    """Train on given labels, look at all training rows after each epoch, end with the weights of the least validation loss."""
    best = BestWeights()

    def after_epoch(model: nn.Module) -> Mapping[str, float]:
        found = label_losses(probabilities(model, held.inputs, run.device), held.labels).mean(0)
        looks.look(probabilities(model, learnt.inputs, run.device), found)
        # All processes must hold the same weights for the best.
        loss = run.mean({"loss": float(found.mean())})["loss"]
        best.offer(-loss, model)
        return {"validation_loss": loss}

    extras = {"best": best, "looks": looks}
    _learn(run, network, learnt, settings, risk, after_epoch, extras, name="first", augment=augment, inputs=inputs)
    _end_with(network, best, settings)


def learn_student(
    run: Run,
    network: nn.Module,
    learnt: Part,
    held: Part,
    settings: Training,
    risk: Risk,
    *,
    augment: bool,
    inputs: Any,
) -> int:
    """Train with a risk; end with the weights of the best noisy validation score; return that epoch."""
    best = BestWeights()

    def after_epoch(model: nn.Module) -> Mapping[str, float]:
        found = score(probabilities(model, held.inputs, run.device).numpy(), held.labels.numpy())
        precision = run.mean({"map": found.map})["map"]
        best.offer(precision, model)
        return {"validation_map": precision}

    _learn(
        run,
        network,
        learnt,
        settings,
        risk,
        after_epoch,
        {"best": best},
        name="student",
        augment=augment,
        inputs=inputs,
    )
    _end_with(network, best, settings)
    return best.epoch if settings.keep == "best" else best.seen


def _learn(
    run: Run, network: nn.Module, learnt: Part, settings: Training, risk: Risk,
    after_epoch: Callable[[nn.Module], Mapping[str, float]], extras: Mapping[str, Any], *, name: str, augment: bool, inputs: Any,
) -> None:  # fmt: skip
    loader = run.loader((learnt.inputs, learnt.labels), min(settings.batch_size, len(learnt.inputs)))
    optimizer = torch.optim.Adam(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        records, labels = batch
        if augment:
            # One number of the training's stream seeds the crops, so a resumed training draws what it would have drawn.
            records = cropped(records, torch.Generator().manual_seed(int(torch.randint(2**62, (1,)))))
        # Logarithms of rates and probabilities need float32, whatever the network computes in.
        return risk(model(records).float(), labels.float())

    train(
        run, network, loss, loader, optimizer, epochs=settings.epochs, name=name, clip_norm=settings.clip_norm,
        evaluate=after_epoch, extras=extras, inputs={"training": asdict(settings), "of": inputs},
    )  # fmt: skip


def _end_with(network: nn.Module, best: BestWeights, settings: Training) -> None:
    if settings.keep == "best":
        network.load_state_dict(best.weights)
    network.eval()
