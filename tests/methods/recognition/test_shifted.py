"""Shifts of one side of a pair: each side is embedded as it is seen, and FaceBN takes statistics of each by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from stillhouse.methods.recognition.aird.face_bn import adapt_bn
from stillhouse.methods.recognition.judging import Gallery, Judging
from stillhouse.methods.recognition.looking import Look, embedded, some_pictures
from stillhouse.methods.recognition.networks import Recogniser
from stillhouse.methods.recognition.shifted import ShiftTest
from stillhouse.platform.data.degradation import Degradation
from stillhouse.platform.verification.scores import pair_scores, unit

from .few_faces import SMALL, few_faces, silent_run

DATA = few_faces()
LOW = Degradation(8)


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
    gallery = Gallery.of(DATA.test)
    assert gallery is not None
    sides = np.unique([*pairs.first, *gallery.enrolled]), np.unique([*pairs.second, *gallery.probes])
    looks = test.look(), test.look("dark")
    shown = [
        some_pictures(test.run, DATA.test.pictures, numbers, look, 2000)
        for numbers, look in zip(sides, looks, strict=True)
    ]
    models = [adapt_bn(student, pictures, "mix", prior=4.0).model for pictures in shown]
    first, second = (rows_of(test, model, look) for model, look in zip(models, looks, strict=True))
    found, notes = test.adapted(student, "dark")
    assert np.allclose(found.scores, (unit(first)[pairs.first] * unit(second)[pairs.second]).sum(1), atol=1e-5)
    assert len(notes) == 2 and all("without labels" in note for note in notes)
    pooled = adapt_bn(student, torch.cat(shown), "mix", prior=4.0).model
    first, second = (rows_of(test, pooled, look) for look in looks)
    wanted = (unit(first)[pairs.first] * unit(second)[pairs.second]).sum(1)
    assert np.allclose(test.pooled(student, "dark").scores, wanted, atol=1e-5)
    assert not np.allclose(wanted, found.scores, atol=1e-3)


def test_what_is_told(student: Recogniser, tmp_path: Path) -> None:
    metrics, rows = shift_test(tmp_path / "apart", shifted="probes", adapt_curve=(4, 16)).table(student)
    names = {"dark_accuracy", "dark_adapted_accuracy", "dark_pooled_accuracy"}
    assert names <= set(metrics) and len(rows) == 3
    assert [str(row[0]).rpartition("probes alone")[2] for row in rows] == [
        "", ", FaceBN", ", FaceBN on both sides together"
    ]  # fmt: skip
    both, _ = shift_test(tmp_path / "both").table(student)
    assert set(both) == {"dark_accuracy", "dark_eer", "dark_adapted_accuracy", "dark_adapted_eer"}
    curve = shift_test(tmp_path / "curve", shifted="probes", adapt_curve=(4, 16)).curve(student)
    assert [row[:2] for row in curve] == [("none", 4), ("none", 16), ("dark", 4), ("dark", 16)]
    unshifted = shift_test(tmp_path / "unshifted", shifted="probes")
    assert np.array_equal(
        unshifted.adapted(student)[0].scores, shift_test(tmp_path / "same").adapted(student)[0].scores
    )
