"""How well a detector tells forged videos from real ones: on families that it learned from, and on families that were held out.

Families that are among the training videos, but that this detector did not learn from (it made its own forgeries, or was trained
elsewhere), are neither: they are a third group. Held-out families are then the same for all methods on the same data.

Every figure is of videos, unless its name says clip. Intervals are bootstraps over identities: the videos of one person are not
independent of each other. The threshold of accuracies was fixed on the validation videos, and does not transfer to other data.

>>> threshold_of(np.array([-2.0, -1.0, 1.0, 3.0]), np.array([False, False, True, True]))
0.0
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from ....platform.data.videos import VideoSet
from ....platform.errors import BadInput
from ....platform.training.outcome import Metric
from ....platform.verification.bootstrap import Groups, Interval, auc_of, bootstrap
from ....platform.verification.roc import Roc, roc
from .scoring import ClipScores, video_scores
from .settings import Judging

SEEN, HELD_OUT, UNLEARNED = "seen", "held_out", "unlearned"
FAMILY_COLUMNS = (
    "family", "learned from", "videos", "auc", "auc_low", "auc_high", "eer", "average_precision", "accuracy", "clip_auc",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class GroupJudged:
    """Real videos against some forged ones.

    Args:
        name: of the group: seen, held_out, unlearned or a family.
        forged: how many forged videos there are, and `real` how many real ones.
        curve: of videos; `clip_auc` of clips.
        interval: of AUC; None: there are too few identities for one.
        accuracy: at the validation's threshold, and `accuracy_at_half` at a logit of 0 (or a probability of one half).
    """

    name: str
    forged: int
    real: int
    curve: Roc
    clip_auc: float
    interval: Interval | None
    accuracy: float | None
    accuracy_at_half: float

    def metrics(self) -> dict[str, Metric]:
        """The figures under their names."""
        found = {"auc": Metric(self.curve.auc, "area under the ROC curve of videos", "higher")}
        if self.interval is not None:
            found["auc_low"] = Metric(self.interval.low, "95 % interval over identities")
            found["auc_high"] = Metric(self.interval.high, "95 % interval over identities")
        if self.accuracy is not None:
            found["accuracy"] = Metric(self.accuracy, "fraction", "higher")
        return found | {
            "accuracy_at_half": Metric(self.accuracy_at_half, "fraction of videos", "higher"),
            "eer": Metric(self.curve.eer, "fraction of videos", "lower"),
            "average_precision": Metric(self.curve.average_precision, "mean precision over forged videos", "higher"),
            "clip_auc": Metric(self.clip_auc, "area under the ROC curve of clips", "higher"),
        }


@dataclass(frozen=True, eq=False)
class Judged:
    """All groups that can be judged, families among them, and remarks."""

    groups: Mapping[str, GroupJudged]
    families: Mapping[str, GroupJudged]
    held_out: tuple[str, ...]
    unlearned: tuple[str, ...]
    notes: tuple[str, ...]

    def metrics(self) -> dict[str, Metric]:
        """Figures of the run: of the groups, the mean AUC over held-out families, and each family's AUC."""
        found = {
            f"{group.name}_{name}": metric for group in self.groups.values() for name, metric in group.metrics().items()
        }
        unseen = [self.families[name].curve.auc for name in self.held_out if name in self.families]
        if unseen:
            found["held_out_mean_auc"] = Metric(float(np.mean(unseen)), "mean of the held-out families' AUC", "higher")
        for name, one in self.families.items():
            found[f"auc_{name}"] = Metric(one.curve.auc, "area under the ROC curve of videos", "higher")
        return found

    def table(self) -> list[tuple[object, ...]]:
        """A row for each family, as `FAMILY_COLUMNS` names them."""
        rows: list[tuple[object, ...]] = []
        for name, one in self.families.items():
            low, high = ("", "") if one.interval is None else (one.interval.low, one.interval.high)
            rows.append((
                name, "no" if name in self.held_out + self.unlearned else "yes", one.forged, one.curve.auc, low, high, one.curve.eer,
                one.curve.average_precision, "" if one.accuracy is None else one.accuracy, one.clip_auc,
            ))  # fmt: skip
        return rows


def judge(
    scores: ClipScores, videos: VideoSet, held_out: Collection[str], judging: Judging, *, threshold: float | None, seed: int,
    unlearned: Collection[str] = (),
) -> Judged:  # fmt: skip
    """Judge scores of test videos.

    Args:
        scores: of all clips of `videos`.
        videos: real and forged ones.
        held_out: families that occur among the test videos only, and were not learned from.
        judging: how a video's score is formed, and draws of the bootstrap.
        threshold: for accuracies; None: none was fixed.
        seed: of the bootstrap.
        unlearned: families that were not learned from either, although there are training or validation videos of them.

    Raises:
        BadInput: there is no real video, or no forged one.
    """
    if not videos.forged.any() or videos.forged.all():
        raise BadInput(
            f"{int(videos.forged.sum())} of {len(videos)} test videos are forged",
            why="a detector is judged on both kinds",
            mend="use data with real and forged test videos, or method.finetuning.mode=none",
        )
    values, notes = video_scores(scores, judging.score), list[str]()
    families = np.array(videos.families)
    real = np.flatnonzero(~videos.forged)

    def group(name: str, members: np.ndarray) -> GroupJudged:
        chosen = np.concatenate([real, np.flatnonzero(members & videos.forged)])
        truth = videos.forged[chosen]
        curve = roc(values[chosen], truth)
        of_clips = np.isin(scores.video, chosen)
        interval = None
        try:
            statistic = auc_of(values[chosen], truth)
            interval = bootstrap(statistic, Groups(videos.identities[chosen]), seed=seed, draws=judging.draws)
        except BadInput as error:
            notes.append(f"no interval for {name}: {error}")
        half = 0.0 if judging.score == "logit" else 0.5
        return GroupJudged(
            name, int(truth.sum()), len(real), curve,
            roc(scores.logit[of_clips], scores.labels(videos.forged)[of_clips]).auc, interval,
            None if threshold is None else curve.at(threshold).accuracy, curve.at(half).accuracy,
        )  # fmt: skip

    groups = {name: group(name, members) for name, members in sides_of(videos, held_out, unlearned).items()}
    notes += [f"no test forgery is {name.replace('_', ' ')}" for name in (SEEN, HELD_OUT) if name not in groups]
    if UNLEARNED in groups:
        notes.append(
            f"not learned from, though among the training or validation videos: {', '.join(unlearned)}; they are judged apart"
        )
    each = {name: group(name, families == name) for name in videos.forgeries}
    return Judged(groups, each, tuple(held_out), tuple(unlearned), tuple(notes))


def sides_of(videos: VideoSet, held_out: Collection[str], unlearned: Collection[str]) -> dict[str, np.ndarray]:
    """Which videos are forgeries of each group, bool (n,), without groups of which there are none."""
    families = np.array(videos.families)
    outside, apart = np.isin(families, list(held_out)), np.isin(families, list(unlearned))
    sides = {SEEN: ~(outside | apart) & videos.forged, HELD_OUT: outside, UNLEARNED: apart}
    return {name: members for name, members in sides.items() if members.any()}


def threshold_of(scores: np.ndarray, forged: np.ndarray) -> float:
    """The threshold with the best mean of both kinds' accuracies, half way between the two scores that it separates.

    Of equally good ones, the highest.
    """
    curve = roc(scores, forged)
    # Infinity, the first of the thresholds, accepts nothing: no threshold at all.
    best = int(np.argmax((curve.tar - curve.far)[1:])) + 1
    high = float(curve.thresholds[best])
    return (high + float(curve.thresholds[best + 1])) / 2 if best + 1 < len(curve.thresholds) else high


def robustness_rows(clean: float, measured: Mapping[tuple[str, int], float]) -> list[tuple[object, ...]]:
    """Rows of the robustness table: clean, each perturbation at each level, and its mean over levels."""
    rows: list[tuple[object, ...]] = [("none", "", clean, 0.0)]
    for kind in dict.fromkeys(kind for kind, _ in measured):
        levels = {level: value for (one, level), value in measured.items() if one == kind}
        rows += [(kind, level, value, value - clean) for level, value in sorted(levels.items())]
        mean = float(np.mean(list(levels.values())))
        rows.append((kind, "mean", mean, mean - clean))
    return rows
