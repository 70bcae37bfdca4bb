"""Check 14."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.methods.noisy_labels.multilabel.metrics import score
from stillhouse.platform.errors import BadInput

LABELS = np.array([[1, 0, 1], [0, 1, 1], [1, 0, 0], [0, 0, 1]])
PROBABILITY = np.array([[0.9, 0.6, 0.2], [0.8, 0.7, 0.5], [0.3, 0.1, 0.4], [0.1, 0.2, 0.9]])


def test_four_records_and_three_labels_by_hand() -> None:
    found = score(PROBABILITY, LABELS)
    # Order by label: 1,0,1,0 -> (1 + 2/3) / 2; 1 first -> 1; 1,1,0,1 -> (1 + 1 + 3/4) / 3.
    assert found.map == pytest.approx((5 / 6 + 1 + 11 / 12) / 3)
    # Predicted 2, 2, 2; right 1, 1, 2; present 2, 1, 3.
    precision, recall = 4 / 6, 4 / 6
    assert found.of1 == pytest.approx(2 * precision * recall / (precision + recall))
    precision, recall = (1 / 2 + 1 / 2 + 1) / 3, (1 / 2 + 1 + 2 / 3) / 3
    assert found.cf1 == pytest.approx(2 * precision * recall / (precision + recall))
    assert found.classes == 3


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_precision_is_averaged_over_the_ranks_of_positives(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, (15, 3))
    labels[0] = 1
    probability = generator.permuted(np.tile(np.linspace(0, 1, 15)[:, None], 3), axis=0)
    expected = []
    for j in range(3):
        order = np.argsort(-probability[:, j])
        hits = np.flatnonzero(labels[order, j])
        expected.append(np.mean([(k + 1) / (rank + 1) for k, rank in enumerate(hits)]))
    assert score(probability, labels).map == pytest.approx(np.mean(expected))


def test_a_label_that_nothing_has_is_not_scored_and_no_prediction_is_no_hit() -> None:
    labels = np.column_stack([LABELS, np.zeros(4, int)])
    found = score(np.column_stack([PROBABILITY, np.full(4, 0.9)]), labels)
    assert found.classes == 3
    assert found.map == score(PROBABILITY, LABELS).map
    assert found.cf1 == score(PROBABILITY, LABELS).cf1
    assert found.of1 < score(PROBABILITY, LABELS).of1  # its four predictions are wrong all the same
    assert score(np.zeros((4, 3)), LABELS).of1 == 0.0
    with pytest.raises(BadInput, match="ever present"):
        score(PROBABILITY, np.zeros((4, 3)))
