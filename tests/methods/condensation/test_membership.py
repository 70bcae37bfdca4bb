"""The audit tells what it should where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stillhouse.methods.condensation.forward import Forward
from stillhouse.methods.condensation.membership import Membership, area, nearest_distances
from stillhouse.methods.condensation.standard import Standard
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.data.sources import Source, load
from torch import Tensor, nn

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> Source:
    return load("digits")


def pixels(data: ImageData) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(data.images).float() / 255, torch.from_numpy(data.labels)


def test_areas_of_known_scores() -> None:
    assert area(np.array([3.0, 2.0]), np.array([1.0, 0.0])) == 1.0
    assert area(np.array([0.0]), np.array([1.0, 2.0])) == 0.0
    assert area(np.ones(5), np.ones(7)) == 0.5  # ties count half
    assert area(np.array([1.0, 1.0]), np.array([1.0, 0.0])) == 0.75
    generator = np.random.default_rng(0)
    assert area(generator.normal(size=4000), generator.normal(size=4000)) == pytest.approx(0.5, abs=0.03)


def test_a_set_of_records_gives_its_records_away(digits: Source) -> None:
    start = np.arange(40)
    membership = Membership.draw(digits.private, digits.score, start, count=200, seed=0)
    areas = membership.by_distance(*pixels(digits.private.take(start)), CPU)
    assert areas["membership_auc_start"] == 1.0
    # Of other members' 4 % are in the set: little above chance.
    assert areas["membership_auc_distance"] == pytest.approx(0.5, abs=0.15)
    # The whole private set tells everybody.
    assert membership.by_distance(*pixels(digits.private), CPU)["membership_auc_distance"] == 1.0


def test_what_has_nothing_to_do_with_the_records_tells_nothing(digits: Source) -> None:
    membership = Membership.draw(digits.private, digits.score, None, count=10_000, seed=0)
    assert membership.start is None
    images = torch.rand(30, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    areas = membership.by_distance(images, torch.arange(30) % 10, CPU)
    assert set(areas) == {"membership_auc_distance"}
    assert areas["membership_auc_distance"] == pytest.approx(0.5, abs=0.08)  # 397 on either side: deviation .02
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    guess = membership.by_loss(network, Standard.of(digits.private), Forward(), CPU)
    assert guess == pytest.approx(0.5, abs=0.08)


def test_a_network_that_knows_the_records_by_heart_gives_them_away(digits: Source) -> None:
    membership = Membership.draw(digits.private, digits.score, None, count=100, seed=0)
    known = {image.tobytes() for image in membership.members.images}

    class ByHeart(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            held = [bytes((image * 255).round().to(torch.uint8).numpy()) in known for image in images]
            return torch.tensor(held).float()[:, None] * answers[: len(images)]

    # Logits that favour nobody where nothing is known; class 0 otherwise, so members of class 0 stand out.
    answers = torch.nn.functional.one_hot(torch.zeros(300, dtype=torch.long), 10).float() * 5
    own = membership.members.labels == 0
    only = Membership(membership.members.take(np.flatnonzero(own)), membership.strangers, None)
    assert only.by_loss(ByHeart(), Standard((0.0,), (1.0,)), Forward(), CPU) == 1.0


def test_as_many_members_as_strangers_by_the_seed(digits: Source) -> None:
    drawn = lambda seed: Membership.draw(digits.private, digits.score, np.array([3, 5]), count=50, seed=seed)
    first, same, other = drawn(0), drawn(0), drawn(1)
    assert len(first.members) == len(first.strangers) == 50
    assert np.array_equal(first.members.images, same.members.images)
    assert not np.array_equal(first.members.images, other.members.images)
    assert first.start is not None
    assert np.array_equal(first.start.images, digits.private.images[[3, 5]])
    assert len({image.tobytes() for image in first.members.images}) > 45  # no record twice
    large = Membership.draw(digits.private, digits.score, np.zeros(0, np.int64), count=10**6, seed=0)
    assert len(large.members) == len(large.strangers) == len(digits.score)
    assert large.start is None


def test_distances_are_to_the_nearest_image_of_the_same_class() -> None:
    images = np.zeros((3, 1, 4, 4), np.uint8)
    images[1] = 255
    data = ImageData(images, np.array([0, 1, 2]), 3, "flat")
    there = torch.stack([torch.full((1, 4, 4), value) for value in (0.5, 0.25, 0.0, 0.75)])
    found = nearest_distances(data, there, torch.tensor([0, 0, 1, 1]), CPU)
    assert found == pytest.approx([0.25 * 4, 0.25 * 4, float("inf")])
