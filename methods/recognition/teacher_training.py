"""Training a teacher here, in high resolution, and fitting a classifier to the embeddings of one that has none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ...platform.data.faces import Pictures
from ...platform.data.resampling import Resampler
from ...platform.training.loop import train
from ...platform.training.run import Run
from ...platform.training.seeds import seeded
from .augmentation import augmented
from .batches import Numbered, training_batches
from .heads import Head, Margin
from .kept import kept_beside
from .recipe import Recipe, TwoSteps
from .teacher import LICENCE_HERE, NetworkTeacher, TeacherSettings

NAME = "teacher"
HEAD_RATE = 1e-2
HEAD_BATCH = 512


class _Classifying(nn.Module):
    """A recogniser and a head: pictures and labels to the class loss."""

    def __init__(self, recogniser: nn.Module, head: Head) -> None:
        super().__init__()
        self.recogniser, self.head = recogniser, head

    def forward(self, pictures: Tensor, labels: Tensor) -> dict[str, Tensor]:
        embedding = self.recogniser(pictures).embedding
        with torch.autocast(pictures.device.type, enabled=False):
            return {"loss": self.head.loss(self.head(embedding.float()), labels)}


def trained_teacher(
    run: Run, settings: TeacherSettings, pictures: Pictures, labels: np.ndarray, *, classes: int, identity: str
) -> tuple[NetworkTeacher, Head]:
    """A teacher and its head, trained on pictures in high resolution, or found: every run on the same data and seed shares them.

    Raises:
        BadInput: too few records.
        RunFailed: the training diverged.
    """
    side = settings.size or pictures.size[0]
    channels = pictures.read([0]).shape[1]
    recogniser = settings.network.fresh(side=side, channels=channels, seed=run.seed_for("teacher"))
    with seeded(run.seed_for("teacher head")):
        head = Head(settings.head, length=recogniser.embedding_length, classes=classes)
    model = _Classifying(recogniser, head)
    inputs = {
        "network": asdict(settings.network), "recipe": asdict(settings.recipe), "head": asdict(settings.head), "side": side,
        "data": identity, "seed": run.seed, "precision": run.precision,
    }  # fmt: skip

    def make() -> Mapping[str, Any]:
        _train(run, model, settings.recipe, pictures, labels, side, inputs)
        return model.state_dict()

    model.load_state_dict(kept_beside(run, NAME, make, inputs))
    name = f"{settings.network.name} at {side} px, trained here"
    teacher = NetworkTeacher(
        recogniser, name=name, licence=LICENCE_HERE, size=side, embedding_length=recogniser.embedding_length,
        maps=recogniser.maps,
    )  # fmt: skip
    return teacher, head


def _train(
    run: Run, model: nn.Module, recipe: Recipe, pictures: Pictures, labels: np.ndarray, side: int, inputs: Any
) -> None:
    loader = training_batches(run, pictures, labels, recipe)
    optimizer = TwoSteps(model.parameters(), [], recipe)
    resampler = Resampler()

    def loss(prepared: nn.Module, batch: Numbered) -> dict[str, Tensor]:
        _, answers, pixels = batch
        # One number of the training's stream seeds the draw, so a resumed training draws what it would have drawn.
        draw = recipe.augmentation.draw(len(pixels), Generator().manual_seed(int(torch.randint(2**62, (1,)))))
        return dict(prepared(resampler.resize(augmented(pixels, draw), side), answers))

    train(
        run, model, loss, loader, optimizer, epochs=recipe.epochs, name=NAME, scheduler_every="step",
        scheduler=recipe.scheduler(optimizer, recipe.epochs * len(loader)), inputs=inputs,
    )  # fmt: skip


def fitted_head(
    embeddings: np.ndarray, labels: np.ndarray, *, classes: int, settings: Margin, steps: int, seed: int
) -> Head:
    """A head without margin on fixed embeddings (n, 2, D) of pictures and their mirror images, which share a label.

    It starts from each class's mean embedding, and is fitted by Adam in so many steps.
    """
    head = Head(Margin(settings.kind, settings.scale, 0.0), length=embeddings.shape[-1], classes=classes)
    if settings.scale is None:
        head.scale = settings.for_classes(classes)[0]
    inputs = torch.from_numpy(embeddings.reshape(-1, embeddings.shape[-1]))
    answers = torch.from_numpy(np.repeat(labels, embeddings.shape[1]))
    with torch.no_grad():
        means = torch.zeros(classes, inputs.shape[1]).index_add_(0, answers, F.normalize(inputs, dim=1))
        head.weight.copy_(F.normalize(means, dim=1))
    optimizer = torch.optim.Adam(head.parameters(), HEAD_RATE)
    generator = Generator().manual_seed(seed)
    for _ in range(steps):
        chosen = torch.randint(len(inputs), (min(HEAD_BATCH, len(inputs)),), generator=generator)
        optimizer.zero_grad()
        head.loss(head(inputs[chosen]), answers[chosen]).backward()
        optimizer.step()
    return head.requires_grad_(False)
