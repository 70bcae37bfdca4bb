"""Shifts of one side of a pair: each side is embedded as it is seen, and FaceBN takes statistics of each by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stillhouse.methods.recognition.aird.face_bn import AdaptedModel, adapt_bn
from stillhouse.methods.recognition.judging import Gallery, Judging
from stillhouse.methods.recognition.looking import Look, embedded, some_pictures
from stillhouse.methods.recognition.networks import Recogniser
from stillhouse.methods.recognition.shifted import LAYER_COLUMNS, ShiftTest
from stillhouse.platform.data.degradation import Degradation
from stillhouse.platform.data.faces import FacePairs
from stillhouse.platform.errors import BadInput
from stillhouse.platform.verification.scores import pair_scores, unit

from .few_faces import SMALL, few_faces, silent_run

DATA = few_faces()
LOW = Degradation(8)
ENROLLED = Gallery.of(DATA.test)
assert ENROLLED is not None
SIDES = (
    np.unique([*DATA.pairs.first, *ENROLLED.enrolled]),
    np.unique([*DATA.pairs.second, *ENROLLED.probes]),
)


@pytest.fixture
def student() -> Recogniser:
    network = SMALL.fresh(side=8, channels=3, seed=0)
    network.train()
    with torch.no_grad():  # Statistics of something.
        network(torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    return network.eval()


def shift_test(folder: Path, **settings: object) -> ShiftTest:
    judging = Judging(shifts=("dark",), adapt="mix", prior=4.0, **settings)  # type: ignore[arg-type]
    return ShiftTest(silent_run(folder), DATA, judging, LOW, Gallery.of(DATA.test))


def rows_of(test: ShiftTest, network: torch.nn.Module, look: Look) -> np.ndarray:
    return embedded(test.run, network, DATA.test.pictures, look, flip=True)


def test_the_second_picture_alone_is_shifted(student: Recogniser, tmp_path: Path) -> None:
    test, pairs = shift_test(tmp_path, shifted="probes"), DATA.pairs
    bright, dark = rows_of(test, student, test.look()), rows_of(test, student, test.look("dark"))
    found = test.plain(student, "dark")
    wanted = (unit(bright)[pairs.first] * unit(dark)[pairs.second]).sum(1)
    assert np.allclose(found.scores, wanted, atol=1e-6)
    assert not np.allclose(found.scores, pair_scores(dark, pairs.first, pairs.second), atol=1e-3)
    assert np.allclose(test.plain(student).scores, pair_scores(bright, pairs.first, pairs.second), atol=1e-6)
    assert found.quality is not None
    lengths = np.linalg.norm(bright, axis=1)[pairs.first], np.linalg.norm(dark, axis=1)[pairs.second]
    assert np.allclose(found.quality, np.minimum(*lengths), rtol=1e-5)
    # Whoever is looked for is in the dark as well; the gallery is not.
    gallery = Gallery.of(DATA.test)
    assert gallery is not None and found.identification is not None
    people = DATA.test.identities
    cosines = unit(dark)[gallery.probes] @ unit(bright)[gallery.enrolled].T
    right = people[gallery.enrolled][cosines.argmax(1)] == people[gallery.probes]
    assert found.identification.rate(1) == pytest.approx(right.mean())


def test_each_side_has_statistics_of_its_own(student: Recogniser, tmp_path: Path) -> None:
    test, pairs = shift_test(tmp_path, shifted="probes"), DATA.pairs
    looks = test.look(), test.look("dark")
    shown = [
        some_pictures(test.run, DATA.test.pictures, numbers, look, 2000)
        for numbers, look in zip(SIDES, looks, strict=True)
    ]
    models = [adapt_bn(student, pictures, "mix", prior=4.0).model for pictures in shown]
    first, second = (rows_of(test, model, look) for model, look in zip(models, looks, strict=True))
    adapted = test.adapted(student, "dark")
    found, notes = adapted.judged, adapted.notes
    assert np.allclose(found.scores, (unit(first)[pairs.first] * unit(second)[pairs.second]).sum(1), atol=1e-5)
    assert len(notes) == 2 and all("without labels" in note for note in notes)
    pooled = adapt_bn(student, torch.cat(shown), "mix", prior=4.0).model
    first, second = (rows_of(test, pooled, look) for look in looks)
    wanted = (unit(first)[pairs.first] * unit(second)[pairs.second]).sum(1)
    assert np.allclose(test.pooled(student, "dark").judged.scores, wanted, atol=1e-5)
    assert not np.allclose(wanted, found.scores, atol=1e-3)


def test_what_is_told(student: Recogniser, tmp_path: Path) -> None:
    told = shift_test(tmp_path / "apart", shifted="probes", adapt_curve=(4, 16)).table(student)
    metrics, rows = told.metrics, told.rows
    names = {"dark_accuracy", "dark_adapted_accuracy", "dark_pooled_accuracy"}
    assert names <= set(metrics) and len(rows) == 3
    assert [str(row[0]).rpartition("probes alone")[2] for row in rows] == [
        "", ", FaceBN", ", FaceBN on both sides together"
    ]  # fmt: skip
    sides = [len(numbers) for numbers in SIDES]
    assert [row[1] for row in rows] == [None, min(sides), sum(sides)]
    both = shift_test(tmp_path / "both").table(student)
    assert [row[1] for row in both.rows] == [None, len(DATA.test)]
    assert set(both.metrics) == {"dark_accuracy", "dark_eer", "dark_adapted_accuracy", "dark_adapted_eer"}
    curve = shift_test(tmp_path / "curve", shifted="probes", adapt_curve=(4, 16)).curve(student)
    assert [row[:2] for row in curve] == [("none", 4), ("none", 16), ("dark", 4), ("dark", 16)]
    most = shift_test(tmp_path / "most", shifted="probes", adapt_curve=(500,)).curve(student)
    assert [row[:2] for row in most] == [("none", len(DATA.test)), ("dark", min(sides))]
    assert min(sides) < max(sides) < len(DATA.test)
    unshifted = shift_test(tmp_path / "unshifted", shifted="probes")
    same = shift_test(tmp_path / "same").adapted(student)
    assert np.array_equal(unshifted.adapted(student).judged.scores, same.judged.scores)


def test_how_far_each_layer_lies_is_told_by_side(student: Recogniser, tmp_path: Path) -> None:
    test = shift_test(tmp_path, shifted="probes", guard=0.95)
    rows = test.table(student).layers
    layers = [name for name, module in student.named_modules() if "BatchNorm" in type(module).__name__]
    assert [row[:3] for row in rows] == [
        ("dark", side, layer) for side in ("enrolled", "probes", "pooled") for layer in layers
    ]
    assert all(len(row) == len(LAYER_COLUMNS) for row in rows)
    pictures = some_pictures(test.run, DATA.test.pictures, SIDES[1], test.look("dark"), 2000)
    drawn = torch.Generator().manual_seed(test.run.seed_for("face-bn", "guard"))
    # The guard of the second side draws after that of the first.
    first = some_pictures(test.run, DATA.test.pictures, SIDES[0], test.look(), 2000)
    settings = {"prior": 4.0, "guard": 0.95, "generator": drawn}
    adapt_bn(student, first, "mix", **settings)  # type: ignore[arg-type]
    wanted = adapt_bn(student, pictures, "mix", **settings).diff()  # type: ignore[arg-type]
    assert [row[3:] for row in rows if row[1] == "probes"] == [
        (one.channels, one.shift, one.divergence, one.noise, one.adapted) for one in wanted
    ]
    whole = test.adapted(student).layer_rows()
    assert [row[:3] for row in whole] == [("none", "both", layer) for layer in layers]


def test_online_faces_arrive_a_few_at_a_time(
    student: Recogniser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def remember(self: AdaptedModel, images: torch.Tensor) -> None:
        seen.append(len(images))
        update(self, images)

    update = AdaptedModel.update
    monkeypatch.setattr(AdaptedModel, "update", remember)
    monkeypatch.setattr("stillhouse.methods.recognition.shifted.BATCH", 7)
    found = replace_adapt(shift_test(tmp_path), "online").adapted(student)
    assert seen == [7, 7, 7, 7, 8]  # 36, of which the last would be alone
    assert found.faces == 36 and "FaceBN, online: statistics of 36 faces" in found.notes[0]


def replace_adapt(test: ShiftTest, adapt: str) -> ShiftTest:
    return replace(test, judging=replace(test.judging, adapt=adapt))


def test_what_could_only_fail_at_the_end_is_refused(student: Recogniser, tmp_path: Path) -> None:
    plain, apart = shift_test(tmp_path / "both"), shift_test(tmp_path / "apart", shifted="probes")
    plain.check(student)
    apart.check(student)
    with pytest.raises(BadInput, match=r"36 test faces.*adapt=replace needs 200 faces"):
        replace_adapt(plain, "replace").check(student)
    with pytest.raises(BadInput, match="without batch normalisation"):
        plain.check(torch.nn.Linear(3, 3))
    replace(plain, judging=Judging()).check(torch.nn.Linear(3, 3))
    # One side of few pairs has fewer faces than the whole.
    kept = np.flatnonzero(DATA.pairs.fold < 2)
    few = FacePairs(*(getattr(DATA.pairs, name)[kept] for name in ("first", "second", "same", "fold")))
    data = replace(DATA, pairs=replace(few, second=few.second % 4))
    guarded = replace(apart, data=data, gallery=None, judging=replace(apart.judging, guard=0.95))
    with pytest.raises(BadInput, match=r"4 probes in few_faces.*with a guard needs 8 faces"):
        guarded.check(student)
    replace(guarded, judging=replace(guarded.judging, shifted="both")).check(student)
    one_fold = replace(DATA, pairs=replace(DATA.pairs, fold=np.zeros(len(DATA.pairs), np.int64)))
    with pytest.raises(BadInput, match="two folds or more"):
        replace(plain, data=one_fold, judging=Judging()).check(student)
