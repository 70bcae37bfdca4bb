"""Distilled sets: balanced, of the asked size, without duplicates, and cleaner than the answers (must-show 3)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.methods.noisy_labels.crowd.distilled import distil


def scene(seed: int, items: int = 60, classes: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-probabilities, and three answers an item, of which some say the same."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(items, classes))
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return log_p, np.arange(items).repeat(3), draw.integers(0, classes, 3 * items)


@given(seed=st.integers(0, 10_000), size=st.integers(4, 200))
@settings(max_examples=60, deadline=None)
def test_each_class_gets_its_easiest_items_once(seed: int, size: int) -> None:
    log_p, items, labels = scene(seed)
    found = distil(log_p, items, labels, size=size)
    assert len(np.unique(found.items)) == len(found)
    said = set(zip(items.tolist(), labels.tolist(), strict=True))
    for label in range(4):
        mine = found.items[found.labels == label]
        # By the definition, slowly: items to which somebody gave this class, and no likelier one was given.
        candidates = [
            n for n in range(60)
            if (n, label) in said and all(log_p[n, c] <= log_p[n, label] for c in range(4) if (n, c) in said)
        ]  # fmt: skip
        assert len(mine) == min(size // 4, len(candidates))
        assert sorted(mine) == sorted(sorted(candidates, key=lambda n, c=label: -log_p[n, c])[: len(mine)])


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_as_published_an_item_counts_for_every_answer(seed: int) -> None:
    log_p, items, labels = scene(seed)
    found = distil(log_p, items, labels, size=80, duplicates=True)
    for label in range(4):
        losses = np.sort(-log_p[items[labels == label], label])
        mine = -log_p[found.items[found.labels == label], label]
        np.testing.assert_array_equal(np.sort(mine), losses[:20])
    pairs = list(zip(found.items.tolist(), found.labels.tolist(), strict=True))
    assert len(set(pairs)) < len(pairs)


def test_the_set_is_cleaner_than_the_answers() -> None:
    """A network that knows the true class half-way: right answers have small losses."""
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 5, 2000)
    items = np.arange(2000).repeat(2)
    labels = np.where(draw.random(4000) < 0.45, truth[items], draw.integers(0, 5, 4000))
    logits = 2.0 * np.eye(5)[truth] + draw.normal(size=(2000, 5))
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    found = distil(log_p, items, labels, size=500)
    raw = (labels == truth[items]).mean()
    assert np.bincount(found.labels).tolist() == [100] * 5
    assert (found.labels == truth[found.items]).mean() > raw + 0.3


def test_a_class_that_nobody_chose_has_no_items() -> None:
    log_p, items, labels = scene(0)
    found = distil(log_p, items, np.minimum(labels, 2), size=40)
    assert set(found.labels.tolist()) == {0, 1, 2}


@pytest.mark.parametrize("size", [1, 3])
def test_every_class_gets_at_least_one(size: int) -> None:
    log_p, items, labels = scene(0)
    assert np.bincount(distil(log_p, items, labels, size=size).labels).tolist() == [1, 1, 1, 1]
