"""The method as a whole on small synthetic records: what it ends with, what it refuses, what a second start finds."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stillhouse.methods.noisy_labels.multilabel import learning as learning_module
from stillhouse.methods.noisy_labels.multilabel.method import NoisyMultiLabel
from stillhouse.methods.noisy_labels.multilabel.networks import Network
from stillhouse.methods.noisy_labels.multilabel.settings import Estimator, Training
from stillhouse.platform.data.multilabel import MultiLabelData
from stillhouse.platform.data.multilabel_sets import MultiLabelSynthetic
from stillhouse.platform.errors import BadInput, RunFailed
from stillhouse.platform.training.outcome import Outcome, execute
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun

SMALL = NoisyMultiLabel(
    first=Training(epochs=6, learning_rate=3e-3), student=Training(epochs=3, learning_rate=3e-3), sample_epoch=4, sample_epochs=2,
    network=Network(hidden=64),
)  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "multilabel_t": {},
    "multilabel_t_paper": {"estimator": Estimator(consensus="medoid"), "refused": "dual_t"},
    "multilabel_bce": {"estimator": Estimator(kind="none"), "risk": "bce"},
    "multilabel_gce": {"estimator": Estimator(kind="none"), "risk": "gce"},
    "multilabel_tmax": {"estimator": Estimator(kind="t_max")},
    "multilabel_dualt": {"estimator": Estimator(kind="dual_t")},
    "multilabel_forward": {"risk": "forward"},
    "gold": {"estimator": Estimator(selection="gold")},
    "true": {"estimator": Estimator(kind="oracle")},
}


@pytest.fixture(scope="module")
def data() -> MultiLabelData:
    made = MultiLabelSynthetic(
        train=2000, test=500, classes=8, features=24, cardinality=1.5, factors=2, correlation=0.9, noise=0.1, false_positive=0.1,
        false_negative=0.2,
    )  # fmt: skip
    return made.load(seed=0, key=b"")


@pytest.fixture
def finish(data: MultiLabelData, tmp_path: Path) -> Callable[..., Outcome]:
    def start(method: NoisyMultiLabel, folder: str = "run", *, seed: int = 0, **changed: Any) -> Outcome:
        return execute(method, replace(data, **changed), LocalRun(tmp_path / folder, seed=seed, reporter=Silent()))

    return start


@pytest.mark.parametrize("name", VARIANTS)
def test_what_a_run_ends_with(name: str, data: MultiLabelData, tmp_path: Path, finish: Callable[..., Outcome]) -> None:
    outcome = finish(replace(SMALL, algorithm=name, **VARIANTS[name]))
    assert outcome.method == name
    assert Outcome.read(tmp_path / "run") == outcome
    assert math.isinf(outcome.privacy.epsilon)
    assert outcome.privacy.coverage == "uncovered"
    for score in ("student_map", "student_of1", "student_cf1"):
        assert outcome.metrics[score].unit == "fraction"
    assert outcome.metrics["student_map"].value > 0.8  # labels by chance: 0.19
    weights = load_file(tmp_path / "run" / outcome.artefacts["student"])
    network = SMALL.network.build(data.shape, data.classes)
    network.load_state_dict(weights)
    with torch.no_grad():
        found = torch.sigmoid(network(torch.from_numpy(data.test_inputs))) >= 0.5
    right = int((found.numpy() & (data.test_labels == 1)).sum())
    f1 = 2 * right / (int(found.sum()) + int(data.test_labels.sum()))
    assert outcome.metrics["student_of1"].value == pytest.approx(f1, abs=1e-3)

    if name in ("multilabel_bce", "multilabel_gce"):
        assert set(outcome.artefacts) == {"student"}
        assert "classes_refused" not in outcome.metrics
        return
    rows = list(csv.DictReader((tmp_path / "run" / outcome.artefacts["transition"]).open()))
    assert [row["class"] for row in rows] == list(data.class_names)
    assert len(json.loads((tmp_path / "run" / outcome.artefacts["label_cards"]).read_text())) == data.classes
    assert (tmp_path / "run" / outcome.artefacts["picture"]).is_file()
    assert outcome.metrics["classes_refused"].value == sum(row["refused"] != "" for row in rows)
    assert "the first network, labels as given" in outcome.baselines
    assert data.rates is not None
    told = [[float(row[f"false_{kind}"] or 0) for kind in ("positive", "negative")] for row in rows]
    if all(row["refused"] == "" for row in rows):
        error = np.abs(np.array(told) - data.rates).sum()
        assert outcome.metrics["transition_error"].value == pytest.approx(error, abs=1e-4)
    assert outcome.metrics["transition_error"].value < {"true": 1e-9, "gold": 0.8}.get(name, 8 * 0.3)


def test_true_rates_are_looked_at_only_by_the_kind_that_says_so(
    data: MultiLabelData, finish: Callable[..., Outcome]
) -> None:
    """The estimate must not move when the true rates or true labels that come with the data do."""
    known = finish(SMALL, "known")
    unknown = finish(SMALL, "unknown", rates=None, clean_labels=None)
    assert "transition_error" not in unknown.metrics
    for score in ("student_map", "student_of1", "student_cf1", "classes_refused"):
        assert unknown.metrics[score] == known.metrics[score]


def test_references_need_what_nobody_has(finish: Callable[..., Outcome]) -> None:
    with pytest.raises(BadInput, match="true flip rates"):
        finish(replace(SMALL, estimator=Estimator(kind="oracle")), rates=None)
    with pytest.raises(BadInput, match="gold selection"):
        finish(replace(SMALL, estimator=Estimator(selection="gold")), clean_labels=None)


def test_a_second_start_finds_everything(data: MultiLabelData, tmp_path: Path, finish: Callable[..., Outcome]) -> None:
    first = finish(SMALL)
    again = LocalRun(tmp_path / "run", seed=0, reporter=Silent())
    assert execute(SMALL, data, again) == first
    assert set(again.reused) == {"first", "transition", "student"}
    # Another estimator takes over the first network; other data or another seed take over nothing.
    other = LocalRun(tmp_path / "run", seed=0, reporter=Silent())
    execute(replace(SMALL, estimator=Estimator(kind="t_max")), data, other)
    assert other.reused == ["first"]
    flipped = data.labels.copy()
    flipped[0, 0] ^= 1
    fresh = LocalRun(tmp_path / "run", seed=0, reporter=Silent())
    execute(SMALL, replace(data, labels=flipped), fresh)
    assert fresh.reused == []


class Killed(Exception):
    pass


@pytest.mark.parametrize("stage", ["first", "student"])
def test_a_killed_run_ends_as_if_it_had_not_been(
    stage: str, data: MultiLabelData, tmp_path: Path, finish: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = finish(SMALL, "whole")
    real = learning_module.train

    def dying(run: Any, model: Any, loss_fn: Any, *rest: Any, **more: Any) -> Any:
        calls = 0

        def loss(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if more["name"] == stage and calls == 36:  # in the middle of the third epoch
                raise Killed
            return loss_fn(*arguments)

        return real(run, model, loss, *rest, **more, checkpoint_seconds=0.0, check_every=5)

    monkeypatch.setattr(learning_module, "train", dying)
    with pytest.raises(Killed):
        finish(SMALL, "killed")
    monkeypatch.undo()
    run = LocalRun(tmp_path / "killed", seed=0, reporter=Silent())
    assert execute(SMALL, data, run) == whole
    assert run.reused == (["first", "transition"] if stage == "student" else [])
    one, two = (load_file(tmp_path / folder / "student.safetensors") for folder in ("whole", "killed"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_classes_without_an_estimate_are_told_and_all_of_them_end_the_run(finish: Callable[..., Outcome]) -> None:
    strict = replace(SMALL, estimator=Estimator(least_selected=10**6))
    with pytest.raises(RunFailed, match="no class has an estimate"):
        finish(strict)
    outcome = finish(replace(strict, refused="dual_t"))
    assert outcome.metrics["classes_refused"].value == 8
    assert outcome.metrics["transition_error"].value < 8 * 0.3  # Dual-T's rates, not none
    assert any("Dual-T" in note for note in outcome.notes)
    plain = finish(replace(strict, risk="bce"))
    assert any("as if their labels were right" in note for note in plain.notes)


def test_too_few_records_for_a_validation_part(data: MultiLabelData, finish: Callable[..., Outcome]) -> None:
    few = [int(data.labels[:, j].argmax()) for j in range(8)] + [int(data.labels[:, j].argmin()) for j in range(8)]
    with pytest.raises(BadInput, match="for validation"):
        finish(replace(SMALL, validation=0.01), inputs=data.inputs[few], labels=data.labels[few], clean_labels=None)


def test_images_are_learnt_too(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, (240, 3)).astype(np.uint8)
    images = generator.integers(0, 60, (240, 3, 8, 8)).astype(np.uint8)
    for j in range(3):  # a label is a bright channel
        images[labels[:, j] == 1, j] += 150
    given = labels ^ (generator.random(labels.shape) < 0.1).astype(np.uint8)
    data = MultiLabelData(
        images[:180], given[:180], labels[:180], images[180:], labels[180:], None, ("r", "g", "b"), "discs", ""
    )
    method = NoisyMultiLabel(
        algorithm="images", estimator=Estimator(kind="t_max"), network=Network("convnet"), sample_epoch=2, sample_epochs=1,
        first=Training(epochs=2, batch_size=32), student=Training(epochs=2, batch_size=32, keep="last", clip_norm=10.0),
    )  # fmt: skip
    outcome = execute(method, data, LocalRun(tmp_path, seed=0, reporter=Silent()))
    assert outcome.metrics["student_map"].value > 0.8
    assert "transition_error" not in outcome.metrics
