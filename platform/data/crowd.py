"""Labels from a crowd: one sparse form everywhere, since most annotators see few items.

Three answers on two items, the second annotator wrong about the first item:

>>> answers = CrowdAnswers(np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([2, 0, 1]), n_items=2, n_annotators=2, classes=3)
>>> len(answers), answers.vote_counts().tolist()
(3, [[1, 0, 1], [0, 1, 0]])
>>> answers.confusion_counts(np.array([2, 1]))[1].tolist()
[[0, 0, 0], [0, 1, 0], [1, 0, 0]]
>>> answers.take_items([1]).items.tolist()
[0]
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import BadInput
from .images import check_images


@dataclass(frozen=True, eq=False)
class CrowdAnswers:
    """Sparse answers: annotator `annotators[m]` said that item `items[m]` is of class `labels[m]`.

    An annotator without answers and a class that nobody chose are allowed, and can be asked for; an item without a label is
    not, since nothing can be learned from it.

    Args:
        items: int64 (M,), 0 .. n_items - 1.
        annotators: int64 (M,), 0 .. n_annotators - 1.
        labels: int64 (M,), 0 .. classes - 1.
        n_items: N; every one has at least one answer.
        n_annotators: R.
        classes: C, at least two.

    Raises:
        BadInput: a number is out of its range, an annotator answered about an item twice, or an item has no label.
    """

    items: np.ndarray
    annotators: np.ndarray
    labels: np.ndarray
    n_items: int
    n_annotators: int
    classes: int

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise BadInput(f"a crowd that chooses among {self.classes} classes", why="there must be at least two")
        if self.n_items < 1 or self.n_annotators < 1:
            raise BadInput(
                f"answers of {self.n_annotators} annotators about {self.n_items} items", why="there must be one of each"
            )
        bounds = (
            ("items", "an item's number", self.n_items),
            ("annotators", "an annotator's number", self.n_annotators),
            ("labels", "a label", self.classes),
        )
        for name, one, bound in bounds:
            object.__setattr__(self, name, _numbers(getattr(self, name), name, one, bound))
        if not len(self.items) == len(self.annotators) == len(self.labels):
            raise BadInput(
                f"{len(self.items)} item numbers, {len(self.annotators)} annotator numbers and {len(self.labels)} labels",
                why="an answer has one of each",
            )
        pairs = self.items * self.n_annotators + self.annotators
        twice = len(pairs) - len(np.unique(pairs))
        if twice:
            raise BadInput(
                f"{twice} answers are duplicates",
                why="the same annotator labelled the same item before",
                mend="keep one answer for each annotator and item",
            )
        without = self.n_items - len(np.unique(self.items))
        if without:
            raise BadInput(
                f"{without} of {self.n_items} items have no label",
                why="nothing can be learned from them",
                mend="leave them out, or have them labelled",
            )

    def __len__(self) -> int:
        return len(self.labels)

    def take_items(self, kept: Any) -> CrowdAnswers:
        """The answers about these items, which are numbered anew in the order given; annotators keep their numbers.

        The answers come in the order of the kept items, and within an item as they were.

        Args:
            kept: item numbers, each at most once; or a mask (n_items,).

        Raises:
            BadInput: an item is named twice, or none, or there is no such item.
        """
        chosen = np.asarray(kept)
        if chosen.dtype == np.bool_:
            if chosen.shape != (self.n_items,):
                raise BadInput(f"a mask of shape {chosen.shape} for {self.n_items} items")
            chosen = np.flatnonzero(chosen)
        chosen = _numbers(chosen, "kept items", "an item's number", self.n_items)
        if not len(chosen):
            raise BadInput("no items are kept", mend="keep at least one")
        place = np.full(self.n_items, -1, dtype=np.int64)
        place[chosen] = np.arange(len(chosen))
        if np.count_nonzero(place >= 0) != len(chosen):
            raise BadInput("an item is to be kept twice", mend="name each item once")
        rows = np.flatnonzero(place[self.items] >= 0)
        rows = rows[np.argsort(place[self.items[rows]], kind="stable")]
        return CrowdAnswers(
            place[self.items[rows]],
            self.annotators[rows],
            self.labels[rows],
            len(chosen),
            self.n_annotators,
            self.classes,
        )

    def vote_counts(self) -> np.ndarray:
        """How many annotators chose each class: int64 (n_items, classes)."""
        cells = self.items * self.classes + self.labels
        return np.bincount(cells, minlength=self.n_items * self.classes).reshape(self.n_items, self.classes)

    def confusion_counts(self, truth: Any) -> np.ndarray:
        """How often each annotator gave each label to items of each class.

        Args:
            truth: int (n_items,), or (n_items, classes) probabilities of the true class, which are then added up.

        Returns:
            (n_annotators, classes, classes), rows the true class, columns the given label; int64, or float64 of probabilities.
        """
        shape = (self.n_annotators, self.classes, self.classes)
        true = np.asarray(truth)
        if true.ndim == 2:
            if true.shape != (self.n_items, self.classes):
                raise BadInput(
                    f"probabilities of shape {true.shape} for {self.n_items} items and {self.classes} classes"
                )
            # One count a true class: no array of answers x classes x classes, and no unbuffered add.
            cells = self.annotators * self.classes + self.labels
            sums = [
                np.bincount(cells, weights=true[self.items, c], minlength=shape[0] * self.classes)
                for c in range(self.classes)
            ]
            return np.stack(sums, axis=0).reshape(self.classes, shape[0], self.classes).transpose(1, 0, 2).copy()
        true = _numbers(true, "true classes", "a true class", self.classes)
        if len(true) != self.n_items:
            raise BadInput(f"{len(true)} true classes for {self.n_items} items", mend="give one for each item")
        cells = (self.annotators * self.classes + true[self.items]) * self.classes + self.labels
        return np.bincount(cells, minlength=int(np.prod(shape))).reshape(shape)

    def answers_per_annotator(self) -> np.ndarray:
        """int64 (n_annotators,)."""
        return np.bincount(self.annotators, minlength=self.n_annotators)

    def answers_per_item(self) -> np.ndarray:
        """int64 (n_items,), each at least 1."""
        return np.bincount(self.items, minlength=self.n_items)

    def annotators_without_answers(self) -> np.ndarray:
        """Their numbers, rising."""
        return np.flatnonzero(self.answers_per_annotator() == 0)

    def classes_nobody_chose(self) -> np.ndarray:
        """Their numbers, rising."""
        return np.flatnonzero(np.bincount(self.labels, minlength=self.classes) == 0)

    def content_hash(self) -> str:
        """SHA-256 over the answers in their order. It identifies what people said: keep it where they are."""
        digest = hashlib.sha256(repr((len(self), self.n_items, self.n_annotators, self.classes)).encode())
        for numbers in (self.items, self.annotators, self.labels):
            digest.update(np.ascontiguousarray(numbers).data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class CrowdData:
    """What a method that learns from a crowd works on.

    Args:
        inputs: float32 (N, D) features or uint8 (N, channels, height, width) images of the training items.
        answers: what the crowd said of the N training items.
        truth: int64 (N,) gold of the training items, or None. It is for baselines and diagnostics only: no method that learns
            from the crowd may read it.
        test_inputs: as `inputs`, of the test items, which no annotator labelled (or whose labels are left out).
        test_labels: int64, gold of the test items.
        item_names: N names of the training items.
        annotator_names: R names, which are pseudonyms: annotators are people.
        class_names: C names.
        name: of the data set.
        protocol: the sentences that say how the parts were made.

    Raises:
        BadInput: parts do not fit each other, or features are not finite.
    """

    inputs: np.ndarray
    answers: CrowdAnswers
    truth: np.ndarray | None
    test_inputs: np.ndarray
    test_labels: np.ndarray
    item_names: tuple[str, ...] = field(repr=False)
    annotator_names: tuple[str, ...] = field(repr=False)
    class_names: tuple[str, ...]
    name: str
    protocol: str

    def __post_init__(self) -> None:
        items, annotators, classes = self.answers.n_items, self.answers.n_annotators, self.answers.classes
        inputs = _checked_inputs(self.inputs, self.name)
        test_inputs = _checked_inputs(self.test_inputs, self.name)
        if inputs.shape[1:] != test_inputs.shape[1:] or inputs.dtype != test_inputs.dtype:
            raise BadInput(
                f"{self.name}: training inputs are {inputs.dtype} {inputs.shape[1:]}, test inputs {test_inputs.dtype} "
                f"{test_inputs.shape[1:]}",
                mend="make both in the same way",
            )
        counted = (
            ("inputs", len(inputs), items),
            ("item names", len(self.item_names), items),
            ("annotator names", len(self.annotator_names), annotators),
            ("class names", len(self.class_names), classes),
        )
        for what, count, wanted in counted:
            if count != wanted:
                raise BadInput(f"{self.name}: {count} {what}, but the answers are about {wanted}")
        for what, names in (
            ("item", self.item_names),
            ("annotator", self.annotator_names),
            ("class", self.class_names),
        ):
            if len(set(names)) != len(names):
                raise BadInput(f"{self.name}: two {what} names are the same", mend="give each its own")
        test_labels = _numbers(self.test_labels, f"{self.name}: test labels", "a test label", classes)
        if len(test_labels) != len(test_inputs):
            raise BadInput(f"{self.name}: {len(test_inputs)} test inputs, but {len(test_labels)} test labels")
        if self.truth is not None:
            truth = _numbers(self.truth, f"{self.name}: true classes", "a true class", classes)
            if len(truth) != items:
                raise BadInput(f"{self.name}: {len(truth)} true classes for {items} items")
            object.__setattr__(self, "truth", truth)
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "test_inputs", test_inputs)
        object.__setattr__(self, "test_labels", test_labels)

    def __len__(self) -> int:
        return self.answers.n_items

    def content_hash(self) -> str:
        """SHA-256 over inputs, answers, gold and test part, not over names. It identifies people's work: keep it where it is."""
        digest = hashlib.sha256(self.answers.content_hash().encode())
        for array in (self.inputs, self.truth, self.test_inputs, self.test_labels):
            if array is None:
                digest.update(b"none")
                continue
            digest.update(repr((array.shape, str(array.dtype))).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def _numbers(values: Any, name: str, one: str, bound: int) -> np.ndarray:
    """The values as int64 (n,) in 0 .. bound - 1. Which of them is wrong stays unsaid: errors may travel further than records."""
    array = np.asarray(values)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise BadInput(f"{name} are {array.dtype} of shape {array.shape}", why="they are a row of whole numbers from 0")
    if array.size and (array.min() < 0 or array.max() >= bound):
        raise BadInput(
            f"{one} lies outside 0 .. {bound - 1}", mend=f"number {name} from 0 and check how many there are"
        )
    return array.astype(np.int64)


def _checked_inputs(inputs: Any, name: str) -> np.ndarray:
    array = np.asarray(inputs)
    if array.ndim == 2 and array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as that
            array = array.astype(np.float32)
        if array.shape[1] < 1:
            raise BadInput(f"{name}: items have no features")
        if not np.isfinite(array).all():
            raise BadInput(f"{name}: a feature is not a finite number", mend="impute or drop it")
        return array
    if array.ndim == 4:
        return check_images(array, name)
    raise BadInput(
        f"{name}: inputs are {array.dtype} of shape {array.shape}",
        why="they are features, float32 (n, features), or images, uint8 (n, channels, height, width)",
    )
