"""Batches: masks on whole pictures, how many go without, what is told about them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from stillhouse.methods.recognition.augmentation import Augmentation
from stillhouse.methods.recognition.g2d.batches import FaceBatches
from stillhouse.methods.recognition.g2d.mask_map import MaskMap
from stillhouse.platform.data.faces import FaceImages, InMemory
from stillhouse.platform.data.resampling import Resampler
from stillhouse.platform.errors import BadInput
from torch import Tensor

CPU = torch.device("cpu")


class LowerHalf:
    """Masks the lower half in grey, from a random row on."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def put(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        self.sizes.append(tuple(images.shape))
        alpha = torch.zeros(len(images), 1, *images.shape[2:])
        for one in alpha:
            one[:, images.shape[2] // 2 + int(torch.randint(4, (1,), generator=generator)) :] = 1
        return images * (1 - alpha) + 0.5 * alpha, alpha


@pytest.fixture
def faces() -> FaceImages:
    images = np.random.default_rng(0).integers(0, 256, (10, 3, 32, 32), dtype=np.uint8)
    return FaceImages(InMemory(images), np.repeat(np.arange(5), 2), tuple(map(str, range(10))))


def made(faces: FaceImages, **changed: Any) -> tuple[FaceBatches, LowerHalf]:
    masks = LowerHalf()
    settings = {
        "size": 16,
        "unmasked": 0.4,
        "resampler": Resampler(),
        "augmentation": Augmentation(shift=0, gain=0),
    } | changed
    return FaceBatches(faces, np.array([9, 1, 4, 5, 0]), masks, **settings), masks  # type: ignore[arg-type]


def test_masks_are_put_on_whole_pictures_and_a_share_goes_without(faces: FaceImages) -> None:
    batches, masks = made(faces)
    batch = batches.draw(torch.tensor([3, 0, 2, 1, 4]), device=CPU)
    assert masks.sizes == [(3, 3, 32, 32)]
    assert batch.true.shape == batch.seen.shape == (5, 3, 16, 16)
    worn = batch.hidden.amax((1, 2, 3)) > 0
    assert int(worn.sum()) == 3
    assert torch.equal(batch.seen[~worn], batch.true[~worn])
    assert not torch.equal(batch.seen[worn], batch.true[worn])
    # Down-sampled after the mask was put on: the map has the values between 0 and 1 that area means have.
    assert torch.allclose(batch.seen[worn][:, :, -2:], torch.full((3, 3, 2, 16), 0.5), atol=1e-5)
    for row, mirrored, true in zip(batch.rows, batch.mirrored, batch.true, strict=True):
        picture = torch.from_numpy(faces.read([batches.numbers[int(row)]])).float() / 255
        wanted = Resampler().resize(picture.flip(3) if mirrored else picture, 16)[0]
        torch.testing.assert_close(true, wanted)
    assert batches.identities.tolist() == [4, 0, 2, 2, 0]


@pytest.mark.parametrize(("unmasked", "worn"), [(0.0, 5), (1.0, 0), (0.5, 3)])
def test_how_many_go_without(unmasked: float, worn: int, faces: FaceImages) -> None:
    batches, _ = made(faces, unmasked=unmasked)
    batch = batches.draw(torch.arange(5), device=CPU)
    assert int((batch.hidden.amax((1, 2, 3)) > 0).sum()) == worn


def test_draws_follow_torchs_stream(faces: FaceImages) -> None:
    batches, _ = made(faces)
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        found.append(batches.draw(torch.arange(5), device=CPU))
    assert torch.equal(found[0].seen, found[1].seen)
    assert not torch.equal(found[0].seen, found[2].seen)


def test_fixed_batches_are_the_same_whatever_was_drawn(faces: FaceImages) -> None:
    batches, _ = made(faces)
    first = list(batches.fixed(7, device=CPU))
    torch.rand(3)
    again = list(batches.fixed(7, device=CPU))
    assert len(first) == 1
    assert torch.equal(first[0].seen, again[0].seen)
    assert not torch.equal(first[0].seen, next(iter(batches.fixed(8, device=CPU))).seen)
    assert first[0].rows.tolist() == [0, 1, 2, 3, 4]
    bare = next(iter(batches.fixed(7, device=CPU, masked=False, most=2)))
    assert len(bare.rows) == 2
    assert torch.equal(bare.seen, bare.true)
    assert float(bare.hidden.max()) == 0


def test_what_the_encoder_is_told(faces: FaceImages) -> None:
    batches, _ = made(faces, unmasked=0.0)
    batch = batches.draw(torch.arange(5).repeat(20), device=CPU)
    zeros = MaskMap("zeros")
    assert float(zeros.in_training(batch).max()) == float(zeros(batch.seen).max()) == 0
    dropped = MaskMap("dropped")
    assert float(dropped(batch.seen).max()) == 0
    told = dropped.in_training(batch)
    kept = torch.tensor([torch.equal(one, true) for one, true in zip(told, batch.hidden, strict=True)])
    gone = told.amax((1, 2, 3)) == 0
    assert bool((kept ^ gone).all())
    assert 30 <= int(kept.sum()) <= 70
    predicted = MaskMap("predicted")
    assert torch.equal(predicted.in_training(batch), predicted(batch.seen).detach())
    assert not predicted.in_training(batch).requires_grad
    with pytest.raises(BadInput, match="mask_map"):
        MaskMap("true")
