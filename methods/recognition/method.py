"""Recognition of faces of few pixels: CRRCD, AIRD and what they are compared with, as settings of one loop.

CRRCD: Zhang, Ge et al., "Cross-Resolution Relational Contrastive Distillation" (arXiv 2409.02555). AIRD: Zhang, Ge et al.,
"Low-Resolution Face Recognition via Adaptable Instance-Relation Distillation" (arXiv 2409.02049), whose formulas are reconstructed.
Baselines: see `baselines`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...platform.data.faces import FaceData
from ...platform.privacy.statement import uncovered
from ...platform.training.outcome import Outcome
from ...platform.training.run import Run
from .face_report import FaceReport
from .learning import fit_student
from .preparing import check_sizes, prepare_teacher
from .settings import FaceSettings
from .shifted import ShiftTest
from .writing import draw_learning

NOT_PRIVATE = "student and teacher learnt from records and who is on them, without noise"


@dataclass(frozen=True)
class FaceRecognition(FaceSettings):
    """Teach a network to recognise faces of few pixels, and score it on people that it has never seen."""

    works_on: ClassVar[str] = "faces"
    charges: ClassVar[bool] = False

    def fit(self, data: FaceData, run: Run) -> Outcome:
        """Check that the end can be reached; make ready the teacher, train the student, judge both.

        Raises:
            BadInput: settings, teacher and data do not fit.
            RunFailed: a training diverged.
        """
        check_sizes(self.degradation, data.train.size)
        test = ShiftTest.of(run, data, self)
        test.check(self.student.fresh(side=self.side, channels=3, seed=0))
        identity = data.train.content_hash()
        train = data.train
        prepared = prepare_teacher(
            run, self.teacher, self.terms, self.head, train.pictures, train.identities, classes=train.people, identity=identity
        )  # fmt: skip
        learnt = fit_student(
            run, self, train.pictures, train.identities, classes=train.people, views=prepared.views, teacher_head=prepared.head,
            identity={"data": identity, "teacher": prepared.identity},
        )  # fmt: skip
        report = FaceReport(self, test, prepared.teacher, prepared.weights)
        found = report.judged(learnt.student)
        artefacts: dict[str, str] = {}
        if run.world.first:
            artefacts = report.write(learnt, found) | draw_learning(run.folder, learnt.floors)
        return Outcome(
            self.algorithm, found.metrics, uncovered(NOT_PRIVATE), artefacts=artefacts, baselines=found.baselines,
            notes=(*prepared.notes, *found.notes),
        )  # fmt: skip
