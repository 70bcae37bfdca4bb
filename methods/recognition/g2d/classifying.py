"""The third stage: a classifier of the training people on frozen embeddings; settings of the optional joint one after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from ....platform.errors import BadInput
from ....platform.privacy.validate import non_negative
from ....platform.training.loop import Trained, train
from ....platform.training.run import Run
from ..heads import Head, Margin
from .batches import FaceBatches
from .stages import MaskedRecogniser
from .training import Training, row_batches


@dataclass(frozen=True)
class Classifying:
    """Settings of the stage.

    Args:
        training: of it.
        head: softmax, as published; or arcface or cosface.
    """

    training: Training = field(default_factory=lambda: Training(epochs=5, batch_size=64, learning_rate=1e-2))
    head: Margin = field(default_factory=lambda: Margin("softmax"))


@dataclass(frozen=True)
class Joint:
    """Settings of the optional last stage, which is ours: reformer and classifier together, at a tenth of the learning rate.

    Args:
        epochs: 0: there is no such stage.
        relations: weight of the relation loss beside the class loss.
    """

    epochs: int = 0
    relations: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.epochs, bool) or not isinstance(self.epochs, int) or self.epochs < 0:
            raise BadInput(f"joint.epochs is {self.epochs!r}", why="it is a whole number from 0 up")
        non_negative(relations=self.relations)

    def training_after(self, distilling: Training) -> Training:
        """The second stage's training, for so many epochs at a tenth of its learning rate."""
        return replace(distilling, epochs=self.epochs, learning_rate=distilling.learning_rate / 10)


def train_classifier(
    run: Run, head: Head, recogniser: MaskedRecogniser, faces: FaceBatches, training: Training, *, inputs: object
) -> Trained:
    """Train the head in place by labels; the recogniser stays as it is."""
    who = faces.identities.to(run.device)
    loader = row_batches(run, len(faces), training.batch_size)
    optimizer, scheduler = training.start(head.parameters(), training.epochs * len(loader))

    def loss(model: nn.Module, rows: Tensor) -> Mapping[str, Tensor]:
        batch = faces.draw(rows, device=run.device)
        with torch.no_grad():
            embedding = recogniser.reformer(recogniser.encoder(batch.seen, recogniser.maps.in_training(batch)))
        logits, labels = model(embedding).float(), who[batch.rows]
        return {"loss": head.loss(logits, labels), "accuracy": (logits.argmax(1) == labels).float().mean()}

    return train(
        run, head, loss, loader, optimizer, epochs=training.epochs, name="classifier", scheduler=scheduler,
        scheduler_every="step", clip_norm=training.clip_norm, inputs=inputs,
    )  # fmt: skip


@torch.no_grad()
def classified(
    head: Head, recogniser: MaskedRecogniser, faces: FaceBatches, *, masked: bool, seed: int, device: torch.device
) -> float:
    """The fraction of faces that are given to the right one of the training people, all masked or all bare."""
    right = 0
    who = faces.identities.to(device)
    for batch in faces.fixed(seed, device=device, masked=masked):
        right += int((head(recogniser(batch.seen).embedding).argmax(1) == who[batch.rows]).sum())
    return right / len(faces)
