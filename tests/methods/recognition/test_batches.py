"""Batches: every picture once an epoch, none left over, shared out among processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.methods.recognition.batches import EvenBatches, training_batches
from stillhouse.methods.recognition.recipe import Recipe
from stillhouse.platform.data.faces import InMemory
from stillhouse.platform.errors import BadInput
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from stillhouse.platform.training.world import World


@given(st.integers(4, 300), st.integers(4, 50), st.integers(1, 2))
def test_an_epoch_shows_everything_in_batches_of_nearly_one_size(size: int, batch: int, workers: int) -> None:
    parts = [
        list(EvenBatches(size, batch, generator=torch.Generator().manual_seed(0), world=World(rank, workers)))
        for rank in range(workers)
    ]
    assert len({len(part) for part in parts}) == 1
    whole = [[n for part in parts for n in part[i]] for i in range(len(parts[0]))]
    shown = [number for one in whole for number in one]
    assert sorted(set(shown)) == list(range(size))
    assert len(shown) - size < len(whole) * workers  # only what makes parts even comes twice
    sizes = [len(one) for one in parts[0]]
    assert max(sizes) - min(sizes) <= 1 and min(sizes) >= 2
    assert max(map(len, whole)) <= 1.5 * batch + workers


def test_too_few_records_are_refused() -> None:
    with pytest.raises(BadInput, match="two records of every batch"):
        EvenBatches(3, 8, generator=torch.Generator(), world=World(0, 2))
    with pytest.raises(BadInput, match="two records of every batch"):
        EvenBatches(100, 2, generator=torch.Generator(), world=World(0, 2))


@pytest.fixture
def run(tmp_path: Path) -> LocalRun:
    return LocalRun(tmp_path / "run", reporter=Silent())


def test_pictures_come_with_their_numbers_and_labels(run: LocalRun) -> None:
    images = np.arange(10, dtype=np.uint8)[:, None, None, None].repeat(3, 1).repeat(4, 2).repeat(4, 3)
    labels = np.arange(10) % 3
    for numbers, answers, pixels in training_batches(run, InMemory(images), labels, Recipe(batch_size=4)):
        assert pixels.shape[1:] == (3, 4, 4) and pixels.dtype == torch.uint8
        assert pixels[:, 0, 0, 0].tolist() == numbers.tolist()
        assert answers.tolist() == (numbers % 3).tolist()


def test_batches_of_people_hold_pairs(run: LocalRun) -> None:
    images, labels = np.zeros((12, 3, 4, 4), np.uint8), np.repeat(np.arange(4), 3)
    loader = training_batches(run, InMemory(images), labels, Recipe(people_per_batch=2, pictures_per_person=2))
    for _, answers, _ in loader:
        assert sorted(np.unique(answers, return_counts=True)[1].tolist()) == [2, 2]


def test_people_with_one_picture_are_refused_in_batches_of_people(run: LocalRun) -> None:
    images, labels = np.zeros((5, 3, 4, 4), np.uint8), np.array([0, 0, 1, 1, 2])
    with pytest.raises(BadInput, match="single picture"):
        training_batches(run, InMemory(images), labels, Recipe(people_per_batch=2, pictures_per_person=2))
    assert len(training_batches(run, InMemory(images), labels, Recipe(batch_size=4))) == 1
