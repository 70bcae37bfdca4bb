"""What is asked depends on public or released values only, and is what the selection says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stillhouse.methods.dgd.queries import choose
from stillhouse.platform.errors import BadInput

IMAGES = np.zeros((100, 1, 2, 2), np.uint8)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_uniform_asks_distinct_images_by_the_generator_alone() -> None:
    first = choose(IMAGES, 30, selection="uniform", answers=None, generator=generator())
    assert len(set(first.tolist())) == 30
    # Neither what the images show nor what a classifier says of them matters.
    other = np.full_like(IMAGES, 255)
    np.testing.assert_array_equal(
        first, choose(other, 30, selection="uniform", answers=torch.rand(100, 3), generator=generator())
    )


def test_confident_takes_the_surest_of_each_class() -> None:
    answers = torch.full((100, 2), 0.5)
    sure = torch.linspace(0.51, 0.99, 50)
    answers[:50, 0], answers[:50, 1] = sure, 1 - sure
    answers[50:, 1], answers[50:, 0] = sure, 1 - sure
    chosen = choose(IMAGES, 20, selection="confident", answers=answers, generator=generator())
    # Eighty of the hundred are candidates; of each class the ten surest of those.
    assert (chosen < 50).sum() == 10
    assert set(chosen.tolist()) <= {*range(30, 50), *range(80, 100)}


def test_a_rare_class_is_filled_up_from_the_others() -> None:
    answers = torch.tensor([[0.9, 0.1]]).repeat(100, 1)
    answers[:3] = torch.tensor([0.2, 0.8])
    chosen = choose(IMAGES, 25, selection="confident", answers=answers, generator=generator())
    assert len(set(chosen.tolist())) == 25
    assert {0, 1, 2} <= set(chosen.tolist())


def test_refusals() -> None:
    with pytest.raises(BadInput, match="there are 100 images"):
        choose(IMAGES, 101, selection="uniform", answers=None, generator=generator())
    with pytest.raises(BadInput, match="needs a classifier"):
        choose(IMAGES, 10, selection="confident", answers=None, generator=generator())
