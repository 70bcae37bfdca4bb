"""From settings and training items to a trained learner: the same networks, batches and schedule for every algorithm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ....platform.data.crowd import CrowdAnswers
from ....platform.errors import BadInput
from ....platform.training.loop import train
from ....platform.training.run import Run
from .answers import Answers
from .backbones import build
from .conal import Conal, ConalHead
from .coupled import CrowdLayer, MutualCorrection, MutualSettings, refuse_what_ccc_cannot
from .heads import CrowdHead
from .predicting import joint_probabilities
from .processes import OfRun
from .settings import Settings
from .taught import Taught

Learner = CrowdLayer | Conal | Taught
NAME = "student"


class Validated:
    """The epoch at which the networks agree best with answers that they do not learn from, and what they were worth then.

    Args:
        items, answers: kept apart, with the crowd's labels: no true label has a say in the choice.
        score: what the networks are worth, on the test set; asked at a new best epoch only.
    """

    def __init__(self, items: Tensor, answers: CrowdAnswers, score: Callable[[nn.ModuleList], float]) -> None:
        self._items, self._score = items, score
        self._which, self._labels = torch.from_numpy(answers.items), torch.from_numpy(answers.labels)
        self.agreement, self.accuracy, self.epoch, self._epochs = -1.0, 0.0, 0, 0

    def look(self, model: nn.Module) -> Mapping[str, float]:
        """After an epoch: the fraction of the kept answers that say what the networks say."""
        self._epochs += 1
        networks = model.networks
        assert isinstance(networks, nn.ModuleList)
        predicted = joint_probabilities(networks, self._items).argmax(1).cpu()
        agreement = float((predicted[self._which] == self._labels).double().mean())
        if agreement > self.agreement:
            self.agreement, self.epoch, self.accuracy = agreement, self._epochs, self._score(networks)
        return {"validation_agreement": agreement}

    def state_dict(self) -> dict[str, Any]:
        """The best so far."""
        return {
            "agreement": self.agreement, "accuracy": self.accuracy, "epoch": self.epoch, "epochs": self._epochs,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.agreement, self.accuracy = state["agreement"], state["accuracy"]
        self.epoch, self._epochs = state["epoch"], state["epochs"]


def fit_learner(
    run: Run, settings: Settings, inputs: np.ndarray, answers: CrowdAnswers, labels: np.ndarray | None, *,
    validated: Validated | None, identity: Any,
) -> Learner:  # fmt: skip
    """Return a trained learner, in eval mode, on the run's device.

    Args:
        run: the run.
        settings: the settings.
        inputs: (N, ...) the training items.
        answers: about them.
        labels: (N,) or (N, C), what `Taught` learns; None for the algorithms that learn from answers.
        validated: what looks at each epoch, if anything.
        identity: JSON that names the data.
    """
    if settings.algorithm == "ccc":
        refuse_what_ccc_cannot(run)
        if settings.meta_size < answers.classes:
            raise BadInput(
                f"a distilled set of {settings.meta_size} items for {answers.classes} classes",
                mend=f"set method.meta_size={answers.classes} or more",
            )
    items = torch.from_numpy(inputs).to(run.device)
    loader = run.loader((torch.arange(len(inputs)),), min(settings.batch_size, len(inputs)))
    learner, matrices = _build(run, settings, inputs, items, answers, labels)
    learner.to(run.device)
    optimizer = _optimizer(settings, learner, matrices)
    extras: dict[str, Any] = {}
    if settings.algorithm == "ccc":
        assert isinstance(learner, CrowdLayer)
        extras["mutual"] = learner.mutual = MutualCorrection(
            MutualSettings(
                warm_up=settings.warm_up, eta=settings.correction_rate, virtual=settings.virtual_step,
                meta_batch=settings.meta_batch, meta_size=settings.meta_size, groups=settings.groups,
                weighted=not settings.official_grouping, duplicates=settings.official_duplicates,
                confusion_rate=settings.confusion_rate,
            ), items, learner.answers, steps_per_epoch=len(loader), rate=lambda: float(optimizer.param_groups[0]["lr"]),
            seed_for=run.seed_for, processes=OfRun(run),
        )  # fmt: skip
    if validated is not None:
        extras["validated"] = validated
    scheduler = torch.optim.lr_scheduler.MultiStepLR(
        optimizer, [settings.warm_up + epoch for epoch in settings.milestones], settings.decay
    )

    def step(model: nn.Module, batch: tuple[Tensor]) -> dict[str, Tensor]:
        return model(batch[0])

    train(
        run, learner, step, loader, optimizer, epochs=settings.passes, name=NAME, scheduler=scheduler,
        evaluate=None if validated is None else validated.look, extras=extras,
        inputs={"settings": asdict(settings), "data": identity},
    )  # fmt: skip
    return learner.eval().requires_grad_(False)


def _build(
    run: Run, settings: Settings, inputs: np.ndarray, items: Tensor, answers: CrowdAnswers, labels: np.ndarray | None
) -> tuple[Learner, list[nn.Parameter]]:
    """The learner, and its parameters that are annotators' matrices."""
    networks = []
    for number in range(settings.networks):
        torch.manual_seed(run.seed_for("network", number))
        networks.append(build(settings.backbone, inputs, answers.classes))
    if labels is not None:
        return Taught(networks, items, torch.from_numpy(labels)), []
    sparse = Answers(answers, run.device)

    def averaged(count: float) -> float:
        return run.mean({"answers": count})["answers"]

    sizes = (answers.n_annotators, answers.classes)
    if settings.algorithm == "conal":
        numbers = int(np.prod(inputs.shape[1:]))
        gated = [ConalHead(*sizes, numbers, size=settings.conal_size) for _ in networks]
        conal = Conal(networks, gated, items, sparse, averaged=averaged, spread=settings.conal_spread)
        return conal, [matrix for head in gated for matrix in (head.common, head.own)]
    heads = [CrowdHead(*sizes, diagonal=settings.starting_diagonal, official=settings.official_head) for _ in networks]
    return CrowdLayer(networks, heads, items, sparse, averaged=averaged), [head.matrices for head in heads]


def _optimizer(settings: Settings, learner: nn.Module, matrices: list[nn.Parameter]) -> torch.optim.Optimizer:
    """One optimizer for all models: its steps are elementwise, so the models do not touch one another through it."""
    apart = {id(matrix) for matrix in matrices}
    groups: list[dict[str, Any]] = [{"params": [p for p in learner.parameters() if id(p) not in apart]}]
    if matrices:
        decay = settings.confusion_weight_decay
        groups.append(
            {
                "params": matrices,
                "lr": settings.learning_rate * settings.confusion_rate,
                "weight_decay": settings.weight_decay if decay is None else decay,
            }
        )
    common: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=settings.momentum, **common)
    return torch.optim.Adam(groups, **common)
