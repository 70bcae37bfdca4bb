"""Scores of clips and videos; judging by hand, with unequal numbers of clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from stillhouse.methods.recognition.naco.judging import judge, robustness_rows, threshold_of
from stillhouse.methods.recognition.naco.model import Network, fresh_network
from stillhouse.methods.recognition.naco.scoring import (
    ClipScores,
    clip_starts,
    frame_difference,
    score_clips,
    timeline,
    video_scores,
)
from stillhouse.methods.recognition.naco.settings import Clips, Form, Judging
from stillhouse.platform.data.videos import InMemoryTracks, VideoSet
from stillhouse.platform.errors import BadInput, RunFailed
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from support.few_videos import video_set


def hand() -> tuple[ClipScores, VideoSet]:
    """Videos: real with clips (0, 0, 3); real with (-1); forged A with (2, 2); forged B with (-3, 5); forged A with (0.5)."""
    video = np.array([0, 0, 0, 1, 2, 2, 3, 3, 4])
    logit = np.array([0.0, 0.0, 3.0, -1.0, 2.0, 2.0, -3.0, 5.0, 0.5])
    still = np.zeros((4, 3, 8, 8), np.uint8)
    forged = np.array([False, False, True, True, True])
    videos = VideoSet(
        InMemoryTracks([still] * 5), forged, np.array([0, 1, 0, 1, 2]), ("real", "real", "A", "B", "A"), tuple("abcde"),
        np.array([-1, -1, 0, 1, -1]),
    )  # fmt: skip
    return ClipScores(video, np.arange(9), logit, 5, 0), videos


def test_video_scores_and_figures_by_hand() -> None:
    scores, videos = hand()
    assert video_scores(scores, "logit").tolist() == [1.0, -1.0, 2.0, 1.0, 0.5]
    chances = 1 / (1 + np.exp(-scores.logit))
    assert video_scores(scores, "probability")[3] == pytest.approx(chances[6:8].mean())
    found = judge(scores, videos, ("B",), Judging(), threshold=0.75, seed=0)
    seen, unseen = found.groups["seen"], found.groups["held_out"]
    # Seen: real 1, -1 against forged 2, 0.5: 2 > 1, 2 > -1, 0.5 > -1 and 0.5 < 1: three of four.
    assert seen.curve.auc == 0.75 and (seen.forged, seen.real) == (2, 2)
    # Held out: real 1, -1 against 1: one tie and one win.
    assert unseen.curve.auc == 0.75
    # Clips of the seen group: real 0, 0, 3, -1 against 2, 2, 0.5: 3 + 3 + 3 of 12 pairs each lost to none but 3.
    assert seen.clip_auc == 9 / 12 and unseen.clip_auc == pytest.approx((0 + 4) / 8)
    assert unseen.clip_auc != unseen.curve.auc
    # At 0.75: real 1 is taken for forged, -1 is not; forged 2 is found, 0.5 is not.
    assert seen.accuracy == 0.5 and seen.accuracy_at_half == 0.75
    assert unseen.accuracy == pytest.approx(2 / 3)
    metrics = found.metrics()
    assert metrics["seen_auc"].value == 0.75 and metrics["held_out_mean_auc"].value == 0.75
    assert metrics["auc_A"].value == 0.75 and metrics["seen_accuracy"].unit == "fraction"
    assert [row[:3] for row in found.table()] == [("A", "yes", 2), ("B", "no", 1)]


def test_families_that_were_neither_learned_nor_held_out_are_apart() -> None:
    scores, videos = hand()
    found = judge(scores, videos, ("B",), Judging(), threshold=0.75, seed=0, unlearned=("A",))
    assert set(found.groups) == {"held_out", "unlearned"} and found.groups["unlearned"].curve.auc == 0.75
    assert found.metrics()["held_out_mean_auc"].value == found.families["B"].curve.auc
    assert [row[:2] for row in found.table()] == [("A", "no"), ("B", "no")]
    assert any("no test forgery is seen" in note for note in found.notes)


def test_intervals_are_over_identities() -> None:
    """One person with very many videos: the interval is as wide as the few people are, not as narrow as the many videos."""
    draw = np.random.default_rng(0)
    people = np.repeat(np.arange(6), 40)
    forged = np.tile([False, True], 120)
    shift = draw.normal(0, 1.5, 6)[people]
    values = shift + forged * draw.normal(1.0, 1.0, 6)[people] + draw.normal(0, 0.3, 240)
    still = np.zeros((1, 3, 8, 8), np.uint8)
    videos = VideoSet(
        InMemoryTracks([still] * 240), forged, people, tuple("A" if one else "real" for one in forged),
        tuple(map(str, range(240))), np.full(240, -1),
    )  # fmt: skip
    scores = ClipScores(np.arange(240), np.zeros(240, int), values, 240, 0)
    wide = judge(scores, videos, (), Judging(), threshold=None, seed=0).groups["seen"].interval
    alone = VideoSet(videos.tracks, forged, np.arange(240), videos.families, videos.names, videos.source)
    narrow = judge(scores, alone, (), Judging(), threshold=None, seed=0).groups["seen"].interval
    assert wide is not None and narrow is not None
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_one_kind_alone_is_refused_and_few_people_have_no_interval() -> None:
    scores, videos = hand()
    real = videos.take([0, 1])
    with pytest.raises(BadInput, match="0 of 2 test videos are forged"):
        judge(
            ClipScores(np.array([0, 1]), np.zeros(2, int), np.zeros(2), 2, 0),
            real,
            (),
            Judging(),
            threshold=None,
            seed=0,
        )
    one = VideoSet(videos.tracks, videos.forged, np.zeros(5, int), videos.families, videos.names, videos.source)
    found = judge(scores, one, (), Judging(), threshold=None, seed=0)
    assert found.groups["seen"].interval is None and any("no interval for seen" in note for note in found.notes)
    assert "held_out" not in found.groups and any("held out" in note for note in found.notes)


def test_the_threshold_separates_best() -> None:
    scores = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    assert threshold_of(scores, np.array([False, False, True, True, True])) == 1.5
    # Real at 0, 2, 3; forged at 1, 4: above 3.5 all real are right and half the forged, 3/4 in the mean; no other does better.
    assert threshold_of(scores, np.array([False, True, False, False, True])) == 3.5
    # The wrong way round, nothing is better than to take all for forged.
    assert threshold_of(np.array([1.0, 0.0]), np.array([False, True])) == 0.0


def network(**options: object) -> Network:
    found = fresh_network(
        Form(width=16, layers=1, heads=2, hidden=16, **options), Clips(length=8, side=32, margin=0), 3
    )  # type: ignore[arg-type]
    return found.eval()


def test_clips_do_not_overlap_and_a_short_video_has_one(tmp_path: Path) -> None:
    videos = VideoSet(
        InMemoryTracks([video_set([1], (), frames=n).tracks.read(0, range(n)) for n in (27, 5)]), np.zeros(2, bool),
        np.arange(2), ("real", "real"), ("a", "b"), np.full(2, -1),
    )  # fmt: skip
    run, model = LocalRun(tmp_path, reporter=Silent()), network()
    found = score_clips(run, model, videos, most=110)
    assert found.video.tolist() == [0, 0, 0, 1] and found.start.tolist() == [0, 8, 16, 0] and found.mirrored == 1
    with torch.no_grad():
        from stillhouse.methods.recognition.naco.clips import central

        frames = videos.tracks.read(0, range(8, 16))
        own = model(central(torch.from_numpy(frames)[None], model.clips)).item()
    assert found.logit[1] == pytest.approx(own, abs=1e-5)
    assert score_clips(run, model, videos, most=16).start.tolist() == [0, 8, 0]
    assert clip_starts(8, Clips(length=8, side=32), 4) == [0]


def test_a_score_that_is_not_finite_fails_the_run(tmp_path: Path) -> None:
    model = network()
    model.head.bypass.bias.data.fill_(float("nan"))  # type: ignore[union-attr]
    with pytest.raises(RunFailed, match="not finite"):
        score_clips(LocalRun(tmp_path, reporter=Silent()), model, video_set([1], ()), most=20)
    with pytest.raises(BadInput, match="no video to score"):
        score_clips(LocalRun(tmp_path, reporter=Silent()), model, video_set([1], ()).take([]), most=20)


def test_a_timeline_is_the_mean_of_the_clips_about_a_frame() -> None:
    model, frames = network(), video_set([1], (), frames=19).tracks.read(0, range(19))
    found = timeline(model, frames, every=3)
    from stillhouse.methods.recognition.naco.scoring import clip_logits

    first = [0, 3, 6, 9, 11]
    logits = clip_logits(model, frames, first)
    for frame in range(19):
        about = [logit for start, logit in zip(first, logits, strict=True) if start <= frame < start + 8]
        assert found[frame] == pytest.approx(np.mean(about))
    assert len(timeline(model, frames[:3])) == 3


def test_frame_differences_by_hand() -> None:
    moving = np.zeros((3, 3, 8, 8), np.uint8)
    moving[1] = 6
    videos = VideoSet(
        InMemoryTracks([moving, moving[:1]]), np.zeros(2, bool), np.arange(2), ("real", "real"), ("a", "b"), np.full(2, -1)
    )  # fmt: skip
    assert frame_difference(videos, 110).tolist() == [6.0, 0.0]
    assert frame_difference(videos, 1).tolist() == [0.0, 0.0]


def test_robustness_is_told_with_means() -> None:
    rows = robustness_rows(0.9, {("CC", 1): 0.8, ("CC", 2): 0.6, ("GB", 1): 0.9})
    assert rows[0] == ("none", "", 0.9, 0.0)
    assert rows[3] == ("CC", "mean", pytest.approx(0.7), pytest.approx(-0.2))
    assert rows[-1] == ("GB", "mean", 0.9, 0.0) and len(rows) == 6
