"""A student under a shift of its test pictures, as it is and after FaceBN; of both pictures of a pair, or of the probe alone.

A picture that is enrolled is often a good one, and the one that asks is taken in the dark. Then each side needs statistics of its own
(`TwoSided`); a pooled set, told beside it, is neither side's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import Generator, Tensor, cat

from ...platform.data.degradation import Degradation
from ...platform.data.faces import FaceData
from ...platform.data.shifts import SHIFTS
from ...platform.training.outcome import Metric
from ...platform.training.run import Run
from .aird.face_bn import AdaptedModel, TwoSided, adapt_bn
from .judging import Gallery, Judged, Judging, judge, prefixed
from .looking import Look, embedded, some_pictures
from .networks import Recogniser

SHIFT_COLUMNS = ("shift", "accuracy", "deviation", "tar_at_far_0.1")
CURVE_COLUMNS = ("shift", "faces", "accuracy", "change")
TAR_NEEDS = 100  # impostor pairs, for a TAR at FAR 0.1


@dataclass(frozen=True, eq=False)
class ShiftTest:
    """One run's test pictures under shifts. `low`: what the student's input is made by."""

    run: Run
    data: FaceData
    judging: Judging
    low: Degradation
    gallery: Gallery | None

    def look(self, shift: str | None = None) -> Look:
        """How the student sees pictures under a shift; None: none."""
        return Look(self.low, shift, self.judging.level, self.run.seed_for("test", shift or "none"))

    def plain(self, student: Any, shift: str | None = None) -> Judged:
        """The student as it is."""
        if not self._apart(shift):
            return self._judged(student, self.look(shift))
        return self._judged(student, self.look(), student, self.look(shift))

    def adapted(
        self, student: Recogniser, shift: str | None = None, *, faces: int | None = None
    ) -> tuple[Judged, tuple[str, ...]]:
        """After FaceBN on so many pictures of each side (None: `judging.adapt_faces`), and what there is to say about it."""
        if not self._apart(shift):
            whole = self._pictures(self._all, self.look(shift), faces)
            model = self._adapt(student, whole)
            return self._judged(model.model, self.look(shift)), tuple(model.notes)
        sides = [self._pictures(numbers, self.look(name), faces) for numbers, name in self._sides(shift)]
        two = TwoSided.adapt(student, *sides, **self._settings())
        found = self._judged(two.gallery.model, self.look(), two.probe.model, self.look(shift))
        return found, (*two.gallery.notes, *two.probe.notes)

    def pooled(self, student: Recogniser, shift: str) -> Judged:
        """Where sides differ: after FaceBN on the pictures of both."""
        both = [self._pictures(numbers, self.look(name), None) for numbers, name in self._sides(shift)]
        model = self._adapt(student, cat(both)).model
        return self._judged(model, self.look(), model, self.look(shift))

    def table(self, student: Recogniser) -> tuple[dict[str, Metric], tuple[tuple[object, ...], ...]]:
        """Accuracy under each shift: metrics by name, and rows of `SHIFT_COLUMNS`."""
        metrics: dict[str, Metric] = {}
        rows: list[tuple[object, ...]] = []
        for name in self.judging.shifts:
            found = {"": self.plain(student, name)}
            if self.judging.adapt != "none":
                found["adapted"] = self.adapted(student, name)[0]
                if self._apart(name):
                    found["pooled"] = self.pooled(student, name)
            for way, judged in found.items():
                metrics |= few(judged, f"{name}_{way}_" if way else f"{name}_")
                tar = judged.verification.at_far(0.1).tar if self._impostors >= TAR_NEEDS else float("nan")
                words = SHIFTS[name].in_words(self.judging.level)
                words += ", probes alone" if self._apart(name) else ""
                words += {"": "", "adapted": ", FaceBN", "pooled": ", FaceBN on both sides together"}[way]
                rows.append((words, judged.verification.mean, judged.verification.deviation, tar))
        return metrics, tuple(rows)

    def curve(self, student: Recogniser) -> tuple[tuple[object, ...], ...]:
        """Accuracy over the number of faces that FaceBN saw (of each side), without and under each shift: rows of `CURVE_COLUMNS`."""
        rows: list[tuple[object, ...]] = []
        if self.judging.adapt_curve:
            for name in (None, *self.judging.shifts):
                plain = self.plain(student, name).verification.mean
                for faces in self.judging.adapt_curve:
                    score = self.adapted(student, name, faces=faces)[0].verification.mean
                    rows.append((name or "none", min(faces, len(self.data.test)), score, score - plain))
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
        return {"mode": judging.adapt, "prior": judging.prior, "guard": judging.guard, "generator": drawn}

    def _adapt(self, student: Recogniser, pictures: Tensor) -> AdaptedModel:
        return adapt_bn(student, pictures, **self._settings())


def few(judged: Judged, prefix: str) -> dict[str, Metric]:
    """Accuracy and equal error rate, under longer names."""
    metrics = judged.metrics(())
    return prefixed({name: metrics[name] for name in ("accuracy", "eer")}, prefix)
