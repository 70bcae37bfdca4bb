from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from stillhouse.methods.condensation.cutmix import Mixed, cutmix, mixed_cross_entropy
from stillhouse.platform.errors import BadInput
from torch import Tensor


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(count: int, *shape: int) -> tuple[Tensor, Tensor]:
    """Image i is full of i, and i is its label."""
    labels = torch.arange(count)
    return labels.float().view(-1, 1, 1, 1).expand(count, *shape).contiguous(), labels


sizes = st.tuples(st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 8), sizes, st.integers(0, 2**32), st.sampled_from([0.3, 1.0, 4.0]))
def test_pixels_come_from_either_image_and_weigh_by_the_true_area(
    count: int, size: tuple[int, int, int], seed: int, beta: float
) -> None:
    images, labels = numbered(count, *size)
    before, state = images.clone(), torch.get_rng_state()
    mixed = cutmix(images, labels, seeded(seed), probability=1, beta=beta)
    assert torch.equal(images, before) and torch.equal(torch.get_rng_state(), state)
    assert torch.equal(mixed.labels, labels) and torch.equal(mixed.partners.sort().values, labels)
    assert 0 <= mixed.weight <= 1
    own, partner = images, mixed.partners.float().view(-1, 1, 1, 1)
    assert ((mixed.images == own) | (mixed.images == partner)).all()
    pasted = mixed.images != own
    for k in range(count):
        if mixed.partners[k] != k:
            assert pasted[k].float().mean().item() == pytest.approx(1 - mixed.weight, abs=1e-6)
            # A box, the same in all channels and images.
            rows, columns = pasted[k, 0].any(1), pasted[k, 0].any(0)
            assert torch.equal(pasted[k], (rows[:, None] & columns).expand(size))
            assert int(rows.diff().count_nonzero()) <= 2 and int(columns.diff().count_nonzero()) <= 2
    again = cutmix(images, labels, seeded(seed), probability=1, beta=beta)
    assert torch.equal(again.images, mixed.images) and torch.equal(again.partners, mixed.partners)


def test_probability() -> None:
    images, labels = numbered(4, 1, 6, 6)
    generator = seeded(0)
    for _ in range(20):
        same = cutmix(images, labels, generator, probability=0)
        assert same.images is images and same.partners is labels and same.weight == 1
    mixed = [cutmix(images, labels, generator).images is not images for _ in range(600)]
    assert 240 < sum(mixed) < 360


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_areas_follow_the_beta_distribution(beta: float) -> None:
    images, labels = numbered(2, 1, 16, 16)
    generator, numpy = seeded(0), np.random.default_rng(0)
    weights = [cutmix(images, labels, generator, probability=1, beta=beta).weight for _ in range(1500)]
    side = (16 * np.sqrt(1 - numpy.beta(beta, beta, 100_000))).astype(int)
    spans = []
    for _ in range(2):
        start = numpy.integers(0, 16, side.size) - side // 2
        spans.append(np.minimum(start + side, 16) - np.maximum(start, 0))
    expected = 1 - spans[0] * spans[1] / 256
    for power in (1, 2):
        error = np.std(expected**power) / np.sqrt(len(weights))
        assert np.mean(np.array(weights) ** power) == pytest.approx(np.mean(expected**power), abs=4 * error)


def test_mixed_cross_entropy_is_that_to_the_soft_label_and_gradients_pass() -> None:
    logits = torch.randn(5, 3, dtype=torch.float64, generator=seeded(1)).requires_grad_()
    labels, partners = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([1, 1, 0, 2, 0])
    soft = 0.3 * F.one_hot(labels, 3) + 0.7 * F.one_hot(partners, 3)
    mixed = Mixed(torch.zeros(5, 1, 2, 2), labels, partners, 0.3)
    torch.testing.assert_close(mixed_cross_entropy(logits, mixed), F.cross_entropy(logits, soft.double()))
    assert torch.autograd.gradcheck(lambda x: mixed_cross_entropy(x, mixed), logits)
    images = torch.randn(3, 1, 4, 4, dtype=torch.float64, generator=seeded(2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: cutmix(x, labels[:3], seeded(3), probability=1).images, images)


def test_any_device() -> None:
    images, labels = torch.empty(4, 3, 8, 8, device="meta"), torch.empty(4, dtype=torch.int64, device="meta")
    mixed = cutmix(images, labels, seeded(0), probability=1)
    assert mixed.images.device.type == mixed.partners.device.type == "meta"


def test_bad_numbers() -> None:
    images, labels = numbered(2, 1, 4, 4)
    for probability in (-0.1, 1.1, float("nan")):
        with pytest.raises(BadInput, match="between 0 and 1"):
            cutmix(images, labels, seeded(0), probability=probability)
    for beta in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(BadInput, match="positive"):
            cutmix(images, labels, seeded(0), beta=beta)
