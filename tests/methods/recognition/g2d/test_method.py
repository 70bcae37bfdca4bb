"""The method as a whole on drawn faces: what the stages must show, what stays frozen, what a second start finds, what is refused."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stillhouse.methods.recognition.g2d import inpainting, learning
from stillhouse.methods.recognition.g2d.classifying import Joint
from stillhouse.methods.recognition.g2d.inpainting import Adversary
from stillhouse.methods.recognition.g2d.method import G2D
from stillhouse.methods.recognition.g2d.networks import Descriptor
from stillhouse.methods.recognition.kept import weights_hash
from stillhouse.methods.recognition.stored import load_recogniser
from stillhouse.platform.data.faces import FaceData, FaceImages, FacePairs
from stillhouse.platform.data.masked_faces import with_masks
from stillhouse.platform.errors import BadInput
from stillhouse.platform.training.metrics import read_metrics
from stillhouse.platform.training.outcome import Outcome, execute
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from stillhouse.platform.training.values import load_value
from stillhouse.platform.verification.calibration import conformal_threshold
from stillhouse.platform.verification.folds import verify
from stillhouse.platform.verification.scores import unit
from torch import nn

Finish = Callable[..., Outcome]


@pytest.fixture
def finish(faces: FaceData, tmp_path: Path) -> Finish:
    def start(method: G2D, folder: str = "runs/one", *, data: FaceData = faces, seed: int = 0) -> Outcome:
        return execute(method, data, LocalRun(tmp_path / folder, seed=seed, reporter=Silent()))

    return start


def test_what_a_run_ends_with(quick: G2D, faces: FaceData, tmp_path: Path, finish: Finish) -> None:
    outcome = finish(quick)
    folder = tmp_path / "runs/one"
    assert Outcome.read(folder) == outcome
    metrics = {name: metric.value for name, metric in outcome.metrics.items()}
    assert {"inpainting_error", "relation_loss", "relation_loss_before", "mask_overlap"} <= set(metrics)
    assert all(
        outcome.baselines[name]["inpainting_error"].better == "lower" for name in ("mean face", "mean visible colour")
    )
    assert "real_accuracy" not in metrics
    for kind in ("bare", "bare_masked", "masked"):
        assert 0 <= metrics[f"{kind}_accuracy"] <= 1
        assert {f"{kind}_{what}" for what in ("fmr", "fnmr", "eer", "fold_deviation")} <= set(metrics)
    assert {"rank1", "rank5", "classifier_accuracy", "classifier_masked_accuracy"} <= set(metrics)
    assert outcome.baselines["teacher, synthetic masks"]["bare_accuracy"].unit == "fraction"
    assert outcome.privacy.coverage == "uncovered"

    for path in outcome.artefacts.values():
        assert (folder / path).is_file()
    rows = list(csv.DictReader((folder / outcome.artefacts["verification"]).open()))
    assert [row["pairs of"] for row in rows] == 2 * ["U-U", "U-M", "M-M"]
    assert float(rows[1]["accuracy %"]) == pytest.approx(100 * metrics["bare_masked_accuracy"], abs=0.01)

    # Every pair's score is kept, of both networks, and gives the figures that are told.
    kept = load_value(folder / outcome.artefacts["pair_scores"])
    assert set(kept) == {"bare", "bare_masked", "masked"}
    for kind, part in kept.items():
        assert part["same"].tolist() == faces.pairs.same.tolist() and part["fold"].tolist() == faces.pairs.fold.tolist()
        assert part["first_person"].tolist() == faces.test.identities[faces.pairs.first].tolist()
        for network, told in (
            ("recogniser", outcome.metrics),
            ("teacher, random", outcome.baselines["teacher, synthetic masks"]),
        ):
            judged = verify(part[network]["scores"], part["same"], part["fold"])
            assert judged.correct.tolist() == part[network]["correct"].tolist()
            assert judged.mean == pytest.approx(told[f"{kind}_accuracy"].value)
    assert {"roc", "det", "scores_bare", "scores_bare_masked", "scores_masked"} <= set(outcome.artefacts)
    assert "U-M, synthetic masks" in (folder / "roc.svg").read_text()

    # What is on disk gives the embeddings that were judged.
    stored = load_recogniser(folder)
    card = stored.card
    assert (card.resolution, card.aligned, card.embedding_length, card.flipped) == (16, 48, 16, True)
    assert card.data_sha256 == faces.content_hash() and "follows from the data" in card.licence
    embedded = unit(stored.embed(faces.test.read(np.arange(len(faces.test)))))
    scores = (embedded[faces.pairs.first] * embedded[faces.pairs.second]).sum(1)
    assert metrics["bare_eer"] == pytest.approx(_eer(scores, faces.pairs.same), abs=0.13)


def test_a_first_stage_that_did_not_learn_is_told(quick: G2D, finish: Finish) -> None:
    still = replace(quick.inpainting, training=replace(quick.inpainting.training, learning_rate=1e-9))
    outcome = finish(replace(quick, inpainting=still))
    drawn = outcome.metrics["inpainting_error"].value
    assert drawn > outcome.baselines["mean visible colour"]["inpainting_error"].value
    assert any("the first stage did not learn" in note and f"{drawn:.3f}" in note for note in outcome.notes)


def _eer(scores: np.ndarray, same: np.ndarray) -> float:
    gaps = [(abs((scores[~same] >= at).mean() - (scores[same] < at).mean()), at) for at in scores]
    at = min(gaps)[1]
    return float(((scores[~same] >= at).mean() + (scores[same] < at).mean()) / 2)


@dataclass
class Watched:
    """Hashes of every module at the begin and the end of every training."""

    before: dict[str, dict[str, str]]
    after: dict[str, dict[str, str]]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    found = Watched({}, {})
    original, fresh = learning.kept_stage, learning.fresh_modules
    modules: dict[str, nn.Module] = {}

    def remember(*args: Any) -> Any:
        made = fresh(*args)
        modules.update(maps=made.maps, encoder=made.encoder, reformer=made.reformer)
        return made

    def stage(run: Any, name: str, trained: Any, work: Any, inputs: Any) -> Any:
        found.before[name] = {key: weights_hash(module) for key, module in modules.items()}
        figures = original(run, name, trained, work, inputs)
        found.after[name] = {key: weights_hash(module) for key, module in modules.items()}
        return figures

    monkeypatch.setattr(learning, "fresh_modules", remember)
    monkeypatch.setattr(learning, "kept_stage", stage)
    return found


def test_each_stage_changes_its_own_module_and_no_other(quick: G2D, watched: Watched, finish: Finish) -> None:
    finish(replace(quick, joint=Joint(epochs=1)))
    moved = {
        stage: {name for name, was in before.items() if watched.after[stage][name] != was}
        for stage, before in watched.before.items()
    }
    assert moved == {
        "segmenter": {"maps"}, "inpainting": {"encoder"}, "distilling": {"reformer"}, "classifier": set(), "joint": {"reformer"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("encoder", "moved"), [("random_frozen", {"reformer"}), ("end_to_end", {"encoder", "reformer"})]
)
def test_the_descriptor_may_be_random_or_learnt_in_one_piece(
    encoder: str, moved: set[str], quick: G2D, watched: Watched, finish: Finish
) -> None:
    outcome = finish(replace(quick, encoder=encoder, mask_map="zeros"))
    assert set(watched.before) == {"distilling", "classifier"}
    before, after = watched.before["distilling"], watched.after["distilling"]
    assert {name for name in before if before[name] != after[name]} == moved
    assert "inpainting_error" not in outcome.metrics
    assert "mask_overlap" not in outcome.metrics


def test_a_run_that_was_broken_off_ends_as_one_that_was_not(
    quick: G2D, finish: Finish, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = finish(quick, "first/one")
    with monkeypatch.context() as patched:
        patched.setattr(learning, "train_student", _break)
        with pytest.raises(KeyboardInterrupt):
            finish(quick, "second/one")
    with monkeypatch.context() as patched:  # What was trained before is found, not trained again.
        patched.setattr(inpainting, "train", _break)
        resumed = finish(quick, "second/one")
    assert resumed == whole
    states = [load_file(tmp_path / run / "one" / "student.safetensors") for run in ("first", "second")]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    with monkeypatch.context() as patched:
        for module, name in (
            (learning, "train_student"),
            (learning, "train_classifier"),
            (learning, "train_segmenter"),
        ):
            patched.setattr(module, name, _break)
        assert finish(quick, "second/one") == whole


def _break(*args: Any, **more: Any) -> Any:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_optional_terms_and_forms(quick: G2D, finish: Finish, tmp_path: Path) -> None:
    """Adversary, perceptual term, partial convolutions, a dropped map, a start from a file, an ArcFace head."""
    stage = replace(quick.inpainting, adversary=Adversary(weight=0.01, width=4), perceptual=0.1)
    size = 32
    method = replace(
        quick, size=size, mask_map="predicted", inpainting=stage,
        network=replace(quick.network, descriptor=Descriptor(width=4, blocks=1, kind="partial_conv")),
        distilling=replace(quick.distilling, classes=1.0),
    )  # fmt: skip
    finish(method, "gan/one")
    logged = read_metrics(tmp_path / "gan/one/metrics.jsonl")
    assert {"inpainting/adversarial", "inpainting/perceptual", "distilling/class"} <= set(logged)
    again = replace(method, mask_map="dropped", inpainting=replace(
        quick.inpainting, start=str(tmp_path / "gan/one/inpainting.safetensors")
    ))  # fmt: skip
    outcome = finish(again, "gan/two")
    assert "mask_overlap" not in outcome.metrics


def test_real_masks_are_judged_where_they_are_known(quick: G2D, faces: FaceData, finish: Finish) -> None:
    masked = np.arange(len(faces.test)) % 2 == 1
    test = replace(faces.test, masked=masked)
    outcome = finish(replace(quick, encoder="random_frozen", mask_map="zeros"), data=replace(faces, test=test))
    assert "real_accuracy" in outcome.metrics
    assert "real_rank1" in outcome.metrics
    assert {"roc", "scores_real_all"} <= set(outcome.artefacts)


def test_where_nobody_knows_who_wears_a_mask_all_pairs_are_verified_and_nothing_else(
    quick: G2D, faces: FaceData, finish: Finish, tmp_path: Path
) -> None:
    judging = replace(quick.judging, fmr=0.7)  # 16 impostors would do for a threshold
    method = replace(quick, encoder="random_frozen", mask_map="zeros", judging=judging)
    outcome = finish(method, data=replace(faces, test=replace(faces.test, wearers_known=False)))
    judged = {
        name for name in outcome.metrics if name.split("_")[0] in ("bare", "masked", "real", "rank1", "rank5", "rank20")
    }
    assert judged == {"real_accuracy"}
    assert set(outcome.baselines) == {"teacher, real masks"} and set(outcome.baselines["teacher, real masks"]) == {
        "accuracy"
    }
    assert sum("do not say who wears a mask" in note for note in outcome.notes) == 1
    card = load_recogniser(tmp_path / "runs/one").card
    assert (card.threshold, card.fmr, card.held_fmr, card.confidence) == (None,) * 4
    kept = load_value(tmp_path / "runs/one/scores.safetensors")
    assert set(kept) == {"real_all"} and "masks" not in kept["real_all"]
    bare = finish(method, "runs/bare")  # where all are known to be bare, it has one
    assert "bare_accuracy" in bare.metrics
    assert load_recogniser(tmp_path / "runs/bare").card.threshold is not None


def test_masks_that_the_data_put_are_no_real_ones(
    quick: G2D, faces: FaceData, finish: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stillhouse.methods.recognition.g2d.method.prepare_teacher", _break)
    test = replace(faces.test, masked=np.arange(len(faces.test)) % 2 == 1)
    with pytest.raises(BadInput, match=r"50% of the bare test faces.*report these as real ones.*data\.masked"):
        finish(quick, data=replace(faces, test=test, masks_put=0.5))


def test_seeds_of_a_run_are_scored_on_the_same_masks_and_those_of_the_protocol_are_not(
    quick: G2D, faces: FaceData, finish: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[str] = []

    def remember(*args: Any, **more: Any) -> Any:
        made = with_masks(*args, **more)
        scored.append(made.faces.content_hash())
        return made

    monkeypatch.setattr("stillhouse.methods.recognition.g2d.method.with_masks", remember)
    bare = replace(quick, encoder="random_frozen", mask_map="zeros")
    finish(bare, "seeds/0", seed=0)
    finish(bare, "seeds/1", seed=1)
    finish(bare, "seeds/2", data=replace(faces, protocol_seed=8))
    assert scored[0] == scored[1] != scored[2]


def test_the_card_holds_its_rate_and_shared_folds_are_told(
    quick: G2D, faces: FaceData, finish: Finish, tmp_path: Path
) -> None:
    """160 impostor pairs, dealt without regard to who is on them."""
    identities = faces.test.identities
    first, second = np.triu_indices(len(identities), 1)
    same = identities[first] == identities[second]
    kept = np.concatenate([np.flatnonzero(same), np.flatnonzero(~same)[:160]])
    pairs = FacePairs(first[kept], second[kept], same[kept], np.arange(len(kept)) % 2)
    method = replace(quick, encoder="random_frozen", mask_map="zeros", judging=replace(quick.judging, fmr=0.1))
    outcome = finish(method, data=replace(faces, pairs=pairs))
    assert sum("6 people of the test pairs are in several folds" in note for note in outcome.notes) == 1
    stored = load_recogniser(tmp_path / "runs/one")
    rows = unit(stored.embed(faces.test.read(np.arange(len(faces.test)))))
    impostors = (rows[pairs.first] * rows[pairs.second]).sum(1)[~pairs.same]
    made = conformal_threshold(impostors, 0.1, confidence=0.95)
    assert stored.card.threshold == pytest.approx(made.threshold, abs=1e-4)
    assert (stored.card.held_fmr, stored.card.confidence) == (0.1, 0.95)
    assert stored.card.fmr is not None and stored.card.fmr == pytest.approx((made.rank - 1) / 160)


def test_too_few_faces_are_refused(quick: G2D, faces: FaceData, finish: Finish) -> None:
    train = faces.train
    single = np.unique(train.identities, return_index=True)[1]
    few = FaceImages(_Some(train, single), np.arange(len(single)), tuple(f"{i}" for i in single))
    with pytest.raises(BadInput, match="kept apart to check the stages"):
        finish(quick, data=replace(faces, train=few))


class _Some:
    """Some of the pictures."""

    def __init__(self, faces: FaceImages, numbers: np.ndarray) -> None:
        self._faces, self._numbers = faces, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def size(self) -> tuple[int, int]:
        return self._faces.size

    def read(self, numbers: Any) -> np.ndarray:
        return self._faces.read(self._numbers[np.asarray(numbers)])

    def content_hash(self) -> str:
        return f"{self._numbers.tolist()} of {self._faces.content_hash()}"


@pytest.mark.parametrize(
    ("changed", "match"),
    [({"size": 30}, "halves it twice"), ({"encoder": "finetuned"}, "encoder is 'finetuned'"), ({"mask_map": "none"}, "mask_map"),
     ({"unmasked": 1.0}, "no face would wear one"), ({"unmasked": 1.2}, "share of a batch"), ({"validation": 0.0}, "validation"),
     ({"algorithm": "a/b"}, "a/b")],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(changed: dict[str, Any], match: str, quick: G2D) -> None:
    with pytest.raises(BadInput, match=match):
        replace(quick, **changed)
