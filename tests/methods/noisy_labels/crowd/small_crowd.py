"""A small crowd about points in two dimensions, or about small pictures: every number is made here."""

from __future__ import annotations

from typing import Any

import numpy as np
from stillhouse.platform.data.crowd import CrowdAnswers, CrowdData

CLASSES = 3
CENTRES = np.array([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])
# Five good annotators, three who take class 0 for class 1, two who guess.
GOOD, CONFUSED, GUESSING = range(5), range(5, 8), range(8, 10)


def true_confusions() -> np.ndarray:
    """(10, 3, 3), rows the true class."""
    good = np.full((CLASSES, CLASSES), 0.05) + 0.85 * np.eye(CLASSES)
    confused = np.array([[0.1, 0.8, 0.1], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]])
    guessing = np.full((CLASSES, CLASSES), 1 / CLASSES)
    return np.stack([good] * len(GOOD) + [confused] * len(CONFUSED) + [guessing] * len(GUESSING))


def small_crowd(items: int = 150, *, each: int = 3, images: bool = False, seed: int = 0, **changed: Any) -> CrowdData:
    """`each` answers an item; `images`: 8x8 pictures whose brightest corner is the class."""
    draw = np.random.default_rng(seed)
    truth, test = draw.integers(0, CLASSES, items), draw.integers(0, CLASSES, 90)
    matrices = true_confusions()
    people = np.stack([draw.permutation(len(matrices))[:each] for _ in range(items)]).ravel()
    about = np.arange(items).repeat(each)
    said = np.array([draw.choice(CLASSES, p=matrices[r, truth[n]]) for n, r in zip(about, people, strict=True)])
    make = _pictures if images else _points
    parts: dict[str, Any] = {
        "inputs": make(truth, draw), "truth": truth, "test_inputs": make(test, draw), "test_labels": test,
        "answers": CrowdAnswers(about, people, said, items, len(matrices), CLASSES),
        "item_names": tuple(f"item {n}" for n in range(items)),
        "annotator_names": tuple(f"person {r}" for r in range(len(matrices))),
        "class_names": ("east", "north", "south"), "name": "small", "protocol": "made for a test",
    }  # fmt: skip
    return CrowdData(**{**parts, **changed})


def _points(labels: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    return (CENTRES[labels] + 0.6 * draw.normal(size=(len(labels), 2))).astype(np.float32)


def _pictures(labels: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    pixels = draw.integers(0, 80, (len(labels), 1, 8, 8))
    for picture, label in zip(pixels, labels, strict=True):
        row, column = 4 * (label // 2), 4 * (label % 2)
        picture[0, row : row + 4, column : column + 4] += 140
    return pixels.astype(np.uint8)
