"""A student under a shift of its test pictures, as it is and after FaceBN; of both pictures of a pair, or of the probe alone.

A picture that is enrolled is often a good one, and the one that asks is taken in the dark. Then each side needs statistics of its own
(`TwoSided`); a pooled set, told beside it, is neither side's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import Generator, Tensor, cat, nn

from ...platform.data.degradation import Degradation
from ...platform.data.faces import FaceData
from ...platform.data.shifts import SHIFTS
from ...platform.errors import BadInput
from ...platform.training.outcome import Metric
from ...platform.training.run import Run
from .aird.bn_layers import LayerShift, bn_layers
from .aird.face_bn import AdaptedModel, TwoSided, adapt_bn
from .judging import Gallery, Judged, Judging, check_pairs, judge, prefixed
from .looking import Look, embedded, some_pictures
from .networks import Recogniser
from .settings import FaceSettings

SHIFT_COLUMNS = ("shift", "faces", "accuracy", "deviation", "tar_at_far_0.1")
CURVE_COLUMNS = ("shift", "faces", "accuracy", "change")
LAYER_COLUMNS = ("shift", "side", "layer", "channels", "shift in s.d.", "KL", "noise", "adapted")
TAR_NEEDS = 100  # impostor pairs, for a TAR at FAR 0.1
BATCH = 64  # of online: faces that arrive together
Rows = tuple[tuple[object, ...], ...]


@dataclass(frozen=True, eq=False)
class Adapted:
    """What FaceBN came to.

    Args:
        judged: the student after it.
        notes: what there is to say about it.
        faces: how many it saw; where each side has statistics of its own, of the side that had fewer.
        layers: how far each layer's statistics lay from the training's, by side: both; enrolled and probes; pooled.
    """

    judged: Judged
    notes: tuple[str, ...]
    faces: int
    layers: Mapping[str, tuple[LayerShift, ...]]

    @classmethod
    def of(cls, judged: Judged, models: Mapping[str, AdaptedModel]) -> Adapted:
        """From the adapted models by side."""
        return cls(
            judged,
            tuple(note for model in models.values() for note in model.notes),
            min(model.faces for model in models.values()),
            {side: model.diff() for side, model in models.items()},
        )

    def layer_rows(self, shift: str | None = None) -> Rows:
        """Rows of `LAYER_COLUMNS`, layers from early to late."""
        return tuple(
            (shift or "none", side, one.name, one.channels, one.shift, one.divergence, one.noise, one.adapted)
            for side, layers in self.layers.items()
            for one in layers
        )


@dataclass(frozen=True, eq=False)
class ShiftTable:
    """Accuracy under each shift: metrics by name, rows of `SHIFT_COLUMNS`, and of `LAYER_COLUMNS` where FaceBN was used."""

    metrics: Mapping[str, Metric]
    rows: Rows
    layers: Rows


@dataclass(frozen=True, eq=False)
class ShiftTest:
    """One run's test pictures under shifts. `low`: what the student's input is made by."""

    run: Run
    data: FaceData
    judging: Judging
    low: Degradation
    gallery: Gallery | None

    @classmethod
    def of(cls, run: Run, data: FaceData, settings: FaceSettings) -> ShiftTest:
        """The test of a student with these settings."""
        low = settings.degradation.at(settings.degradation.size)
        return cls(run, data, settings.judging, low, Gallery.of(data.test))

    def check(self, student: nn.Module) -> None:
        """Refuse, before anything is trained, what could only fail after it.

        Args:
            student: a network of the student's form.

        Raises:
            BadInput: pairs that cannot be verified, too few test faces for FaceBN, or a student without batch normalisation.
        """
        check_pairs(self.data)
        judging = self.judging
        if judging.adapt == "none":
            return
        bn_layers(student)
        sides = {"test faces": self._all}
        if judging.shifts and judging.shifted == "probes":
            sides |= zip(("enrolled faces", "probes"), (numbers for numbers, _ in self._sides(None)), strict=True)
        for name, numbers in sides.items():
            if len(numbers) < judging.fewest:
                raise BadInput(
                    f"{len(numbers)} {name} in {self.data.name}",
                    why=judging.fewest_in_words,
                    mend="give more test faces, or set method.judging.adapt=mix without a guard",
                )

    def look(self, shift: str | None = None) -> Look:
        """How the student sees pictures under a shift; None: none."""
        return Look(self.low, shift, self.judging.level, self.run.seed_for("test", shift or "none"))

    def plain(self, student: Any, shift: str | None = None) -> Judged:
        """The student as it is."""
        if not self._apart(shift):
            return self._judged(student, self.look(shift))
        return self._judged(student, self.look(), student, self.look(shift))

    def adapted(self, student: Recogniser, shift: str | None = None, *, faces: int | None = None) -> Adapted:
        """After FaceBN on so many pictures of each side at most (None: `judging.adapt_faces`)."""
        if not self._apart(shift):
            whole = self._pictures(self._all, self.look(shift), faces)
            model = self._adapt(student, whole)
            return Adapted.of(self._judged(model.model, self.look(shift)), {"both": model})
        enrolled, asked = (self._pictures(numbers, self.look(name), faces) for numbers, name in self._sides(shift))
        two = TwoSided.adapt(student, enrolled, asked, **self._settings())
        found = self._judged(two.gallery.model, self.look(), two.probe.model, self.look(shift))
        return Adapted.of(found, {"enrolled": two.gallery, "probes": two.probe})

    def pooled(self, student: Recogniser, shift: str) -> Adapted:
        """Where sides differ: after FaceBN on the pictures of both."""
        both = [self._pictures(numbers, self.look(name), None) for numbers, name in self._sides(shift)]
        model = self._adapt(student, cat(both))
        return Adapted.of(self._judged(model.model, self.look(), model.model, self.look(shift)), {"pooled": model})

    def table(self, student: Recogniser) -> ShiftTable:
        """Accuracy under each shift, as the student is and after FaceBN."""
        metrics: dict[str, Metric] = {}
        rows: list[tuple[object, ...]] = []
        layers: list[tuple[object, ...]] = []
        for name in self.judging.shifts:
            adapted: dict[str, Adapted] = {}
            if self.judging.adapt != "none":
                adapted["adapted"] = self.adapted(student, name)
                if self._apart(name):
                    adapted["pooled"] = self.pooled(student, name)
            found = {"": self.plain(student, name), **{way: one.judged for way, one in adapted.items()}}
            for way, judged in found.items():
                metrics |= few(judged, f"{name}_{way}_" if way else f"{name}_")
                tar = judged.verification.at_far(0.1).tar if self._impostors >= TAR_NEEDS else float("nan")
                words = SHIFTS[name].in_words(self.judging.level)
                words += ", probes alone" if self._apart(name) else ""
                words += {"": "", "adapted": ", FaceBN", "pooled": ", FaceBN on both sides together"}[way]
                faces = adapted[way].faces if way else None
                rows.append((words, faces, judged.verification.mean, judged.verification.deviation, tar))
            for one in adapted.values():
                layers += one.layer_rows(name)
        return ShiftTable(metrics, tuple(rows), tuple(layers))

    def curve(self, student: Recogniser) -> Rows:
        """Accuracy over the number of faces that FaceBN saw, without and under each shift: rows of `CURVE_COLUMNS`."""
        rows: list[tuple[object, ...]] = []
        if self.judging.adapt_curve:
            for name in (None, *self.judging.shifts):
                plain = self.plain(student, name).verification.mean
                for faces in self.judging.adapt_curve:
                    adapted = self.adapted(student, name, faces=faces)
                    score = adapted.judged.verification.mean
                    rows.append((name or "none", adapted.faces, score, score - plain))
        return tuple(rows)

    def _apart(self, shift: str | None) -> bool:
        return shift is not None and self.judging.shifted == "probes"

    def _sides(self, shift: str | None) -> tuple[tuple[np.ndarray, str | None], tuple[np.ndarray, str | None]]:
        """Numbers of the pictures that are enrolled and of those that ask, and each side's shift."""
        pairs, gallery = self.data.pairs, self.gallery
        enrolled, probes = (pairs.first, pairs.second)
        if gallery is not None:
            enrolled, probes = np.append(enrolled, gallery.enrolled), np.append(probes, gallery.probes)
        return (np.unique(enrolled), None), (np.unique(probes), shift)

    @cached_property
    def _all(self) -> np.ndarray:
        return np.arange(len(self.data.test.pictures))

    @cached_property
    def _impostors(self) -> int:
        return int((~self.data.pairs.same).sum())

    def _judged(self, network: Any, look: Look, probing: Any = None, probe_look: Look | None = None) -> Judged:
        flip, pictures = self.judging.flip, self.data.test.pictures
        rows = embedded(self.run, network, pictures, look, flip=flip)
        probes = None if probe_look is None else embedded(self.run, probing, pictures, probe_look, flip=flip)
        return judge(rows, self.data, self.gallery, probes)

    def _pictures(self, numbers: np.ndarray, look: Look, faces: int | None) -> Tensor:
        most = self.judging.adapt_faces if faces is None else faces
        return some_pictures(self.run, self.data.test.pictures, numbers, look, most)

    def _settings(self) -> dict[str, Any]:
        judging = self.judging
        drawn = Generator().manual_seed(self.run.seed_for("face-bn", "guard"))
        batch = {"batch": BATCH} if judging.adapt == "online" else {}
        return {"mode": judging.adapt, "prior": judging.prior, "guard": judging.guard, "generator": drawn, **batch}

    def _adapt(self, student: Recogniser, pictures: Tensor) -> AdaptedModel:
        return adapt_bn(student, pictures, **self._settings())


def few(judged: Judged, prefix: str) -> dict[str, Metric]:
    """Accuracy and equal error rate, under longer names."""
    metrics = judged.metrics(())
    return prefixed({name: metrics[name] for name in ("accuracy", "eer")}, prefix)
