"""A crowd's files put together: answers, items, gold labels, by their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ..errors import BadInput
from .crowd import CrowdAnswers, CrowdData
from .crowd_files import NamedAnswers, NamedLabels, RowProblems
from .crowd_items import NamedInputs
from .pseudonyms import numbered

STANDARDISED = "Features are standardised by mean and standard deviation over the training items. "


def joined(
    inputs: NamedInputs,
    answers: NamedAnswers,
    test: NamedLabels | None,
    gold: NamedLabels | None,
    *,
    classes: Sequence[str],
    key: bytes,
    name: str,
    standardise: bool,
    about: str = "",
) -> CrowdData:
    """Put a crowd's files together; items without an answer and outside the test part are left out and counted.

    Raises:
        BadInput: a label is none of the classes, an item is unknown, or gold labels do not cover the training items.
    """
    named = tuple(classes) or classes_among(
        answers.labels, *(some.labels.values() for some in (test, gold) if some is not None)
    )
    if len(named) < 2:
        raise BadInput(
            f"{answers.path}: all labels are the same", why="a classifier needs two classes", mend="name classes"
        )
    place = {item: number for number, item in enumerate(inputs.names)}
    given = _label_numbers(answers.labels, named)
    _check_lines(answers.path, answers.lines, answers.items, given, place)
    test_labels = _gold_of(test, named, place)
    gold_labels = _gold_of(gold, named, place)

    in_test = np.array([item in test_labels for item in answers.items])
    at = np.array([place[item] for item in answers.items], dtype=np.int64)[~in_test]
    if not len(at):
        raise BadInput(
            f"{answers.path}: every answer is about a test item", mend="keep items to learn from out of the test part"
        )
    people, people_names = numbered(
        [who for who, left in zip(answers.annotators, in_test, strict=True) if not left], key
    )
    kept, items = np.unique(at, return_inverse=True)
    order = np.lexsort((people, items))
    crowd = CrowdAnswers(items[order], people[order], given[~in_test][order], len(kept), len(people_names), len(named))
    item_names = tuple(inputs.names[number] for number in kept)
    test_at = np.array(sorted(place[item] for item in test_labels), dtype=np.int64)
    train_inputs, test_inputs = inputs.inputs[kept], inputs.inputs[test_at]
    if standardise and train_inputs.ndim == 2:
        train_inputs, test_inputs = standardised(train_inputs, test_inputs)
        about += STANDARDISED
    return CrowdData(
        inputs=train_inputs,
        answers=crowd,
        truth=_truth(gold, gold_labels, item_names),
        test_inputs=test_inputs,
        test_labels=np.array([test_labels[inputs.names[number]] for number in test_at], dtype=np.int64),
        item_names=item_names,
        annotator_names=people_names,
        class_names=named,
        name=name,
        protocol=about
        + crowd_in_words(
            crowd,
            test=len(test_at),
            left_out=int(in_test.sum()),
            unused=len(inputs.names) - len(kept) - len(test_at),
        ),
    )


def standardised(train: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both, less the mean and by the standard deviation of each column of the first; a constant column becomes 0."""
    mean = train.mean(axis=0, dtype=np.float64)
    spread = train.std(axis=0, dtype=np.float64)
    spread[spread <= 1e-12 * np.maximum(1.0, np.abs(mean))] = np.inf
    first, second = ((part - mean) / spread for part in (train, other))
    return first.astype(np.float32), second.astype(np.float32)


def _check_lines(
    path: Path, lines: Sequence[int], items: Sequence[str], labels: np.ndarray, place: dict[str, int]
) -> None:
    problems = RowProblems(path)
    for line, item, label in zip(lines, items, labels.tolist(), strict=True):
        if item not in place:
            problems.add(line, "the item is not among the features")
        if label < 0:
            problems.add(line, "the label is none of the classes")
    problems.check("correct these lines, add the items' features, or name all classes")


def _gold_of(gold: NamedLabels | None, classes: Sequence[str], place: dict[str, int]) -> dict[str, int]:
    if gold is None:
        return {}
    names = list(gold.labels)
    numbers = _label_numbers([gold.labels[name] for name in names], classes)
    _check_lines(gold.path, [gold.lines[name] for name in names], names, numbers, place)
    return dict(zip(names, numbers.tolist(), strict=True))


def _truth(gold: NamedLabels | None, labels: dict[str, int], items: Sequence[str]) -> np.ndarray | None:
    if gold is None:
        return None
    missing = sum(item not in labels for item in items)
    if missing:
        raise BadInput(
            f"{gold.path} lacks {missing} of {len(items)} training items",
            why="diagnostics compare all of them",
            mend="add them, or give no gold",
        )
    return np.array([labels[item] for item in items], dtype=np.int64)


def crowd_in_words(crowd: CrowdAnswers, *, test: int, left_out: int = 0, unused: int = 0) -> str:
    """How many answers, people and items there are, and what was left out, for the protocol."""
    text = f"{len(crowd):,} answers of {crowd.n_annotators:,} annotators about {crowd.n_items:,} training items; "
    text += f"{test:,} test items with gold labels." if test else "no test items."
    if left_out:
        text += f" {left_out:,} answers about test items are left out."
    if unused:
        text += f" {unused:,} items without an answer are left out."
    return text


def _label_numbers(given: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """The place of each label among the classes, int64 (n,); -1 for those that are none of them."""
    place = {name: number for number, name in enumerate(classes)}
    return np.array([place.get(label, -1) for label in given], dtype=np.int64)


def classes_among(*labels: Iterable[str]) -> tuple[str, ...]:
    """The distinct labels of all the sequences given: by value if all are whole numbers, else by the alphabet."""
    distinct = {label for some in labels for label in some}
    try:
        return tuple(sorted(distinct, key=lambda label: (int(label), label)))
    except ValueError:
        return tuple(sorted(distinct))
