"""Masked copies of a set: which faces, the rest untouched, the masks remembered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from stillhouse.platform.data.face_masks import MaskMaker
from stillhouse.platform.data.faces import FaceImages, InMemory
from stillhouse.platform.data.masked_faces import with_masks
from stillhouse.platform.data.procedural_faces import draw_people
from stillhouse.platform.errors import BadInput


class Lower:
    """Paints the lower half white where the generator's number is added, so that order can be seen."""

    def put(self, images: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        alpha = torch.zeros_like(images[:, :1])
        alpha[..., images.shape[-2] // 2 :, :] = 1
        shade = torch.rand(len(images), 1, 1, 1, generator=generator) * 0.5 + 0.5
        return images * (1 - alpha) + alpha * shade, alpha


@pytest.fixture(scope="module")
def faces() -> FaceImages:
    return draw_people(25, media=2, frames=3, side=16, seed=0)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_that_many_faces_get_a_mask_and_the_others_stay(faces: FaceImages, fraction: float) -> None:
    masked = with_masks(faces, Lower(), fraction=fraction, seed=4)
    flags, before = masked.faces.masked, faces.read(np.arange(150))
    after = masked.faces.read(np.arange(150))
    assert flags.sum() == round(150 * fraction)
    assert (after[~flags] == before[~flags]).all() and (masked.alpha[~flags] == 0).all()
    assert (after[flags][:, :, :8] == before[flags][:, :, :8]).all() and (after[flags][:, :, 8:] >= 127).all()
    assert (masked.alpha[flags][:, :, 8:] == 255).all() and (masked.alpha[flags][:, :, :8] == 0).all()
    assert masked.faces.names == faces.names and (masked.faces.identities == faces.identities).all()
    assert (masked.faces.media == faces.media).all()


def test_the_seed_decides(faces: FaceImages) -> None:
    one, same, other = (with_masks(faces, Lower(), fraction=0.5, seed=seed).faces.content_hash() for seed in (1, 1, 2))
    assert one == same != other


def test_real_masks_are_kept_and_get_no_second_one(faces: FaceImages) -> None:
    real = np.arange(150) < 50
    masked = with_masks(replace(faces, masked=real), Lower(), fraction=0.5, seed=4)
    assert masked.faces.masked[:50].all() and masked.faces.masked[50:].sum() == 50
    assert (masked.alpha[:50] == 0).all()
    assert (masked.faces.read(np.arange(50)) == faces.read(np.arange(50))).all()


def test_a_fraction_is_one(faces: FaceImages) -> None:
    for fraction in (-0.1, 1.1):
        with pytest.raises(BadInput, match="a part of the faces"):
            with_masks(faces, Lower(), fraction=fraction, seed=0)


def test_nothing_is_put_where_nobody_knows_who_wears_a_mask(faces: FaceImages) -> None:
    with pytest.raises(BadInput, match=r"nobody knows who.*data\.mask_labels"):
        with_masks(replace(faces, wearers_known=False), Lower(), seed=0)


def test_with_the_masks_that_are_drawn() -> None:
    faces = draw_people(2, media=1, frames=2, seed=0)
    masked = with_masks(faces, MaskMaker(drawings=2), seed=0)
    before, after = faces.read(np.arange(4)).astype(int), masked.faces.read(np.arange(4)).astype(int)
    covered = masked.alpha[:, 0] > 128
    assert 0.1 < covered.mean() < 0.7 and covered[:, 80:, 40:70].mean() > 0.8 and not covered[:, :40].any()
    untouched = np.broadcast_to(masked.alpha == 0, after.shape)
    assert (before[untouched] == after[untouched]).all()
    assert np.abs(before - after)[np.broadcast_to(covered[:, None], after.shape)].mean() > 10


def test_faces_in_memory_are_not_changed(faces: FaceImages) -> None:
    before = faces.content_hash()
    with_masks(faces, Lower(), seed=0)
    assert faces.content_hash() == before and isinstance(faces.pictures, InMemory)
