"""Testing a detector and writing down what was found: scores, groups, robustness, timelines, the card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ....platform.data.clip_perturbations import PerturbedTracks
from ....platform.data.forgery_sheet import contact_sheet
from ....platform.data.videos import VideoData, VideoSet
from ....platform.training.files import write_text
from ....platform.training.outcome import Metric
from ....platform.training.run import Run
from ....platform.verification.roc import auc
from .card import FILE as CARD
from .card import WEIGHTS, DetectorCard, read_card
from .clips import clip_frames
from .judging import (
    FAMILY_COLUMNS,
    HELD_OUT,
    SEEN,
    UNLEARNED,
    Judged,
    judge,
    robustness_rows,
    sides_of,
    threshold_of,
)
from .model import Network
from .scoring import ClipScores, frame_difference, score_clips, timeline, video_scores
from .settings import NacoSettings
from .started import learned_families
from .writing import PLOT_WIDTH, clip_rows, draw_learning, draw_robustness, draw_roc, write_scores, write_table

SHEET_FRAMES = 8
NO_LEARNING = "frame difference, nothing learned"


@dataclass(frozen=True, eq=False)
class Tested:
    """What the test found; robustness is that of one group of families."""

    scores: ClipScores
    judged: Judged
    threshold: float | None
    calibrated_on: str
    baselines: Mapping[str, Mapping[str, Metric]]
    robustness: Mapping[tuple[str, int], float] = field(default_factory=dict)
    robust_on: str = SEEN
    notes: tuple[str, ...] = ()

    def metrics(self) -> dict[str, Metric]:
        """Figures of the run."""
        found = self.judged.metrics()
        for kind in dict.fromkeys(kind for kind, _ in self.robustness):
            mean = float(np.mean([value for (one, _), value in self.robustness.items() if one == kind]))
            found[f"auc_{self.robust_on}_under_{kind}"] = Metric(mean, "AUC of videos, mean over levels", "higher")
        return found


def examined(
    run: Run, settings: NacoSettings, network: Network, data: VideoData, validation: VideoSet | None
) -> Tested:
    """Score the test videos and judge the scores. Every process of the run takes part.

    Args:
        run: the run.
        settings: of the method.
        network: in evaluation mode, on the run's device.
        data: with its test part and what was held out.
        validation: what the threshold is set on, of both kinds; None: none is set.

    Raises:
        BadInput: the test videos are not of both kinds.
    """
    judging, notes = settings.judging, list[str]()
    threshold, calibrated = None, ""
    if validation is not None:
        scores = score_clips(run, network, validation, judging.max_frames)
        threshold = threshold_of(video_scores(scores, judging.score), validation.forged)
        made = set(validation.forgeries) - set(data.validation.forgeries)
        what = "made forgeries of real ones" if made else f"families {', '.join(validation.forgeries)}"
        calibrated = f"{len(validation)} validation videos of {data.name}, {what}"
    seed = run.seed_for("bootstrap")
    scores = score_clips(run, network, data.test, judging.max_frames)
    others = [family for family in data.test.forgeries if family not in learned_families(settings, data)]
    there = {*data.train.forgeries, *data.validation.forgeries}
    unlearned = tuple(family for family in others if family in there)
    held_out = tuple(family for family in others if family not in there)
    judged = judge(scores, data.test, held_out, judging, threshold=threshold, seed=seed, unlearned=unlearned)
    # Of what was learned, if anything was; otherwise of what there is.
    robust_on = next(name for name in (SEEN, UNLEARNED, HELD_OUT) if name in judged.groups)
    if scores.mirrored:
        notes.append(
            f"{scores.mirrored} of {scores.videos} test videos are shorter than a clip, and were mirrored at their ends"
        )
    return Tested(
        scores, judged, threshold, calibrated, {NO_LEARNING: _plain(data.test, judged, settings)},
        _robustness(run, settings, network, data.test, judged, robust_on), robust_on, (*judged.notes, *notes),
    )  # fmt: skip


def write_tested(run: Run, settings: NacoSettings, network: Network, data: VideoData, tested: Tested) -> dict[str, str]:
    """Write tables, curves and timelines into the run's folder; give the artefacts by name. On one process."""
    folder = run.folder
    write_table(folder / "families.csv", FAMILY_COLUMNS, tested.judged.table())
    artefacts = {"families": "families.csv", "clip_scores": write_scores(folder, data.test, tested.scores)}
    artefacts |= draw_roc(folder, tested.judged.groups, f"{settings.algorithm}, {data.name}")
    if tested.robustness:
        clean = tested.judged.groups[tested.robust_on].curve.auc
        columns = ("perturbation", "level", f"auc_{tested.robust_on}", "change")
        write_table(folder / "robustness.csv", columns, robustness_rows(clean, tested.robustness))
        artefacts["robustness"] = "robustness.csv"
        artefacts |= draw_robustness(folder, tested.robustness, clean, f"{tested.robust_on.replace('_', ' ')} families")
    artefacts |= draw_learning(folder)
    if settings.judging.show_frames and (data.test.source >= 0).any():
        sheet = contact_sheet(data.test, frames=min(SHEET_FRAMES, *map(data.test.tracks.frames, range(len(data.test)))))
        artefacts["forgeries"] = str(run.image("forgeries", sheet).relative_to(folder))
    return artefacts | _certain_and_not(run, settings, network, data.test, tested)


def write_card(
    run: Run, settings: NacoSettings, network: Network, data: VideoData, tested: Tested | None
) -> dict[str, str]:
    """Write the weights and their card; give the artefacts by name. On one process."""
    threshold, calibrated = (None, "") if tested is None else (tested.threshold, tested.calibrated_on)
    if settings.only_tested and settings.start is not None:
        card = replace(read_card(Path(settings.start)), threshold=threshold, calibrated_on=calibrated)
    else:
        card = _new_card(run, settings, data, threshold, calibrated, detects=tested is not None)
    card.write(run.folder, network)
    return {"detector": WEIGHTS, "card": CARD}


def _new_card(
    run: Run, settings: NacoSettings, data: VideoData, threshold: float | None, calibrated: str, *, detects: bool
) -> DetectorCard:  # fmt: skip
    train = data.train
    rates = [train.tracks.fps(number) for number in range(len(train))]
    real, people = int((~train.forged).sum()), len(np.unique(train.identities))
    return DetectorCard(
        settings.network, settings.clips, settings.judging.score, settings.judging.max_frames, detects, threshold, calibrated,
        f"{data.name}, {real} real videos of {people} identities, by {settings.algorithm}, seed {run.seed}",
        learned_families(settings, data), dict(data.preprocessing), train.tracks.side, (min(rates), max(rates)),
    )  # fmt: skip


def _plain(test: VideoSet, judged: Judged, settings: NacoSettings) -> dict[str, Metric]:
    """AUC of the mean frame difference, on each group of families."""
    values, found = frame_difference(test, settings.judging.max_frames), dict[str, Metric]()
    for name, members in sides_of(test, judged.held_out, judged.unlearned).items():
        chosen = ~test.forged | members
        area = auc(values[chosen], test.forged[chosen])
        found[f"{name}_auc"] = Metric(area, "area under the ROC curve of videos", "higher")
    return found


def _robustness(
    run: Run, settings: NacoSettings, network: Network, test: VideoSet, judged: Judged, group: str
) -> dict[tuple[str, int], float]:
    """AUC on a group of families, each video perturbed in the same way, by code and level."""
    judging = settings.judging
    kinds = judging.kinds
    if not kinds:
        return {}
    chosen = test.take(np.flatnonzero(~test.forged | sides_of(test, judged.held_out, judged.unlearned)[group]))
    found = {}
    with run.progress(len(kinds) * len(judging.levels), "perturbations") as bar:
        for kind in kinds:
            for level in judging.levels:
                tracks = PerturbedTracks(chosen.tracks, kind, level, run.seed_for("perturbation", kind))
                scores = score_clips(run, network, replace(chosen, tracks=tracks), judging.max_frames)
                found[kind, level] = auc(video_scores(scores, judging.score), chosen.forged)
                bar.advance()
    return found


def _certain_and_not(
    run: Run, settings: NacoSettings, network: Network, test: VideoSet, tested: Tested
) -> dict[str, str]:
    """Timelines (and frames, if asked for) of the videos that have the clips which the detector is most and least certain of."""
    from ....platform.report.chart import as_file
    from ....platform.report.timeline_plot import Timeline, timeline_plot

    artefacts: dict[str, str] = {}
    if not settings.judging.timelines:
        return artefacts
    centre = tested.threshold if tested.threshold is not None and settings.judging.score == "logit" else 0.0
    order = np.argsort(np.abs(tested.scores.logit - centre), kind="stable")
    for name, ranked in (("least_certain", order), ("most_certain", order[::-1])):
        clips, lines = _one_a_video(tested.scores, ranked)[: settings.judging.timelines], {}
        for clip in clips:
            number = int(tested.scores.video[clip])
            count = min(test.tracks.frames(number), settings.judging.max_frames)
            logits = timeline(network, test.tracks.read(number, np.arange(count)), precision=run.autocast)
            # By number: names of videos may be names of people.
            label = f"test video {number}, {test.families[number]}"
            lines[label] = Timeline(np.arange(count) / test.tracks.fps(number), logits)
        title = f"{name.replace('_', ' ').capitalize()} clips"
        drawn = timeline_plot(lines, title, threshold=centre, quantity="logit (high: forged)", width=PLOT_WIDTH)
        write_text(run.folder / f"timelines_{name}.svg", as_file(drawn))
        artefacts[f"timelines_{name}"] = f"timelines_{name}.svg"
        if settings.judging.show_frames:
            shown = [_clip(test, tested.scores, clip, network) for clip in clips]
            artefacts[f"frames_{name}"] = str(run.image(f"frames_{name}", clip_rows(shown)).relative_to(run.folder))
    return artefacts


def _one_a_video(scores: ClipScores, ranked: np.ndarray) -> list[int]:
    """Of clips in some order the first of each video: a timeline shows a whole video, and would be drawn twice."""
    first = np.unique(scores.video[ranked], return_index=True)[1]
    return [int(clip) for clip in ranked[np.sort(first)]]


def _clip(test: VideoSet, scores: ClipScores, clip: int, network: Network) -> np.ndarray:
    number = int(scores.video[clip])
    frames = clip_frames(test.tracks.frames(number), int(scores.start[clip]), network.clips)
    return np.asarray(test.tracks.read(number, frames))
