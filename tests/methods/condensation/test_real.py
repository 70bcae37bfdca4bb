"""Real batches: functions of class and number, each pass without repetition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.methods.condensation.real import RealImages, class_numbers
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.errors import BadInput
from stillhouse.platform.training.seeds import seed_for


def numbered(*sizes: int) -> ImageData:
    """Classes of these sizes in mixed order; an image's pixels tell its number."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 4, 4), np.uint8)
    return ImageData(images, labels, len(sizes), "numbered")


def real_of(data: ImageData, batch: int, seed: int = 0) -> RealImages:
    return RealImages(data, batch=batch, seed_for=lambda *names: seed_for(seed, *names))


def numbers(batch: torch.Tensor) -> list[int]:
    return [round(float(value) * 255) for value in batch[:, 0, 0, 0]]


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 40), batch=st.integers(1, 45), turn=st.integers(0, 3))
def test_a_pass_shows_no_image_twice_and_all_but_less_than_a_batch(size: int, batch: int, turn: int) -> None:
    data = numbered(size, 5)
    real = real_of(data, batch)
    per_pass = size // min(size, batch)
    seen = [n for k in range(per_pass) for n in numbers(real.batch(0, turn * per_pass + k))]
    assert len(set(seen)) == len(seen) == per_pass * min(size, batch) > size - batch
    assert set(seen) <= set(np.flatnonzero(data.labels == 0))


def test_passes_differ_and_batches_do_not_depend_on_what_was_asked_before() -> None:
    data = numbered(20, 20)
    real = real_of(data, 10)
    whole = [numbers(real.batch(1, n)) for n in range(6)]
    assert len({tuple(batch) for batch in whole}) == 6
    fresh = real_of(data, 10)
    order = [5, 0, 3, 1, 4, 2, 5]
    assert [numbers(fresh.batch(1, n)) for n in order] == [whole[n] for n in order]
    assert [numbers(real_of(data, 10, seed=1).batch(1, n)) for n in range(6)] != whole
    places = lambda c: [list(real.numbers[c]).index(n) for n in numbers(real.batch(c, 0))]
    assert places(0) != places(1)  # each class has a stream of its own


def test_pixels_are_floats_in_0_to_1_in_the_order_of_the_data() -> None:
    data = numbered(6, 3)
    real = real_of(data, 4)
    own = real.of_class(1)
    assert own.dtype == torch.float32
    assert own.shape == (3, 1, 4, 4)
    assert numbers(own) == real.numbers[1].tolist() == np.flatnonzero(data.labels == 1).tolist()
    assert torch.equal(own[:, 0, 0, 0] * 255, torch.from_numpy(real.numbers[1]).float())
    assert real.batch(0, 3).shape == (4, 1, 4, 4)
    assert real.batch(1, 3).shape == (3, 1, 4, 4)


def test_classes_that_are_too_small_are_named() -> None:
    with pytest.raises(BadInput, match="fewer than 4 images in class 1") as caught:
        RealImages(numbered(5, 3, 4), batch=2, seed_for=lambda *names: 0, at_least=4)
    assert "method.ipc" in str(caught.value.mend)
    with pytest.raises(BadInput, match="in classes 0, 2:"):
        class_numbers(np.array([1, 1]), 3, at_least=1)
    with pytest.raises(BadInput, match="classes 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 90 more"):
        class_numbers(np.zeros(0, np.int64), 100, at_least=1)
    assert [len(own) for own in class_numbers(np.array([1, 1]), 3, at_least=0)] == [0, 2, 0]
