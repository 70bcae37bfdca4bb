"""Objects from end to end: test accuracy of the student and of its teacher, transfer, and what lies on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stillhouse.methods.labelled import LabelledData
from stillhouse.methods.recognition import probing
from stillhouse.methods.recognition.answering import LabelledPictures, accuracy_of
from stillhouse.methods.recognition.heads import Head, Margin
from stillhouse.methods.recognition.networks import Architecture, Recogniser
from stillhouse.methods.recognition.objects import CARD, ObjectRecognition
from stillhouse.methods.recognition.probing import probe
from stillhouse.methods.recognition.settings import Transfer
from stillhouse.methods.recognition.teacher import TeacherSettings
from stillhouse.methods.recognition.terms import Terms
from stillhouse.platform.data.degradation import Degradation
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BadInput
from stillhouse.platform.training.outcome import execute

from .few_faces import LITTLE, people, silent_run

POOLED = Architecture("resnet20", None)
RECIPE = replace(LITTLE, epochs=6, batch_size=12)
PLAIN = Margin("softmax")


def images(seed: int, each: int = 8, channels: int = 3) -> ImageData:
    """Six patterns of colours; those of all seeds are the same."""
    faces = people(6, 16, 5)
    chosen = np.random.default_rng(seed).permutation(len(faces))[: 6 * each]
    pictures = faces.read(chosen)
    return ImageData(pictures[:, :channels], faces.identities[chosen], 6, "patterns")


def data(channels: int = 3) -> LabelledData:
    return LabelledData(
        images(0, channels=channels), images(1, channels=channels), "patterns", "patterns", Path("nowhere")
    )


def method(terms: Terms, **more: object) -> ObjectRecognition:
    settings: dict[str, object] = {
        "algorithm": "objects", "degradation": Degradation(8), "student": POOLED, "head": PLAIN, "recipe": RECIPE, "terms": terms,
        "teacher": TeacherSettings(network=POOLED, head=PLAIN, recipe=RECIPE, size=16), **more,
    }  # fmt: skip
    return ObjectRecognition(**settings)  # type: ignore[arg-type]


def test_what_a_run_ends_with(tmp_path: Path) -> None:
    given, channels = data(1), 1
    outcome = execute(method(Terms(kd=0.5, sp=10.0)), given, silent_run(tmp_path / "run"))
    assert outcome.metrics["student_accuracy"].value > 0.3  # a chance of one in six
    assert set(outcome.baselines) == {"teacher in high resolution", "teacher on low resolution, brought up"}
    assert outcome.baselines["teacher in high resolution"]["accuracy"].value > 0.3
    assert outcome.privacy.coverage == "uncovered"
    card = json.loads((tmp_path / "run" / CARD).read_text())
    assert card["preparation"] == "to 8 px by bilinear, antialiased" and card["channels"] == channels
    state = load_file(tmp_path / "run" / card["weights"])
    student = Recogniser(card["architecture"], side=card["side"], embedding_length=None, channels=channels).eval()
    student.load_state_dict({k.removeprefix("recogniser."): v for k, v in state.items() if k.startswith("recogniser.")})
    head = Head(Margin(card["head"]), length=student.embedding_length, classes=card["classes"])
    head.load_state_dict({k.removeprefix("head."): v for k, v in state.items() if k.startswith("head.")})
    found = accuracy_of(silent_run(tmp_path / "again"), student, head, given.test, Degradation(8))
    assert found == outcome.metrics["student_accuracy"].value


def test_accuracy_is_a_count(tmp_path: Path) -> None:
    test = images(1)
    network = Recogniser("resnet20", side=8, embedding_length=None).eval()
    head = Head(PLAIN, length=64, classes=6)
    with torch.no_grad():
        low = Degradation(8)(torch.from_numpy(test.images).float() / 255)
        expected = (head(network(low).embedding).argmax(1).numpy() == test.labels).mean()
    assert accuracy_of(silent_run(tmp_path / "run"), network, head, test, Degradation(8)) == expected
    assert LabelledPictures(test).content_hash() == test.content_hash()


def test_transfer_trains_a_classifier_on_other_data_and_leaves_the_student(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    student = Recogniser("resnet20", side=8, embedding_length=None).eval().requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    digits = load("digits")
    few = replace(
        digits,
        private=digits.private.take(range(300)),
        pool=digits.pool.take(range(80)),
        score=digits.score.take(range(80)),
    )
    monkeypatch.setattr(probing, "load", lambda name, root: few)
    run, transfer = silent_run(tmp_path / "run"), Transfer("digits", side=32, steps=100)
    accuracy, told = probe(run, student, transfer, Degradation(8), (3, 32, 32))
    assert 0.3 < accuracy < 1  # a chance of one in ten, random features
    assert "300 images of digits, scored on 160" in told
    assert all(torch.equal(before[name], tensor) for name, tensor in student.state_dict().items())
    assert probe(run, student, transfer, Degradation(8), (3, 32, 32))[0] == accuracy


def test_one_resolution_is_plain_distillation_and_a_larger_one_is_refused(tmp_path: Path) -> None:
    teacher = TeacherSettings(network=POOLED, head=PLAIN, recipe=replace(RECIPE, epochs=1))
    one = method(Terms(kd=0.5), degradation=Degradation(32), recipe=replace(RECIPE, epochs=1), teacher=teacher)
    assert execute(one, data(), silent_run(tmp_path / "run")).metrics["student_accuracy"].value >= 0
    with pytest.raises(BadInput, match="degradation to 33 pixels"):
        execute(method(Terms(), degradation=Degradation(33)), data(), silent_run(tmp_path / "other"))


def test_a_teacher_without_a_classifier_is_given_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Recogniser("resnet20", side=32, embedding_length=None)
    torch.save(network.state_dict(), tmp_path / "net.pt")
    once = replace(RECIPE, epochs=1)
    teacher = TeacherSettings(source="checkpoint", path=str(tmp_path / "net.pt"), network=POOLED, check=0)
    outcome = execute(method(Terms(kd=0.5), teacher=teacher, recipe=once), data(), silent_run(tmp_path / "run"))
    assert outcome.baselines["teacher in high resolution"]["accuracy"].value > 0.5
    alone = execute(method(Terms(rkd=1.0), teacher=teacher, recipe=once), data(), silent_run(tmp_path / "alone"))
    assert alone.baselines == {}  # no term compares answers, so none was fitted
