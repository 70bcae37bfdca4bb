from __future__ import annotations

import torch
from stillhouse.methods.noisy_labels.multilabel.crops import PAIRS, PARTS, cropped


def test_crops_keep_shape_range_and_repeat_with_the_generator() -> None:
    images = torch.randint(0, 256, (20, 3, 24, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    first, second = (cropped(images, torch.Generator().manual_seed(1)) for _ in range(2))
    assert first.shape == images.shape
    assert torch.equal(first, second)
    assert 0 <= float(first.min()) <= float(first.max()) <= 1
    assert not torch.equal(first, cropped(images, torch.Generator().manual_seed(2)))


def test_sides_of_a_crop_are_at_most_two_steps_apart() -> None:
    assert (1.0, 0.66) not in PAIRS
    assert (0.5, 0.5) in PAIRS
    assert (1.0, 0.75) in PAIRS
    assert len(PAIRS) == sum(abs(i - j) <= 2 for i in range(len(PARTS)) for j in range(len(PARTS)))


def test_about_half_are_mirrored() -> None:
    ramp = torch.arange(16, dtype=torch.uint8).mul(15).repeat(400, 1, 16, 1)
    found = cropped(ramp, torch.Generator().manual_seed(0))
    mirrored = (found[:, 0, :, 0].mean(1) > found[:, 0, :, -1].mean(1)).float().mean()
    assert 0.4 < float(mirrored) < 0.6
