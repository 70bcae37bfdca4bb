"""The picture of a confusion matrix: whole SVG, its numbers and words, and what it refuses."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from stillhouse.platform.errors import BadInput
from stillhouse.platform.report.heat_map import heat_map, heat_map_alt

MATRIX = np.array([[0.9, 0.1, 0.0], [0.25, 0.5, 0.25], [0.0, 0.6, 0.4]])
NAMES = ("cat", "dog", "a very long name <of> a class & more")


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")]


def test_every_cell_and_name_is_drawn() -> None:
    svg = str(heat_map(MATRIX, NAMES, "group 1"))
    drawn = texts(svg)
    assert [t for t in drawn if t.isdigit()] == ["90", "10", "0", "25", "50", "25", "0", "60", "40"]
    assert drawn.count("cat") == drawn.count("dog") == 2 and "group 1" in drawn
    assert sum(t.startswith("a very") and t.endswith("\u2026") for t in drawn) == 2
    assert svg == str(heat_map(MATRIX, NAMES, "group 1"))


def test_many_classes_are_shades_without_numbers() -> None:
    drawn = texts(str(heat_map(np.eye(13), [f"c{n}" for n in range(13)], "all")))
    assert not [t for t in drawn if t.isdigit()] and drawn.count("c12") == 2


def test_it_is_told_in_words() -> None:
    assert heat_map_alt(MATRIX[:2, :2] / MATRIX[:2, :2].sum(axis=1, keepdims=True), NAMES[:2], "one") == (
        "Confusion matrix, one. Right in: cat 90 % (else mostly dog 10 %); dog 67 % (else mostly cat 33 %)."
    )


@pytest.mark.parametrize("matrix", [np.eye(2), np.ones(3), np.eye(3) * 2, -np.eye(3), np.full((3, 3), np.nan)])
def test_what_is_no_confusion_matrix_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(BadInput, match="heat map"):
        heat_map(matrix, NAMES, "wrong")
