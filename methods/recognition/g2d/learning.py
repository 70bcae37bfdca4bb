"""All trainings of a run in their order, each kept, each with the modules before it frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ....platform.data.face_masks import MaskMaker
from ....platform.data.faces import FaceData
from ....platform.errors import BadInput
from ....platform.training.outcome import Metric
from ....platform.training.run import Run
from ....platform.training.seeds import seeded
from ..embedding import embed
from ..heads import Head
from ..kept import kept_beside, weights_hash
from ..preparing import Prepared
from ..teacher import CentredTeacher
from .batches import FaceBatches
from .checks import drawing_errors, mean_face
from .classifying import classified, train_classifier
from .distilling import LEAST_BATCH, Lessons, Student, relation_of, train_student
from .inpainting import Inpainter, train_inpainter
from .mask_map import overlap
from .pictures import inpainting_sheet, map_sheet
from .saved import INPAINTING, load_inpainter, write_inpainter
from .segmentation import train_segmenter
from .settings import Settings
from .stages import Modules, fresh_modules, held, kept_stage

DRAWN = "mean absolute error in what masks hide, colours from 0 to 1"


@dataclass
class Found:
    """What a run finds on its way."""

    metrics: dict[str, Metric] = field(default_factory=dict)
    baselines: dict[str, Mapping[str, Metric]] = field(default_factory=dict)
    artefacts: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Learner:
    """The stages of one run.

    Raises:
        BadInput: there are too few training faces.
    """

    def __init__(self, own: Settings, data: FaceData, run: Run, prepared: Prepared) -> None:
        self._own, self._data, self._run, self._taught_by = own, data, run, prepared.identity
        self._device, self._seed = run.device, run.seed_for("checked")
        self._teacher = prepared.shown
        self.found = Found(notes=list(prepared.notes))
        learnt, checked = split(data, own.validation, seed=run.seed_for("validation"))
        # Under the name and inputs by which the other methods keep them, so that runs side by side share them.
        embedded = kept_beside(
            run, "teacher-embeddings", lambda: embed(run, prepared.teacher, data.train.pictures, lambda pictures: pictures),
            {"teacher": prepared.weights, "data": data.train.content_hash()},
        )  # fmt: skip
        taught = torch.from_numpy(np.asarray(embedded))
        if isinstance(prepared.shown, CentredTeacher):
            taught = taught - prepared.shown.centre.cpu()
        self._lessons, self._checks = (self._part(numbers, taught) for numbers in (learnt, checked))
        self._shared = self._shared_inputs()
        self.found.notes.append(
            f"{len(learnt)} faces of {data.train.people} people are learnt from; {len(checked)} of theirs say how the stages went"
        )

    def learn(self) -> Modules:
        """Train, or find, everything."""
        own = self._own
        modules = fresh_modules(self._run, own.network, own.mask_map)
        if own.mask_map == "predicted":
            self._learn_maps(modules)
        if own.encoder == "pretrained":
            self._inpaint(modules)
        student = self._distil(modules)
        head = self._classify(modules)
        if own.joint.epochs:
            self._refine(modules, student, head)
        return modules

    def _part(self, numbers: np.ndarray, taught: torch.Tensor) -> Lessons:
        own = self._own
        faces = FaceBatches(
            self._data.train, numbers, own.masks, size=own.size, unmasked=own.unmasked, resampler=own.resampler,
            augmentation=own.augmentation,
        )  # fmt: skip
        return Lessons(faces, taught[numbers])

    def _shared_inputs(self) -> dict[str, Any]:
        """What every stage depends on, beside its own settings and the modules before it."""
        own = self._own
        return {
            "data": self._data.train.content_hash(), "size": own.size, "validation": own.validation, "unmasked": own.unmasked,
            "masks": masks_in_words(own.masks), "resampler": asdict(own.resampler), "augmentation": asdict(own.augmentation),
            "mask_map": own.mask_map, "network": asdict(own.network),
        }  # fmt: skip

    def _learn_maps(self, modules: Modules) -> None:
        own, run, segmenter = self._own, self._run, modules.maps.segmenter
        assert segmenter is not None
        inputs = {**self._shared, "training": asdict(own.segmenter)}

        def work() -> dict[str, float]:
            train_segmenter(run, segmenter, self._lessons.faces, own.segmenter, inputs=inputs)
            segmenter.eval()
            return {"overlap": overlap(modules.maps, self._checks.faces, seed=self._seed, device=self._device)}

        figures = kept_stage(run, "segmenter", {"segmenter": segmenter}, work, inputs)
        self.found.metrics["mask_overlap"] = Metric(figures["overlap"], "intersection over union", "higher")

    def _inpaint(self, modules: Modules) -> None:
        own, run, found = self._own, self._run, self.found
        faces, checks, teacher = self._lessons.faces, self._checks.faces, self._teacher
        inpainter = Inpainter(modules.encoder, modules.decoder)
        if own.inpainting.start is not None:
            load_inpainter(Path(own.inpainting.start), inpainter)
        inputs = {
            **self._shared, "inpainting": asdict(own.inpainting), "maps": weights_hash(modules.maps),
            "start": weights_hash(inpainter), "teacher": self._taught_by if own.inpainting.perceptual else None,
        }  # fmt: skip

        def work() -> dict[str, float]:
            mean = mean_face(self._data.train, torch.from_numpy(faces.numbers), own.resampler, own.size)
            with held(maps=modules.maps, teacher=teacher):
                train_inpainter(run, inpainter, modules.maps, faces, own.inpainting, teacher=teacher, inputs=inputs)
            return drawing_errors(inpainter, modules.maps, checks, mean, seed=self._seed, device=self._device)

        figures = kept_stage(run, "inpainting", {"inpainter": inpainter}, work, inputs)
        found.metrics["inpainting_error"] = Metric(figures["drawn"], DRAWN, "lower")
        if figures["drawn"] >= figures["mean_fill"]:
            found.notes.append(
                f"the first stage did not learn: it draws what masks hide with an error of {figures['drawn']:.3f}, where the mean "
                f"visible colour has {figures['mean_fill']:.3f}; all later stages rest on it. Try a lower "
                "method.inpainting.training.learning_rate, or more epochs"
            )
        found.baselines["mean visible colour"] = {"inpainting_error": Metric(figures["mean_fill"], DRAWN, "lower")}
        found.baselines["mean face"] = {"inpainting_error": Metric(figures["mean_face"], DRAWN, "lower")}
        if run.world.first:
            write_inpainter(run.folder, inpainter)
        found.artefacts["inpainting"] = INPAINTING
        self._show(modules, inpainter)

    def _distil(self, modules: Modules) -> Student:
        own, run, settings = self._own, self._run, self._own.distilling
        first = None if own.encoder == "end_to_end" else modules.encoder
        length = self._lessons.taught.shape[-1]
        with seeded(run.seed_for("g2d", "student")):
            head = self._head() if settings.classes else None
            student = Student(modules.encoder if first is None else None, modules.reformer, length, head).to(run.device)
        inputs = {
            **self._shared, "distilling": asdict(settings), "encoder": [own.encoder, weights_hash(modules.encoder)],
            "maps": weights_hash(modules.maps), "teacher": self._taught_by,
            "head": asdict(own.classifying.head) if settings.classes else None,
        }  # fmt: skip

        def loss_now() -> float:
            return relation_of(student, first, modules.maps, self._checks, settings.relations, seed=self._seed)

        def work() -> dict[str, float]:
            with held(maps=modules.maps, encoder=first):
                before = loss_now()
                train_student(
                    run, student, first, modules.maps, self._lessons, self._checks, name="distilling",
                    training=settings.training, relations=settings.relations, classes=settings.classes, inputs=inputs,
                )  # fmt: skip
                return {"before": before, "after": loss_now()}

        figures = kept_stage(run, "distilling", {"student": student}, work, inputs)
        self.found.metrics["relation_loss"] = Metric(figures["after"], "loss on masked faces kept apart", "lower")
        self.found.metrics["relation_loss_before"] = Metric(figures["before"], "the same, before the stage")
        return student

    def _classify(self, modules: Modules) -> Head:
        own, run, training = self._own, self._run, self._own.classifying.training
        with seeded(run.seed_for("g2d", "classifier")):
            head = self._head().to(run.device)
        inputs = {
            **self._shared,
            "classifying": asdict(own.classifying),
            "recogniser": weights_hash(modules.recogniser),
        }

        def work() -> dict[str, float]:
            with held(recogniser=modules.recogniser):
                train_classifier(run, head, modules.recogniser, self._lessons.faces, training, inputs=inputs)
            return {}

        kept_stage(run, "classifier", {"head": head}, work, inputs)
        self._say_classified(modules, head)
        return head

    def _refine(self, modules: Modules, student: Student, head: Head) -> None:
        """The joint stage: reformer and classifier, by labels and relations."""
        own, run = self._own, self._run
        joint = Student(None, modules.reformer, self._lessons.taught.shape[-1], head).to(run.device)
        joint.map.load_state_dict(student.map.state_dict())
        training = own.joint.training_after(own.distilling.training)
        inputs = {
            **self._shared, "joint": asdict(own.joint), "relations": asdict(own.distilling.relations),
            "training": asdict(training), "recogniser": weights_hash(modules.recogniser), "head": weights_hash(head),
            "teacher": self._taught_by,
        }  # fmt: skip

        def work() -> dict[str, float]:
            with held(maps=modules.maps, encoder=modules.encoder):
                train_student(
                    run, joint, modules.encoder, modules.maps, self._lessons, self._checks, name="joint", training=training,
                    relations=own.distilling.relations, relation_weight=own.joint.relations, classes=1.0, inputs=inputs,
                )  # fmt: skip
            return {}

        kept_stage(run, "joint", {"joint": joint}, work, inputs)
        self._say_classified(modules, head)

    def _head(self) -> Head:
        embedding = self._own.network.reformer.embedding
        return Head(self._own.classifying.head, length=embedding, classes=self._data.train.people)

    def _say_classified(self, modules: Modules, head: Head) -> None:
        for name, masked in (("classifier_accuracy", False), ("classifier_masked_accuracy", True)):
            share = classified(
                head, modules.recogniser, self._checks.faces, masked=masked, seed=self._seed, device=self._device
            )
            self.found.metrics[name] = Metric(share, "fraction", "higher")

    @torch.no_grad()
    def _show(self, modules: Modules, inpainter: Inpainter) -> None:
        run, shown = self._run, self._own.judging.shown
        if not shown or not run.world.first:
            return
        batch = next(self._checks.faces.fixed(self._seed, device=self._device, most=shown))
        told = modules.maps(batch.seen)
        sheets = {"inpainting_sheet": inpainting_sheet(batch, inpainter(batch.seen, told))}
        if modules.maps.segmenter is not None:
            sheets["mask_map_sheet"] = map_sheet(batch, told)
        for name, sheet in sheets.items():
            self.found.artefacts[name] = str(run.image(name, sheet).relative_to(run.folder))


def split(data: FaceData, share: float, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of training faces that are learnt from, and of those kept apart, in an order of chance; everybody is learnt from.

    Raises:
        BadInput: one of them is too small.
    """
    faces, generator = data.train, np.random.default_rng(seed)
    kept: list[np.ndarray] = []
    apart: list[np.ndarray] = []
    for person in range(faces.people):
        own = generator.permutation(np.flatnonzero(faces.identities == person))
        held_out = min(round(share * len(own)), len(own) - 1)
        apart.append(own[:held_out])
        kept.append(own[held_out:])
    if faces.people < 2:
        raise BadInput(f"{faces.people} people to learn from", why="they are to be told apart", mend="give more people")
    learnt, checked = np.sort(np.concatenate(kept)), generator.permutation(np.concatenate(apart))
    for count, what in ((len(learnt), "are left to learn from"), (len(checked), "are kept apart to check the stages")):
        if count < LEAST_BATCH:
            raise BadInput(
                f"{count} of {len(faces)} training faces {what}", why=f"relations need {LEAST_BATCH}",
                mend="give more pictures of each person, or change method.validation",
            )  # fmt: skip
    return learnt, checked


def masks_in_words(masks: MaskMaker) -> dict[str, Any]:
    """The settings of synthetic masks, as JSON."""
    values = {one.name: getattr(masks, one.name) for one in fields(masks) if one.init}
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
