"""Faces from end to end in seconds: what a run ends with, what it writes, what it refuses, what a second start finds."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from stillhouse.methods.recognition.card import Card
from stillhouse.methods.recognition.crrcd.loss import Relation
from stillhouse.methods.recognition.face_report import HIGH, UP
from stillhouse.methods.recognition.judging import Gallery, Judging, judge
from stillhouse.methods.recognition.looking import Look, embedded
from stillhouse.methods.recognition.method import FaceRecognition
from stillhouse.methods.recognition.networks import Recogniser
from stillhouse.methods.recognition.settings import FaceSettings
from stillhouse.methods.recognition.terms import Terms
from stillhouse.platform.data.degradation import Degradation
from stillhouse.platform.data.faces import FaceData, FaceImages, FacePairs, InMemory
from stillhouse.platform.errors import BadInput
from stillhouse.platform.training.outcome import Outcome, execute
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from stillhouse.platform.training.values import load_value
from stillhouse.platform.verification.calibration import conformal_threshold
from stillhouse.platform.verification.folds import verify
from stillhouse.platform.verification.scores import unit

from .few_faces import LITTLE, SIDE, SMALL, few_faces, method, people, silent_run

CRRCD = Terms(kd=0.5, crrcd=2.0, crrcd_settings=Relation(negatives=4, queue=16, dimension=8, hidden=8))
DATA = few_faces()
ONE = replace(LITTLE, epochs=1)
JUDGED = Judging(
    fars=(0.1, 0.001), fmr=0.1, adapt="mix", shifts=("dark",), adapt_curve=(4, 500), resolutions=(4, 8, 16, 32)
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome, FaceRecognition]:
    own = method(CRRCD, algorithm="crrcd", judging=JUDGED)
    folder = tmp_path_factory.mktemp("faces") / "run"
    return folder, execute(own, DATA, silent_run(folder)), own


def test_what_a_run_ends_with(finished: tuple[Path, Outcome, FaceRecognition]) -> None:
    _, outcome, _ = finished
    assert outcome.method == "crrcd" and outcome.privacy.coverage == "uncovered" and math.isinf(outcome.privacy.epsilon)
    assert set(outcome.metrics) >= {
        "verification_accuracy", "verification_deviation", "eer", "auc", "tar_at_far_0.1", "rank1", "rank5", "adapted_accuracy",
        "dark_accuracy", "dark_adapted_accuracy",
    }  # fmt: skip
    assert "tar_at_far_0.001" not in outcome.metrics
    assert any("no TAR at FAR 0.001: 120 impostor pairs" in note for note in outcome.notes)
    assert any("statistics of 36 faces, without labels" in note for note in outcome.notes)
    assert any("paired bootstrap over people" in note for note in outcome.notes)
    assert set(outcome.baselines) == {HIGH, UP}
    assert all(0 <= baseline["accuracy"].value <= 1 for baseline in outcome.baselines.values())


def test_what_it_writes(finished: tuple[Path, Outcome, FaceRecognition]) -> None:
    folder, outcome, own = finished
    for path in outcome.artefacts.values():
        assert (folder / path).stat().st_size > 0
    assert {
        "student",
        "card",
        "roc",
        "det",
        "cmc",
        "scores",
        "shifts",
        "face_bn",
        "face_bn_layers",
        "resolutions",
        "pairs",
        "learning_crrcd",
    } <= set(outcome.artefacts)
    assert Image.open(folder / outcome.artefacts["pairs"]).size[0] > 300
    rows = (folder / "face_bn.csv").read_text().splitlines()
    assert rows[0] == "shift,faces,accuracy,change" and len(rows) == 1 + 2 * 2
    assert rows[2].startswith("none,36,")  # no more than there are
    shifts = list(csv.DictReader((folder / "shifts.csv").open()))
    assert [row["faces"] for row in shifts] == ["", "36"]
    layers = list(csv.DictReader((folder / "face_bn_layers.csv").open()))
    assert set(layers[0]) == {"shift", "side", "layer", "channels", "shift in s.d.", "KL", "noise", "adapted"}
    assert {(row["shift"], row["side"]) for row in layers} == {("none", "both"), ("dark", "both")}
    # What was taken down further than the student's own 8 pixels is on its curve too.
    assert re.search(r"student [\d.]+ % at 4,", (folder / "resolutions.svg").read_text())
    assert "tells nothing apart at" in (folder / "learning_crrcd.svg").read_text()
    kept = load_value(folder / "scores.safetensors")
    assert kept["same"].tolist() == DATA.pairs.same.tolist()
    assert kept["first_person"].tolist() == DATA.test.identities[DATA.pairs.first].tolist()
    assert kept["second_person"].tolist() == DATA.test.identities[DATA.pairs.second].tolist()
    assert kept["student"]["correct"].mean() == pytest.approx(outcome.metrics["verification_accuracy"].value, abs=0.02)
    card = Card.read(folder)
    assert (card.architecture, card.resolution, card.embedding_length, card.aligned) == ("resnet20", 8, 24, SIDE)
    impostors = kept["student"]["scores"][~kept["same"]]
    made = conformal_threshold(impostors, 0.1, confidence=0.95)
    assert card.threshold == made.threshold and card.fmr == np.mean(impostors >= made.threshold) < 0.1
    assert (card.held_fmr, card.confidence) == (0.1, 0.95)
    assert card.data_sha256 == DATA.content_hash() and "follows from the data" in card.licence
    assert card.resampler == own.degradation.resampler and card.teacher == "resnet20 at 16 px, trained here"


def test_the_written_student_is_the_one_that_was_judged(finished: tuple[Path, Outcome, FaceRecognition]) -> None:
    from stillhouse.methods.recognition.stored import load_recogniser

    folder, outcome, _ = finished
    stored = load_recogniser(folder)
    rows = unit(stored.embed(DATA.test.read(range(len(DATA.test)))))
    scores = (rows[DATA.pairs.first] * rows[DATA.pairs.second]).sum(1)
    assert scores == pytest.approx(load_value(folder / "scores.safetensors")["student"]["scores"], abs=1e-5)
    found = verify(scores, DATA.pairs.same, DATA.pairs.fold)
    assert found.mean == pytest.approx(outcome.metrics["verification_accuracy"].value)
    assert found.eer == pytest.approx(outcome.metrics["eer"].value, abs=1e-6)


def test_a_second_start_ends_alike_and_trains_nothing(
    finished: tuple[Path, Outcome, FaceRecognition], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, outcome, own = finished
    run = silent_run(folder)
    again = execute(own, DATA, run)
    assert again == outcome
    assert {"teacher", "teacher-embeddings", "student", "teacher-test"} <= set(run.reused)


def test_half_precision_reaches_the_networks_and_not_the_losses(tmp_path: Path) -> None:
    run = LocalRun(tmp_path / "run", reporter=Silent(), precision="bfloat16")
    outcome = execute(method(CRRCD), DATA, run)
    assert all(math.isfinite(metric.value) for metric in outcome.metrics.values())
    again = execute(method(CRRCD), DATA, silent_run(tmp_path / "other"))
    assert again.metrics["auc"] != outcome.metrics["auc"]  # so it did compute in another precision


def test_no_face_is_shown_where_the_settings_forbid_it(tmp_path: Path) -> None:
    outcome = execute(method(judging=Judging(show_pairs=0)), DATA, silent_run(tmp_path / "run"))
    assert "pairs" not in outcome.artefacts and not (tmp_path / "run" / "images").exists()


def test_labels_of_the_test_pairs_reach_no_network(tmp_path: Path) -> None:
    """FaceBN and the student see the same whatever is said of the pairs."""
    pairs = DATA.pairs
    other = FacePairs(pairs.first, pairs.second, ~pairs.same, pairs.fold)
    own = method(Terms(kd=0.5), judging=Judging(adapt="mix", fars=(0.1,)))
    scores = []
    for name, given in (("told", pairs), ("lied", other)):
        execute(own, FaceData(DATA.train, DATA.test, given, "few", "x"), silent_run(tmp_path / name))
        kept = load_value(tmp_path / name / "scores.safetensors")
        scores.append([kept[who]["scores"] for who in ("student", "student, FaceBN")])
    assert np.array_equal(scores[0], scores[1])


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs that share their teacher."""
    return tmp_path_factory.mktemp("beside")


@pytest.mark.parametrize("name", ["rkd", "crd", "sp", "at", "fitnet", "pkt"])
def test_every_baseline_trains(name: str, beside: Path) -> None:
    from stillhouse.methods.recognition.baselines.crd import Memory

    terms = Terms(kd=0.5, crd_settings=Memory(negatives=8), **{name: 1.0})  # type: ignore[arg-type]
    outcome = execute(method(terms, recipe=replace(LITTLE, epochs=1)), DATA, silent_run(beside / name))
    assert math.isfinite(outcome.metrics["eer"].value)


def test_the_shift_and_the_degradation_are_in_this_order(tmp_path: Path) -> None:
    look = Look(Degradation(8), "dark", 4).started()
    pictures = torch.rand(2, 3, SIDE, SIDE)
    assert torch.allclose(look(pictures), Degradation(8)(pictures * 0.35), atol=1e-6)


def test_noise_is_drawn_anew_and_alike_for_each_look(tmp_path: Path) -> None:
    look = Look(Degradation(8), "noise", 3, seed=4)
    run, network = silent_run(tmp_path / "run"), SMALL.fresh(side=8, channels=3, seed=0).eval()
    first, second = (embedded(run, network, DATA.test.pictures, look, flip=True) for _ in range(2))
    assert np.array_equal(first, second)
    other = embedded(run, network, DATA.test.pictures, replace(look, seed=5), flip=True)
    assert not np.allclose(first, other)


def test_an_embedding_is_the_sum_over_both_mirror_images(tmp_path: Path) -> None:
    network = SMALL.fresh(side=SIDE, channels=3, seed=0).eval()
    run, look = silent_run(tmp_path / "run"), Look(None)
    pictures = torch.from_numpy(DATA.test.read(range(len(DATA.test)))).float() / 255
    with torch.no_grad():
        one, two = network(pictures).embedding, network(pictures.flip(3)).embedding
    both = embedded(run, network, DATA.test.pictures, look, flip=True)
    assert np.allclose(both, (one + two).numpy(), atol=1e-4)
    assert np.allclose(embedded(run, network, DATA.test.pictures, look, flip=False), one.numpy(), atol=1e-4)


def test_the_gallery_holds_one_picture_each_and_probes_are_of_other_media() -> None:
    test = DATA.test
    gallery = Gallery.of(test)
    assert gallery is not None and test.media is not None
    assert test.identities[gallery.enrolled].tolist() == list(range(test.people))
    media = np.asarray(test.media)
    first = {int(test.identities[n]): media[n] for n in gallery.enrolled}
    assert all(media[n] != first[int(test.identities[n])] for n in gallery.probes)
    assert len(gallery.probes) == len(test) // 2
    assert Gallery.of(replace(test, identified=False)) is None


def test_perfect_embeddings_are_judged_perfect() -> None:
    rows = np.eye(DATA.test.people)[DATA.test.identities] + 0.01
    found = judge(rows, DATA, Gallery.of(DATA.test))
    assert found.verification.mean == 1.0 and found.identification is not None and found.identification.rate(1) == 1.0
    assert found.metrics((0.1,))["tar_at_far_0.1"].value == 1.0


def test_short_embeddings_are_left_out_first_and_a_limit_is_set_where_it_can_be() -> None:
    """Embeddings of half of the people say who they are; the others' are short and say nothing."""
    shown, draws = people(60, 2, 1), np.random.default_rng(0)
    first, second = np.arange(0, 120, 2), np.arange(1, 120, 2)
    other = np.roll(second, 4)  # of a person of the same half
    same, fold = np.repeat([True, False], 60), np.tile(np.arange(60) % 4, 2)
    pairs = FacePairs(np.tile(first, 2), np.concatenate([second, other]), same, fold)
    data = FaceData(DATA.train, shown, pairs, "halves", "x")
    rows = 9.0 * np.eye(60)[shown.identities]
    vague = shown.identities % 2 == 1
    rows[vague] = draws.normal(size=(int(vague.sum()), 60)) / 60
    found = judge(rows, data, None)
    curve = found.rejecting()
    assert curve is not None and curve.area < curve.area_at_random and curve.error[10] < 0.05 < curve.error[0]
    kept = found.least_quality(same, 0.5, 0.2)
    assert 0.5 <= kept.coverage <= 0.65 and kept.bound <= 0.2
    with pytest.raises(BadInput, match="no quality threshold"):
        found.least_quality(same, 0.5, 0.001)
    flat = judge(rows / np.linalg.norm(rows, axis=1, keepdims=True), data, None)
    assert flat.rejecting() is None
    with pytest.raises(BadInput, match="no quality of the pictures"):
        flat.least_quality(same, 0.5, 0.2)


def test_the_limit_of_a_card_is_for_its_threshold(tmp_path: Path) -> None:
    """The note's share of wrong decisions is that of the pairs that the written card decides, at its threshold."""
    from stillhouse.methods.recognition.stored import load_recogniser

    own = method(judging=Judging(fars=(0.1,), fmr=0.1, abstain_error=0.6))
    outcome = execute(own, DATA, silent_run(tmp_path / "run"))
    stored = load_recogniser(tmp_path / "run")
    card, pairs = stored.card, DATA.pairs
    assert card.threshold is not None and card.least_quality is not None
    rows = stored.embed(DATA.test.read(range(len(DATA.test))))
    lengths = np.linalg.norm(rows, axis=1)
    decided = np.minimum(lengths[pairs.first], lengths[pairs.second]) >= card.least_quality * (1 - 1e-6)
    wrong = (load_value(tmp_path / "run" / "scores.safetensors")["student"]["scores"] >= card.threshold) != pairs.same
    (note,) = [note for note in outcome.notes if "nothing is decided" in note]
    assert f"{100 * wrong[decided].mean():.1f} % of these wrongly at the card's threshold" in note


def test_without_a_threshold_a_card_sets_no_limit(tmp_path: Path) -> None:
    own = method(judging=Judging(fars=(0.1,), fmr=0.001, abstain_error=0.6))
    outcome = execute(own, DATA, silent_run(tmp_path / "run"))
    card = Card.read(tmp_path / "run")
    assert (card.threshold, card.fmr, card.held_fmr, card.confidence, card.least_quality) == (None,) * 5
    assert any("no least quality" in note and "120 impostor pairs are too few" in note for note in outcome.notes)


def test_people_of_several_folds_are_told(tmp_path: Path) -> None:
    mixed = replace(DATA, pairs=replace(DATA.pairs, fold=np.arange(len(DATA.pairs)) % 3))
    outcome = execute(method(), mixed, silent_run(tmp_path / "run"))
    assert any(f"{DATA.test.people} people of the test pairs are in several folds" in note for note in outcome.notes)
    assert not any("several folds" in note for note in execute(method(), DATA, silent_run(tmp_path / "2")).notes)


def test_people_with_one_picture_do_not_break_random_batches(tmp_path: Path) -> None:
    alone = people(20, 1, 3)
    data = FaceData(alone, DATA.test, DATA.pairs, "alone", "x")
    assert execute(method(CRRCD), data, silent_run(tmp_path / "run")).metrics["eer"].value <= 1
    grouped = method(CRRCD, recipe=replace(LITTLE, people_per_batch=4, pictures_per_person=2))
    with pytest.raises(BadInput, match="single picture"):
        execute(grouped, data, silent_run(tmp_path / "grouped"))


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    one = FaceImages(InMemory(np.zeros((4, 3, SIDE, SIDE), np.uint8)), np.zeros(4, np.int64), ("a", "b", "c", "d"))
    with pytest.raises(BadInput, match="one person"):
        execute(method(), FaceData(one, DATA.test, DATA.pairs, "one", "x"), silent_run(tmp_path / "1"))
    with pytest.raises(BadInput, match="degradation to 64 pixels"):
        execute(method(degradation=Degradation(64)), DATA, silent_run(tmp_path / "2"))
    oblong = replace(DATA.train, pictures=InMemory(np.zeros((len(DATA.train), 3, SIDE, 40), np.uint8)))
    tested = replace(DATA.test, pictures=InMemory(np.zeros((len(DATA.test), 3, SIDE, 40), np.uint8)))
    with pytest.raises(BadInput, match="square"):
        execute(method(), FaceData(oblong, tested, DATA.pairs, "oblong", "x"), silent_run(tmp_path / "3"))


def test_pictures_degraded_by_chance_set_no_threshold(tmp_path: Path) -> None:
    own = method(
        degradation=Degradation(8, mode="realistic"),
        judging=Judging(fars=(0.1,), fmr=0.1, abstain_error=0.6),
        recipe=ONE,
    )
    outcome = execute(own, DATA, silent_run(tmp_path / "run"))
    card = Card.read(tmp_path / "run")
    assert (card.threshold, card.fmr, card.held_fmr, card.confidence, card.least_quality) == (None,) * 5
    (note,) = [note for note in outcome.notes if "the card sets no" in note]
    assert "no threshold and no least quality" in note and "degraded by chance (realistic)" in note


EMPTY = FacePairs(*(np.zeros(0, np.int64) for _ in range(4)))


@pytest.mark.parametrize(
    ("judging", "data", "match"),
    [({}, replace(DATA, pairs=EMPTY), "no pairs to verify"),
     ({"adapt": "replace"}, DATA, r"36 test faces.*needs 200 faces"),
     ({"adapt": "mix", "guard": 0.9, "shifts": ("dark",), "shifted": "probes"},
      replace(DATA, pairs=FacePairs(DATA.pairs.first, DATA.pairs.second % 4, DATA.pairs.same, DATA.pairs.fold),
              test=replace(DATA.test, identified=False)), r"4 probes.*with a guard needs 8 faces")],
)  # fmt: skip
def test_what_could_only_fail_at_the_end_is_refused_before_anything_is_trained(
    judging: dict[str, object], data: FaceData, match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(*args: object, **more: object) -> None:
        raise AssertionError("something was trained")

    monkeypatch.setattr("stillhouse.methods.recognition.method.prepare_teacher", trained)
    monkeypatch.setattr("stillhouse.methods.recognition.method.fit_student", trained)
    with pytest.raises(BadInput, match=match):
        execute(method(judging=Judging(**judging)), data, silent_run(tmp_path / "run"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "match"),
    [({"student": replace(SMALL, embedding_length=None)}, "no embedding_length"), ({"degradation": Degradation(4)}, "4 pixels"),
     ({"degradation": Degradation(16, sizes=(8, 16))}, "of one size"), ({"algorithm": "a/b"}, "cannot be used for a file")],
)  # fmt: skip
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, object], match: str) -> None:
    with pytest.raises(BadInput, match=match):
        FaceSettings(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "match"),
    [({"shifts": ("drak",)}, "no shift"), ({"adapt": "all"}, "adapt is 'all'"), ({"adapt_curve": (8,)}, "only a mixture"),
     ({"guard": 0.9}, "is not used"), ({"level": 6}, "1 .. 5"), ({"fmr": 0.0}, "strictly between"),
     ({"abstain_error": 1.5}, "strictly between"), ({"show_pairs": -1}, "from 0 up"), ({"shifted": "first"}, "shifted is 'first'"),
     ({"resolutions": (8, 3)}, "resolutions holds 3"), ({"adapt": "replace", "adapt_faces": 199}, "adapt=replace needs 200 faces"),
     ({"adapt": "mix", "guard": 0.9, "adapt_curve": (8, 7)}, "adapt_curve is 7.*with a guard needs 8 faces"),
     ({"adapt": "mix", "guard": 0.9, "adapt_faces": 7}, "adapt_faces is 7.*with a guard needs 8 faces"),
     ({"adapt": "online", "adapt_faces": 1}, "adapt=online needs 2 faces"), ({"adapt": "online", "guard": 0.9}, "not a stream"),
     ({"adapt": "mix", "guard": 1.5}, "strictly between")],
)  # fmt: skip
def test_judging_that_cannot_be_is_refused(settings: dict[str, object], match: str) -> None:
    with pytest.raises(BadInput, match=match):
        Judging(**settings)  # type: ignore[arg-type]


def test_a_network_refuses_pictures_of_another_size() -> None:
    with pytest.raises(BadInput, match="sees 3 channels of 8 x 8"):
        Recogniser("resnet20", side=8, embedding_length=4)(torch.rand(1, 3, 16, 16))


def test_a_card_is_plain_json(finished: tuple[Path, Outcome, FaceRecognition]) -> None:
    folder, _, _ = finished
    text = json.loads((folder / "card.json").read_text())
    assert text["trained_on"] == "few_faces, 32 pictures of 8 people, by crrcd"
