"""The baseline classifier phi_b: trained on all private records, then frozen as the generator's discriminator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...platform.data.images import ImageData
from ...platform.errors import BadInput
from ...platform.privacy.events import Event
from ...platform.privacy.validate import positive, positive_int
from ...platform.training.dpsgd import DpSgd, dp_sgd, refuse_unless_trainable
from ...platform.training.loop import train
from ...platform.training.run import Run
from .classifiers import RATE_ON_SPHERE, Classifier, CnnClassifier, LinearOnSphere, ScatterClassifier, public_projection

KINDS = ("scatter_linear", "cnn")
NON_PRIVATE = (
    "the baseline classifier was trained on all private records without noise, and the generator learnt from it"
)


@dataclass(frozen=True)
class Baseline:
    """Which classifier, and how it is trained with and without privacy.

    Args:
        kind: scatter_linear or cnn.
        components: dimensions of the public projection, at most (scatter_linear).
        width, hidden: of the network (cnn).
        dpsgd: DP-SGD's settings.
        epochs, learning_rate: of training without privacy (AdamW, batches of 256), for `labels_only`, `split_records` and references.
    """

    kind: str = "scatter_linear"
    components: int = 1024
    width: int = 16
    hidden: int = 32
    dpsgd: DpSgd = field(default_factory=lambda: DpSgd(batch_size=4096, learning_rate=120.0, physical_batch=256))
    epochs: int = 5
    learning_rate: float = 3e-3

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadInput(f"unknown baseline classifier {self.kind!r}", mend=f"use one of {', '.join(KINDS)}")
        positive_int(components=self.components, width=self.width, hidden=self.hidden, epochs=self.epochs)
        positive(learning_rate=self.learning_rate)

    def build(self, shape: tuple[int, int, int], classes: int) -> Classifier:
        """Return the untrained classifier; a network's weights come from torch's generator."""
        if self.kind == "cnn":
            return CnnClassifier(shape, classes, width=self.width, hidden=self.hidden)
        projection = public_projection(shape, self.components)
        return ScatterClassifier(projection, LinearOnSphere(projection.components, classes))

    def refuse_unless_trainable(self, shape: tuple[int, int, int], classes: int, *, noise_multiplier: float) -> None:
        """See, before anything is charged, whether DP-SGD can train this classifier with this noise.

        Raises:
            BadInput: it cannot.
        """
        with torch.random.fork_rng(devices=[]):
            model = self.build(shape, classes)
        refuse_unless_trainable(model.trained_part, self.dpsgd, noise_multiplier=noise_multiplier)

    def load(self, shape: tuple[int, int, int], classes: int, state: Mapping[str, Tensor]) -> Classifier:
        """Return a released classifier: in eval mode, frozen."""
        model = self.build(shape, classes)
        model.take_over(state)
        return model.eval().requires_grad_(False)


@dataclass(frozen=True)
class PrivateBaseline:
    """Train phi_b by DP-SGD: charged as a subsampled Gaussian mechanism of its own."""

    settings: Baseline
    noise_multiplier: float

    purpose: ClassVar[str] = "baseline classifier by DP-SGD"
    uncovered: ClassVar[str | None] = None

    def events(self, records: int) -> list[tuple[str, Event]]:
        """The whole training."""
        return [(self.purpose, self.settings.dpsgd.event(records, self.noise_multiplier))]

    def compute(self, private: ImageData, run: Run) -> dict[str, Tensor]:
        """Train; nothing of the training is logged, since a loss on private records would be a release."""
        torch.manual_seed(run.seed_for("baseline"))
        model = self.settings.build(private.shape, private.classes)
        dp_sgd(
            model.trained_part, model.inputs(private.images), torch.from_numpy(private.labels), self.settings.dpsgd,
            noise_multiplier=self.noise_multiplier, run=run, name="baseline",
        )  # fmt: skip
        return model.released()


@dataclass(frozen=True)
class NonPrivateBaseline:
    """Train phi_b without privacy, as the paper does: whatever follows is uncovered."""

    settings: Baseline

    purpose: ClassVar[str] = "baseline classifier without privacy"
    uncovered: ClassVar[str | None] = NON_PRIVATE

    def events(self, records: int) -> list[tuple[str, Event]]:
        """Nothing that a ledger could hold."""
        return []

    def compute(self, private: ImageData, run: Run) -> dict[str, Tensor]:
        """Train."""
        return train_without_privacy(self.settings, private, run, name="baseline").released()


def train_without_privacy(settings: Baseline, private: ImageData, run: Run, *, name: str) -> Classifier:
    """Return phi_b trained with AdamW on all records."""
    torch.manual_seed(run.seed_for(name))
    model = settings.build(private.shape, private.classes)
    part = model.trained_part
    loader = run.loader((model.inputs(private.images), torch.from_numpy(private.labels)), min(256, len(private)))
    rate = settings.learning_rate * (RATE_ON_SPHERE if settings.kind == "scatter_linear" else 1.0)
    optimizer = torch.optim.AdamW(part.parameters(), rate, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=settings.epochs * len(loader) + 1)

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    inputs: dict[str, Any] = {"records": private.content_hash(), "settings": asdict(settings)}
    train(
        run, part, loss, loader, optimizer, epochs=settings.epochs, name=name, scheduler=schedule,
        scheduler_every="step", inputs=inputs,
    )  # fmt: skip
    part.cpu()
    return model.eval()
