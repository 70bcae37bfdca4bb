"""Recognition through the whole stack: the shipped configurations, the report, two Ray workers."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from stillhouse.cluster.config.compose import CONFIG_DIR, compose
from stillhouse.cluster.run import Finished, run
from stillhouse.cluster.session import ray_session
from stillhouse.methods.recognition.method import FaceRecognition
from stillhouse.methods.recognition.objects import ObjectRecognition
from stillhouse.methods.recognition.stored import load_recogniser
from stillhouse.platform.report.report import Report
from stillhouse.platform.training.values import load_value
from stillhouse.platform.verification.scores import unit

FEW = [
    "data.size=32", "data.train_people=8", "data.test_people=9", "data.sessions=2", "data.frames=2", "data.draw.folds=3",
    "data.draw.genuine=6", "data.draw.impostor=36", "method.degradation.size=8", "method.student.name=resnet20",
    "method.teacher.network.name=resnet20", "method.teacher.size=16", "method.recipe.epochs=2", "method.recipe.batch_size=8",
    "method.teacher.recipe.epochs=1", "method.teacher.recipe.batch_size=8",
]  # fmt: skip
CRRCD = ["method=crrcd", "method.terms.crrcd_settings.negatives=4", "method.terms.crrcd_settings.queue=16", *FEW]
FACES = ("ce", "kd", "rkd", "crd", "sp", "at", "fitnet", "pkt", "crrcd", "aird")


@cache
def composed(name: str) -> Any:
    """A shipped method."""
    return compose([f"method={name}"]).method


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return run(compose([*CRRCD, f"root={tmp_path_factory.mktemp('recognition')}"]))


def test_the_report_tells_of_the_student_and_its_teacher(finished: Finished) -> None:
    report = Report.read(finished.folder)
    assert report == finished.report
    bars = {bar.label: bar.standing for bar in report.accuracies}
    assert bars["verification"] == "released" and bars["teacher in high resolution"] == "non_private"
    shown = {picture.path for picture in report.pictures}
    assert {"roc.svg", "images/pairs.png", "learning_crrcd.svg"} <= shown
    assert "Drawn faces of people who do not exist" in report.protocol
    assert report.privacy.coverage == "uncovered" and report.spending is None
    assert any("promises no epsilon" in line for line in report.this_start)
    page = (finished.folder / "report.html").read_text()
    assert "paired bootstrap" in page


def test_methods_share_their_teacher_and_another_seed_has_its_own(finished: Finished) -> None:
    root = f"root={finished.folder.parent}"
    kd = run(compose(["method=kd", *FEW, root]))
    own = json.loads((finished.folder / "metrics.jsonl").read_text().splitlines()[0])["metrics"]
    assert "teacher/loss" in own and "teacher/loss" not in (kd.folder / "metrics.jsonl").read_text()
    assert kd.outcome.baselines == finished.outcome.baselines
    teachers = finished.folder.parent / "shared" / "recognition" / "teacher"
    assert len(list(teachers.glob("*.safetensors"))) == 1
    run(compose(["method=ce", *FEW, root, "seed=1"]))
    assert len(list(teachers.glob("*.safetensors"))) == 2


@pytest.mark.parametrize("name", FACES)
def test_face_methods_differ_in_what_is_imitated_only(name: str) -> None:
    """Same student, head, schedule and teacher for all; AIRD's batches of people and FaceBN are part of it."""
    own, common = composed(name), composed("recognition")
    assert isinstance(own, FaceRecognition)
    same = replace(own, algorithm=common.algorithm, terms=common.terms)
    if name == "aird":
        same = replace(same, judging=common.judging, recipe=common.recipe)
        assert replace(own.recipe, people_per_batch=0) == common.recipe
    assert same == common
    if name != "ce" and name != "aird":
        assert own.terms.kd == 0.5


@pytest.mark.parametrize("name", [name for name in FACES if name != "aird"])
def test_object_methods_imitate_what_the_face_methods_do(name: str) -> None:
    own, common = composed(f"{name}_objects"), composed("recognition_objects")
    assert isinstance(own, ObjectRecognition)
    assert replace(own, algorithm=common.algorithm, terms=common.terms) == common
    assert own.terms.names == composed(name).terms.names


@pytest.mark.parametrize("name", ["recognition", "crrcd", "kd", "aird", "crrcd_objects", "crrcd_cifar100"])
def test_files_at_the_papers_size_are_said_to_be_not_run(name: str) -> None:
    assert "Not run here" in (CONFIG_DIR / "method" / f"{name}_paper.yaml").read_text(encoding="utf-8")
    assert composed(f"{name}_paper").recipe.epochs >= 35


@pytest.mark.slow
def test_two_workers_train_one_student(tmp_path: Path) -> None:
    with ray_session(num_cpus=2):
        found = run(compose([*CRRCD, f"root={tmp_path}", "cluster.workers=2"]))
    assert all(math.isfinite(metric.value) for metric in found.outcome.metrics.values())
    assert any("2 processes" in note for note in found.outcome.notes)
    stored = load_recogniser(found.folder)
    test = compose(CRRCD).config.data.load(seed=0, key=b"")
    rows = unit(stored.embed(test.test.read(range(len(test.test)))))
    scores = (rows[test.pairs.first] * rows[test.pairs.second]).sum(1)
    # What both judged is what the first wrote: running statistics of batch norms are one process's, not each one's own.
    assert scores == pytest.approx(load_value(found.folder / "scores.safetensors")["student"]["scores"], abs=1e-5)
