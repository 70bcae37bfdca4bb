"""The method as a whole on a small crowd: what each algorithm ends with, what it refuses, what a second start goes on from."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stillhouse.methods.noisy_labels.crowd import coupled
from stillhouse.methods.noisy_labels.crowd.backbones import Backbone
from stillhouse.methods.noisy_labels.crowd.method import NoisyCrowd
from stillhouse.methods.noisy_labels.crowd.reading import of_dawid_skene
from stillhouse.methods.noisy_labels.crowd.settings import ALGORITHMS
from stillhouse.methods.noisy_labels.crowd.writing import write_annotators, write_labels
from stillhouse.platform.data.crowd import CrowdAnswers, CrowdData
from stillhouse.platform.errors import BadInput
from stillhouse.platform.training.loop import train
from stillhouse.platform.training.outcome import Outcome, execute
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun

from .small_crowd import CLASSES, CONFUSED, small_crowd, true_confusions

SMALL = NoisyCrowd(
    backbone=Backbone(hidden=16, dropout=0.2), warm_up=3, epochs=5, batch_size=32, learning_rate=0.1, milestones=(3,),
    confusion_rate=20.0, meta_batch=16, meta_size=30, groups=4, report_groups=3,
)  # fmt: skip


def method(algorithm: str, **more: Any) -> NoisyCrowd:
    return replace(SMALL, algorithm=algorithm, **more)


@pytest.fixture(scope="module")
def crowd() -> CrowdData:
    return small_crowd()


@pytest.fixture
def finish(crowd: CrowdData, tmp_path: Path) -> Callable[..., Outcome]:
    def start(own: NoisyCrowd, folder: str = "run", *, seed: int = 0, data: CrowdData | None = None) -> Outcome:
        return execute(own, data or crowd, LocalRun(tmp_path / folder, seed=seed, reporter=Silent()))

    return start


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_a_run_ends_with(algorithm: str, crowd: CrowdData, tmp_path: Path, finish: Callable[..., Outcome]) -> None:
    outcome = finish(method(algorithm))
    folder = tmp_path / "run"
    assert outcome.method == algorithm
    assert Outcome.read(folder) == outcome
    assert 0.75 < outcome.metrics["student_accuracy"].value <= 1  # a chance of 1/3; the best line reaches 0.98
    assert math.isinf(outcome.privacy.epsilon)
    assert outcome.privacy.coverage == "uncovered"
    assert all((folder / path).is_file() for path in outcome.artefacts.values())
    weights = load_file(folder / outcome.artefacts["student"])
    assert {name.split(".")[0] for name in weights} == {"0", "1"}
    assert not any("matrices" in name or "own" in name for name in weights)  # what is known of people stays apart

    if algorithm == "gold":
        assert set(outcome.metrics) == {"student_accuracy"}
        assert set(outcome.artefacts) == {"student"}
        assert "reference" in outcome.notes[0]
        return
    assert outcome.metrics["label_accuracy"].value > 0.7
    assert 0 < outcome.metrics["confusion_error"].value < 0.4
    assert "pseudonyms" in outcome.notes[0]
    assert ("majority vote" in outcome.baselines) == (algorithm != "majority")
    corrected = table(folder / outcome.artefacts["corrected_labels"])
    assert [row["item"] for row in corrected] == list(crowd.item_names)
    truth = np.array(crowd.class_names)[crowd.truth]
    agreement = np.mean([row["label"] == true for row, true in zip(corrected, truth, strict=True)])
    assert agreement == pytest.approx(outcome.metrics["label_accuracy"].value)
    people = table(folder / outcome.artefacts["annotators"])
    assert [row["annotator"] for row in people] == list(crowd.annotator_names)
    assert sum(int(row["answers"]) for row in people) == len(crowd.answers)
    described = json.loads((folder / outcome.artefacts["annotators_json"]).read_text())
    matrices = np.array([entry["confusion"] for entry in described["annotators"]])
    np.testing.assert_allclose(matrices.sum(axis=2), 1, atol=1e-4)
    suspicious = table(folder / outcome.artefacts["suspicious_labels"])
    maps = [path for name, path in outcome.artefacts.items() if name.startswith("confusions_")]
    assert 1 <= len(maps) <= SMALL.report_groups
    for path in maps:
        assert ElementTree.parse(folder / path).getroot().tag.endswith("svg")
    chances = [float(row["wrong"]) for row in suspicious]
    assert chances == sorted(chances, reverse=True)


@pytest.mark.parametrize("algorithm", ["ccc", "crowd_layer"])
def test_the_matrices_are_found(algorithm: str, tmp_path: Path, finish: Callable[..., Outcome]) -> None:
    """With many answers each: people who take class 0 for class 1 are told from the others."""
    data = small_crowd(400, each=4)
    outcome = finish(method(algorithm, epochs=8, milestones=(6,)), data=data)
    described = json.loads((tmp_path / "run" / outcome.artefacts["annotators_json"]).read_text())
    matrices = np.array([entry["confusion"] for entry in described["annotators"]])
    assert matrices[list(CONFUSED), 0].argmax(axis=1).tolist() == [1] * len(CONFUSED)
    assert outcome.metrics["confusion_error"].value < 0.15
    assert outcome.metrics["label_accuracy"].value > 0.93
    distance = np.abs(matrices - true_confusions()).sum(axis=2).mean() / 2
    assert distance < 0.2  # of uniform matrices from these: 0.44


@pytest.mark.parametrize("change", [
    {"official_head": True, "official_grouping": True, "official_duplicates": True, "confusion_rate": 1.0,
     "confusion_weight_decay": None, "virtual_step": "second_order"},
    {"virtual_step": "last_layer", "optimizer": "adam", "learning_rate": 0.01, "milestones": ()},
    {"correction_rate": 0.0}, {"warm_up": 0}, {"groups": 1}, {"groups": 500}, {"meta_batch": 1000},
    {"meta_size": 100_000},
], ids=lambda change: "-".join(change))  # fmt: skip
def test_ccc_in_its_variants(change: dict[str, Any], finish: Callable[..., Outcome]) -> None:
    assert finish(method("ccc", **change)).metrics["student_accuracy"].value > 0.7


@pytest.mark.parametrize("algorithm", ["ccc", "conal", "majority"])
def test_images(algorithm: str, finish: Callable[..., Outcome]) -> None:
    data = small_crowd(images=True)
    outcome = finish(method(algorithm, backbone=Backbone(width=4, hidden=16)), data=data)
    assert outcome.metrics["student_accuracy"].value > 0.75


def test_soft_labels_are_taught_where_asked(crowd: CrowdData, finish: Callable[..., Outcome], tmp_path: Path) -> None:
    outcomes = [finish(method("majority", soft=soft), f"soft-{soft}") for soft in (False, True)]
    weights = [load_file(tmp_path / f"soft-{soft}" / "student.safetensors") for soft in (False, True)]
    assert not torch.equal(weights[0]["0.last.weight"], weights[1]["0.last.weight"])
    # What the votes say is the same, whatever the classifier is taught.
    assert outcomes[0].metrics["label_accuracy"] == outcomes[1].metrics["label_accuracy"]


@pytest.mark.parametrize("algorithm", ["ccc", "conal", "majority"])
def test_the_seed_decides_everything(algorithm: str, finish: Callable[..., Outcome], tmp_path: Path) -> None:
    few = method(algorithm, warm_up=1, epochs=2, milestones=())
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        finish(few, folder, seed=seed)
    a, b, c = (load_file(tmp_path / folder / "student.safetensors") for folder in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["0.last.weight"], c["0.last.weight"])


def test_ccc_without_a_correction_rate_is_crowd_layer_bit_for_bit(
    finish: Callable[..., Outcome], tmp_path: Path
) -> None:
    """Must-show 2, over a whole training with dropout: the meta step is taken, and changes nothing."""
    few = {"warm_up": 1, "epochs": 2, "milestones": ()}
    finish(method("ccc", correction_rate=0.0, **few), "ccc")
    finish(method("crowd_layer", **few), "crowd_layer")
    finish(method("ccc", **few), "corrected")
    ccc, crowd_layer, corrected = (
        load_file(tmp_path / folder / "student.safetensors") for folder in ("ccc", "crowd_layer", "corrected")
    )
    assert all(torch.equal(ccc[name], crowd_layer[name]) for name in ccc)
    assert not torch.equal(corrected["0.last.weight"], crowd_layer["0.last.weight"])


class Cut(Exception):
    """The power fails."""


@pytest.mark.parametrize(
    ("algorithm", "at"),
    [("ccc", 3), ("ccc", 15), ("ccc", 18), ("conal", 8), ("dawid_skene", 8)],
    ids=["ccc-warm-up", "ccc-between", "ccc-corrected", "conal", "dawid_skene"],
)
def test_a_killed_run_goes_on(
    algorithm: str, at: int, finish: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint at every step, death after `at` steps (5 steps an epoch, 3 epochs of warm-up): the same bits in the end."""
    from stillhouse.methods.noisy_labels.crowd import fitting

    own = method(algorithm, validation=0.1, epochs=2)
    finish(own, "whole")

    def mortal(*args: Any, **kwargs: Any) -> Any:
        def after_step(step: int) -> None:
            if step == at:
                raise Cut

        return train(*args, **kwargs, checkpoint_seconds=0, check_every=1, after_step=after_step)

    monkeypatch.setattr(fitting, "train", mortal)
    with pytest.raises(Cut):
        finish(own, "cut")
    monkeypatch.setattr(fitting, "train", train)
    resumed = finish(own, "cut")
    whole, cut = (load_file(tmp_path / folder / "student.safetensors") for folder in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert resumed == Outcome.read(tmp_path / "whole")


def test_the_epoch_is_chosen_by_the_crowd_not_by_the_test_set(finish: Callable[..., Outcome], crowd: CrowdData) -> None:
    """With other test labels the same epoch is chosen."""
    own = method("crowd_layer", validation=0.2)
    honest = finish(own, "honest")
    shuffled = replace(crowd, test_labels=(crowd.test_labels + 1) % CLASSES)
    other = finish(own, "other", data=shuffled)
    assert honest.notes == other.notes
    assert "agrees best" in honest.notes[-1]
    for name in ("validation_agreement",):
        assert honest.metrics[name] == other.metrics[name]
    assert honest.metrics["validated_accuracy"].value > 0.75
    assert other.metrics["validated_accuracy"].value < 0.25


@pytest.mark.parametrize("algorithm", [a for a in ALGORITHMS if a != "gold"])
def test_truth_is_never_learnt_from(
    algorithm: str, crowd: CrowdData, finish: Callable[..., Outcome], tmp_path: Path
) -> None:
    few = method(algorithm, warm_up=1, epochs=2, milestones=(), validation=0.1)
    outcome = finish(few, "with")
    without = finish(few, "without", data=replace(crowd, truth=None))
    assert {"label_accuracy", "confusion_error"} == set(outcome.metrics) - set(without.metrics)
    assert outcome.metrics["student_accuracy"] == without.metrics["student_accuracy"]
    for name in ("student.safetensors", "corrected_labels.csv", "annotators.json"):
        assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "without" / name).read_bytes()


def test_reports_by_groups_name_nobody(crowd: CrowdData, finish: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = finish(method("crowd_layer", annotators="groups", smallest_group=3))
    for name, path in outcome.artefacts.items():
        if name != "student":
            assert b"person" not in (tmp_path / "run" / path).read_bytes()
    rows = table(tmp_path / "run" / "annotators.csv")
    assert rows
    assert all(int(row["annotators"]) >= 3 for row in rows)
    described = json.loads((tmp_path / "run" / "annotators.json").read_text())
    assert described["left_out"] + sum(group["annotators"] for group in described["groups"]) == 10


@pytest.mark.parametrize("smallest", range(2, 12))
def test_reports_by_groups_cannot_be_subtracted_to_find_one_annotator(
    smallest: int, crowd: CrowdData, tmp_path: Path
) -> None:
    """What the lists of labels tell in all, less what the groups tell, is nothing, or is not told."""
    found = of_dawid_skene(crowd.answers, smoothing=0.01)
    write_labels(tmp_path, crowd, found, each=False, smallest=smallest)
    write_annotators(tmp_path, crowd, found, each=False, groups=3, smallest=smallest, seed=0)
    groups, lists = table(tmp_path / "annotators.csv"), table(tmp_path / "corrected_labels.csv")
    assert bool(groups) == (smallest <= 10)
    assert ("answers" in lists[0]) == ("agreeing" in lists[0]) == bool(groups)
    if groups:
        told = sum(int(row["answers"]) for row in lists)
        assert told == len(crowd.answers) == sum(int(row["answers"]) for row in groups)


def test_an_annotator_without_answers_and_a_class_nobody_chose(finish: Callable[..., Outcome], tmp_path: Path) -> None:
    data = small_crowd()
    answers = data.answers
    more = CrowdAnswers(answers.items, answers.annotators, answers.labels, answers.n_items, 12, CLASSES + 1)
    wider = replace(
        data, answers=more, annotator_names=(*data.annotator_names, "person 10", "person 11"),
        class_names=(*data.class_names, "west"),
    )  # fmt: skip
    for algorithm in ("ccc", "conal", "dawid_skene"):
        outcome = finish(method(algorithm, meta_size=40), algorithm, data=wider)
        assert outcome.metrics["student_accuracy"].value > 0.75
        rows = table(tmp_path / algorithm / "annotators.csv")
        assert [row["answers"] for row in rows[-2:]] == ["0", "0"]


def test_without_test_items_labels_are_corrected_all_the_same(crowd: CrowdData, finish: Callable[..., Outcome]) -> None:
    untested = replace(crowd, test_inputs=crowd.test_inputs[:0], test_labels=crowd.test_labels[:0])
    outcome = finish(method("crowd_layer", validation=0.1), data=untested)
    assert set(outcome.metrics) == {"validation_agreement", "label_accuracy", "confusion_error"}
    assert outcome.metrics["label_accuracy"].value > 0.9
    assert "not measured" in outcome.notes[1]


def test_ccc_refuses_scaled_losses(crowd: CrowdData, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="bfloat16"):
        execute(method("ccc"), crowd, LocalRun(tmp_path, reporter=Silent(), precision="float16"))


@pytest.mark.parametrize("algorithm", ["ccc", "conal"])
def test_a_lower_precision_is_for_the_networks(algorithm: str, crowd: CrowdData, tmp_path: Path) -> None:
    outcome = execute(method(algorithm), crowd, LocalRun(tmp_path, reporter=Silent(), precision="bfloat16"))
    assert outcome.metrics["student_accuracy"].value > 0.75


def test_two_processes_average_to_the_gradient_of_the_whole_batch(crowd: CrowdData) -> None:
    """Each divides by the mean number of answers of both."""
    from stillhouse.methods.noisy_labels.crowd.answers import Answers
    from stillhouse.methods.noisy_labels.crowd.backbones import build
    from stillhouse.methods.noisy_labels.crowd.heads import CrowdHead

    kept = np.r_[0:20]
    uneven = crowd.answers.items < 12
    uneven |= np.arange(len(uneven)) % 2 == 0  # items 12 and on have one answer, those before two
    answers = CrowdAnswers(
        crowd.answers.items[uneven], crowd.answers.annotators[uneven], crowd.answers.labels[uneven], 150, 10, CLASSES
    ).take_items(kept)
    network, head = build(Backbone(hidden=8, dropout=0), crowd.inputs, CLASSES), CrowdHead(10, CLASSES, diagonal=2.0)
    items = torch.from_numpy(crowd.inputs[kept])

    def gradient(rows: torch.Tensor, count: float | None) -> torch.Tensor:
        layer = coupled.CrowdLayer(
            [network], [head], items, Answers(answers), averaged=lambda own: own if count is None else count
        )
        return torch.autograd.grad(layer(rows)["loss"], head.matrices)[0]

    rows = torch.arange(20)
    whole = gradient(rows, None)
    parts = [rows[:10], rows[10:]]
    sizes = [len(Answers(answers).about(part)[0]) for part in parts]
    assert sizes[0] != sizes[1]
    halves = [gradient(part, sum(sizes) / 2) for part in parts]
    torch.testing.assert_close((halves[0] + halves[1]) / 2, whole)


def test_what_cannot_be_learnt_from_is_refused(crowd: CrowdData, finish: Callable[..., Outcome]) -> None:
    alike = replace(crowd.answers, labels=np.ones_like(crowd.answers.labels))
    for own, changed, match in (
        (method("gold"), {"truth": None}, "true labels"),
        (method("ccc"), {"answers": alike}, "same class"),
        (method("ccc", meta_size=2), {}, "distilled set"),
        (method("ccc", validation=0.999), {}, "validation"),
        (method("ccc", backbone=Backbone("cnn")), {}, "cannot take features"),
    ):
        with pytest.raises(BadInput, match=match):
            finish(own, data=replace(crowd, **changed))
