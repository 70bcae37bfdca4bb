"""Cosines of pairs, and what no score may be."""

from __future__ import annotations

import numpy as np
import pytest
from stillhouse.platform.errors import BadInput
from stillhouse.platform.verification import scores
from stillhouse.platform.verification.scores import check_scores, pair_scores, unit


def test_cosines_are_those_of_one_pair_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    embeddings = random.normal(size=(20, 7)).astype(np.float32)
    first, second = random.integers(0, 20, size=(2, 53))
    monkeypatch.setattr(scores, "BLOCK", 70)  # ten pairs at a time
    found = pair_scores(embeddings, first, second)
    for score, one, other in zip(found, embeddings[first].astype(float), embeddings[second].astype(float), strict=True):
        assert score == pytest.approx(one @ other / np.sqrt((one @ one) * (other @ other)), abs=1e-12)
    assert np.array_equal(pair_scores(embeddings * 4, first, second), found)  # powers of two change no digit
    assert np.allclose(np.linalg.norm(unit(embeddings), axis=1), 1)


def test_no_pairs_have_no_scores() -> None:
    assert pair_scores(np.eye(2), np.array([], int), np.array([], int)).shape == (0,)


@pytest.mark.parametrize(
    "embeddings", [np.eye(3)[0], np.zeros((2, 3)), np.array([[1.0, np.nan]]), np.empty((0, 3)), np.array([["a", "b"]])]
)
def test_embeddings_without_direction_are_refused(embeddings: np.ndarray) -> None:
    with pytest.raises(BadInput, match="embeddings"):
        unit(embeddings)


@pytest.mark.parametrize(
    ("first", "second"), [([0, 3], [1, 1]), ([0, -1], [1, 1]), ([0, 1], [1]), ([0.0, 1.0], [1, 1]), (0, 1)]
)
def test_pairs_of_pictures_that_are_not_there_are_refused(first: object, second: object) -> None:
    with pytest.raises(BadInput, match="pair"):
        pair_scores(np.eye(3), np.asarray(first), np.asarray(second))


@pytest.mark.parametrize(
    ("given", "positive", "message"),
    [
        ([0.1, np.nan], [True, False], "1 of 2 scores are not finite"),
        ([0.1, -np.inf], [True, False], "not finite"),
        ([0.1, 0.2], [True, True], "2 positives and 0 negatives"),
        ([0.1, 0.2], [0, 0], "0 positives and 2 negatives"),
        ([0.1], [True], "1 positives and 0 negatives"),
        ([], [], "not empty"),
        ([0.1, 0.2], [True], "shape"),
        ([[0.1, 0.2]], [[True, False]], "shape"),
        ([0.1, 0.2], [2, 0], "other than 0 and 1"),
        ([0.1, 0.2], [1.0, 0.0], "other than 0 and 1"),
        (["a", "b"], [True, False], "list of numbers"),
    ],
)
def test_scores_that_say_nothing_are_refused(given: object, positive: object, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        check_scores(given, positive)


def test_a_refusal_tells_no_score() -> None:
    with pytest.raises(BadInput) as caught:
        check_scores([0.123456, np.nan], [True, False])
    assert "0.123456" not in str(caught.value)
