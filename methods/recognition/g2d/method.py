"""G2D: recognising faces behind masks by what an inpainting network has learnt to see there.

Ge et al., Masked Face Recognition with Generative-to-Discriminative Representations, ICML 2024, arXiv 2405.16761. Three modules are
trained one after the other and frozen: an encoder, by drawing what masks hide; a reformer of its descriptors, by the relations between
faces that a general recogniser sees without masks; a classifier, by labels. What of it is ours: `docs/g2d.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from ....platform.data.faces import FaceData, FaceImages
from ....platform.data.masked_faces import with_masks
from ....platform.errors import BadInput
from ....platform.privacy.statement import uncovered
from ....platform.training.outcome import Outcome
from ....platform.training.run import Run
from ....platform.verification.roc import OperatingPoint
from ..card import FILE as CARD
from ..card import STUDENT, Card, licence_after
from ..judging import CONFIDENCE, card_point, said_of_folds
from ..preparing import prepare_teacher
from ..teacher import Teacher
from ..terms import Terms
from .judging import Judged, embeddings, judge_real, judge_synthetic, really_masked
from .learning import Found, Learner
from .saved import ARCHITECTURE, write_recogniser
from .settings import Settings
from .stages import MaskedRecogniser
from .writing import prefixed, write_judged

NOT_PRIVATE = "the recogniser was learnt from faces and their labels without noise"
Embedded = Callable[[FaceImages], np.ndarray]


@dataclass(frozen=True)
class G2D(Settings):
    """Learn to recognise masked faces in three stages, or as the settings say; see `Settings`."""

    works_on: ClassVar[str] = "faces"
    charges: ClassVar[bool] = False

    def fit(self, data: FaceData, run: Run) -> Outcome:
        """Train stage by stage, then verify people that nothing was trained on, with masks and without.

        Raises:
            BadInput: settings and data do not fit.
            RunFailed: a training diverged, or a frozen module changed.
        """
        if not len(data.train):
            raise BadInput(
                f"{data.name} holds no faces to learn from", mend="give data.train=FOLDER, or data.faces=FOLDER"
            )
        if data.masks_put:
            raise BadInput(
                f"{data.masks_put:.0%} of the bare test faces of {data.name} wear a synthetic mask",
                why="G2D puts masks of its own on bare test faces, and would report these as real ones",
                mend="leave data.masked out",
            )
        train = data.train
        prepared = prepare_teacher(
            run, self.teacher, Terms(), self.classifying.head, train.pictures, train.identities, classes=train.people,
            identity=train.content_hash(), looked_at=True,
        )  # fmt: skip
        teacher = prepared.teacher
        learner = Learner(self, data, run, prepared)
        recogniser = learner.learn().recogniser
        found, mirror = learner.found, self.judging.mirror

        def ours(faces: FaceImages) -> np.ndarray:
            return embeddings(run, recogniser, faces, self._prepared, mirror=mirror)

        def theirs(faces: FaceImages) -> np.ndarray:
            return embeddings(run, teacher, faces, lambda pictures: pictures, mirror=mirror)

        found.notes += said_of_folds(data)
        masked = self._masked_copies(data) if data.test.wearers_known else None
        judged = self._judge(data, masked, ours, found)
        for name, one in judged.items():
            found.metrics |= {prefixed(name, key): metric for key, metric in one.metrics().items()}
        reference = self._judge(data, masked, theirs, Found())
        for name, one in reference.items():
            found.baselines[f"teacher, {name} masks"] = one.metrics()
        if run.world.first:
            self._write_card(data, run, recogniser, teacher, self._operating_point(judged))
            networks = {"recogniser": judged, f"teacher, {teacher.name}": reference}
            found.artefacts |= write_judged(run.folder, data, networks)
        found.artefacts |= {"student": STUDENT, "card": CARD}
        return Outcome(
            self.algorithm, found.metrics, uncovered(NOT_PRIVATE), artefacts=found.artefacts, baselines=found.baselines,
            notes=tuple(found.notes),
        )  # fmt: skip

    def _prepared(self, pictures: Tensor) -> Tensor:
        return self.resampler.resize(pictures, self.size)

    def _masked_copies(self, data: FaceData) -> FaceImages:
        # Not by the run's seed: runs of all seeds are scored on the same masks.
        return with_masks(data.test, self.masks, seed=data.protocol_seed).faces

    def _judge(self, data: FaceData, masked: FaceImages | None, embedded: Embedded, found: Found) -> dict[str, Judged]:
        """Verification behind synthetic masks, and behind real ones where the data know of any.

        `masked` are the test faces with synthetic masks; None: nobody knows who wears a real one, so pairs are verified as they are.
        """
        bare = embedded(data.test)
        if masked is None:
            found.notes.append(
                "the data do not say who wears a mask: all pairs are verified as they are; synthetic masks, kinds of pairs, ranks and "
                "the card's threshold, which is one of bare pairs, are left out"
            )
            return {"real": judge_real(data, bare)}
        real = really_masked(data.test)
        judged: dict[str, Judged] = {}
        try:
            judged["synthetic"] = judge_synthetic(data, bare, embedded(masked))
        except BadInput as error:
            if not real.any():
                raise
            found.notes.append(f"synthetic masks are not measured: {error}")
        if real.any():
            judged["real"] = judge_real(data, bare)
            if judged["real"].without_rows:
                found.notes.append(f"kinds of pairs with real masks are not measured: {judged['real'].without_rows}")
        elif data.test.masked is None:
            found.notes.append("the data name no masks: all test faces are taken to be bare")
        return judged

    def _operating_point(self, judged: dict[str, Judged]) -> OperatingPoint | None:
        """The threshold that is kept with the weights, set on bare pairs; None if there are too few of them."""
        bare = [row for one in judged.values() for row in one.rows if row.kind == "U-U"]
        return next((point for row in bare if (point := card_point(row.own.roc, self.judging.fmr)) is not None), None)

    def _write_card(
        self, data: FaceData, run: Run, recogniser: MaskedRecogniser, teacher: Teacher, point: OperatingPoint | None
    ) -> None:
        card = Card(
            ARCHITECTURE, resolution=self.size, embedding_length=recogniser.embedding_length, aligned=data.train.size[0],
            resampler=self.resampler, flipped=self.judging.mirror, threshold=point.threshold if point else None,
            fmr=point.fmr if point else None, held_fmr=self.judging.fmr if point else None,
            confidence=CONFIDENCE if point else None,
            teacher=teacher.name, teacher_licence=teacher.licence, licence=licence_after(teacher.licence),
            trained_on=f"{data.name}, seed {run.seed}", data_sha256=data.content_hash(),
        )  # fmt: skip
        write_recogniser(run.folder, recogniser, self.network, card)
