"""Condensation through the whole stack: shared out among Ray workers, and with experts that are made as Ray tasks and found again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from stillhouse.cluster import labelled
from stillhouse.cluster import train as ray_train
from stillhouse.cluster.config.compose import compose
from stillhouse.cluster.run import Finished, run
from stillhouse.cluster.session import ray_session
from stillhouse.methods.condensation import Condensation
from stillhouse.methods.condensation.augment import Augmentation
from stillhouse.methods.condensation.condensed import FILE, CondensedSet
from stillhouse.methods.condensation.evaluation import Evaluation
from stillhouse.methods.condensation.experts import ExpertPool
from stillhouse.methods.condensation.recipe import Recipe
from stillhouse.methods.labelled import LabelledData
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BadInput
from stillhouse.platform.report.report import Report
from stillhouse.platform.training.metrics import read_metrics
from stillhouse.platform.training.outcome import Outcome
from stillhouse.platform.training.progress import Silent

GENTLE = Augmentation("color_crop")
DANCE = [
    "method=dance", "method.ipc=1", "method.iterations=12", "method.real_batch=8", "method.full_data=true", "method.audit=100",
    "method.evaluate_every=5", "method.evaluation.repeats=2", "method.evaluation.recipe.steps=10", "method.experts.count=2",
    "method.experts.images=10", "method.experts.recipe.epochs=2",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with ray_session(num_cpus=2):
        yield


def condense(folder: Path, workers: int) -> Outcome:
    source = load("digits")
    own = Condensation(
        algorithm="dance", loss="mean", encoder="middle", calibration=True, learning_rate=0.01, ipc=1, iterations=11,
        real_batch=8, audit=100, evaluate_every=4,
        evaluation=Evaluation(repeats=2, recipe=Recipe(steps=10, augmentation=GENTLE)),
        experts=ExpertPool(count=2, recipe=Recipe(steps=8, augmentation=GENTLE), images=8),
    )  # fmt: skip
    data = LabelledData(source.private, source.score, "digits", "digits", folder / "shared")
    return ray_train.fit(own, data, folder=folder / "run", seed=3, workers=workers, reporter=Silent())


@pytest.mark.slow
def test_two_workers_condense_what_one_process_would(tmp_path: Path) -> None:
    alone, both = (condense(tmp_path / str(workers), workers) for workers in (0, 2))
    images = [CondensedSet.read(tmp_path / name / "run" / FILE).images for name in ("0", "2")]
    assert torch.equal(images[0], images[1])  # each class is computed by itself, wherever that is
    assert both.metrics == alone.metrics
    assert both.notes == alone.notes
    curves = [read_metrics(tmp_path / name / "run" / "metrics.jsonl") for name in ("0", "2")]
    for name in ("condensing/matching", "condensing/calibration", "condensing/accuracy"):
        assert dict(curves[1][name]) == pytest.approx(dict(curves[0][name]), rel=1e-6)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("condensation")


@pytest.fixture(scope="module")
def finished(home: Path) -> Finished:
    return run(compose([*DANCE, f"root={home}"]))


def experts(home: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (home / "shared" / "experts").rglob("*.safetensors")}


def test_the_report_has_curves_pictures_and_references(home: Path, finished: Finished) -> None:
    report = Report.read(finished.folder)
    assert report == finished.report
    assert {curve.label for curve in report.curves} == {"matching", "calibration", "accuracy"}
    assert all(curve.step == "iterations" and len(curve.points) == 2 for curve in report.curves)
    (picture,) = report.pictures
    assert (finished.folder / picture.path).exists()
    bars = {bar.label: bar for bar in report.accuracies}
    taught = "the first 10 images of each class"
    assert set(bars) == {"student", taught}
    assert bars["student"].deviation is not None
    assert bars[taught].standing == "non_private"
    assert report.title == "DANCE on digits"
    assert report.privacy.coverage == "uncovered"
    assert report.spending is None
    assert report.ledger is None
    assert not (home / "ledger.db").exists()
    assert any("membership audit" in note for note in report.notes)
    assert any("promises no epsilon" in line for line in report.this_start)
    page = (finished.folder / "report.html").read_text()
    assert "calibration" in page
    assert "Images of the set" in page
    # The whole test set is scored on: there is no pool that is asked about.
    assert "797" in report.protocol


def test_another_seed_finds_the_experts(home: Path, finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    before = experts(home)
    assert len({path.parents[2] for path in before}) == 2  # by number
    monkeypatch.setattr(labelled, "_make", lambda *_: pytest.fail("made again"))
    monkeypatch.setattr(
        "stillhouse.methods.condensation.experts.train_network", lambda *_, **__: pytest.fail("trained")
    )
    other = run(compose([*DANCE, f"root={home}", "seed=1"]))
    assert experts(home) == before
    assert other.folder != finished.folder
    assert other.outcome.metrics["student_accuracy"] != finished.outcome.metrics["student_accuracy"]
    assert other.outcome.baselines == finished.outcome.baselines


def test_a_second_start_ends_alike(home: Path, finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "stillhouse.methods.condensation.evaluation.train_network", lambda *_, **__: pytest.fail("trained")
    )
    assert run(compose([*DANCE, f"root={home}"])).outcome == finished.outcome


@pytest.mark.parametrize(
    ("more", "match"),
    [(["silos.address=127.0.0.1:1"], "dance works on the images themselves"),
     (["method.ipc=200"], "fewer than 800 images in classes")],
)  # fmt: skip
def test_what_does_not_fit_is_refused(home: Path, more: list[Any], match: str) -> None:
    with pytest.raises(BadInput, match=match):
        run(compose([*DANCE, f"root={home}", "method.evaluate_every=0", *more]))
