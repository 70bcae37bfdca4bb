"""The student: taught by few bought labels, by a private baseline classifier, and by what it says itself around synthetic images.

    L_S = CE(bought labels) + distil KL(phi_b || phi_s) on public and synthetic images + ramp * gate * (tangent-normal terms)

The distillation term is ours: where the baseline classifier is private, its answers are free. The paper has the first and the last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...platform.errors import BadInput
from ...platform.privacy.validate import non_negative, positive, positive_int
from ...platform.training.loop import train
from ...platform.training.run import Run
from .answers import forward_corrected, soft_cross_entropy
from .classifiers import (
    RATE_ON_SPHERE,
    Classifier,
    CnnClassifier,
    LinearOnSphere,
    MlpOnSphere,
    ScatterClassifier,
    public_projection,
)
from .regulariser import Regulariser
from .vae import Vae

KINDS = ("scatter_linear", "scatter_mlp", "cnn")
BASE_POINTS = ("recon", "sample")
# A copy of the baseline classifier knows nearly all; with a fresh model's steps it forgets some of it.
RATE_AS_COPY = 3.0


@dataclass(frozen=True)
class StudentSettings:
    """The student's network and training.

    Args:
        kind: scatter_linear, scatter_mlp or cnn. A student of the baseline classifier's own kind and size starts as its copy: that
            is free, and nothing that it knows is lost on the way.
        components: of scatter_linear and scatter_mlp; hidden, dropout: of scatter_mlp; width, hidden: of cnn.
        steps: of AdamW with a one-cycle schedule; batches of `batch_size` labelled and `unlabelled_batch` unlabelled images.
        learning_rate, weight_decay, label_smoothing: as usual.
        labels: weight of the bought labels' loss.
        distil: weight of the divergence from the baseline classifier; None: 1 where that classifier is private, else 0 (as in the
            paper).
        procedural: how many procedural images are distilled on beside the synthetic ones.
        noise_aware: send answers through the estimated confusion of the labels before they are compared with them.
        base_point: the triples' first point, the synthetic image's reconstruction ("recon") or the image itself ("sample").
        regulariser: the tangent-normal terms.
        regulariser_batch: images in them, each time; regulariser_every: how many steps from one time to the next.
        gate: scale the terms by how well the labels can be predicted from the images (0 where no better than by the commonest label):
            on images without class structure these terms destroy a student.
    """

    kind: str = "scatter_linear"
    components: int = 1024
    hidden: int = 512
    width: int = 32
    dropout: float = 0.5
    steps: int = 1000
    batch_size: int = 64
    unlabelled_batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    label_smoothing: float = 0.0
    labels: float = 0.3
    distil: float | None = None
    procedural: int = 12_000
    noise_aware: bool = True
    base_point: str = "recon"
    regulariser: Regulariser = field(default_factory=lambda: Regulariser.named("tnar"))
    regulariser_batch: int = 16
    regulariser_every: int = 8
    gate: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadInput(f"unknown student {self.kind!r}", mend=f"use one of {', '.join(KINDS)}")
        if self.base_point not in BASE_POINTS:
            raise BadInput(f"base_point is {self.base_point!r}", mend=f"use one of {', '.join(BASE_POINTS)}")
        positive_int(
            components=self.components, hidden=self.hidden, width=self.width, steps=self.steps, batch_size=self.batch_size,
            unlabelled_batch=self.unlabelled_batch, regulariser_batch=self.regulariser_batch, regulariser_every=self.regulariser_every,
        )  # fmt: skip
        positive(learning_rate=self.learning_rate)
        non_negative(weight_decay=self.weight_decay, labels=self.labels, procedural=self.procedural)
        if self.distil is not None:
            non_negative(distil=self.distil)
        for name in ("dropout", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise BadInput(f"{name} is {getattr(self, name)!r}", why="it must be in [0, 1)")

    def build(self, shape: tuple[int, int, int], classes: int) -> Classifier:
        """Return the untrained student; its weights come from torch's generator."""
        if self.kind == "cnn":
            return CnnClassifier(shape, classes, width=self.width, hidden=self.hidden)
        projection = public_projection(shape, self.components)
        if self.kind == "scatter_linear":
            return ScatterClassifier(projection, LinearOnSphere(projection.components, classes))
        head = MlpOnSphere(projection.components, classes, hidden=self.hidden, dropout=self.dropout)
        return ScatterClassifier(projection, head)


@dataclass(frozen=True, eq=False)
class Lessons:
    """All that a student learns from. Everything here is public or released.

    Args:
        labelled: uint8 images (A, c, h, w) whose labels were bought; `labels` (A,), or soft ones (A, K) from noisy histograms.
        transition: the labels' confusion (K, K), or None to take them as they are.
        distilled: uint8 images (U, c, h, w) with the baseline classifier's probabilities `answers` (U, K); empty: none.
        distil: weight of these.
        triples: uint8 synthetic images (S, c, h, w) for the tangent-normal terms, with the autoencoder whose manifold they lie near.
        gate: factor of these terms.
    """

    labelled: np.ndarray
    labels: Tensor
    transition: Tensor | None
    distilled: np.ndarray
    answers: Tensor
    distil: float
    triples: np.ndarray
    vae: Vae | None
    gate: float


class StudentLoss(nn.Module):
    """Numbers of images to the loss of one step. (A module, so that several processes average its gradient.)"""

    def __init__(self, student: Classifier, lessons: Lessons, settings: StudentSettings, run: Run) -> None:
        super().__init__()
        self.student = student
        self._settings, self._lessons = settings, lessons
        self._labelled = student.inputs(lessons.labelled) if len(lessons.labelled) else None
        self._distilled = student.inputs(lessons.distilled) if len(lessons.distilled) else None
        # In a list, so that it is no part of what is trained.
        self._vae = [lessons.vae]
        wanted = settings.regulariser.active and lessons.vae is not None and lessons.gate > 0
        self._latents = lessons.vae.means(lessons.triples) if wanted and lessons.vae is not None else None
        self._starts = None if self._latents is None else torch.zeros_like(self._latents)
        self._generator = torch.Generator(device=run.device).manual_seed(run.seed_for("regulariser", run.world.rank))
        self._step = 0

    def state_dict_of_position(self) -> dict[str, Any]:
        """Where the regulariser stands."""
        return {"step": self._step, "starts": self._starts, "generator": self._generator.get_state()}

    def forward(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the losses for rows (b, 3): numbers of a labelled, a distilled and a triple's image."""
        settings, lessons = self._settings, self._lessons
        device = rows.device
        count = max(1, len(rows) * settings.batch_size // settings.unlabelled_batch)
        part = self.student.trained_part
        losses: dict[str, Tensor] = {}
        total = torch.zeros((), device=device)
        if self._labelled is not None:
            here = rows[:count, 0].cpu()
            logits = part(self._labelled[here].to(device))
            losses["labels"] = self._label_loss(logits, lessons.labels[here].to(device)).mean()
            total = total + settings.labels * losses["labels"]
        if self._distilled is not None and lessons.distil:
            where = rows[:, 1].cpu()
            answers = lessons.answers[where].to(device)
            losses["distil"] = soft_cross_entropy(part(self._distilled[where].to(device)), answers).mean()
            total = total + lessons.distil * losses["distil"]
        if self._latents is not None and self.training:
            # What it adds to this step's loss: nothing in the steps between.
            losses["regulariser"] = total.new_zeros(())
            if self._step % settings.regulariser_every == 0:
                losses["regulariser"] = lessons.gate * self._regulariser(
                    rows[: settings.regulariser_batch, 2].cpu(), device
                )
                total = total + losses["regulariser"]
            self._step += 1
        return {"loss": total, **losses}

    def _label_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if labels.ndim == 2:
            return soft_cross_entropy(logits, labels)
        if self._lessons.transition is not None:
            return forward_corrected(logits, labels, self._lessons.transition.to(logits))
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=self._settings.label_smoothing)

    def _regulariser(self, where: Tensor, device: torch.device) -> Tensor:
        settings, vae = self._settings, self._vae[0]
        assert self._latents is not None and self._starts is not None and vae is not None
        latents = self._latents[where].to(device)
        if settings.base_point == "recon":
            base = vae(latents)
        else:
            base = torch.from_numpy(self._lessons.triples[where.numpy()]).to(device).float() / 255
        found = settings.regulariser.loss(
            self.student, base, latents, vae, progress=min(1.0, self._step / settings.steps), generator=self._generator,
            start=self._starts[where].to(device),
        )  # fmt: skip
        if "eta" in found:
            self._starts[where] = found["eta"].cpu()
        return found["regulariser"]


class _Position:
    """The regulariser's position, for checkpoints."""

    def __init__(self, loss: StudentLoss) -> None:
        self._loss = loss

    def state_dict(self) -> dict[str, Any]:
        return self._loss.state_dict_of_position()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._loss._step, self._loss._starts = state["step"], state["starts"]
        self._loss._generator.set_state(state["generator"])


def train_student(
    run: Run, shape: tuple[int, int, int], classes: int, lessons: Lessons, settings: StudentSettings, *,
    start: Mapping[str, Tensor] | None = None, name: str, inputs: Any,
) -> Classifier:  # fmt: skip
    """Return a trained student, in eval mode, on the CPU. `start`: weights to begin with, of the student's own kind and size."""
    torch.manual_seed(run.seed_for(name))
    student = settings.build(shape, classes)
    if start is not None:
        student.take_over(start)
    student.to(run.device)
    loss = StudentLoss(student, lessons, settings, run)
    if lessons.vae is not None:
        lessons.vae.to(run.device)
    draw = torch.Generator().manual_seed(run.seed_for(name, "rows"))
    count = settings.steps * settings.unlabelled_batch
    sizes = [max(1, len(part)) for part in (lessons.labelled, lessons.distilled, lessons.triples)]
    rows = torch.stack([torch.randint(size, (count,), generator=draw) for size in sizes], dim=1)
    loader = run.loader((rows,), settings.unlabelled_batch, shuffle=False)
    rate = settings.learning_rate
    if settings.kind == "scatter_linear":
        rate *= RATE_ON_SPHERE if start is None else RATE_AS_COPY
    optimizer = torch.optim.AdamW(student.trained_part.parameters(), rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=len(loader) + 1)

    def step(model: nn.Module, batch: tuple[Tensor]) -> dict[str, Tensor]:
        return model(batch[0])

    train(
        run, loss, step, loader, optimizer, epochs=1, name=name, scheduler=schedule, scheduler_every="step",
        extras={"position": _Position(loss)}, inputs={"student": asdict(settings), **inputs},
    )  # fmt: skip
    return student.cpu().eval().requires_grad_(False)
