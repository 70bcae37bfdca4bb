"""The sparse form of a crowd's answers against a dense table, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.platform.data.crowd import CrowdAnswers, CrowdData
from stillhouse.platform.errors import BadInput


@st.composite
def tables(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """A dense table (items, annotators) with -1 where there is no answer; every item has one."""
    n, r, c = draw(st.integers(1, 8)), draw(st.integers(1, 6)), draw(st.integers(2, 5))
    cells = draw(st.lists(st.integers(-1, c - 1), min_size=n * r, max_size=n * r))
    table = np.array(cells).reshape(n, r)
    for item in np.flatnonzero((table < 0).all(axis=1)):
        table[item, draw(st.integers(0, r - 1))] = draw(st.integers(0, c - 1))
    return table, c


def sparse(table: np.ndarray, classes: int) -> CrowdAnswers:
    items, annotators = np.nonzero(table >= 0)
    return CrowdAnswers(items, annotators, table[items, annotators], *table.shape, classes)


def dense(answers: CrowdAnswers) -> np.ndarray:
    table = np.full((answers.n_items, answers.n_annotators), -1)
    for item, annotator, label in zip(answers.items, answers.annotators, answers.labels, strict=True):
        table[item, annotator] = label
    return table


@given(tables())
def test_votes_and_counts_are_those_of_the_table(drawn: tuple[np.ndarray, int]) -> None:
    table, classes = drawn
    answers = sparse(table, classes)
    assert len(answers) == (table >= 0).sum()
    for item, row in enumerate(table):
        assert answers.vote_counts()[item].tolist() == [int((row == c).sum()) for c in range(classes)]
    assert answers.answers_per_annotator().tolist() == (table >= 0).sum(axis=0).tolist()
    assert answers.answers_per_item().tolist() == (table >= 0).sum(axis=1).tolist()
    assert answers.annotators_without_answers().tolist() == [
        r for r in range(table.shape[1]) if (table[:, r] < 0).all()
    ]
    assert answers.classes_nobody_chose().tolist() == [c for c in range(classes) if c not in table]


@given(tables(), st.data())
def test_confusion_counts_are_those_of_a_slow_count(drawn: tuple[np.ndarray, int], data: st.DataObject) -> None:
    table, classes = drawn
    n, r = table.shape
    truth = np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n)))
    expected = np.zeros((r, classes, classes), int)
    for item in range(n):
        for annotator in range(r):
            if table[item, annotator] >= 0:
                expected[annotator, truth[item], table[item, annotator]] += 1
    answers = sparse(table, classes)
    counted = answers.confusion_counts(truth)
    assert counted.dtype == np.int64 and np.array_equal(counted, expected)
    # Certain probabilities are classes; mixed ones mix the counts.
    certain = np.eye(classes)[truth]
    assert np.array_equal(answers.confusion_counts(certain), expected)
    other = np.eye(classes)[(truth + 1) % classes]
    mixed = answers.confusion_counts(0.25 * certain + 0.75 * other)
    assert np.allclose(mixed, 0.25 * expected + 0.75 * answers.confusion_counts((truth + 1) % classes), atol=1e-12)


@given(tables(), st.data())
def test_items_are_taken_in_the_order_given(drawn: tuple[np.ndarray, int], data: st.DataObject) -> None:
    table, classes = drawn
    answers = sparse(table, classes)
    kept = data.draw(st.lists(st.integers(0, len(table) - 1), min_size=1, unique=True))
    taken = answers.take_items(kept)
    assert np.array_equal(dense(taken), table[kept])
    assert (taken.n_annotators, taken.classes) == (table.shape[1], classes)
    mask = np.isin(np.arange(len(table)), kept)
    assert np.array_equal(dense(answers.take_items(mask)), table[mask])
    everything = answers.take_items(np.arange(len(table)))
    assert everything.content_hash() == answers.content_hash()  # `sparse` sorts by item


@given(tables())
def test_the_hash_depends_on_every_answer(drawn: tuple[np.ndarray, int]) -> None:
    table, classes = drawn
    answers = sparse(table, classes)
    assert answers.content_hash() == sparse(table.copy(), classes).content_hash()
    labels = answers.labels.copy()
    labels[-1] = (labels[-1] + 1) % classes
    changed = CrowdAnswers(answers.items, answers.annotators, labels, answers.n_items, answers.n_annotators, classes)
    assert changed.content_hash() != answers.content_hash()
    wider = CrowdAnswers(answers.items, answers.annotators, answers.labels, len(table), table.shape[1] + 1, classes)
    assert wider.content_hash() != answers.content_hash()


def answers_of(**changed: Any) -> CrowdAnswers:
    given = {
        "items": np.array([0, 0, 1]), "annotators": np.array([0, 1, 1]), "labels": np.array([0, 1, 1]),
        "n_items": 2, "n_annotators": 3, "classes": 3,
    }  # fmt: skip
    return CrowdAnswers(**{**given, **changed})


def test_silent_annotators_and_unchosen_classes_are_allowed() -> None:
    answers = answers_of()
    assert answers.annotators_without_answers().tolist() == [2]
    assert answers.classes_nobody_chose().tolist() == [2]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"labels": np.array([0, 3, 1])}, "a label lies outside 0 .. 2"),
        ({"labels": np.array([0, -1, 1])}, "a label lies outside 0 .. 2"),
        ({"items": np.array([0, 0, 2])}, "an item's number lies outside 0 .. 1"),
        ({"annotators": np.array([0, 1, 3])}, "an annotator's number lies outside 0 .. 2"),
        ({"annotators": np.array([1, 1, 1])}, "1 answers are duplicates"),
        ({"n_items": 4}, "2 of 4 items have no label"),
        ({"labels": np.array([0.0, 1.0, 1.0])}, "labels are float64"),
        ({"labels": np.array([True, False, True])}, "labels are bool"),
        ({"labels": np.array([0, 1])}, "3 item numbers, 3 annotator numbers and 2 labels"),
        ({"classes": 1}, "chooses among 1 classes"),
        ({"n_items": 0, "items": np.array([]), "annotators": np.array([]), "labels": np.array([])}, "about 0 items"),
    ],
)
def test_bad_answers_are_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        answers_of(**changed)


@pytest.mark.parametrize(
    ("kept", "said"), [([0, 0], "twice"), ([], "no items"), ([2], "outside"), (np.array([True]), "mask of shape")]
)
def test_bad_choices_of_items_are_refused(kept: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        answers_of().take_items(kept)


def test_bad_truths_are_refused() -> None:
    for truth in (np.array([0]), np.array([0, 3]), np.ones((2, 2)), np.array([0.0, 1.0])):
        with pytest.raises(BadInput):
            answers_of().confusion_counts(truth)


def data_of(**changed: Any) -> CrowdData:
    given = {
        "inputs": np.ones((2, 4)), "answers": answers_of(), "truth": np.array([0, 1], np.int8),
        "test_inputs": np.zeros((3, 4), np.float16), "test_labels": np.array([2, 1, 0]), "item_names": ("a", "b"),
        "annotator_names": ("x", "y", "z"), "class_names": ("p", "q", "r"), "name": "small", "protocol": "none",
    }  # fmt: skip
    return CrowdData(**{**given, **changed})


def test_data_are_brought_to_one_form() -> None:
    data = data_of()
    assert (data.inputs.dtype, data.test_inputs.dtype, data.test_labels.dtype) == (np.float32, np.float32, np.int64)
    assert data.truth is not None and data.truth.dtype == np.int64 and len(data) == 2
    images = np.zeros((2, 1, 3, 3), np.uint8)
    assert data_of(inputs=images, test_inputs=images[:0], test_labels=np.array([])).test_labels.shape == (0,)
    assert data_of(truth=None).truth is None


def test_the_hash_of_data_covers_all_parts_but_names() -> None:
    same = {data_of().content_hash(), data_of(annotator_names=("1", "2", "3")).content_hash()}
    others = {
        data_of(inputs=np.zeros((2, 4))).content_hash(), data_of(truth=None).content_hash(),
        data_of(truth=np.array([1, 1])).content_hash(), data_of(test_labels=np.array([2, 1, 1])).content_hash(),
        data_of(test_inputs=np.ones((3, 4))).content_hash(), data_of(answers=answers_of(labels=np.array([1, 1, 1]))).content_hash(),
    }  # fmt: skip
    assert len(same) == 1 and len(others) == 6 and not same & others


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"inputs": np.ones((3, 4))}, "3 inputs, but the answers are about 2"),
        ({"inputs": np.array([[1.0, np.nan, 0, 0]] * 2)}, "not a finite number"),
        ({"inputs": np.array([[1.0, 1e39, 0, 0]] * 2)}, "not a finite number"),
        ({"inputs": np.ones((2, 4), int)}, "inputs are int64"),
        ({"test_inputs": np.ones((3, 5))}, "make both in the same way"),
        ({"test_inputs": np.zeros((3, 1, 2, 2), np.uint8)}, "make both in the same way"),
        ({"test_labels": np.array([0, 1])}, "3 test inputs, but 2 test labels"),
        ({"test_labels": np.array([0, 1, 3])}, "a test label lies outside"),
        ({"truth": np.array([0])}, "1 true classes for 2 items"),
        ({"item_names": ("a",)}, "1 item names"),
        ({"annotator_names": ("x", "x", "z")}, "two annotator names are the same"),
        ({"class_names": ("p", "q")}, "2 class names"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        data_of(**changed)
