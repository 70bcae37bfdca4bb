"""The loop that CRRCD, AIRD and all they are compared with share: a class loss and terms of distillation, from high to low resolution.

Each step: pictures are augmented, shown to the teacher as they are and to the student degraded; the loss is the head's, with its
margin, plus the weighed terms. Methods differ in their `Terms` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Generator, Tensor, nn

from ...platform.data.faces import Pictures
from ...platform.training.loop import Trained, train
from ...platform.training.run import Run
from ...platform.training.seeds import seeded
from .augmentation import Draw, augmented
from .batches import Numbered, training_batches
from .crrcd.loss import RelationalContrast
from .heads import Head
from .networks import Recogniser
from .recipe import TwoSteps
from .seen import Batch, Seen, Sizes
from .settings import Settings
from .terms import Terms, own_parameters

NAME = "student"


class Views(Protocol):
    """What the teacher makes of a batch; `embedding_length` and `maps` are the teacher's."""

    @property
    def embedding_length(self) -> int:
        """Length of its embedding."""

    @property
    def maps(self) -> tuple[int, ...]:
        """Channels of its maps."""

    def __call__(self, numbers: Tensor, draw: Draw, pictures: Tensor) -> Seen:
        """Of pictures (B, c, H, W), which are those of these numbers (B,) under this draw; without gradients."""


@dataclass(frozen=True, eq=False)
class LiveViews:
    """The teacher looks at every batch. It must be frozen, on the device of the pictures."""

    teacher: nn.Module
    embedding_length: int
    maps: tuple[int, ...]

    def __call__(self, numbers: Tensor, draw: Draw, pictures: Tensor) -> Seen:
        """The teacher's view of the augmented pictures."""
        with torch.no_grad():
            seen: Seen = self.teacher(pictures)
        return Seen(seen.embedding, seen.maps)


class CachedViews:
    """The teacher looked once at each training picture and its mirror image."""

    def __init__(self, embeddings: np.ndarray, device: torch.device, maps: tuple[np.ndarray, ...] = ()) -> None:
        """From embeddings (n, 2, D), and maps (n, 2, C, h, w) if a term looks at them; these stay in the processor's memory."""
        self._embeddings = torch.from_numpy(embeddings).to(device)
        self._maps = [torch.from_numpy(one) for one in maps]
        self.embedding_length = embeddings.shape[-1]
        self.maps = tuple(one.shape[2] for one in maps)

    def __call__(self, numbers: Tensor, draw: Draw, pictures: Tensor) -> Seen:
        """What is kept of the pictures, or of their mirror images where the draw mirrors them."""
        flip = draw.flip.long().to(numbers.device)
        which = numbers.cpu(), flip.cpu()
        maps = tuple(one[which].to(pictures.device).float() for one in self._maps)
        return Seen(self._embeddings[numbers, flip], maps)


class Clock:
    """How many steps of how many are done. It is kept with every checkpoint, unlike a counter in a closure."""

    def __init__(self, steps: int) -> None:
        self.steps, self.done = steps, 0

    @property
    def progress(self) -> float:
        """Share of the training that is done."""
        return self.done / self.steps

    def state_dict(self) -> dict[str, Any]:
        """The steps done."""
        return {"done": self.done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.done = int(state_dict["done"])


class Distiller(nn.Module):
    """Student, head and terms: a batch to its losses, "loss" the one that is minimised, the others for the log.

    Args:
        student: pictures in low resolution to a `Seen`.
        head: of the class loss.
        terms: which terms, and their weights; `modules`: what they built.
    """

    def __init__(self, student: Recogniser, head: Head, terms: Terms, modules: nn.ModuleDict) -> None:
        super().__init__()
        self.student, self.head, self.modules_of_terms = student, head, modules
        self._terms = terms
        self._last: Batch | None = None

    def forward(
        self, pictures: Tensor, labels: Tensor, numbers: Tensor, teacher: tuple[Tensor, ...], teacher_logits: Tensor, progress: float
    ) -> dict[str, Tensor]:  # fmt: skip
        """Return the losses. `teacher`: its embedding, then its maps."""
        seen = self.student(pictures)
        with torch.autocast(pictures.device.type, enabled=False):
            # Margins and temperatures need float32, whatever the network computes in.
            embedding = seen.embedding.float()
            logits = self.head(embedding)
            classes = self.head.loss(logits, labels)
            self._last = Batch(
                labels, numbers, Seen(teacher[0].float(), teacher[1:]), Seen(embedding, seen.maps), teacher_logits,
                logits, progress,
            )  # fmt: skip
            distilled, parts = self._terms.weighted(self._last, self.modules_of_terms)
        return {"loss": classes + distilled, "class": classes.detach(), **parts}

    def after_step(self) -> None:
        """Tell the terms that the optimiser has stepped."""
        if self._last is not None:
            self._terms.after_step(self._last, self.modules_of_terms)
            self._last = None


@dataclass(frozen=True, eq=False)
class Learnt:
    """What a training ends with: the student and its head, in evaluation mode, and how it ended.

    `floors`: what relational terms are while they tell nothing apart, by name.
    """

    student: Recogniser
    head: Head
    trained: Trained
    floors: Mapping[str, float]


def fit_student(
    run: Run, settings: Settings, pictures: Pictures, labels: np.ndarray, *, classes: int, views: Views,
    teacher_head: Head | None, identity: Any,
) -> Learnt:  # fmt: skip
    """Train a student.

    Args:
        run: the run.
        settings: how low resolution comes about, the network, its head, its training, and what it imitates.
        pictures, labels: of the training set, in high resolution; labels int64 (n,).
        classes: of the labels.
        views: the teacher's.
        teacher_head: the teacher's classifier; None: no term compares answers.
        identity: JSON that names the data and the teacher.

    Raises:
        BadInput: settings and data do not fit.
        RunFailed: the training diverged.
    """
    channels = pictures.read([0]).shape[1]
    recipe, terms, degradation = settings.recipe, settings.terms, settings.degradation
    student = settings.student.fresh(side=settings.side, channels=channels, seed=run.seed_for("student"))
    with seeded(run.seed_for("student head")):
        head = Head(settings.head, length=student.embedding_length, classes=classes)
    sizes = Sizes(
        teacher=views.embedding_length, student=student.embedding_length, teacher_maps=views.maps, student_maps=student.maps,
        classes=classes, records=len(labels),
    )  # fmt: skip
    modules = terms.build(sizes, run.seed_for("terms"))
    model = Distiller(student, head, terms, modules).to(run.device)
    loader = training_batches(run, pictures, labels, recipe)
    clock = Clock(recipe.epochs * len(loader))
    optimizer = TwoSteps([*student.parameters(), *head.parameters()], own_parameters(modules), recipe)
    answers = None if teacher_head is None else teacher_head.to(run.device)

    def loss(prepared: nn.Module, batch: Numbered) -> dict[str, Tensor]:
        numbers, truth, pixels = batch
        # One number of the training's stream seeds the draws, so a resumed training draws what it would have drawn.
        generator = Generator().manual_seed(int(torch.randint(2**62, (1,))))
        draw = recipe.augmentation.draw(len(pixels), generator)
        with torch.no_grad(), torch.autocast(run.device.type, enabled=False):
            high = augmented(pixels, draw)
            seen = views(numbers, draw, high)
            logits = high.new_zeros(len(truth), classes) if answers is None else answers(seen.embedding.float())
            low = degradation(high, generator if degradation.random else None)
        return dict(prepared(low, truth, numbers, (seen.embedding, *seen.maps), logits, clock.progress))

    def stepped(step: int) -> None:
        clock.done = step
        model.after_step()

    inputs = {
        "network": asdict(settings.student), "head": asdict(settings.head), "recipe": asdict(recipe), "terms": asdict(terms),
        "degradation": asdict(degradation), "of": identity,
    }  # fmt: skip
    trained = train(
        run, model, loss, loader, optimizer, epochs=recipe.epochs, name=NAME, scheduler_every="step",
        scheduler=recipe.scheduler(optimizer, clock.steps), after_step=stepped, extras={"clock": clock}, inputs=inputs,
    )  # fmt: skip
    if run.world.size > 1:
        # Each process has running statistics of its own; all go on with the first one's, which it kept at the end.
        kept = run.restore(NAME)
        assert kept is not None
        model.load_state_dict(kept["model"])
    floors = {name: term.floor for name, term in modules.items() if isinstance(term, RelationalContrast)}
    return Learnt(student.eval().requires_grad_(False), head.eval().requires_grad_(False), trained, floors)
