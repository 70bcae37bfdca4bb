"""Augmentation against what each pixel should be."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.methods.recognition.augmentation import Augmentation, Draw, augmented
from stillhouse.platform.errors import BadInput


def pictures(n: int = 3, side: int = 6) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@given(st.booleans(), st.integers(-3, 3), st.integers(-3, 3), st.floats(0.5, 1.5))
def test_every_pixel_is_where_it_should_be(flip: bool, down: int, right: int, gain: float) -> None:
    images, side = pictures(1), 6
    draw = Draw(torch.tensor([flip]), torch.tensor([[down / side], [right / side]]), torch.tensor([gain]))
    found = augmented(images, draw)
    given_image = images[0].flip(2) if flip else images[0]
    for row in range(side):
        for column in range(side):
            source = given_image[:, min(max(row - down, 0), side - 1), min(max(column - right, 0), side - 1)]
            assert torch.allclose(found[0, :, row, column], (source.float() * gain / 255).clamp(0, 1), atol=1e-6)


def test_nothing_drawn_changes_nothing() -> None:
    images = pictures()
    still = Augmentation(0.0, 0.0, 0.0).draw(3, torch.Generator())
    assert torch.equal(augmented(images, still), images.float() * (1 / 255))


def test_draws_stay_within_their_ranges_and_follow_the_generator() -> None:
    own = Augmentation(0.3, 0.1, 0.2)
    draw = own.draw(4000, torch.Generator().manual_seed(3))
    assert draw.flip.double().mean().item() == pytest.approx(0.3, abs=0.04)
    assert draw.shift.abs().max() <= 0.1 and draw.shift.abs().max() > 0.09
    assert draw.gain.min() >= 0.8 and draw.gain.max() <= 1.2 and draw.gain.std() > 0.1
    again = own.draw(4000, torch.Generator().manual_seed(3))
    assert torch.equal(draw.shift, again.shift)


def test_shares_above_one_are_refused() -> None:
    with pytest.raises(BadInput, match="flip"):
        Augmentation(flip=1.5)
