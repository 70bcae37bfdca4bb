"""Starts: which records become which tiles, and whose numbers are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from stillhouse.methods.condensation.encoders import encoder, fresh_network, frozen
from stillhouse.methods.condensation.formation import compose
from stillhouse.methods.condensation.forward import Forward
from stillhouse.methods.condensation.initial import FROM_RECORDS, check_kind, from_records, noise
from stillhouse.methods.condensation.real import RealImages
from stillhouse.methods.condensation.selection import select
from stillhouse.methods.condensation.standard import Standard
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BadInput
from stillhouse.platform.training.seeds import seed_for
from torch import Tensor

CPU, STANDARD = torch.device("cpu"), Standard((0.3,), (0.4,))


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load("digits").private


@pytest.fixture(scope="module")
def network() -> Any:
    return encoder(frozen(fresh_network("convnet", (1, 8, 8), 10, 0), CPU))


@pytest.fixture
def start(digits: ImageData, network: Any) -> Callable[..., tuple[Tensor, np.ndarray]]:
    def of(kind: str, ipc: int, factor: int, *, seed: int = 0, shrink: str = "nearest") -> tuple[Tensor, np.ndarray]:
        seeds = lambda *names: seed_for(seed, *names)
        real = RealImages(digits, batch=8, seed_for=seeds)
        return from_records(
            kind,
            real,
            ipc,
            factor,
            shrink,
            encoder=network,
            standard=STANDARD,
            forward=Forward(),
            seed_for=seeds,
            device=CPU,
        )

    return of


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("kind", FROM_RECORDS)
def test_the_numbers_are_those_of_the_records_that_are_seen(
    kind: str, factor: int, digits: ImageData, start: Callable[..., Any]
) -> None:
    ipc = 3
    images, numbers = start(kind, ipc, factor)
    count = ipc * factor**2
    assert images.shape == (10, ipc, 1, 8, 8)
    assert images.dtype == torch.float32
    assert 0 <= images.min() <= images.max() <= 1
    assert len(set(numbers)) == len(numbers) == 10 * count
    for c, own in enumerate(numbers.reshape(10, count)):
        assert (digits.labels[own] == c).all()
        pixels = torch.from_numpy(digits.images[own]).float() / 255
        assert torch.equal(images[c], compose(pixels, factor))


def test_first_takes_them_as_they_come(digits: ImageData, start: Callable[..., Any]) -> None:
    images, numbers = start("first", 4, 1)
    for c in range(10):
        expected = np.flatnonzero(digits.labels == c)[:4]
        assert numbers[4 * c : 4 * c + 4].tolist() == expected.tolist()
        assert np.array_equal((images[c] * 255).round().numpy().astype(np.uint8), digits.images[expected])


def test_mix_shrinks_as_it_is_told(start: Callable[..., Any]) -> None:
    nearest, by_nearest = start("first", 2, 2)
    area, by_area = start("first", 2, 2, shrink="area")
    assert by_nearest.tolist() == by_area.tolist()
    assert not torch.equal(nearest, area)


def test_random_follows_from_the_seed(start: Callable[..., Any]) -> None:
    first, same, other = (start("random", 3, 1, seed=seed)[1].tolist() for seed in (0, 0, 1))
    assert first == same != other
    places = np.asarray(first).reshape(10, 3)
    assert len({tuple(row) for row in places}) == 10


def test_herding_goes_by_features_of_the_encoder(digits: ImageData, start: Callable[..., Any], network: Any) -> None:
    _, numbers = start("herding", 3, 1)
    for c in (0, 7):
        own = np.flatnonzero(digits.labels == c)
        features = network.features(STANDARD(torch.from_numpy(digits.images[own]).float() / 255))
        chosen = select("herding", features, 3, torch.Generator())
        assert numbers[3 * c : 3 * c + 3].tolist() == own[chosen.numpy()].tolist()


def test_noise_is_uniform_and_follows_from_the_seed() -> None:
    images = noise(4, 50, (1, 8, 8), seed=1)
    assert images.shape == (4, 50, 1, 8, 8)
    assert 0 <= images.min() < 0.001
    assert 0.999 < images.max() < 1
    assert abs(float(images.mean()) - 0.5) < 0.01
    assert torch.equal(noise(4, 50, (1, 8, 8), seed=1), images)
    assert not torch.equal(noise(4, 50, (1, 8, 8), seed=2), images)


@pytest.mark.parametrize(
    ("kind", "dp", "match"), [("mixed", False, "initial is 'mixed'"), ("class_means", False, "class_means"),
                              ("first", True, "records would be in what is released"), ("herd", True, "noise, class_means")],
)  # fmt: skip
def test_starts_that_are_refused(kind: str, dp: bool, match: str) -> None:
    with pytest.raises(BadInput, match=match):
        check_kind(kind, dp=dp)


def test_starts_that_are_allowed() -> None:
    for kind in (*FROM_RECORDS, "noise"):
        check_kind(kind, dp=False)
    for kind in ("noise", "class_means"):
        check_kind(kind, dp=True)
