"""A frozen student on other data: a linear classifier of its embeddings, trained and scored there (CRRCD, table IV)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator

from ...platform.data.degradation import Degradation
from ...platform.data.images import ImageData
from ...platform.data.resampling import Resampler
from ...platform.data.sources import load, whole_test_set
from ...platform.errors import BadInput
from ...platform.training.run import Run
from .answering import LabelledPictures
from .embedding import embed
from .heads import Head, Margin
from .networks import Recogniser
from .settings import Transfer

RATE, BATCH = 1e-2, 256


@dataclass(frozen=True)
class _Brought:
    """Images to the size and the number of channels that the student was trained on, then degraded."""

    side: int
    channels: int
    degradation: Degradation
    generator: Generator

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        if pictures.shape[1] != self.channels:
            pictures = (
                pictures.mean(1, keepdim=True) if self.channels == 1 else pictures.expand(-1, self.channels, -1, -1)
            )
        large = Resampler().resize(pictures, self.side)
        return self.degradation(large, self.generator if self.degradation.random else None)


def probe(
    run: Run, student: Recogniser, transfer: Transfer, degradation: Degradation, shape: tuple[int, int, int]
) -> tuple[float, str]:
    """Accuracy on the other data's whole test set, and a sentence on how it came about.

    Args:
        run: the run.
        student: frozen, in evaluation mode.
        transfer: the other data.
        degradation: the one the student was trained under.
        shape: channels, height and width of the images that it was trained on.

    Raises:
        BadInput: the other data are not there, or their images are not square.
    """
    source = whole_test_set(load(transfer.name, root=transfer.root))
    side = transfer.side or shape[1]
    if side < degradation.size:
        raise BadInput(f"images of {side} pixels cannot be degraded to {degradation.size}", mend="raise transfer.side")
    classes = source.private.classes
    embedded = {}
    for name, part in (("train", source.private), ("test", source.score)):
        if part.shape[1] != part.shape[2]:
            raise BadInput(f"{transfer.name}: images of {part.shape[1]} x {part.shape[2]}", why="squares are expected")
        brought = _Brought(side, shape[0], degradation, Generator().manual_seed(run.seed_for("transfer", name)))
        embedded[name] = embed(run, student, LabelledPictures(part), brought)[:, 0]
    head = _fitted(embedded["train"], source.private, classes, transfer.steps, run.seed_for("transfer", "head"))
    with torch.no_grad():
        answers = head(torch.from_numpy(embedded["test"])).argmax(1).numpy()
    told = (
        f"transfer: a linear classifier of the frozen student's embeddings, trained on {len(source.private):,} images of "
        f"{transfer.name}, scored on {len(source.score):,}"
    )
    return float(np.mean(answers == source.score.labels)), told


def _fitted(embeddings: np.ndarray, data: ImageData, classes: int, steps: int, seed: int) -> Head:
    """A linear classifier, fitted by Adam on standardised embeddings, the standardisation folded into it."""
    inputs, labels = torch.from_numpy(embeddings), torch.from_numpy(data.labels)
    mean, deviation = inputs.mean(0), inputs.std(0).clamp(min=1e-6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = Head(Margin("softmax"), length=inputs.shape[1], classes=classes)
    optimizer = torch.optim.Adam(head.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = Generator().manual_seed(seed)
    scaled = (inputs - mean) / deviation
    for _ in range(steps):
        chosen = torch.randint(len(scaled), (min(BATCH, len(scaled)),), generator=generator)
        optimizer.zero_grad()
        head.loss(head(scaled[chosen]), labels[chosen]).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        assert head.bias is not None
        head.weight.div_(deviation)
        head.bias.sub_(head.weight @ mean)
    return head.requires_grad_(False)
