"""Recognition of objects of few pixels: the loop of `method`, on labelled images, judged by test accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch

from ...platform.data.images import ImageData
from ...platform.privacy.statement import uncovered
from ...platform.training.files import write_json
from ...platform.training.outcome import Metric, Outcome
from ...platform.training.run import Run
from ..labelled import LabelledData, Preparation
from .answering import LabelledPictures, accuracy_of
from .learning import Learnt, fit_student
from .method import NOT_PRIVATE
from .preparing import Prepared, check_sizes, prepare_teacher
from .probing import probe
from .settings import ObjectSettings
from .writing import STUDENT, draw_learning, write_weights

CARD = "classifier.json"
FORMAT = "stillhouse classifier 1"


@dataclass(frozen=True)
class ObjectRecognition(ObjectSettings):
    """Teach a network to classify images of few pixels, and score it on test images of the same classes."""

    works_on: ClassVar[str] = "labelled"
    charges: ClassVar[bool] = False

    def fit(self, data: LabelledData, run: Run) -> Outcome:
        """Make ready the teacher, train the student, score both.

        Raises:
            BadInput: settings, teacher and data do not fit.
            RunFailed: a training diverged.
        """
        train = data.train
        assert train is not None  # It charges nothing, so it is given the records.
        check_sizes(self.degradation, train.shape[1:])
        pictures = LabelledPictures(train)
        identity = data.identity
        prepared = prepare_teacher(
            run, self.teacher, self.terms, self.head, pictures, train.labels, classes=train.classes, identity=identity
        )
        learnt = fit_student(
            run, self, pictures, train.labels, classes=train.classes, views=prepared.views, teacher_head=prepared.head,
            identity={"data": identity, "teacher": prepared.identity},
        )  # fmt: skip
        metrics = {
            "student_accuracy": Metric(
                accuracy_of(run, learnt.student, learnt.head, data.test, self.degradation), "fraction", "higher"
            )
        }
        notes = [*prepared.notes, f"images were brought {self.degradation.in_words()}"]
        if self.transfer.name:
            found, told = probe(run, learnt.student, self.transfer, self.degradation, train.shape)
            metrics["transfer_accuracy"] = Metric(found, "fraction", "higher")
            notes.append(told)
        baselines = self._baselines(run, prepared, data, train)
        artefacts: dict[str, str] = {}
        if run.world.first:
            artefacts = self._write(run.folder, learnt, data) | draw_learning(run.folder, learnt.floors)
        return Outcome(
            self.algorithm,
            metrics,
            uncovered(NOT_PRIVATE),
            artefacts=artefacts,
            baselines=baselines,
            notes=tuple(notes),
        )

    def preparations(self, data: LabelledData) -> list[Preparation]:
        """Nothing that could be done elsewhere before."""
        return []

    def _baselines(
        self, run: Run, prepared: Prepared, data: LabelledData, train: ImageData
    ) -> dict[str, Mapping[str, Metric]]:
        """The teacher's accuracy in high resolution and on what the student sees, where it has a classifier of its own."""
        if prepared.classifier is None:
            return {}
        small = replace(self.degradation, back_to=train.shape[1])
        looks = {"teacher in high resolution": None, "teacher on low resolution, brought up": small}
        return {
            name: {
                "accuracy": Metric(
                    accuracy_of(run, prepared.teacher, prepared.classifier, data.test, look), "fraction", "higher"
                )
            }
            for name, look in looks.items()
        }

    def _write(self, folder: Path, learnt: Learnt, data: LabelledData) -> dict[str, str]:
        model = torch.nn.ModuleDict({"recogniser": learnt.student, "head": learnt.head})
        write_weights(folder, model)
        card = {
            "format": FORMAT, "architecture": self.student.name, "embedding_length": self.student.embedding_length,
            "side": self.side, "channels": data.shape[0], "classes": data.classes, "head": learnt.head.kind,
            "preparation": self.degradation.in_words(), "weights": STUDENT,
        }  # fmt: skip
        write_json(folder / CARD, card)
        return {"student": STUDENT, "classifier": CARD}
