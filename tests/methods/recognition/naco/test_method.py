"""The whole method on a few patterns that move."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stillhouse.methods.recognition.naco.card import DetectorCard, read_detector
from stillhouse.methods.recognition.naco.pretraining import KEPT
from stillhouse.methods.recognition.naco.scoring import score_clips
from stillhouse.methods.recognition.naco.settings import Finetuning, Form, Judging, Pretraining
from stillhouse.platform.data.video_crops import CropSettings, OtherSettings
from stillhouse.platform.data.videos import VideoData
from stillhouse.platform.errors import BadInput
from stillhouse.platform.training.outcome import execute
from stillhouse.platform.training.values import load_value
from support.few_videos import few_videos, video_set

from .little import CLIPS, QUIET, little, silent_run, training

NONE = Pretraining(joint=training(0), cached=training(0))


def test_a_run_learns_in_two_stages_and_tells_what_it_found(tmp_path: Path) -> None:
    data = few_videos()
    judging = Judging(draws=100, timelines=2, perturbations=("CC",), levels=(1, 5), show_frames=True)
    run = silent_run(tmp_path)
    outcome = execute(little(judging=judging), data, run)
    wanted = {"seen_auc", "held_out_auc", "held_out_mean_auc", "auc_STILL", "auc_FLICKER", "seen_accuracy", "seen_eer",
              "spm_r2", "interpolation_r2", "shuffled_farther", "validation_auc", "auc_seen_under_CC"}  # fmt: skip
    assert wanted <= set(outcome.metrics)
    assert all(np.isfinite(metric.value) for metric in outcome.metrics.values())
    plain = outcome.baselines["frame difference, nothing learned"]
    # What stands still has no differences at all: the baseline calls it the most natural.
    assert plain["seen_auc"].value == 1.0 and plain["held_out_auc"].value == 0.0
    for name in outcome.artefacts.values():
        assert (tmp_path / name).stat().st_size > 0
    assert "contrast" in (tmp_path / outcome.artefacts["robustness_curve"]).read_text(encoding="utf-8")
    assert {"families", "robustness", "roc", "timelines_most_certain", "frames_most_certain", "forgeries"} <= set(
        outcome.artefacts
    )
    table = (tmp_path / "families.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[:3] for line in table[1:]] == [["FLICKER", "yes", "4"], ["STILL", "no", "4"]]

    # The kept weights and scores are those of the outcome.
    network, card = read_detector(tmp_path)
    again = score_clips(silent_run(tmp_path / "again"), network, data.test, card.max_frames)
    kept = load_value(tmp_path / "scores.safetensors")
    assert np.allclose(again.logit, kept["logit"], atol=1e-6)
    assert card.forgeries == ("FLICKER",) and card.fps == (25.0, 25.0) and card.threshold is not None
    assert "few videos" in card.trained_on and card.detects


def test_as_many_videos_as_asked_for_have_a_timeline(tmp_path: Path) -> None:
    """The clips of which a detector is most certain may all be of a few videos."""
    tuned = Finetuning(training=training(3), augmentation=QUIET)
    data = few_videos(test=2)
    execute(
        little(pretraining=NONE, finetuning=tuned, judging=Judging(draws=50, timelines=len(data.test))),
        data,
        silent_run(tmp_path),
    )
    for name in ("most", "least"):
        drawn = (tmp_path / f"timelines_{name}_certain.svg").read_text(encoding="utf-8")
        assert all(f"test video {number}, " in drawn for number in range(len(data.test))), name


@pytest.mark.slow
def test_a_detector_learns_what_flickers(tmp_path: Path) -> None:
    """Not a claim about videos: a brightness that jumps is told from one that does not, on people never seen."""
    method = little(
        pretraining=NONE, finetuning=Finetuning(training=training(60, batch_size=8, every=20), augmentation=QUIET)
    )  # fmt: skip
    outcome = execute(method, few_videos(), silent_run(tmp_path))
    assert outcome.metrics["seen_auc"].value > 0.9


@pytest.mark.slow
def test_the_same_seed_gives_the_same_detector_and_a_finished_run_is_found(tmp_path: Path) -> None:
    data = few_videos()
    # Not beside each other: the second would find what the first has kept of stage 1.
    runs = [
        execute(little(), data, silent_run(tmp_path / name / "run", seed))
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    first, second, other = (load_file(tmp_path / name / "run" / "detector.safetensors") for name in "abc")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
    run = silent_run(tmp_path / "a" / "run", 3)
    again = execute(little(), data, run)
    assert {KEPT, "finetuning"} <= set(run.reused)
    assert again.metrics == runs[0].metrics
    other_stage_1 = little(pretraining=replace(little().pretraining, cached=training(2, batch_size=6)))
    run = silent_run(tmp_path / "a" / "run", 3)
    execute(other_stage_1, data, run)
    assert not run.reused  # stage 2 begins with other weights: what it ended with then is not found now


@pytest.mark.parametrize("fakes", ["self_blended", "shuffled"])
def test_fakes_can_be_made_and_then_no_forgery_is_learned_from(tmp_path: Path, fakes: str) -> None:
    data = few_videos()
    real = VideoData(
        data.train.take(np.flatnonzero(~data.train.forged)), data.validation.take(np.flatnonzero(~data.validation.forged)),
        data.test, tuple(data.test.forgeries), "real ones to learn from", "made for a test",
    )  # fmt: skip
    method = little(
        pretraining=NONE, finetuning=Finetuning(mode="full", fakes=fakes, training=training(4), augmentation=QUIET)
    )
    outcome = execute(method, real, silent_run(tmp_path))
    assert "seen_auc" not in outcome.metrics and "held_out_auc" in outcome.metrics
    assert any("stage 2 saw no forgery" in note for note in outcome.notes)
    assert DetectorCard.from_json(json.loads((tmp_path / "card.json").read_text())).forgeries == (fakes,)
    with pytest.raises(BadInput, match="forged training videos"):
        execute(little(), real, silent_run(tmp_path / "given"))


def learned_from(folder: Path) -> dict[str, str]:
    """The families of the table, and what it says of them."""
    lines = (folder / "families.csv").read_text(encoding="utf-8").splitlines()[1:]
    return {line.split(",")[0]: line.split(",")[1] for line in lines}


@pytest.mark.parametrize("fakes", ["self_blended", "shuffled"])
def test_forgeries_of_the_data_that_were_not_learned_from_are_not_called_so(tmp_path: Path, fakes: str) -> None:
    made = Finetuning(mode="full", fakes=fakes, training=training(3), augmentation=QUIET)
    judging = Judging(draws=100, timelines=1, perturbations=("CC",), levels=(1,))
    outcome = execute(little(pretraining=NONE, finetuning=made, judging=judging), few_videos(), silent_run(tmp_path))
    assert learned_from(tmp_path) == {"FLICKER": "no", "STILL": "no"}
    found = set(outcome.metrics)
    assert not {name for name in found if name.startswith("seen_")}
    # Held-out families are those of the data, so that all methods are compared on the same ones.
    assert outcome.metrics["held_out_auc"] == outcome.metrics["auc_STILL"]
    assert outcome.metrics["unlearned_auc"] == outcome.metrics["auc_FLICKER"]
    assert set(outcome.baselines["frame difference, nothing learned"]) == {"held_out_auc", "unlearned_auc"}
    assert "auc_unlearned_under_CC" in found and "auc_seen_under_CC" not in found
    assert (
        (tmp_path / "robustness.csv").read_text(encoding="utf-8").startswith("perturbation,level,auc_unlearned,change")
    )
    assert any("FLICKER" in note and "not learned from" in note for note in outcome.notes)


def test_a_finished_detector_has_learned_what_its_card_says(tmp_path: Path) -> None:
    execute(little(), few_videos(), silent_run(tmp_path / "first"))
    other = few_videos(seen=("SHUFFLED",), held_out=("STILL", "FLICKER"))
    tested = little(pretraining=NONE, start=str(tmp_path / "first"), finetuning=Finetuning(training=training(0)))
    outcome = execute(tested, other, silent_run(tmp_path / "tested"))
    assert learned_from(tmp_path / "tested") == {"FLICKER": "yes", "SHUFFLED": "no", "STILL": "no"}
    assert outcome.metrics["seen_auc"] == outcome.metrics["auc_FLICKER"]
    assert outcome.metrics["held_out_auc"] == outcome.metrics["auc_STILL"]
    assert outcome.metrics["unlearned_auc"] == outcome.metrics["auc_SHUFFLED"]
    # Trained on, it has learned both.
    more = replace(tested, finetuning=Finetuning(training=training(3), augmentation=QUIET))
    execute(more, other, silent_run(tmp_path / "more"))
    assert learned_from(tmp_path / "more") == {"FLICKER": "yes", "SHUFFLED": "yes", "STILL": "no"}
    assert read_detector(tmp_path / "more")[1].forgeries == ("FLICKER", "SHUFFLED")


def test_faces_that_are_cut_otherwise_are_refused(tmp_path: Path) -> None:
    crop = CropSettings(side=32, points="mediapipe").to_json()
    data = replace(few_videos(), preprocessing=crop)
    execute(little(), data, silent_run(tmp_path / "first"))
    tested = little(pretraining=NONE, start=str(tmp_path / "first"), finetuning=Finetuning(training=training(0)))
    execute(tested, replace(data, preprocessing={**crop, "points": "files", "most": 40}), silent_run(tmp_path / "same"))
    execute(tested, replace(data, preprocessing={}), silent_run(tmp_path / "unknown"))
    for changed, words in (({"face": 0.95}, r"face was 0\.765 and is 0\.95"), ({"points": "none"}, "crops already")):
        with pytest.raises(OtherSettings, match=words):
            execute(tested, replace(data, preprocessing={**crop, **changed}), silent_run(tmp_path / "other"))
        more = replace(tested, finetuning=Finetuning(training=training(3), augmentation=QUIET))
        with pytest.raises(OtherSettings, match=words):
            execute(more, replace(data, preprocessing={**crop, **changed}), silent_run(tmp_path / "other"))
    people = range(100, 110)
    wide = [video_set([*some], ("FLICKER",), side=40) for some in (people[:4], people[4:6], people[6:])]
    with pytest.raises(OtherSettings, match="32 and are 40"):
        execute(tested, VideoData(*wide, (), "wide", "made for a test"), silent_run(tmp_path / "wide"))


def test_stage_1_alone_and_stage_2_from_it(tmp_path: Path) -> None:
    data = few_videos()
    first = little(finetuning=Finetuning(mode="none"))
    outcome = execute(first, data, silent_run(tmp_path / "first"))
    assert "spm_r2" in outcome.metrics and "seen_auc" not in outcome.metrics
    assert any("no detector" in note for note in outcome.notes)
    then = little(
        pretraining=NONE, start=str(tmp_path / "first"),
        finetuning=Finetuning(mode="head", training=training(3), augmentation=QUIET),
    )  # fmt: skip
    execute(then, data, silent_run(tmp_path / "then"))
    before, after = (load_file(tmp_path / name / "detector.safetensors") for name in ("first", "then"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith("head.") for name in changed)
    wider = replace(then, network=Form(width=32, layers=1, heads=2, hidden=32, dropout=0.0))
    with pytest.raises(BadInput, match="has another network: width differ"):
        execute(wider, data, silent_run(tmp_path / "wider"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"network": Form(width=16, layers=1, heads=2, hidden=32, token="grid", pool="cls", code="learned")},
        {"network": Form(width=16, layers=1, heads=2, hidden=32, token_center=False, token_diff=False, head_bypass=False)},
        {"network": Form(width=16, layers=1, heads=2, hidden=32, norm="group", token_scale="none", zero_residual=False)},
        {"network": Form(temporal=False), "pretraining": NONE},
        {"pretraining": NONE, "finetuning": Finetuning(mode="head", training=training(3), augmentation=QUIET)},
        {"finetuning": Finetuning(aux_ssl=0.5, body_rate=1e-4, pairs=False, keep="last", training=training(3), augmentation=QUIET)},
        {"pretraining": Pretraining(joint=training(2), cached=training(0), augmentation=QUIET, videos=2)},
    ],
)  # fmt: skip
def test_every_option_runs(tmp_path: Path, options: dict) -> None:  # type: ignore[type-arg]
    outcome = execute(little(**options), few_videos(), silent_run(tmp_path))
    assert 0 <= outcome.metrics["held_out_auc"].value <= 1


def test_a_finished_detector_is_tested_on_other_data_and_nothing_is_trained(tmp_path: Path) -> None:
    execute(little(), few_videos(), silent_run(tmp_path / "first"))
    other = few_videos(test=3, held_out=("STILL", "SHUFFLED"))
    method = little(pretraining=NONE, start=str(tmp_path / "first"), finetuning=Finetuning(training=training(0)))
    run = silent_run(tmp_path / "then")
    outcome = execute(method, other, run)
    before, after = (load_file(tmp_path / name / "detector.safetensors") for name in ("first", "then"))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {"auc_STILL", "auc_SHUFFLED", "seen_auc"} <= set(outcome.metrics) and "validation_auc" not in outcome.metrics
    assert any("nothing was trained" in note for note in outcome.notes)
    first, second = (read_detector(tmp_path / name)[1] for name in ("first", "then"))
    assert second.trained_on == first.trained_on and second.forgeries == first.forgeries
    with pytest.raises(BadInput, match=r"method\.start"):
        little(pretraining=NONE, finetuning=Finetuning(training=training(0)))


def test_data_that_do_not_fit_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    data = few_videos(frames=6)
    with pytest.raises(BadInput, match=f"shorter than a clip of {CLIPS.span} frames"):
        execute(little(), data, silent_run(tmp_path))
    whole = few_videos()
    real = whole.test.take(np.flatnonzero(~whole.test.forged))
    without = VideoData(whole.train, whole.validation, real, (), "no forgeries", "made for a test")
    with pytest.raises(BadInput, match="forged test videos"):
        execute(little(), without, silent_run(tmp_path))
    with pytest.raises(BadInput, match="neither stage"):
        execute(little(pretraining=NONE, finetuning=Finetuning(mode="none")), whole, silent_run(tmp_path))
