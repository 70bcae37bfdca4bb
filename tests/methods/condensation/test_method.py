"""The method as a whole on digits: what it ends with, what it refuses, what a second start finds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from stillhouse.methods.condensation import Condensation
from stillhouse.methods.condensation import experts as experts_module
from stillhouse.methods.condensation.augment import Augmentation
from stillhouse.methods.condensation.condensed import CondensedSet
from stillhouse.methods.condensation.evaluation import Evaluation
from stillhouse.methods.condensation.experts import ExpertPool
from stillhouse.methods.condensation.matching import Calibration, RealMatching, Reuse
from stillhouse.methods.condensation.recipe import Recipe
from stillhouse.methods.condensation.settings import WITH_FEATURES
from stillhouse.methods.labelled import LabelledData
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BadInput
from stillhouse.platform.nn.architectures import NETWORKS
from stillhouse.platform.training.metrics import read_metrics
from stillhouse.platform.training.outcome import Outcome, execute
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from torch import Tensor

GENTLE = Augmentation("color_crop")
SMALL = Condensation(
    ipc=1, iterations=10, real_batch=8, audit=100,
    evaluation=Evaluation(repeats=2, recipe=Recipe(steps=10, augmentation=GENTLE)),
    experts=ExpertPool(count=2, recipe=Recipe(steps=8, augmentation=GENTLE), images=8),
)  # fmt: skip
METHODS: Mapping[str, Mapping[str, Any]] = {
    "dm": {"loss": "mean", "encoder_every": 1, "learning_rate": 0.01},
    "dm_paper": {"loss": "mean", "encoder_every": 1, "factor": 1, "initial": "random", "pixels": False, "sweep": False,
                 "augmentation": Augmentation("color_crop_cutout_scale_rotate", one=True), "rate_by_ipc": False},
    "m3d": {},
    "dance": {"loss": "mean", "encoder": "middle", "calibration": True, "learning_rate": 0.01, "full_data": True},
    "herding": {"initial": "herding", "factor": 1, "iterations": 0},
}  # fmt: skip


class Listener(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def method(name: str = "m3d", **more: Any) -> Condensation:
    return replace(SMALL, algorithm=name, **{**METHODS[name], **more})


@pytest.fixture(scope="module")
def digits() -> LabelledData:
    source = load("digits")
    return LabelledData(source.private, source.score.take(range(200)), "digits", "digits", Path("nowhere"))


@pytest.fixture
def finish(digits: LabelledData, tmp_path: Path) -> Callable[..., Outcome]:
    def start(
        own: Condensation, folder: str = "run", *, seed: int = 0, reporter: Silent | None = None, **data: Any
    ) -> Outcome:
        run = LocalRun(tmp_path / folder, seed=seed, reporter=reporter or Silent())
        return execute(own, replace(digits, **{"shared": tmp_path / "shared", **data}), run)

    return start


@pytest.mark.parametrize("name", METHODS)
def test_what_a_run_ends_with(name: str, digits: LabelledData, tmp_path: Path, finish: Callable[..., Outcome]) -> None:
    own = method(name)
    outcome = finish(own)
    assert outcome.method == name
    assert outcome.metrics["images"].value == 10
    assert 0.15 < outcome.metrics["student_accuracy"].value <= 1  # a chance of 0.1, and ten steps
    assert outcome.metrics["student_deviation"].value >= 0
    areas = {name for name in outcome.metrics if name.startswith("membership_auc_")}
    assert areas == {"membership_auc_distance", "membership_auc_loss", "membership_auc_start"}
    assert outcome.privacy.coverage == "uncovered"
    assert math.isinf(outcome.privacy.epsilon)
    assert math.isinf(outcome.metrics["epsilon"].value)
    assert Outcome.read(tmp_path / "run") == outcome

    stored = CondensedSet.read(tmp_path / "run" / outcome.artefacts["condensed"])
    assert stored.images.shape == (10, 1, 8, 8)
    assert stored.labels.tolist() == list(range(10))
    assert stored.factor == own.factor
    assert 0 <= stored.images.min() <= stored.images.max() <= 1  # check P3, on export
    picture = Image.open(tmp_path / "run" / outcome.artefacts["grid"])
    assert picture.size == (7 * (10 * 10 + 2), 7 * (8 + 4))  # one row, enlarged

    assert ("relative_accuracy" in outcome.metrics) == own.full_data
    # The reference is named by what it was taught: not all data here.
    assert list(outcome.baselines) == (["the first 8 images of each class"] if own.full_data else [])
    if own.iterations:
        curves = read_metrics(tmp_path / "run" / "metrics.jsonl")
        logged = {name for name in curves if name.startswith("condensing/")}
        assert logged == {"condensing/matching"} | ({"condensing/calibration"} if own.calibration else set())
    if name == "herding":  # what is only selected is records
        assert not (tmp_path / "run" / "metrics.jsonl").exists()
        assert outcome.metrics["membership_auc_start"].value == 1.0
        assert digits.train is not None
        records = {image.tobytes() for image in digits.train.images}
        assert all(image.tobytes() in records for image in (stored.images * 255).round().to(torch.uint8).numpy())


@pytest.mark.parametrize(("name", "part"), [("dm", 0.5), ("m3d", 0.8)])
def test_the_loss_falls(name: str, part: float, tmp_path: Path, finish: Callable[..., Outcome]) -> None:
    """Check T1: one encoder, no augmentation, all images of a class in every batch."""
    more = {"encoder_every": 1000, "augmentation": Augmentation("none"), "real_batch": 1000, "initial": "noise",
            "reuse": Reuse(times=20, bank=1)}  # fmt: skip
    losses = []
    for iterations in (1, 20):
        finish(method(name, iterations=iterations, audit=0, evaluation=LEAST, **more), str(iterations))
        series = read_metrics(tmp_path / str(iterations) / "metrics.jsonl")["condensing/matching"]
        losses.append(dict(series)[iterations])
    assert 0 < losses[1] < part * losses[0]


LEAST = Evaluation(repeats=1, recipe=Recipe(steps=1, batch_size=10))


def test_condensing_teaches_more_than_what_it_started_from(finish: Callable[..., Outcome]) -> None:
    judged = Evaluation(repeats=1, recipe=Recipe(steps=40, learning_rate=0.05, augmentation=GENTLE))
    scores = [
        finish(method("m3d", iterations=n, evaluation=judged, initial="noise", audit=0), str(n)).metrics[
            "student_accuracy"
        ]
        for n in (0, 20)
    ]
    assert scores[0].value < 0.3
    assert scores[1].value > scores[0].value + 0.2


def test_a_start_from_noise_names_no_records(finish: Callable[..., Outcome]) -> None:
    outcome = finish(method(initial="noise", evaluation=LEAST, iterations=2))
    assert "membership_auc_start" not in outcome.metrics
    assert "membership_auc_distance" in outcome.metrics
    assert "student_deviation" not in outcome.metrics  # one network has none


def test_networks_and_looks(finish: Callable[..., Outcome], tmp_path: Path) -> None:
    evaluation = Evaluation(("convnet", "alexnet"), repeats=1, recipe=Recipe(epochs=6, batch_size=20), looks=3)
    outcome = finish(method(iterations=0, audit=0, evaluation=evaluation))
    assert {"student_accuracy", "student_accuracy_alexnet", "student_best_on_test"} <= set(outcome.metrics)
    looked = read_metrics(tmp_path / "run" / "networks" / "judge-convnet-0" / "metrics.jsonl")[
        "judge-convnet-0/accuracy"
    ]
    assert [step for step, _ in looked] == [4, 8, 12]  # two batches an epoch
    assert outcome.metrics["student_accuracy"].value == looked[-1][1]
    assert outcome.metrics["student_best_on_test"].value == max(score for _, score in looked)
    assert any("no measurement" in note for note in outcome.notes)


def test_the_learning_curve(finish: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = finish(method(iterations=5, evaluate_every=2, audit=0, evaluation=LEAST))
    curve = read_metrics(tmp_path / "run" / "metrics.jsonl")["condensing/accuracy"]
    assert [step for step, _ in curve] == [2, 4]
    # It is a look only: without it the result is the same.
    assert finish(method(iterations=5, audit=0, evaluation=LEAST), "other").metrics == outcome.metrics


def condensed(folder: Path) -> Tensor:
    return CondensedSet.read(folder / "condensed.safetensors").images


@pytest.mark.parametrize("name", ["m3d", "dance"])
def test_a_second_start_finds_everything(
    name: str, tmp_path: Path, finish: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = finish(method(name))
    images = condensed(tmp_path / "run")

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("computed again")

    for term in (RealMatching, Calibration):
        monkeypatch.setattr(term, "__call__", never)
    monkeypatch.setattr("stillhouse.methods.condensation.evaluation.train_network", never)
    monkeypatch.setattr(experts_module, "train_network", never)
    listener = Listener()
    again = finish(method(name), reporter=listener)
    assert again == first
    assert torch.equal(condensed(tmp_path / "run"), images)
    assert "condensing: going on from iteration 10" in listener.said
    assert sum("scores: found" in text for text in listener.said) == 2


def test_the_same_seed_makes_the_same_images_and_another_one_others(
    tmp_path: Path, finish: Callable[..., Outcome]
) -> None:
    own = method("m3d", audit=0, evaluation=LEAST, reuse=Reuse(3, 2), iterations=8)
    first = finish(own, "a")
    assert finish(own, "b") == first
    assert torch.equal(condensed(tmp_path / "a"), condensed(tmp_path / "b"))
    kept = condensed(tmp_path / "a")
    finish(own, "c", seed=1)
    assert not torch.equal(condensed(tmp_path / "c"), kept)
    # Not even where the first seed's work lies: nothing of it is taken over.
    assert finish(own, "a", seed=1) == Outcome.read(tmp_path / "c")
    assert torch.equal(condensed(tmp_path / "a"), condensed(tmp_path / "c"))


def test_another_judgement_leaves_the_images_alone(
    tmp_path: Path, finish: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(method(audit=0, evaluation=LEAST))
    images = condensed(tmp_path / "run")
    monkeypatch.setattr(RealMatching, "__call__", lambda *_: pytest.fail("computed again"))
    outcome = finish(method(audit=50))
    assert torch.equal(condensed(tmp_path / "run"), images)
    assert "student_deviation" in outcome.metrics
    # A larger audit is another one, too.
    assert finish(method(audit=300)).metrics["membership_auc_loss"] != outcome.metrics["membership_auc_loss"]


def test_experts_are_shared_between_runs(
    tmp_path: Path, finish: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = method("dance", audit=0, evaluation=LEAST, iterations=2)
    finish(own, "a")
    monkeypatch.setattr(experts_module, "train_network", lambda *_, **__: pytest.fail("trained again"))
    finish(own, "b", seed=1)
    assert len(list((tmp_path / "shared" / "experts").glob("*/*"))) == 2


def test_classes_that_are_too_small_are_named_before_anything_is_trained(
    digits: LabelledData, tmp_path: Path, finish: Callable[..., Outcome]
) -> None:
    assert digits.train is not None
    rare = np.flatnonzero(digits.train.labels == 7)[3:]
    few = digits.train.take(np.setdiff1d(np.arange(len(digits.train)), rare))
    with pytest.raises(BadInput, match="fewer than 4 images in class 7"):
        finish(method("dance"), train=few)
    assert not (tmp_path / "shared").exists()
    assert finish(method("dance", factor=1, evaluation=LEAST, iterations=1), train=few).metrics["images"].value == 10


def colours(data: ImageData) -> ImageData:
    return ImageData(np.repeat(data.images, 3, axis=1), data.labels, data.classes, "colours")


def test_colour_images_and_factors_that_do_not_divide(digits: LabelledData, finish: Callable[..., Outcome]) -> None:
    assert digits.train is not None
    outcome = finish(
        method(factor=3, iterations=2, evaluation=LEAST), train=colours(digits.train), test=colours(digits.test)
    )
    assert any("padded to 9 x 9" in note for note in outcome.notes)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"loss": "gausian"}, "loss is 'gausian'"),
        ({"loss": "rff"}, "loss is 'rff'"),
        ({"encoder": "centre"}, "encoder is 'centre'"),
        ({"initial": "mix"}, "initial is 'mix'"),
        ({"initial": "class_means"}, "initial is 'class_means'"),
        ({"architecture": "vgg11"}, "architecture is 'vgg11'"),
        ({"calibration": True}, "calibration asks trained experts"),
        ({"iterations": -1}, "iterations is -1"),
        ({"audit": True}, "audit is True"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"ipc": 0}, "ipc"),
        ({"together": 0}, "together"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(BadInput, match=match):
        Condensation(**settings)


def test_images_that_do_not_fit(finish: Callable[..., Outcome]) -> None:
    with pytest.raises(BadInput, match="factor 9"):
        finish(method(factor=9))
    with pytest.raises(BadInput, match="looks at records") as caught:
        finish(method(), train=None)
    assert "method.dp=true" in str(caught.value.mend)
    with pytest.raises(BadInput, match="networks to judge with"):
        Evaluation(networks=("convnet", "lenet"))


def test_preparations_are_the_experts(digits: LabelledData) -> None:
    pieces: Sequence[Any] = method("dance").preparations(digits)
    assert [piece.number for piece in pieces] == [0, 1]
    assert len(method("m3d").preparations(digits)) == 0
    assert len(method("m3d", full_data=True).preparations(digits)) == 1
    assert len(method("dance", iterations=0, full_data=False).preparations(digits)) == 0
    assert method("dance").preparations(replace(digits, train=None)) == []


@pytest.mark.parametrize("name", ["a/b", "..", ""])
def test_a_name_that_would_leave_the_root_is_refused(name: str) -> None:
    with pytest.raises(BadInput):
        Condensation(algorithm=name)


def test_architectures_of_encoders_exist() -> None:
    assert set(WITH_FEATURES) <= set(NETWORKS)


def test_pixels_that_are_no_numbers_and_labels_that_are_missing_are_refused() -> None:
    pixels, labels = np.zeros((3, 1, 8, 8), np.uint8), np.zeros(3, np.int64)
    with pytest.raises(BadInput, match="uint8"):
        ImageData(np.full((3, 1, 8, 8), np.nan), labels, 2, "mine")
    with pytest.raises(BadInput, match="one label an image"):
        ImageData(pixels, labels[:2], 2, "mine")
    with pytest.raises(BadInput, match="outside"):
        ImageData(pixels, labels - 1, 2, "mine")
