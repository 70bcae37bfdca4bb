from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest
from stillhouse.platform.data import multilabel, multilabel_noise
from stillhouse.platform.data.multilabel import MultiLabelData, named
from stillhouse.platform.errors import BadInput

PARTS: dict[str, Any] = {
    "inputs": np.arange(12, dtype=np.float32).reshape(4, 3), "labels": np.array([[0, 1], [1, 0], [1, 1], [0, 0]]),
    "clean_labels": None, "test_inputs": np.ones((2, 3), np.float32), "test_labels": np.array([[0, 1], [1, 1]]), "rates": None,
    "class_names": ("cat", "dog"), "name": "pets", "protocol": "made up",
}  # fmt: skip


def data(**changed: Any) -> MultiLabelData:
    return MultiLabelData(**(PARTS | changed))


def test_types_and_sizes() -> None:
    made = data(labels=PARTS["labels"].astype(bool), inputs=PARTS["inputs"].astype(np.float64))
    assert made.labels.dtype == made.test_labels.dtype == np.uint8
    assert made.inputs.dtype == np.float32
    assert (len(made), made.classes, made.shape, made.cardinality) == (4, 2, (3,), 1.0)


def test_images_are_records_too() -> None:
    images = np.zeros((4, 3, 8, 8), np.uint8)
    assert data(inputs=images, test_inputs=images[:2]).shape == (3, 8, 8)
    with pytest.raises(BadInput, match="training records have shape"):
        data(inputs=images)
    with pytest.raises(BadInput, match="images are float32"):
        data(inputs=images.astype(np.float32), test_inputs=images[:2])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"labels": np.array([[0, 1], [1, 1], [1, 1], [0, 1]])}, "dog never changes: every training row has it"),
        ({"labels": np.array([[0, 1], [0, 0], [0, 1], [0, 1]])}, "cat never changes: no training row has it"),
        ({"labels": np.array([[0, 1], [2, 0], [1, 1], [0, 0]])}, "something else than 0 and 1 under cat: 1 entries"),
        ({"labels": np.array([[0, 0.5], [1, 0], [1, 1], [0, 0]])}, "something else than 0 and 1 under dog"),
        ({"test_labels": np.array([[0, np.nan], [1, 1]])}, "test_labels hold something else than 0 and 1 under dog"),
        ({"labels": np.array([["0", "1"]] * 4)}, "labels are <U1"),
        ({"labels": np.zeros((4, 3))}, "labels are of shape"),
        ({"test_labels": np.zeros((3, 2))}, "test_labels are of shape"),
        ({"clean_labels": np.zeros((3, 2))}, "clean_labels are of shape"),
        ({"inputs": np.where(np.eye(4, 3) == 1, np.nan, 0.0)}, "3 values that are not finite: they are in 3 rows and 3 columns"),
        ({"test_inputs": np.full((2, 3), np.inf)}, "test_inputs hold 6 values"),
        ({"inputs": np.zeros((0, 3))}, "at least one"),
        ({"test_inputs": np.zeros((2, 4))}, "the score set's"),
        ({"class_names": ("cat", "cat")}, "same name"),
        ({"rates": np.array([[0.1, 0.2]])}, "flip rates"),
        ({"rates": np.array([[0.1, 0.2], [0.1, 1.2]])}, "flip rates"),
    ],
)  # fmt: skip
def test_bad_input(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput) as error:
        data(**changed)
    assert told in str(error.value)


def test_the_hash_covers_all_that_is_learnt_from_and_scored_on() -> None:
    whole = data().content_hash()
    assert data().content_hash() == whole
    for changed in (
        {"inputs": PARTS["inputs"] + 1}, {"labels": PARTS["labels"][::-1]}, {"clean_labels": PARTS["labels"]},
        {"rates": np.zeros((2, 2))},
        {"test_labels": PARTS["test_labels"][::-1]}, {"test_inputs": PARTS["test_inputs"] + 1}, {"class_names": ("dog", "cat")},
    ):  # fmt: skip
        assert data(**changed).content_hash() != whole


def test_only_a_few_names_are_said() -> None:
    names = tuple(f"label{j}" for j in range(9))
    assert named(names, np.arange(9) != 1) == "label0, label2, label3, label4, label5 and 3 more"


@pytest.mark.parametrize("module", [multilabel, multilabel_noise])
def test_examples_in_the_modules_run(module: Any) -> None:
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed
