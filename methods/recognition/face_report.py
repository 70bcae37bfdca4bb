"""Judging a student of faces beside its teacher, and what a run writes about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ...platform.data.degradation import Degradation
from ...platform.errors import BadInput
from ...platform.training.outcome import Metric
from ...platform.verification.bootstrap import PeopleOfPairs, Records, mean_of, paired_bootstrap
from ...platform.verification.roc import OperatingPoint, measurable
from .card import Card, licence_after
from .embedding import embed, templates
from .judging import CONFIDENCE, Judged, card_point, judge, said_of_folds
from .kept import kept_beside
from .learning import Learnt
from .looking import Look, embedded
from .networks import Recogniser
from .pairs_picture import pairs_picture
from .settings import FaceSettings
from .shifted import CURVE_COLUMNS, LAYER_COLUMNS, SHIFT_COLUMNS, Rows, ShiftTest, few
from .teacher import Teacher
from .writing import draw_resolutions, draw_roc, write_scores, write_table, write_weights

HIGH = "teacher in high resolution"
UP = "teacher on low resolution, brought up"
FACE_BN = "student, FaceBN"
REJECT_AREA = "mean error when pairs of short embeddings are left out, over that of a random choice"
LEFT_OUT = ("auc", "rank5", "rank20")  # of what is told of baselines


@dataclass(frozen=True, eq=False)
class Found:
    """What the judging found; `point` is the card's threshold, and what it does on the test pairs."""

    metrics: Mapping[str, Metric]
    baselines: Mapping[str, Mapping[str, Metric]]
    notes: tuple[str, ...]
    judged: Mapping[str, Judged]
    point: OperatingPoint | None = None
    least_quality: float | None = None
    shifted: Rows = ()
    curve: Rows = ()
    layers: Rows = ()
    resolutions: Mapping[str, list[tuple[int, float, float | None]]] = field(default_factory=dict)


class FaceReport:
    """One run's test: every network is shown the same pictures, and scored on the same pairs.

    Args:
        settings: of the method.
        test: of the run, whose every process takes part, and of its test pictures and pairs.
        teacher: frozen, on the run's device; `teacher_weights` (JSON) names them.
    """

    def __init__(self, settings: FaceSettings, test: ShiftTest, teacher: Teacher, teacher_weights: Any) -> None:
        self._settings, self._test = settings, test
        self._teacher, self._teacher_weights = teacher, teacher_weights
        self._data, self._run, self._low, self._gallery = test.data, test.run, test.low, test.gallery
        self._notes: list[str] = []

    def judged(self, student: Recogniser) -> Found:
        """Judge the student, and the teacher beside it.

        Raises:
            BadInput: there is nothing to verify, or FaceBN cannot be done.
        """
        judging = self._settings.judging
        judged = {"student": self._test.plain(student)}
        own = judged["student"].metrics(judging.fars)
        metrics = {
            "verification_accuracy": own.pop("accuracy"), "verification_deviation": own.pop("deviation"), **own,
        }  # fmt: skip
        if (curve := judged["student"].rejecting()) is not None:
            metrics["reject_area"] = Metric(curve.area / curve.area_at_random, REJECT_AREA, "lower")
        layers: Rows = ()
        if judging.adapt != "none":
            adapted = self._test.adapted(student)
            judged[FACE_BN], layers = adapted.judged, adapted.layer_rows()
            self._notes += adapted.notes
            metrics |= few(judged[FACE_BN], "adapted_")
        point, least = self._limits(judged["student"])
        under = self._test.table(student)
        metrics |= under.metrics
        judged[HIGH] = self._of_teacher(None)
        judged[UP] = self._of_teacher(self._low.size)
        told = {name: judged[name].metrics(judging.fars) for name in (HIGH, UP)}
        baselines = {
            name: {key: metric for key, metric in metrics.items() if key not in LEFT_OUT}
            for name, metrics in told.items()
        }
        for name in (HIGH, UP):
            self._compare(name, judged)
        left_out = [f"{far:g}" for far in judging.fars if far not in measurable(judging.fars, self._impostors())]
        if left_out:
            self._notes.append(
                f"no TAR at FAR {', '.join(left_out)}: {self._impostors():,} impostor pairs are too few (ten over the rate are needed)"
            )
        return Found(
            metrics, baselines, tuple(self._said()), judged, point, least, under.rows, self._test.curve(student),
            layers + under.layers, self._resolutions(student, judged),
        )  # fmt: skip

    def write(self, learnt: Learnt, found: Found) -> dict[str, str]:
        """Write weights, card, tables and pictures into the run's folder; give the artefacts by name. On one process."""
        folder, judging = self._run.folder, self._settings.judging
        write_weights(folder, learnt.student)
        self._card(found).write(folder)
        write_scores(folder, self._data, found.judged)
        artefacts = {"student": "student.safetensors", "card": "card.json", "pair_scores": "scores.safetensors"}
        artefacts |= draw_roc(folder, self._data.pairs.same, found.judged, self._low.in_words())
        for name, columns, rows in (
            ("shifts", SHIFT_COLUMNS, found.shifted),
            ("face_bn", CURVE_COLUMNS, found.curve),
            ("face_bn_layers", LAYER_COLUMNS, found.layers),
        ):
            if rows:
                write_table(folder / f"{name}.csv", columns, rows)
                artefacts[name] = f"{name}.csv"
        if found.resolutions:
            artefacts["resolutions"] = draw_resolutions(folder, found.resolutions, "accuracy over resolution")
        if judging.show_pairs:
            shown = pairs_picture(self._data, found.judged["student"], self._test.look().started(), judging.show_pairs)
            artefacts["pairs"] = str(self._run.image("pairs", shown).relative_to(folder))
        return artefacts

    def _of_teacher(self, side: int | None) -> Judged:
        """The teacher on whole pictures, or on pictures brought down to `side` pixels and up again."""
        whole = self._data.test.size[0]
        degradation = None if side is None else replace(self._low, size=side, back_to=whole)
        look = Look(degradation, seed=self._run.seed_for("test", "none"))
        test = self._data.test
        inputs = {
            "teacher": self._teacher_weights, "data": test.content_hash(), "side": side or whole,
            "degradation": None if degradation is None else asdict(degradation),
            "seed": look.seed if degradation is not None and degradation.random else None,
        }  # fmt: skip
        rows = kept_beside(
            self._run, "teacher-test", lambda: embed(self._run, self._teacher, test.pictures, look.started()), inputs
        )
        return judge(templates(rows, flip=self._settings.judging.flip), self._data, self._gallery)

    def _resolutions(
        self, student: Recogniser, judged: Mapping[str, Judged]
    ) -> dict[str, list[tuple[int, float, float | None]]]:
        sides = sorted(set(self._settings.judging.resolutions))
        if not sides:
            return {}
        whole = self._data.test.size[0]
        points: dict[str, list[tuple[int, float, float | None]]] = {"teacher": [], "student": []}
        for side in sides:
            found = self._of_teacher(side) if side < whole else judged[HIGH]
            points["teacher"].append((side, found.verification.mean, found.verification.deviation))
            # The student's own input is made from a picture that was brought to this resolution, and up again, before.
            seen = judged["student"] if side >= whole else self._through(student, side)
            points["student"].append((side, seen.verification.mean, seen.verification.deviation))
        return points

    def _through(self, student: Recogniser, side: int) -> Judged:
        first = replace(self._low, size=side, mode="paper", back_to=self._data.test.size[0])
        look: Any = _Through(first, self._test.look())
        rows = embedded(self._run, student, self._data.test.pictures, look, flip=self._settings.judging.flip)
        return judge(rows, self._data, self._gallery)

    def _compare(self, name: str, judged: Mapping[str, Judged]) -> None:
        """Say by how much the student is above or below a baseline, with a paired bootstrap on the test pairs."""
        pairs, test = self._data.pairs, self._data.test
        units: Any = Records(pairs.same)
        if test.identified:
            units = PeopleOfPairs(test.identities[pairs.first], test.identities[pairs.second])
        own, other = (mean_of(judged[one].verification.correct) for one in ("student", name))
        found = paired_bootstrap(own, other, units, seed=self._run.seed_for("bootstrap"))
        drawn = "people" if test.identified else "pairs"
        self._notes.append(
            f"student less {name}: {100 * found.value:+.1f} points of accuracy, 95 % interval {100 * found.low:+.1f} to "
            f"{100 * found.high:+.1f} (paired bootstrap over {drawn} of the test; no other seed was trained)"
        )

    def _limits(self, student: Judged) -> tuple[OperatingPoint | None, float | None]:
        """The card's threshold and least quality; a note says why there are none, where test pictures are not what a card prepares."""
        if self._low.mode != "paper":
            self._notes.append(
                f"the card sets no threshold and no least quality: test pictures were degraded by chance ({self._low.mode}), and "
                "whoever uses the card makes pictures small by its resampler alone"
            )
            return None, None
        point = card_point(student.verification.roc, self._settings.judging.fmr)
        return point, self._limit(student, point)

    def _limit(self, student: Judged, point: OperatingPoint | None) -> float | None:
        """The card's least quality, for its threshold; a note says what it does, or why there is none."""
        error = self._settings.judging.abstain_error
        if error is None:
            return None
        if point is None:
            self._notes.append(
                f"the card sets no least quality, since it has no threshold either: {self._impostors():,} impostor pairs are too few "
                f"for FMR {self._settings.judging.fmr:g}"
            )
            return None
        try:
            kept = student.least_quality(self._data.pairs.same, point.threshold, error)
        except BadInput as none:
            self._notes.append(f"the card sets no least quality, so everything is decided: {none}")
            return None
        self._notes.append(
            f"below a quality of {kept.threshold:.3g} nothing is decided: {100 * kept.coverage:.0f} % of the test pairs are, "
            f"{100 * kept.error:.1f} % of these wrongly at the card's threshold (at most {100 * kept.bound:.1f} % with confidence "
            f"{kept.confidence:g}, were pairs independent and mixed as these)"
        )
        return kept.threshold

    def _card(self, found: Found) -> Card:
        settings, point, train = self._settings, found.point, self._data.train
        return Card(
            settings.student.name, resolution=self._low.size, embedding_length=settings.student.embedding_length or 0,
            aligned=self._data.test.size[0], resampler=self._low.resampler, back_to=self._low.back_to, back_by=self._low.back_by,
            flipped=settings.judging.flip, threshold=None if point is None else point.threshold,
            fmr=None if point is None else point.fmr, held_fmr=None if point is None else settings.judging.fmr,
            confidence=None if point is None else CONFIDENCE, least_quality=found.least_quality,
            teacher=self._teacher.name, teacher_licence=self._teacher.licence,
            licence=licence_after(self._teacher.licence), data_sha256=self._data.content_hash(),
            trained_on=f"{self._data.name}, {len(train):,} pictures of {train.people:,} people, by {settings.algorithm}",
        )  # fmt: skip

    def _impostors(self) -> int:
        return int((~self._data.pairs.same).sum())

    def _said(self) -> list[str]:
        found = [f"test pictures were brought {self._low.in_words()}; the teacher's input {self._teacher.size} px"]
        found += said_of_folds(self._data)
        if self._gallery is None:
            found.append("nobody could be looked for: nobody has pictures of two media, or people are not known")
        if self._run.world.size > 1:
            found.append(
                f"{self._run.world.size} processes: batch norms and relations see each process's part of a batch"
            )
        return [*found, *self._notes]


@dataclass(frozen=True)
class _Through:
    """A look at pictures that were brought to another resolution and up again before."""

    first: Degradation
    then: Look

    def started(self) -> Callable[[Any], Any]:
        second = self.then.started()
        return lambda pictures: second(self.first(pictures))
