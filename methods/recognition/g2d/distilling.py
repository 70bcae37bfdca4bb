"""The second stage: the reformer learns how a general recogniser sees faces without masks.

The recogniser (teacher) looks at the bare face, the reformer at the descriptor of the masked one. No identity is used: the loss
asks that unit embeddings lie to one another as the teacher's do (distances of pairs and angles of triplets, RKD, Park et al. 2019),
and that each points where the teacher's points. The published formula could not be read; this one is ours, after the group's earlier
distillation by instances, pairs and triplets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from ....platform.errors import BadInput
from ....platform.privacy.validate import non_negative
from ....platform.training.loop import Trained, train
from ....platform.training.run import Run
from ..baselines.rkd import angle_difference, distance_difference
from ..heads import Head
from .batches import FaceBatches
from .mask_map import MaskMap
from .networks import Encoder
from .reformer import Reformer
from .training import Training, row_batches

LEAST_BATCH = 8
CHECKED = 128


@dataclass(frozen=True)
class Relations:
    """Weights of the relation loss.

    Args:
        distance, angle: of RKD's two terms.
        cosine: of 1 - cosine between the teacher's embedding and the student's, which is first mapped to its length if they differ.
    """

    distance: float = 25.0
    angle: float = 50.0
    cosine: float = 20.0

    def __post_init__(self) -> None:
        non_negative(distance=self.distance, angle=self.angle, cosine=self.cosine)

    def loss(self, teacher: Tensor, embedding: Tensor, mapped: Tensor) -> dict[str, Tensor]:
        """The parts and their weighted sum, "relation".

        Args:
            teacher: embeddings (B, Dt).
            embedding: the student's (B, Ds).
            mapped: those mapped to (B, Dt).
        """
        theirs, ours = functional.normalize(teacher.float(), dim=1), functional.normalize(embedding.float(), dim=1)
        parts = {
            "distance": distance_difference(theirs, ours),
            "angle": angle_difference(theirs, ours),
            "cosine": 1 - functional.cosine_similarity(mapped.float(), theirs, dim=1).mean(),
        }
        total = self.distance * parts["distance"] + self.angle * parts["angle"] + self.cosine * parts["cosine"]
        return {"relation": total, **parts}


@dataclass(frozen=True)
class Distilling:
    """Settings of the stage.

    Args:
        training: of it.
        relations: the loss.
        classes: weight of a class loss beside it, for baselines; its head is then thrown away. 0 (G2D): no labels enter.
    """

    training: Training = field(default_factory=lambda: Training(batch_size=64, weight_decay=5e-4))
    relations: Relations = field(default_factory=Relations)
    classes: float = 0.0

    def __post_init__(self) -> None:
        non_negative(classes=self.classes)
        if self.training.batch_size < LEAST_BATCH:
            raise BadInput(
                f"distilling.training.batch_size is {self.training.batch_size}",
                why="relations are between the faces of a batch",
                mend=f"use {LEAST_BATCH} or more",
            )


class Student(nn.Module):
    """What is trained: the reformer, a map to the teacher's length, and perhaps an encoder and a head.

    Args:
        encoder: None where it is frozen; descriptors are then given instead of pictures and maps.
        reformer: of embeddings (B, Ds).
        teacher_length: Dt; the linear map is only there if it is not Ds, and is thrown away after the training.
        head: of classes; None: no labels are learnt.
    """

    def __init__(self, encoder: Encoder | None, reformer: Reformer, teacher_length: int, head: Head | None) -> None:
        super().__init__()
        self.encoder, self.reformer, self.head = encoder, reformer, head
        length = reformer.embed.out_features
        self.map: nn.Module = (
            nn.Identity() if length == teacher_length else nn.Linear(length, teacher_length, bias=False)
        )

    def forward(self, seen: Tensor, told: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Embeddings, mapped embeddings, and the head's logits where there is one."""
        if self.encoder is not None:
            assert told is not None
            seen = self.encoder(seen, told)
        embedding = self.reformer(seen)
        return embedding, self.map(embedding), None if self.head is None else self.head(embedding)


@dataclass(frozen=True, eq=False)
class Lessons:
    """What is learnt from: faces, and the teacher's embeddings (n, 2, Dt) of them and of their mirror images."""

    faces: FaceBatches
    taught: Tensor

    def taught_for(self, rows: Tensor, mirrored: Tensor) -> Tensor:
        """The teacher's embeddings (B, Dt) of a batch."""
        return self.taught.to(rows.device)[rows, mirrored.long()]


def train_student(
    run: Run, student: Student, frozen: Encoder | None, maps: MaskMap, lessons: Lessons, checked: Lessons, *, name: str,
    training: Training, relations: Relations, relation_weight: float = 1.0, classes: float, inputs: object,
) -> Trained:  # fmt: skip
    """Train in place; `frozen` is the encoder where the student has none. After each epoch the loss of `checked` faces is logged.

    Raises:
        BadInput: a process would see too few faces of a batch.
    """
    if training.batch_size < LEAST_BATCH * run.world.size:
        raise BadInput(
            f"batches of {training.batch_size} for {run.world.size} processes",
            why=f"relations are between the faces that one process sees, at least {LEAST_BATCH}",
            mend="raise method.distilling.training.batch_size, or use fewer workers",
        )
    faces, who = lessons.faces, lessons.faces.identities.to(run.device)
    loader = row_batches(run, len(faces), training.batch_size)
    optimizer, scheduler = training.start(student.parameters(), training.epochs * len(loader))

    def loss(model: nn.Module, rows: Tensor) -> Mapping[str, Tensor]:
        batch = faces.draw(rows, device=run.device)
        told = maps.in_training(batch)
        if frozen is None:
            embedding, mapped, logits = model(batch.seen, told)
        else:
            with torch.no_grad():
                descriptor = frozen(batch.seen, told)
            embedding, mapped, logits = model(descriptor)
        parts = relations.loss(lessons.taught_for(batch.rows, batch.mirrored), embedding, mapped)
        total = relation_weight * parts["relation"]
        if student.head is not None:
            parts["class"] = student.head.loss(logits.float(), who[batch.rows])
            total = total + classes * parts["class"]
        return {"loss": total, **parts}

    def look(model: nn.Module) -> Mapping[str, float]:
        return {
            "checked_relation": relation_of(student, frozen, maps, checked, relations, seed=run.seed_for("checked"))
        }

    return train(
        run, student, loss, loader, optimizer, epochs=training.epochs, name=name, scheduler=scheduler,
        scheduler_every="step", clip_norm=training.clip_norm, evaluate=look, inputs=inputs,
    )  # fmt: skip


@torch.no_grad()
def relation_of(
    student: Student, frozen: Encoder | None, maps: MaskMap, checked: Lessons, relations: Relations, *, seed: int
) -> float:
    """The relation loss of the first 128 of some faces, all masked, as one batch; the student is left in evaluation."""
    student.eval()
    device = student.reformer.embed.weight.device
    embeddings, mapped, taught = [], [], []
    for batch in checked.faces.fixed(seed, device=device, most=CHECKED):
        told = maps(batch.seen)
        shown = student(batch.seen, told) if frozen is None else student(frozen(batch.seen, told))
        embeddings.append(shown[0])
        mapped.append(shown[1])
        taught.append(checked.taught_for(batch.rows, batch.mirrored))
    return float(relations.loss(torch.cat(taught), torch.cat(embeddings), torch.cat(mapped))["relation"])
